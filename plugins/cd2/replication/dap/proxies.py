"""Which proxy a request goes through: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, as everywhere.

Not through aiohttp's `trust_env`, which also reads `.netrc`: a login from there collides with our token, and a signed
URL with a second login is refused.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from cd2.replication.errors import StopAll


def proxy_for(url: str) -> str | None:
    """The URL of the proxy for a URL; None: it is reached directly.

    :raises StopAll: the environment names a proxy of another kind than HTTP.
    """
    there = urlsplit(url)
    host = there.hostname or ""
    if proxy_bypass(f"{host}:{there.port}" if there.port else host):
        return None
    proxy = getproxies().get(there.scheme, "").strip()
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    kind = urlsplit(proxy).scheme
    if kind not in ("http", "https"):
        raise StopAll(
            f"The variable {there.scheme.upper()}_PROXY names a {kind} proxy: DAP is reached through HTTP proxies only "
            f"(http://host:port). Correct it, or add {host} to NO_PROXY."
        )
    return proxy
