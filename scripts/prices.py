"""Read the prices of a region from AWS's own price list, for `make costs`.

    python -m scripts.prices --region eu-central-1    # for make costs REGION=eu-central-1
    python -m scripts.prices --region us-east-1 --output infra/terraform/prices.json

Needs AWS credentials with the right `pricing:GetProducts`, which costs nothing. China has a price list of its own, for
credentials of China; GovCloud is in the list of the other regions, for credentials of those.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from scripts.aws import AwsError, client, explain
from scripts.costs import CLASSES, EVERYWHERE, KNOWN, list_of, shown

POSTGRESQL = "Aurora PostgreSQL"
LISTS = {"cn-": "cn-northwest-1", "": "us-east-1"}
"""Where AWS answers for a region, by how its name begins (AWS Price List user guide: endpoints)."""


@dataclass(frozen=True)
class Product:
    """Where AWS's price list has one of our prices.

    :param service: AWS's service code.
    :param usage: AWS's usage type, without the region that it begins with in most regions. As AWS's lists have them.
    :param family: product family to ask for, where a service has thousands of products.
    :param engine: database engine.
    :param number: of AWS's units in one of ours.
    """

    service: str
    usage: str
    family: str = ""
    engine: str = ""
    number: int = 1


PRODUCTS = {
    **{f"mwaa.{name}.environment": Product("AmazonMWAA", f"Airflow-{name[4:]}Environment") for name in CLASSES},
    **{f"mwaa.{name}.worker": Product("AmazonMWAA", f"Airflow-{name[4:]}Worker") for name in CLASSES[1:]},
    "mwaa.metadata": Product("AmazonMWAA", "Airflow-StandardDatabaseStorage"),
    "aurora.capacity": Product("AmazonRDS", "Aurora:ServerlessV2Usage", "ServerlessV2", POSTGRESQL),
    "aurora.storage": Product("AmazonRDS", "Aurora:StorageUsage", "Database Storage", POSTGRESQL),
    "aurora.io": Product("AmazonRDS", "Aurora:StorageIOUsage", "System Operation", POSTGRESQL, number=1_000_000),
    "nat.gateway": Product("AmazonEC2", "NatGateway-Hours", "NAT Gateway"),
    "nat.data": Product("AmazonEC2", "NatGateway-Bytes", "NAT Gateway"),
    "address": Product("AmazonVPC", "PublicIPv4:InUseAddress"),
    "endpoint": Product("AmazonVPC", "VpcEndpoint-Hours"),
    "logs.ingested": Product("AmazonCloudWatch", "DataProcessing-Bytes"),
    "alarm": Product("AmazonCloudWatch", "CW:AlarmMonitorUsage"),
    "metric": Product("AmazonCloudWatch", "CW:MetricMonitorUsage"),
    "key": Product("awskms", "KMS-Keys"),
    "secret": Product("AWSSecretsManager", "AWSSecretsManager-Secrets"),
}


def offers(pricing: Any, service: str, family: str, region: str) -> Iterator[dict[str, Any]]:
    """What AWS offers of a service, or of a family of its products, in a region.

    :raises AwsError: AWS refused.
    """
    wanted = {"regionCode": region} | ({"productFamily": family} if family else {})
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    try:
        for page in pricing.get_paginator("get_products").paginate(ServiceCode=service, Filters=filters):
            yield from map(json.loads, page["PriceList"])
    except (ClientError, BotoCoreError) as error:
        problem = explain(error, f"Reading AWS's prices of {service}")
    else:
        return
    raise problem


def prices_of(product: Product, offered: Iterable[dict[str, Any]], region: str) -> dict[tuple[str, float], str]:
    """The prices that offers have for a product, with the day on which AWS published each.

    Of a price that depends on the amount it is the first that is not zero.

    :returns: by currency and amount, for one of our units. More than one: AWS distinguishes what we do not.
    """
    # Every region has its own prefix (EUC1-), us-east-1 for some services none, and KMS the region's name.
    usage = re.compile(rf"(?:[A-Z]+\d*-|{region}-)?(?i:{re.escape(product.usage)})")
    found = {}
    for offer in offered:
        attributes = offer["product"]["attributes"]
        if product.engine and attributes.get("databaseEngine") not in (product.engine, "Any"):
            continue
        if not usage.fullmatch(attributes.get("usagetype", "")):
            continue
        for term in offer["terms"].get("OnDemand", {}).values():
            steps = sorted(term["priceDimensions"].values(), key=lambda step: float(step["beginRange"]))
            paid = [(name, float(text)) for step in steps for name, text in step["pricePerUnit"].items() if float(text)]
            if paid:
                currency, amount = paid[0]
                found[currency, round(amount * product.number, 9)] = offer["publicationDate"][:10]
    return found


def read(region: str) -> tuple[dict[str, Any], list[str]]:
    """The price list of a region, in the form of infra/terraform/prices.json, and what is not known.

    :raises AwsError: AWS refused, or has no prices for this region.
    """
    pricing = client("pricing", next(place for begin, place in LISTS.items() if region.startswith(begin)))
    known = json.loads(KNOWN.read_text())["prices"]
    prices: dict[str, dict[str, Any]] = {}
    asked: dict[tuple[str, str], list[dict[str, Any]]] = {}
    currency = ""
    for name, product in PRODUCTS.items():
        key = product.service, product.family
        if key not in asked:
            asked[key] = list(offers(pricing, *key, region))
        found = prices_of(product, asked[key], region)
        entry = {"price": None, "unit": known[name]["unit"], "source": f"AWS's price list of {product.service}"}
        if len(found) == 1:
            (((currency, entry["price"]), published),) = found.items()
            entry["source"] += f", usage type {product.usage}, published on {published}"
        prices[name] = entry
    if not currency:
        raise AwsError(f"AWS's price list has nothing for the region {region}: see whether its name is right.")
    prices |= {
        name: dict(known[name], price=known[name]["price"] if currency == "USD" else None) for name in EVERYWHERE
    }
    today = datetime.now(UTC).date().isoformat()
    note = "On-demand prices, read by scripts/prices.py. Without free tier, discounts and taxes. null: not known."
    return (
        {"region": region, "currency": currency, "date": today, "note": note, "prices": prices},
        [name for name, entry in prices.items() if entry["price"] is None],
    )


def written(prices: dict[str, Any]) -> str:
    """A price list as a file: one line for a price."""
    head = [f"  {json.dumps(name)}: {json.dumps(value)}," for name, value in prices.items() if name != "prices"]
    lines = [f"    {json.dumps(name)}: {json.dumps(entry)}" for name, entry in prices["prices"].items()]
    return "\n".join(["{", *head, '  "prices": {', ",\n".join(lines), "  }", "}", ""])


def main(argv: list[str] | None = None) -> None:
    """Write the price list of a region (`make prices REGION=...`)."""
    parser = argparse.ArgumentParser(prog="prices", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--region", required=True, help="such as eu-central-1")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: dist/prices-REGION.json")
    given = parser.parse_args(argv)
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", given.region):
        parser.error(f"--region {given.region!r} is no region: give its name, such as eu-central-1.")
    output: Path = given.output or list_of(given.region)
    try:
        prices, missing = read(given.region)
    except AwsError as problem:
        sys.exit(f"prices: {problem}")
    except KeyboardInterrupt:
        sys.exit("prices: stopped; nothing was written.")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(written(prices))
    print(f"{len(prices['prices']) - len(missing)} prices of {given.region} are in {shown(output)}.")
    if missing:
        print(f"AWS's list has none, or several, for {', '.join(missing)}: what needs them is not known.")


if __name__ == "__main__":
    main()
