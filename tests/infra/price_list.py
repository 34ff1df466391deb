"""AWS's price list as its API has it (AWSPriceListService.GetProducts), with prices that are made up.

Names of services, families, attributes and usage types are AWS's. It filters as AWS does, and answers in pages of two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from tests.infra.json_server import Answer, serving_json

PUBLISHED = "2026-09-11T18:00:00Z"
PAGE = 2
NAMES = {"eu-central-1": "EUC1-", "us-east-1": "USE1-", "us-gov-west-1": "UGW1-", "cn-northwest-1": "CNW1-"}


class PriceList:
    """What AWS offers. Add with `offer`.

    :param currency: that of all prices.
    """

    def __init__(self, region: str, currency: str = "USD") -> None:
        self.region, self.currency = region, currency
        self.refusal: Answer | None = None
        self.asked: list[dict[str, str]] = []
        self._offers: list[dict[str, Any]] = []
        self._sku = count()

    def offer(self, service: str, usage: str, *prices: float, family: str = "", **attributes: str) -> None:
        """One product on demand, and reserved for less.

        :param usage: without the region.
        :param prices: of the first units, of further ones, ...
        """
        prefix = f"{self.region}-" if service == "awskms" else NAMES[self.region]
        known = {"regionCode": self.region, "usagetype": f"{prefix}{usage}", "servicecode": service} | attributes
        sku = f"SKU{next(self._sku)}"
        steps = {
            f"{sku}.JRTCKXETXF.{n}": {
                "unit": "Quantity",
                "beginRange": str(1000 * n),
                "endRange": str(1000 * (n + 1)) if n + 1 < len(prices) else "Inf",
                "pricePerUnit": {self.currency: f"{price:.10f}"},
            }
            # AWS's order says nothing.
            for n, price in reversed(list(enumerate(prices)))
        }
        reserved = {f"{sku}.R.0": {"unit": "Hrs", "beginRange": "0", "pricePerUnit": {self.currency: "0.0001"}}}
        self._offers.append({
            "product": {"sku": sku, "attributes": known} | ({"productFamily": family} if family else {}),
            "serviceCode": service,
            "terms": {
                "OnDemand": {f"{sku}.JRTCKXETXF": {"priceDimensions": steps}},
                "Reserved": {f"{sku}.R": {"priceDimensions": reserved}},
            },
            "publicationDate": PUBLISHED,
        })  # fmt: skip

    def answer(self, host: str, path: str, request: dict[str, Any]) -> Answer:
        if self.refusal:
            return self.refusal
        wanted = {each["Field"]: each["Value"] for each in request["Filters"] if each["Type"] == "TERM_MATCH"}
        self.asked.append({"ServiceCode": request["ServiceCode"]} | wanted)
        found = [
            offer
            for offer in self._offers
            if offer["serviceCode"] == request["ServiceCode"]
            and wanted.items() <= (offer["product"]["attributes"] | {"productFamily": _family(offer)}).items()
        ]
        begin = int(request.get("NextToken", 0))
        more = {"NextToken": str(begin + PAGE)} if begin + PAGE < len(found) else {}
        listed = [json.dumps(offer) for offer in found[begin : begin + PAGE]]
        return 200, "", {"FormatVersion": "aws_v1", "PriceList": listed, **more}


def _family(offer: dict[str, Any]) -> str:
    return str(offer["product"].get("productFamily", ""))


def complete(region: str, currency: str = "USD") -> PriceList:
    """A list with everything that a deployment uses, and with what is like it but none of it."""
    prices = PriceList(region, currency)
    for number, size in enumerate(("Micro", "Small", "Medium", "Large", "XLarge", "2XLarge"), start=1):
        prices.offer("AmazonMWAA", f"Airflow-{size}Environment", number, size=size, type="Environment")
        prices.offer("AmazonMWAA", f"Airflow-{size}Scheduler", 99, size=size, type="Scheduler")
        if size != "Micro":
            prices.offer("AmazonMWAA", f"Airflow-{size}Worker", number / 10, size=size, type="Worker")
    prices.offer("AmazonMWAA", "Airflow-StandardDatabaseStorage", 0.25)
    engine = "databaseEngine"
    for name, factor in (("Aurora PostgreSQL", 1), ("Aurora MySQL", 7)):
        prices.offer("AmazonRDS", "Aurora:ServerlessV2Usage", 0.5 * factor, family="ServerlessV2", **{engine: name})
        prices.offer("AmazonRDS", "Aurora:ServerlessV2IOOptimizedUsage", 9, family="ServerlessV2", **{engine: name})
    prices.offer("AmazonRDS", "Aurora:StorageUsage", 0.75, family="Database Storage", **{engine: "Any"})
    prices.offer("AmazonRDS", "RDS:GP3-Storage", 9, family="Database Storage", **{engine: "PostgreSQL"})
    prices.offer("AmazonRDS", "Aurora:StorageIOUsage", 0.0000003, family="System Operation", **{engine: "Any"})
    prices.offer("AmazonEC2", "NatGateway-Hours", 0.0625, family="NAT Gateway")
    prices.offer("AmazonEC2", "NatGateway-Bytes", 0.03125, family="NAT Gateway")
    prices.offer("AmazonVPC", "PublicIPv4:InUseAddress", 0.005)
    prices.offer("AmazonVPC", "PublicIPv4:IdleAddress", 9)
    prices.offer("AmazonVPC", "VpcEndpoint-Hours", 0.125, family="VpcEndpoint")
    prices.offer("AmazonVPC", "VpcEndpoint-GWLBE-Hours", 9, family="VpcEndpoint")
    prices.offer("AmazonCloudWatch", "DataProcessing-Bytes", 0, 0.625, family="Data Payload")
    prices.offer("AmazonCloudWatch", "CW:AlarmMonitorUsage", 0.375, family="Alarm")
    prices.offer("AmazonCloudWatch", "CW:HighResAlarmMonitorUsage", 9, family="Alarm")
    prices.offer("AmazonCloudWatch", "CW:MetricMonitorUsage", 0.875, 0.5, 0.25, family="Metric")
    prices.offer("awskms", "KMS-Keys", 1.5, family="Encryption Key")
    prices.offer("awskms", "KMS-Requests", 9)
    prices.offer("AWSSecretsManager", "AWSSecretsManager-Secrets", 0.4375, family="Secret")
    prices.offer("AWSSecretsManager", "AWSSecretsManagerAPIRequest", 9, family="API Request")
    return prices


@contextmanager
def serving(prices: PriceList) -> Iterator[dict[str, str]]:
    """The environment variables that lead AWS clients to a server that answers for a list."""
    with serving_json(prices.answer) as address:
        yield {"AWS_ENDPOINT_URL_PRICING": address, "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret"}
