"""Build what Terraform uploads for MWAA: `dist/plugins.zip`, `dist/requirements.txt`, `dist/startup.sh`.

    python -m scripts.package [--region REGION] [FOLDER]

The same sources give the same bytes, whatever the machine, folder, umask or time: so an object in the bucket gets a
new version, and MWAA a new deployment (20 to 30 minutes), only if something changed.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = Path("cd2/rds-global-bundle.pem")
MWAA_DAGS = "/usr/local/airflow/dags/"
TIMESTAMP = (1980, 1, 1, 0, 0, 0)
"""The earliest time in a zip file."""
CACHES = {"__pycache__"}
SHIPPED_SUFFIXES = {".py"}
PAGE = Path("cd2/page/static")
STATIC_SUFFIXES = {PAGE: {".css", ".html", ".js", ".svg"}, Path("cd2/dictionary/static"): {".css", ".js", ".txt"}}
"""Of the page in Airflow and of the data dictionary."""
SHIPPED_NAMES = {".airflowignore"}
EXPIRY_MARGIN = timedelta(days=30)
FEWEST_AUTHORITIES = 10
"""RDS has several for each of its more than thirty regions; with fewer, the file is truncated."""
_REGION = re.compile(r"CN=Amazon RDS ([a-z]{2}(?:-[a-z]+)+-\d) Root CA")
_TRUSTSTORES = {
    "aws": "https://truststore.pki.rds.amazonaws.com",
    "aws-us-gov": "https://truststore.pki.us-gov-west-1.rds.amazonaws.com",
    "aws-cn": "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn",
}
"""Where AWS offers the authorities of RDS, by partition (Aurora user guide: certificate bundles)."""


class PackagingError(Exception):
    """What cannot be packaged, and what to do."""


@dataclass(frozen=True)
class Package:
    """The result.

    :param files: names in plugins.zip.
    :param digests: SHA-256 by file name.
    """

    folder: Path
    files: tuple[str, ...]
    digests: dict[str, str]


def build(root: Path = ROOT, folder: Path | None = None) -> Package:
    """Build the three files of a checkout in `folder` (default: its `dist`).

    :raises PackagingError: something is missing, expired, or does not belong in plugins/.
    """
    folder = folder or root / "dist"
    plugins = root / "plugins"
    files = _plugin_files(plugins)
    check_bundle(plugins / BUNDLE)
    requirements = _requirements(root)
    startup = _read(root / "scripts" / "mwaa" / "startup.sh")
    folder.mkdir(parents=True, exist_ok=True)
    _write_zip(folder / "plugins.zip", plugins, files)
    (folder / "requirements.txt").write_bytes(requirements)
    (folder / "startup.sh").write_bytes(startup)
    names = ("plugins.zip", "requirements.txt", "startup.sh")
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    return Package(folder, tuple(path.as_posix() for path in files), digests)


def check_bundle(path: Path, now: datetime | None = None) -> None:
    """Check that the certificate authorities of RDS are there and still valid.

    :raises PackagingError: they are not; says how to renew them.
    """
    renew = "renew it: the head of scripts/rds_ca_bundle.py says how."
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError:
        raise PackagingError(f"{path} is missing; without it no connection to Aurora is trusted: {renew}") from None
    except ValueError:
        raise PackagingError(f"{path} holds something other than certificates: {renew}") from None
    if len(certificates) < FEWEST_AUTHORITIES:
        raise PackagingError(f"{path} holds only {len(certificates)} certificates: it is truncated; {renew}")
    deadline = (now or datetime.now(UTC)) + EXPIRY_MARGIN
    for certificate in certificates:
        if certificate.not_valid_after_utc < deadline:
            raise PackagingError(
                f"{path}: {certificate.subject.rfc4514_string()} is valid only until "
                f"{certificate.not_valid_after_utc:%Y-%m-%d}: {renew}"
            )


def regions(bundle: Path) -> dict[str, int]:
    """The regions whose authorities a bundle has: how many each, in alphabetical order."""
    subjects = [each.subject.rfc4514_string() for each in x509.load_pem_x509_certificates(bundle.read_bytes())]
    found = [name[1] for name in map(_REGION.search, subjects) if name]
    return {region: found.count(region) for region in sorted(set(found))}


def check_region(region: str, bundle: Path = ROOT / "plugins" / BUNDLE) -> None:
    """Check that connections to Aurora in a region can be verified with a bundle.

    :raises PackagingError: they cannot; says how they can.
    """
    if region in regions(bundle):
        return
    import boto3
    from botocore.exceptions import UnknownRegionError

    try:
        partition = boto3.Session().get_partition_for_region(region)
    except UnknownRegionError:
        raise PackagingError(f"{region} is no region of AWS: give its name, such as eu-central-1.") from None
    address = _TRUSTSTORES.get(partition)
    whose = f"AWS's ({address}/{region}/{region}-bundle.pem)" if address else "that of AWS for your region"
    raise PackagingError(
        f"the certificates in plugins/{BUNDLE.as_posix()} are not for {region}, so the DAG would refuse to connect to "
        f"Aurora there. Save {whose} as dags/{region}-bundle.pem, and add to settings: "
        f'database_sslrootcert = "{MWAA_DAGS}{region}-bundle.pem". Or renew the bundle: the head of '
        "scripts/rds_ca_bundle.py says how."
    )


def check_authorities(file: Path, region: str = "") -> None:
    """Check a file with authorities of the user's.

    :param region: that they are for this region, as far as RDS's names of them tell; empty: whatever they are for.
    :raises PackagingError: it holds none, none that is still valid, or those of other regions.
    """
    try:
        certificates = x509.load_pem_x509_certificates(file.read_bytes())
    except ValueError:
        raise PackagingError(f"{file} is no PEM file with certificates: save the file of your authorities.") from None
    if all(each.not_valid_after_utc < datetime.now(UTC) for each in certificates):
        raise PackagingError(f"{file} holds no certificate that is still valid: save a newer file.")
    found = regions(file)
    if region and found and region not in found:
        raise PackagingError(
            f"{file} has the authorities of {', '.join(found)}, not those of {region}, so the DAG would refuse to "
            "connect to Aurora there: save the file of your region."
        )


def _plugin_files(plugins: Path) -> list[Path]:
    """What goes into plugins.zip, relative to plugins/, in a fixed order.

    Other files are rejected, not skipped: whoever put them there expects them on MWAA.
    """
    files = []
    for path in _walk(plugins):
        relative = path.relative_to(plugins)
        suffixes = STATIC_SUFFIXES.get(relative.parent, SHIPPED_SUFFIXES)
        if path.suffix in suffixes or path.name in SHIPPED_NAMES or relative == BUNDLE:
            files.append(relative)
        elif not path.name.startswith(".") and path.suffix != ".pyc":
            raise PackagingError(
                f"{path} is neither Python nor the RDS bundle nor of the page or the dictionary, and would not reach "
                "MWAA: move it out of plugins/, or make scripts/package.py ship it."
            )
    if Path("cd2/__init__.py") not in files:
        raise PackagingError(f"{plugins} has no package cd2: run this in a complete checkout.")
    return sorted(files, key=lambda path: path.as_posix())


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not CACHES.intersection(path.relative_to(folder).parts):
            yield path


def _write_zip(target: Path, plugins: Path, files: list[Path]) -> None:
    """Zip the files from inside plugins/, as MWAA requires. Stored, not compressed: compressors differ by machine."""
    unfinished = target.with_suffix(".part")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.as_posix(), TIMESTAMP)
            entry.create_system = 3  # Unix: otherwise the permissions are ignored
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, (plugins / file).read_bytes())
    unfinished.replace(target)


def _requirements(root: Path) -> bytes:
    """requirements.txt, after a check that MWAA will find the constraints that it names.

    With the digests of these: MWAA installs again only if requirements.txt itself changes.
    """
    text = _read(root / "requirements.txt")
    # In the two spellings by which MWAA sees that it need not add Airflow's.
    named = re.findall(r'(?m)^(?:--constraint|-c) +"?([^"\s]+)"?', text.decode())
    if not named:
        raise PackagingError(
            "requirements.txt names no constraints file: MWAA would add Airflow's own, with which the DAP client "
            "cannot be installed (docs/development.md)."
        )
    digests = ""
    for path in named:
        if not path.startswith(MWAA_DAGS) or not (root / "dags" / path.removeprefix(MWAA_DAGS)).is_file():
            raise PackagingError(
                f"requirements.txt names the constraints file {path}, which is not in dags/: MWAA would start without "
                "our packages. `make constraints` creates it."
            )
        name = path.removeprefix(MWAA_DAGS)
        digests += f"# {name}: sha256 {hashlib.sha256(_read(root / 'dags' / name)).hexdigest()}\n"
    return digests.encode() + text


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise PackagingError(f"{path} cannot be read ({problem.strerror}): run this in a complete checkout.") from None


def main(argv: list[str] | None = None) -> None:
    """Build what Terraform uploads, in dist/ or a given folder (`make package`)."""
    parser = argparse.ArgumentParser(prog="package", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where to (default: dist/)")
    parser.add_argument("--region", default="", help="check that the shipped certificates are for this region")
    given = parser.parse_args(argv)
    try:
        if given.region:
            yours = ROOT / "dags" / f"{given.region}-bundle.pem"
            if yours.is_file():
                check_authorities(yours, given.region)
                print(f"{yours.name} is in dags/: name it in database_sslrootcert")
            else:
                check_region(given.region)
        package = build(folder=given.folder)
    except PackagingError as problem:
        sys.exit(f"package: {problem}")
    for name, digest in package.digests.items():
        size = (package.folder / name).stat().st_size
        print(f"{name:<18}{size:>10,} bytes  sha256 {digest[:16]}")
    print(f"{len(package.files)} files of plugins/ are in {package.folder / 'plugins.zip'}")


if __name__ == "__main__":
    main()
