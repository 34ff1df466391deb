"""A deployment in GovCloud or in China names nothing of AWS's standard partition."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from scripts import deploy_policy
from scripts.compile_constraints import ROOT
from tests.infra.account import PROVIDER
from tests.infra.plan import FOLDER, TOOL, Workspace, need_offline_tool, resources, running_provider, variables

pytestmark = pytest.mark.infra

REGIONS = {
    "eu-central-1": ("aws", "amazonaws.com"),
    "us-gov-west-1": ("aws-us-gov", "amazonaws.com"),
    "us-gov-east-1": ("aws-us-gov", "amazonaws.com"),
    "cn-north-1": ("aws-cn", "amazonaws.com.cn"),
    "cn-northwest-1": ("aws-cn", "amazonaws.com.cn"),
}
PRINCIPAL = re.compile(r"[a-z-]+\.amazonaws\.com")
"""A service, as policies name it in every partition."""


def test_partitions_and_domains_are_those_that_botocore_knows() -> None:
    session = botocore.session.get_session()
    known = {each["id"]: each["outputs"]["dnsSuffix"] for each in session.get_data("partitions")["partitions"]}
    for region, (partition, suffix) in REGIONS.items():
        assert (session.get_partition_for_region(region), known[partition]) == (partition, suffix)


def texts(value: Any) -> Iterator[str]:
    """All strings in a value, and in the JSON in its strings."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str) and value.startswith(("{", "[")):
        yield from texts(json.loads(value))
    elif isinstance(value, str):
        yield value


def of_another_partition(value: Any, partition: str, region: str, suffix: str) -> list[str]:
    """The ARNs and domains in a value that are not of this partition and region."""
    wrong = []
    for text in texts(value):
        arn = re.match(r"arn:([a-z-]*):[a-z0-9-]*:([a-z0-9-]*):", text)
        if arn and (arn[1] != partition or arn[2] not in ("", region)):
            wrong.append(text)
        elif "amazonaws" in text and "arn:" not in text and not PRINCIPAL.fullmatch(text):
            # A service in a region, or the name of an endpoint's.
            of_service = rf"[a-z0-9-]+\.{region}\.{re.escape(suffix)}|(cn\.)?com\.amazonaws\.{region}\.[a-z0-9.]+"
            wrong += [] if re.fullmatch(of_service, text) else [text]
    return wrong


@pytest.mark.parametrize("own_key", [True, False], ids=["its own key", "a key of Terraform's"])
@pytest.mark.parametrize("region", REGIONS)
def test_all_that_is_planned_is_in_the_partition_of_its_region(region: str, own_key: bool, tmp_path: Path) -> None:
    need_offline_tool()
    partition, suffix = REGIONS[region]
    given: dict[str, Any] = {"create_network": "true", "interface_endpoints": "true"}
    if own_key:  # then the policy of the role is known at once, otherwise that of the key
        given["kms_key_arn"] = f"arn:{partition}:kms:{region}:123456789012:key/11111111-2222-3333-4444-555555555555"
    of_region = {"CD2_REGION": region, "CD2_PARTITION": partition, "CD2_DNS_SUFFIX": suffix}
    stub = {"CD2_STUB_PROVIDER": str(TOOL.parent / "stub_provider.py"), "CD2_ACCOUNT": ""}
    with running_provider(PROVIDER, **stub, **of_region) as provider:
        made = resources(Workspace(tmp_path / "checkout").plan(*variables("prod", **given), **provider))
    assert of_another_partition(made, partition, region, suffix) == []
    policies = [values["policy"] for values in made.values() if values.get("policy")]
    assert any(text.startswith(f"arn:{partition}:") for text in texts(policies))
    assert len([address for address in made if ".aws_vpc_endpoint.service" in address]) >= 7


@pytest.mark.parametrize("region", REGIONS)
def test_the_rights_of_whoever_deploys_are_in_the_partition_of_the_region(region: str) -> None:
    policies = deploy_policy.policies(region=region)
    # The connector of modules/analytics is published by AWS, in its standard partition.
    del policies["analytics"]
    assert of_another_partition(policies, REGIONS[region][0], region, REGIONS[region][1]) == []
    assert f"arn:{REGIONS[region][0]}:airflow:{region}:" in json.dumps(policies["deploy"])


@pytest.mark.parametrize("region", REGIONS)
def test_each_policy_fits_into_a_managed_policy_in_every_partition(region: str) -> None:
    for name, policy in deploy_policy.policies(account="123456789012", region=region, name="n" * 24).items():
        assert len(json.dumps(policy, separators=(",", ":"))) <= deploy_policy.LONGEST, name


def test_a_region_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        deploy_policy.main(["--region", "nowhere-1"])
    assert "--region nowhere-1: no region of AWS is named so; an example is us-east-1" in capsys.readouterr().err


def test_no_code_names_a_partition_but_in_what_it_tells_people() -> None:
    """Descriptions, errors and examples may."""
    told = re.compile(r"^\s*(#|error_message|description|condition|CONNECTOR = |raise |\"\"\")")
    files = [
        *(path for path in FOLDER.rglob("*.tf") if ".terraform" not in path.parts),
        *(ROOT / "scripts").glob("*.py"),
        *(ROOT / "plugins").rglob("*.py"),
        *(ROOT / "dags").glob("*.py"),
    ]
    assert len(files) > 100
    for path in files:
        for line in path.read_text().splitlines():
            if not told.match(line):
                assert not re.search(r"arn:aws[a-z-]*:", line), f"{path}: {line}"
                assert not re.search(r"console\.(aws|amazonaws)", line), f"{path}: {line}"
