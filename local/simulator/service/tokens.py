"""Access tokens and pre-signed URLs; both expire, and both survive a restart."""

import base64
import hashlib
import hmac
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import jwt

from local.simulator.service.answers import unauthenticated

SCOPE = "dap:query:read dap:object:read"


@dataclass(frozen=True)
class Credentials:
    """What a client logs in with."""

    client_id: str
    client_secret: str

    def accepts(self, authorization: str) -> bool:
        """Whether an `Authorization: Basic` header holds them."""
        scheme, _, encoded = authorization.partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True)
        except ValueError:
            return False
        wanted = f"{self.client_id}:{self.client_secret}".encode()
        return scheme.lower() == "basic" and hmac.compare_digest(given, wanted)


class Tokens:
    """Makes and checks JWTs."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def make(self, client_id: str, seconds: float) -> str:
        """A token for a client."""
        now = time.time()
        claims = {"iss": "dap-simulator", "sub": client_id, "jti": str(uuid.uuid4()), "scope": SCOPE}
        return jwt.encode({**claims, "iat": int(now), "exp": int(now + seconds)}, self._secret, algorithm="HS256")

    def client(self, authorization: str) -> str:
        """The client of an `Authorization: Bearer` header.

        :raises DapError: the token is missing, not ours, or expired.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthenticated("Missing access token")
        try:
            return str(jwt.decode(token, self._secret, algorithms=["HS256"])["sub"])
        except jwt.ExpiredSignatureError:
            raise unauthenticated("The access token has expired") from None
        except jwt.InvalidTokenError:
            raise unauthenticated("The access token is invalid") from None


class Signer:
    """Pre-signed URLs in the manner of S3."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def query(self, path: str, seconds: float) -> dict[str, str]:
        """The query string that opens a path for some seconds."""
        query = {"X-Amz-Date": datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ"), "X-Amz-Expires": f"{seconds:g}"}
        return {**query, "X-Amz-Signature": self._signature(path, query)}

    def _signature(self, path: str, query: dict[str, str]) -> str:
        text = f"{path}\n{query.get('X-Amz-Date', '')}\n{query.get('X-Amz-Expires', '')}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def verdict(self, path: str, query: dict[str, str]) -> str | None:
        """None if the path may be read; otherwise the S3 error: `SignatureDoesNotMatch` or `AccessDenied` (expired)."""
        given = query.get("X-Amz-Signature", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._signature(path, query).encode()):
            return "SignatureDoesNotMatch"
        made = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
        return "AccessDenied" if time.time() > made.timestamp() + float(query["X-Amz-Expires"]) else None
