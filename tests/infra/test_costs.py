"""The costs in the documentation are those that follow from the price list and from what is made."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from scripts import costs
from tests.infra.plan import FOLDER, planned, resources

pytestmark = pytest.mark.infra


@pytest.fixture(scope="module")
def prices() -> costs.Prices:
    return costs.Prices()


def test_the_table_in_the_documentation_is_the_computed_one(prices: costs.Prices) -> None:
    document = costs.DOCUMENT.read_text()
    assert costs.with_costs(document, prices) == document, "python -m scripts.costs --write writes it anew"
    assert f"of {prices.date}" in document
    with pytest.raises(ValueError, match="lacks the lines <!-- costs"):
        costs.with_costs("# Deploy", prices)


def test_every_price_has_a_unit_and_a_source_and_the_list_a_date() -> None:
    given = json.loads((FOLDER / "prices.json").read_text())
    assert date.fromisoformat(given["date"])
    assert (given["currency"], given["region"]) == ("USD", "us-east-1")
    for name, price in given["prices"].items():
        assert price["unit"], name
        assert re.search(r"\w+\.\w+|cost estimates", price["source"]), name
        assert price["price"] is None or price["price"] > 0, name
    assert {f"mwaa.{each}.environment" for each in costs.CLASSES} <= given["prices"].keys()


def test_what_has_no_price_is_not_guessed(tmp_path: Path) -> None:
    known = json.loads(costs.KNOWN.read_text())
    for name in ("mwaa.mw1.large.environment", "mwaa.mw1.medium.worker", "logs.ingested"):
        known["prices"][name]["price"] = None
    (tmp_path / "prices.json").write_text(json.dumps(known))
    text = costs.text(costs.ASSUMED, costs.Prices(tmp_path / "prices.json"))
    assert "| logs | not known (2 GB) | not known (5 GB) |" in text
    assert "| mw1.small | not known | not known |" in text  # everything, with logs
    assert "logs.ingested" in text.split("Not known: ")[1]
    assert costs.PAGE in text
    known["prices"]["logs.ingested"]["price"] = 0
    (tmp_path / "prices.json").write_text(json.dumps(known))
    rows = costs.text(costs.ASSUMED, costs.Prices(tmp_path / "prices.json")).splitlines()
    assert "| mw1.large | not known | not known |" in rows
    (medium,) = [row for row in rows if row.startswith("| mw1.medium")]
    assert re.fullmatch(r"\| mw1.medium \| \d+ \| \d+ without further workers \|", medium)


def test_the_price_of_another_region_is_named_as_one(prices: costs.Prices) -> None:
    text = costs.text(costs.ASSUMED, prices)
    assert prices.elsewhere("mwaa.mw1.2xlarge.environment") == "us-west-2"
    assert "| mw1.2xlarge (price of us-west-2) |" in text
    assert "| mw1.large |" in text


def test_every_class_has_a_price_and_micro_has_no_further_worker(prices: costs.Prices) -> None:
    for name in costs.CLASSES:
        amount, workers_missing = costs.mwaa(name, costs.ASSUMED["dev"], prices)
        assert amount > 0
        assert workers_missing is False
    assert costs.mwaa("mw1.small", costs.ASSUMED["dev"], prices)[0] == pytest.approx(730 * 0.49 + 10 * 0.10)
    assert costs.mwaa("mw1.small", costs.ASSUMED["prod"], prices)[0] == pytest.approx(730 * 0.49 + 120 * 0.055 + 1)
    assert costs.mwaa("mw1.micro", costs.ASSUMED["prod"], prices)[0] == pytest.approx(730 * 0.29 + 10 * 0.10)


def test_more_use_costs_more_and_a_pause_nothing(prices: costs.Prices) -> None:
    use = costs.ASSUMED["dev"]
    resting = costs.parts("dev", replace(use, busy_hours=0), prices)
    assert resting["Aurora: capacity of the writer"] == 0
    assert costs.capacity("prod", replace(use, busy_hours=0)) == (0.5 * 730, 0.5 * 730)
    twice = costs.parts("dev", replace(use, io_millions=2 * use.io_millions), prices)
    assert sum(twice.values()) - sum(costs.parts("dev", use, prices).values()) == pytest.approx(20 * 0.20)
    heavy = replace(costs.ASSUMED["prod"], io_millions=2000)
    assert costs.io_share("prod", heavy, prices) > 25 > costs.io_share("prod", costs.ASSUMED["prod"], prices)


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_what_is_counted_is_what_is_planned(environment: str, prices: costs.Prices) -> None:
    made = list(resources(planned(environment)))

    def number(kind: str) -> int:
        return len([address for address in made if f".{kind}." in address])

    use = costs.ASSUMED[environment]
    (gateways,) = [re.search(r"\((\d)\)", part) for part in costs.parts(environment, use, prices) if "gateways" in part]
    assert gateways
    assert int(gateways[1]) == number("aws_nat_gateway")
    assert int(costs.settings(environment)["database_instances"]) == number("aws_rds_cluster_instance")
    assert number("aws_cloudwatch_metric_alarm") + 1 == costs.ALARM_METRICS  # tasks-waiting looks at two
    assert number("aws_cloudwatch_dashboard") == 1
    # Aurora's administrator has the second, which Aurora makes.
    assert number("aws_secretsmanager_secret") == 1
    endpoints = [a for a in resources(planned("dev", interface_endpoints="true")) if "aws_vpc_endpoint.service" in a]
    assert len(endpoints) == costs.ENDPOINTS


def test_numbers_of_yours_are_computed(capsys: pytest.CaptureFixture[str]) -> None:
    costs.main(["--storage", "500"])
    printed = capsys.readouterr().out
    assert "| Aurora: storage (500 GB) | 50 | 50 |" in printed
