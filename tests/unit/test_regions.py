"""Connections to Aurora are verified in every region: by authorities that are shipped, or by a file of the user's."""

from __future__ import annotations

import re
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
    PackagingError,
    check_authorities,
    check_region,
    main,
    regions,
)


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.package.ROOT", tmp_path)
    bundle = tmp_path / "dags" / "cn-northwest-1-bundle.pem"
    bundle.parent.mkdir()
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
