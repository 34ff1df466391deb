"""`make package`: the same sources give the same bytes, and what MWAA could not use is refused."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scripts import rds_ca_bundle
from scripts.package import (
    BUNDLE,
    ROOT,
    STATIC_SUFFIXES,
    PackagingError,
    build,
    check_authorities,
    check_bundle,
    check_region,
    main,
    regions,
)

STATIC_FILES = {
    f"{folder.as_posix()}/{path.name}" for folder in STATIC_SUFFIXES for path in (ROOT / "plugins" / folder).iterdir()
}
PARTS = ("plugins", "dags", "scripts", "requirements.txt")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Another checkout, made by somebody with another umask at another time, in which Python has already run."""
    copy = tmp_path / "elsewhere" / "checkout"
    copy.mkdir(parents=True)
    before = os.umask(0o077)
    try:
        for name in PARTS:
            source = ROOT / name
            if source.is_dir():
                for path in sorted(source.rglob("*"), reverse=True):
                    if path.is_file() and "__pycache__" not in path.parts:
                        target = copy / path.relative_to(ROOT)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(path.read_bytes())
                        os.utime(target, (1_000_000_000, 1_000_000_000))
            else:
                shutil.copyfile(source, copy / name)
    finally:
        os.umask(before)
    cache = copy / "plugins" / "cd2" / "__pycache__"
    cache.mkdir()
    (cache / "settings.cpython-312.pyc").write_bytes(b"x")
    (copy / "plugins" / ".DS_Store").write_bytes(b"x")
    return copy


def test_it_is_byte_identical_from_another_folder_umask_time_and_process(checkout: Path, tmp_path: Path) -> None:
    here = build(folder=tmp_path / "here").digests
    assert build(folder=tmp_path / "again").digests == here
    command = f"umask 0; exec {sys.executable} -m scripts.package"
    environment = os.environ | {"TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        ["sh", "-c", command], cwd=checkout, env=environment, capture_output=True, text=True, check=True
    )
    for name in here:
        assert (checkout / "dist" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert f"sha256 {here['plugins.zip'][:16]}" in done.stdout


def test_the_zip_holds_python_the_bundle_the_page_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    build(checkout, tmp_path)
    with zipfile.ZipFile(tmp_path / "plugins.zip") as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {"cd2_plugin.py", "cd2/__init__.py", "cd2/replication/load/load.py", ".airflowignore"} <= set(names)
        others = {".airflowignore", BUNDLE.as_posix(), *STATIC_FILES}
        assert {name for name in names if not name.endswith(".py")} == others
        python = {path.relative_to(ROOT / "plugins").as_posix() for path in (ROOT / "plugins").rglob("*.py")}
        assert python <= set(names)
        assert archive.testzip() is None
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644}


def test_a_changed_line_changes_plugins_zip_only(checkout: Path, tmp_path: Path) -> None:
    before = build(checkout, tmp_path / "before").digests
    file = checkout / "plugins" / "cd2" / "settings.py"
    file.write_text(file.read_text() + "# one line\n")
    after = build(checkout, tmp_path / "after").digests
    assert {name for name in before if before[name] != after[name]} == {"plugins.zip"}


def test_changed_constraints_change_requirements_so_that_mwaa_installs_again(checkout: Path, tmp_path: Path) -> None:
    """MWAA looks at the version of requirements.txt only; the constraints file is one of the DAGs."""
    before = build(checkout, tmp_path / "before").digests
    (constraints,) = (checkout / "dags").glob("constraints-*.txt")
    constraints.write_text(constraints.read_text().replace("==", "== ", 1))
    after = build(checkout, tmp_path / "after").digests
    assert {name for name in before if before[name] != after[name]} == {"requirements.txt"}
    first, *rest = (tmp_path / "after" / "requirements.txt").read_text().splitlines()
    assert first == f"# {constraints.name}: sha256 {hashlib.sha256(constraints.read_bytes()).hexdigest()}"
    assert "\n".join(rest) == (ROOT / "requirements.txt").read_text().rstrip()


def refused(checkout: Path, tmp_path: Path) -> str:
    with pytest.raises(PackagingError) as caught:
        build(checkout, tmp_path / "dist")
    assert not (tmp_path / "dist" / "plugins.zip").exists()
    return str(caught.value)


def test_without_the_rds_bundle_nothing_is_packaged(checkout: Path, tmp_path: Path) -> None:
    bundle = checkout / "plugins" / BUNDLE
    text = bundle.read_text()
    bundle.unlink()
    assert "is missing; without it no connection to Aurora is trusted: renew it" in refused(checkout, tmp_path)
    bundle.write_text("nothing of use")
    assert "holds something other than certificates" in refused(checkout, tmp_path)
    bundle.write_text(text.split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
    assert "holds only 1 certificates: it is truncated" in refused(checkout, tmp_path)


def test_an_authority_that_expires_within_a_month_is_refused() -> None:
    bundle = ROOT / "plugins" / BUNDLE
    check_bundle(bundle)
    with pytest.raises(PackagingError, match=r"CN=Amazon RDS .* is valid only until 20\d\d-"):
        check_bundle(bundle, datetime(2100, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("region", "address"),
    [
        ("eu-west-9", "https://truststore.pki.rds.amazonaws.com/eu-west-9/eu-west-9-bundle.pem"),
        (
            "us-gov-east-1",
            "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/us-gov-east-1/us-gov-east-1-bundle.pem",
        ),
        ("cn-north-1", "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/cn-north-1/cn-north-1-bundle.pem"),
    ],
)
def test_a_region_whose_authorities_are_not_shipped_is_refused_with_the_way_out(region: str, address: str) -> None:
    check_region("eu-central-1")
    with pytest.raises(SystemExit) as caught:
        main(["--region", region])
    assert f"are not for {region}" in str(caught.value)
    assert f"({address}) as dags/{region}-bundle.pem" in str(caught.value)
    assert f'database_sslrootcert = "/usr/local/airflow/dags/{region}-bundle.pem"' in str(caught.value)


@pytest.mark.parametrize("region", ["EU-WEST-1", " eu-west-1", "Frankfurt", "xx-foo-1", "eu-central"])
def test_what_is_no_region_is_called_so(region: str) -> None:
    with pytest.raises(SystemExit, match=r"is no region of AWS: give its name, such as eu-central-1\.") as caught:
        main(["--region", region])
    assert "https://" not in str(caught.value)


def test_no_address_is_made_up_for_a_partition_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(PackagingError, match=r"Save that of AWS for your region as dags/eusc-de-east-1-bundle\.pem"):
        check_region("eusc-de-east-1")


def authority(name: str, *, until: datetime = datetime(2090, 1, 1, tzinfo=UTC)) -> bytes:
    """A certificate authority's own certificate."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string(f"CN={name}")
    built = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).serial_number(1)
    built = built.public_key(key.public_key()).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    return built.not_valid_after(until).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_authorities_of_the_users_are_of_the_region_and_valid(tmp_path: Path) -> None:
    file = tmp_path / "us-gov-west-1-bundle.pem"
    here, other = (authority(f"Amazon RDS {region} Root CA RSA2048 G1") for region in ("us-gov-west-1", "cn-north-1"))
    past = datetime(2021, 1, 1, tzinfo=UTC)
    for good in (here, other + here, authority("University"), authority("University", until=past) + here):
        file.write_bytes(good)
        check_authorities(file, "us-gov-west-1")
    for content, why in {
        other: r"has the authorities of cn-north-1, not those of us-gov-west-1",
        authority("University", until=past): "holds no certificate that is still valid",
        b"<html>Access denied</html>": "is no PEM file with certificates",
        b"": "is no PEM file with certificates",
    }.items():
        file.write_bytes(content)
        with pytest.raises(PackagingError, match=why):
            check_authorities(file, "us-gov-west-1")
    file.write_bytes(other)
    check_authorities(file)  # of a database of the user's


def test_a_region_is_accepted_as_soon_as_its_authorities_are_saved(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.package.ROOT", checkout)
    bundle = checkout / "dags" / "cn-northwest-1-bundle.pem"
    bundle.write_bytes(authority("Amazon RDS cn-northwest-1 Root CA RSA2048 G1"))
    main(["--region", "cn-northwest-1", str(tmp_path / "dist")])
    assert "cn-northwest-1-bundle.pem is in dags/: name it in database_sslrootcert" in capsys.readouterr().out
    bundle.write_bytes((ROOT / "plugins" / BUNDLE).read_bytes())
    with pytest.raises(SystemExit, match="not those of cn-northwest-1"):
        main(["--region", "cn-northwest-1", str(tmp_path / "dist")])


def test_the_shipped_regions_are_listed_in_the_docs() -> None:
    text = rds_ca_bundle.DOCUMENT.read_text()
    assert rds_ca_bundle.with_table(text) == text, "python -m scripts.rds_ca_bundle writes it anew"
    found = regions(ROOT / "plugins" / BUNDLE)
    assert len(found) >= 36
    assert {
        "ca-west-1",
        "il-central-1",
        "mx-central-1",
        "ap-southeast-5",
        "ap-southeast-7",
        "ap-east-2",
    } <= found.keys()
    assert set(found.values()) == {3}  # RSA 2048, RSA 4096, ECC 384
    assert all(f"`{region}`" in text for region in found)


def test_the_bundle_is_renewed_from_awss_file_or_a_wheel_that_ships_it_and_never_shrinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = (ROOT / "plugins" / BUNDLE).read_text()
    renewed, source, wheel = tmp_path / "renewed.pem", tmp_path / "global-bundle.pem", tmp_path / "some.whl"
    monkeypatch.setattr(rds_ca_bundle, "BUNDLE", renewed)
    certificates = re.findall(r"(?s)-----BEGIN.*?-----END CERTIFICATE-----\n", shipped)
    source.write_text("".join(reversed(certificates)))
    with tarfile.open(tmp_path / "inner.tgz", "w:gz") as package:
        package.add(source, "package/lib/global-bundle.pem")
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "inner.tgz", "some/_jsii/some.jsii.tgz")
    for each in (source, wheel):
        renewed.write_text("".join(certificates[:-1]))
        rds_ca_bundle.main(each)
        assert renewed.read_text() == shipped
    source.write_text("".join(certificates[:-1]))
    with pytest.raises(SystemExit, match=r"lacks authorities that the bundle has and that are valid \(.*CN=Amazon RDS"):
        rds_ca_bundle.main(source)
    assert renewed.read_text() == shipped


def test_a_file_that_would_not_reach_mwaa_is_named(checkout: Path, tmp_path: Path) -> None:
    (checkout / "plugins" / "cd2" / "lookup.csv").write_text("a,b\n")
    assert "lookup.csv is neither Python nor the RDS bundle" in refused(checkout, tmp_path)


@pytest.mark.parametrize(
    ("requirements", "told"),
    [
        ("instructure-dap-client==2.3.1\n", "names no constraints file"),
        ('--constraint "/usr/local/airflow/dags/constraints-9.txt"\n', "constraints-9.txt, which is not in dags/"),
        ('--constraint "/tmp/constraints-3.3.1-canvas.txt"\n', "which is not in dags/"),
    ],
)
def test_requirements_that_mwaa_could_not_install_are_refused(
    checkout: Path, tmp_path: Path, requirements: str, told: str
) -> None:
    (checkout / "requirements.txt").write_text(requirements)
    assert told in refused(checkout, tmp_path)


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_startup_script_names_a_constraints_file_that_is_missing_and_leaves_nothing_behind(
    shell: str, tmp_path: Path
) -> None:
    startup = build(folder=tmp_path).folder / "startup.sh"
    requirements = tmp_path / "installed.txt"
    there = tmp_path / "constraints.txt"
    script = f". {startup}; set | grep ^cd2_; echo ended"
    for constraints, told in (
        (there, "is missing, so requirements.txt cannot be installed"),
        (there, "installed with"),
    ):
        requirements.write_text(f'--constraint "{constraints}"\nboto3\n')
        environment = {"CD2_REQUIREMENTS": str(requirements), "PATH": os.environ["PATH"]}
        done = subprocess.run([shell, "-c", script], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("Canvas Data 2: ")
        assert told in done.stdout
        assert str(there) in done.stdout
        assert done.stdout.splitlines()[1:] == ["ended"]
        assert done.stderr == ""
        there.touch()
