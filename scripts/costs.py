"""What a deployment costs a month, by environment class and part: computed from a price list with its date.

    python -m scripts.costs                                  # as docs/deploy.md has it
    python -m scripts.costs --storage 500 --io 900           # with numbers of yours
    python -m scripts.costs --region eu-central-1            # with the list that make prices has read
    python -m scripts.costs --write                          # into docs/deploy.md

The prices are in infra/terraform/prices.json, with the source of each; what is made is in the tfvars files. How much is
used is an assumption: the bill of a month tells. A price that is not known is never guessed: what needs it says so.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "infra" / "terraform"
DOCUMENT = ROOT / "docs" / "deploy.md"
BEGIN, END = "<!-- costs: python -m scripts.costs --write -->", "<!-- end of costs -->"
KNOWN = FOLDER / "prices.json"
PAGE = "https://aws.amazon.com/managed-workflows-for-apache-airflow/pricing/"
CURRENCIES = {"USD": "US dollars", "CNY": "Yuan"}
NOT_KNOWN = "not known"
EVERYWHERE = ("dashboard",)
"""What costs the same in all regions: AWS's lists of regions do not have it."""
HOURS = 730
"""Of a month."""
CLASSES = ("mw1.micro", "mw1.small", "mw1.medium", "mw1.large", "mw1.xlarge", "mw1.2xlarge")
ENDPOINTS, ZONES = 10, 2
ALARM_METRICS = 9
"""Eight alarms, one of them on two metrics."""
OWN_METRICS, RUNS = 6, 240
"""Of the DAG: five, and the age of the data of one namespace; a metric costs for the hours in which it is put."""


@dataclass(frozen=True)
class Use:
    """How much is used in a month.

    :param busy_acu: ACU of the writer while a run loads.
    :param busy_hours: for how long, with the minutes until Aurora pauses.
    :param storage_gb: volume of the database.
    :param io_millions: of requests to its storage.
    :param logs_gb: written to CloudWatch.
    :param nat_gb: through the NAT gateway.
    :param worker_hours: of workers beyond the first.
    """

    busy_acu: float
    busy_hours: float
    storage_gb: float
    io_millions: float
    logs_gb: float
    nat_gb: float
    worker_hours: float


ASSUMED = {
    "dev": Use(1, 170, 50, 20, 2, 10, 0),
    "prod": Use(4, 170, 200, 200, 5, 30, 120),
}
"""Eight runs a day, each with 20 minutes of loads, 10 minutes of pause in between, and 10 until Aurora rests."""


class Prices:
    """A price list.

    :raises OSError: there is no such file.
    """

    def __init__(self, path: Path = KNOWN) -> None:
        text: dict[str, Any] = json.loads(path.read_text())
        self.region, self.date, self.currency = text["region"], text["date"], CURRENCIES[text["currency"]]
        self.file = shown(path)
        self._prices: dict[str, dict[str, Any]] = text["prices"]

    def of(self, what: str) -> float:
        """What one unit costs; not a number if the list does not have it."""
        price = self._prices.get(what, {}).get("price")
        return math.nan if price is None else float(price)

    def elsewhere(self, what: str) -> str:
        """The region whose price this is, if it is not the list's; otherwise empty."""
        return str(self._prices.get(what, {}).get("region", ""))

    def missing(self) -> list[str]:
        """What the list has no price for."""
        return [name for name in self._prices if math.isnan(self.of(name))]


def shown(path: Path) -> Path:
    """A file as it is called where make runs."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def list_of(region: str) -> Path:
    """Where `make prices` writes the list of a region."""
    return ROOT / "dist" / f"prices-{region}.json"


def settings(environment: str) -> dict[str, str]:
    """What the tfvars file of an environment sets, and the defaults that matter here."""
    text = (FOLDER / "environments" / f"{environment}.tfvars").read_text()
    defaults = {"database_instances": "1", "nat_gateway_per_zone": "false", "database_min_capacity": "0"}
    return defaults | dict(re.findall(r"(?m)^(\w+) += *([^#\s\[{]+)", text))


def capacity(environment: str, use: Use) -> tuple[float, float]:
    """ACU-hours of the writer, and of the other instances."""
    chosen = settings(environment)
    least, instances = float(chosen["database_min_capacity"]), int(chosen["database_instances"])
    writer = least * (HOURS - use.busy_hours) + max(least, use.busy_acu) * use.busy_hours
    # Readers of the writer's priority are as large as the writer, so that they can take over.
    return writer, writer * (instances - 1)


def parts(environment: str, use: Use, prices: Prices) -> dict[str, float]:
    """What each part but MWAA costs a month."""
    of = prices.of
    gateways = ZONES if settings(environment)["nat_gateway_per_zone"] == "true" else 1
    writer, readers = capacity(environment, use)
    return {
        "Aurora: capacity of the writer": writer * of("aurora.capacity"),
        "Aurora: capacity of the second instance": readers * of("aurora.capacity"),
        f"Aurora: storage ({use.storage_gb:g} GB)": use.storage_gb * of("aurora.storage"),
        f"Aurora: I/O ({use.io_millions:g} million requests)": use.io_millions * of("aurora.io"),
        f"NAT gateways with their addresses ({gateways})": gateways * HOURS * (of("nat.gateway") + of("address")),
        f"NAT: data ({use.nat_gb:g} GB)": use.nat_gb * of("nat.data"),
        f"logs ({use.logs_gb:g} GB)": use.logs_gb * of("logs.ingested"),
        "alarms, metrics and dashboard": (
            ALARM_METRICS * of("alarm") + OWN_METRICS * RUNS / HOURS * of("metric") + of("dashboard")
        ),
        "key and two secrets": of("key") + 2 * of("secret"),
    }


def mwaa(environment_class: str, use: Use, prices: Prices) -> tuple[float, bool]:
    """A month of MWAA, and whether further workers are missing in it, because their price is not known."""
    # mw1.micro has exactly one worker, which its environment includes.
    hours = 0.0 if environment_class == "mw1.micro" else use.worker_hours
    workers = hours * prices.of(f"mwaa.{environment_class}.worker") if hours else 0.0
    environment = HOURS * prices.of(f"mwaa.{environment_class}.environment") + 10 * prices.of("mwaa.metadata")
    return (environment, True) if math.isnan(workers) else (environment + workers, False)


def io_share(environment: str, use: Use, prices: Prices) -> float:
    """The part of the costs of Aurora that is I/O, in percent."""
    io = use.io_millions * prices.of("aurora.io")
    rest = sum(capacity(environment, use)) * prices.of("aurora.capacity") + use.storage_gb * prices.of("aurora.storage")
    return 100 * io / (io + rest)


def text(uses: dict[str, Use], prices: Prices) -> str:
    """The tables."""
    each = {environment: parts(environment, use, prices) for environment, use in uses.items()}
    width = max(len(found) for found in each.values())
    lines = [
        f"{prices.currency} a month in {prices.region}, computed from `{prices.file}` of {prices.date} "
        "(each price with its source):",
        "",
        "| part | " + " | ".join(uses) + " |",
        "|---|" + "---|" * len(uses),
    ]
    for index in range(width):
        labels = [list(found)[index] for found in each.values()]
        amounts = [rounded(found[label]) for found, label in zip(each.values(), labels, strict=True)]
        name = labels[0]
        if len(set(labels)) > 1:  # then what differs goes with the amounts
            name = name.partition(" (")[0]
            amounts = [f"{amount} ({label.partition(' (')[2]}" for amount, label in zip(amounts, labels, strict=True)]
        lines.append(f"| {name} | " + " | ".join(amounts) + " |")
    lines += ["", "| everything, with | " + " | ".join(uses) + " |", "|---|" + "---|" * len(uses)]
    for environment_class in CLASSES:
        totals = []
        for environment, use in uses.items():
            own, workers_missing = mwaa(environment_class, use, prices)
            total = rounded(own + sum(each[environment].values()))
            totals.append(f"{total} without further workers" if workers_missing and total != NOT_KNOWN else total)
        elsewhere = prices.elsewhere(f"mwaa.{environment_class}.environment")
        name = f"{environment_class} (price of {elsewhere})" if elsewhere else environment_class
        lines.append(f"| {name} | " + " | ".join(totals) + " |")
    shares = ", ".join(
        f"{rounded(io_share(environment, use, prices))} % in {environment}" for environment, use in uses.items()
    )
    endpoints = rounded(ENDPOINTS * ZONES * HOURS * prices.of("endpoint"))
    lines += [
        "",
        f"`interface_endpoints = true` adds {endpoints}. I/O is {shares} of Aurora; from about 25 % on, "
        "`database_io_optimized` is cheaper.",
    ]
    if missing := prices.missing():
        lines += ["", f"Not known: the price of {', '.join(missing)}. [AWS's page]({PAGE}) has those of MWAA."]
    return "\n".join(lines)


def rounded(amount: float) -> str:
    """An amount as the tables have it, or that it is not known."""
    return NOT_KNOWN if math.isnan(amount) else f"{amount:,.0f}"


def with_costs(document: str, prices: Prices) -> str:
    """A document with up-to-date tables between the marks.

    :raises ValueError: it lacks the marks.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT.name} lacks the lines {BEGIN} and {END}: the costs belong between them.")
    return f"{before}{BEGIN}\n\n{text(ASSUMED, prices)}\n\n{END}{after}"


def main(argv: list[str] | None = None) -> None:
    """Print the costs, or write them into docs/deploy.md (`make costs`)."""
    parser = argparse.ArgumentParser(prog="costs", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="into docs/deploy.md, with the assumptions there")
    options = {
        "busy_acu": "--acu", "busy_hours": "--hours", "storage_gb": "--storage", "io_millions": "--io",
        "logs_gb": "--logs", "nat_gb": "--nat", "worker_hours": "--workers",
    }  # fmt: skip
    for field, option in options.items():
        parser.add_argument(option, dest=field, type=float, metavar="N", help=f"{field.replace('_', ' ')} a month")
    parser.add_argument("--region", help="with the prices that make prices has read")
    given = vars(parser.parse_args(argv))
    region = given.pop("region")
    try:
        prices = Prices(list_of(region)) if region else Prices()
    except FileNotFoundError:
        sys.exit(f"costs: there are no prices of {region} yet: make prices REGION={region} reads AWS's price list.")
    if given.pop("write"):
        DOCUMENT.write_text(with_costs(DOCUMENT.read_text(), Prices()))
        return
    chosen = {field: value for field, value in given.items() if value is not None}
    print(text({environment: replace(use, **chosen) for environment, use in ASSUMED.items()}, prices))


if __name__ == "__main__":
    main()
