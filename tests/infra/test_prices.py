"""The prices of any region come from AWS's own list, and the costs are computed with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

from scripts import costs
from scripts import prices as prices_program
from tests.infra.price_list import NAMES, PriceList, complete, serving

pytestmark = pytest.mark.infra


@contextmanager
def answering(prices: PriceList, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """AWS, for programs of this process, which write into a folder."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(costs, "ROOT", folder)
    with serving(prices) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield


@pytest.mark.parametrize("region", NAMES)
def test_all_prices_of_a_region_are_read_and_what_is_like_them_is_not(
    region: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(complete(region, "CNY" if region.startswith("cn-") else "USD"), monkeypatch, tmp_path):
        prices_program.main(["--region", region])
    read = costs.Prices(tmp_path / "dist" / f"prices-{region}.json")
    assert (read.region, read.currency) == (region, "Yuan" if region.startswith("cn-") else "US dollars")
    found = {name: read.of(name) for name in prices_program.PRODUCTS}
    assert found == {
        "mwaa.mw1.micro.environment": 1, "mwaa.mw1.small.environment": 2, "mwaa.mw1.medium.environment": 3,
        "mwaa.mw1.large.environment": 4, "mwaa.mw1.xlarge.environment": 5, "mwaa.mw1.2xlarge.environment": 6,
        "mwaa.mw1.small.worker": 0.2, "mwaa.mw1.medium.worker": 0.3, "mwaa.mw1.large.worker": 0.4,
        "mwaa.mw1.xlarge.worker": 0.5, "mwaa.mw1.2xlarge.worker": 0.6, "mwaa.metadata": 0.25,
        "aurora.capacity": 0.5, "aurora.storage": 0.75, "aurora.io": 0.3, "nat.gateway": 0.0625, "nat.data": 0.03125,
        "address": 0.005, "endpoint": 0.125, "logs.ingested": 0.625, "alarm": 0.375, "metric": 0.875, "key": 1.5,
        "secret": 0.4375,
    }  # fmt: skip
    entry = json.loads((tmp_path / "dist" / f"prices-{region}.json").read_text())["prices"]["nat.gateway"]
    assert entry["source"] == "AWS's price list of AmazonEC2, usage type NatGateway-Hours, published on 2026-09-11"
    printed = capsys.readouterr().out
    # Dashboards cost the same everywhere, but the price is in dollars.
    missing = ["dashboard"] if region.startswith("cn-") else []
    assert read.missing() == missing
    assert ("none, or several, for dashboard" in printed) == bool(missing)
    with answering(PriceList(region), monkeypatch, tmp_path):
        costs.main(["--region", region])
    printed = capsys.readouterr().out
    assert f"{read.currency} a month in {region}, computed from `dist/prices-{region}.json`" in printed
    assert "| Aurora: I/O | 6 (20 million requests) |" in printed
    assert f"| mw1.2xlarge | {'not known' if missing else '4,'}" in printed


def test_the_list_of_the_repository_has_every_price_that_is_read() -> None:
    prices = json.loads(costs.KNOWN.read_text())
    assert set(prices["prices"]) == {*prices_program.PRODUCTS, *costs.EVERYWHERE}
    assert prices_program.written(prices) == costs.KNOWN.read_text()


def test_a_price_that_aws_has_twice_or_not_at_all_is_not_guessed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = PriceList("eu-central-1")
    prices.offer("AmazonMWAA", "Airflow-SmallEnvironment", 0.5)
    prices.offer("AmazonEC2", "NatGateway-Hours", 0.05, family="NAT Gateway", group="one")
    prices.offer("AmazonEC2", "NatGateway-Hours", 0.06, family="NAT Gateway", group="other")
    prices.offer("AmazonEC2", "NatGateway-Bytes", 0.06, family="NAT Gateway", group="one")
    prices.offer("AmazonEC2", "NatGateway-Bytes", 0.06, family="NAT Gateway", group="other")
    with answering(prices, monkeypatch, tmp_path):
        prices_program.main(["--region", "eu-central-1"])
        assert "3 prices of eu-central-1" in capsys.readouterr().out  # and that of dashboards
        costs.main(["--region", "eu-central-1"])
    printed = capsys.readouterr().out
    assert "| NAT gateways with their addresses | not known (1) | not known (2) |" in printed
    assert "| NAT: data | 1 (10 GB) | 2 (30 GB) |" in printed
    assert "| mw1.small | not known | not known |" in printed
    assert "nat.gateway" in printed.split("Not known:")[1]
    assert "https://aws.amazon.com/managed-workflows-for-apache-airflow/pricing/" in printed


def test_what_does_not_work_is_a_sentence_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = complete("eu-central-1")
    with answering(prices, monkeypatch, tmp_path):
        with pytest.raises(SystemExit, match=r"costs: there are no prices of eu-central-1 yet: make prices REGION=eu-"):
            costs.main(["--region", "eu-central-1"])
        with pytest.raises(SystemExit, match=r"AWS's price list has nothing for the region eu-central-9"):
            prices_program.main(["--region", "eu-central-9"])
        denied = {"__type": "AccessDeniedException", "message": "not authorized to perform: pricing:GetProducts"}
        prices.refusal = 400, "", denied
        with pytest.raises(SystemExit, match=r"prices of AmazonMWAA failed: .*right .*pricing:GetProducts"):
            prices_program.main(["--region", "eu-central-1"])
    for wrong in ("", "Frankfurt", "../../etc"):
        with pytest.raises(SystemExit):
            prices_program.main(["--region", wrong])
        assert "is no region: give its name, such as eu-central-1." in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()


def test_aws_answers_where_it_is_asked() -> None:
    session = boto3.Session()
    of_partitions = {"cn-": "aws-cn", "": "aws"}
    for begin, place in prices_program.LISTS.items():
        assert place in session.get_available_regions("pricing", of_partitions[begin])


def test_only_the_families_that_are_needed_of_the_large_lists_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prices = complete("us-east-1")
    with answering(prices, monkeypatch, tmp_path):
        prices_program.main(["--region", "us-east-1"])
    assert {each["regionCode"] for each in prices.asked} == {"us-east-1"}
    assert all(each.get("productFamily") for each in prices.asked if each["ServiceCode"] in {"AmazonEC2", "AmazonRDS"})
