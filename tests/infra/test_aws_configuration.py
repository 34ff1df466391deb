"""The scripts ask AWS where the person's configuration says, as Terraform and the AWS command line do."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.aws import AwsError, configured_region
from scripts.deploy import identity

pytestmark = pytest.mark.infra


@pytest.fixture
def profile(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = tmp_path / "config"
    configuration.write_text("[profile beijing]\nregion = cn-north-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("AWS_PROFILE", "beijing")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)


@pytest.mark.usefixtures("profile")
def test_the_profiles_region_is_asked_who_you_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """us-east-1 does not know the credentials of another partition."""
    assert identity().startswith("arn:aws-cn:")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert identity().startswith("arn:aws:")
    assert configured_region() == "eu-central-1"


@pytest.mark.usefixtures("profile")
def test_a_profile_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AwsError, match=r"nobody.*\(set AWS_PROFILE, or AWS_REGION\)"):
        identity()
