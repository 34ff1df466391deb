"""The offline provider with an AWS account behind it. Terraform starts this file in the provider's own environment.

What tests/infra/account.py knows is really made, imported and deleted there, and refused if AWS would refuse it.
Everything else is made up, as the offline provider does.

CD2_STUB_PROVIDER is that provider's file, CD2_ACCOUNT the account's address, CD2_REGION a region other than us-east-1,
CD2_PARTITION and CD2_DNS_SUFFIX its partition if that is not aws.
"""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

STUB = Path(os.environ["CD2_STUB_PROVIDER"])
stub: dict[str, Any] = {"__name__": "stub", "__file__": str(STUB)}
exec(compile(STUB.read_text().rstrip().removesuffix("main()"), str(STUB), "exec"), stub)
pb: Any = stub["pb"]
P: Any = stub["P"]
if region := os.environ.get("CD2_REGION"):
    stub["FIXED"]["aws_region"] |= {"name": region, "region": region, "id": region}
if partition := os.environ.get("CD2_PARTITION"):
    stub["FIXED"]["aws_partition"] |= {
        "partition": partition, "id": partition, "dns_suffix": os.environ["CD2_DNS_SUFFIX"],
    }  # fmt: skip


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """What the account says: `attributes`, or `error`."""
    body = json.dumps(request, default=lambda _: None).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(os.environ["CD2_ACCOUNT"], body), timeout=120) as answer:
        said: dict[str, Any] = json.load(answer)
    return said


def refused(said: dict[str, Any]) -> list[Any]:
    return [pb.Diagnostic(severity=1, summary=said["error"])]


class Backed(P):  # type: ignore[misc]
    """The calls that reach the account."""

    def ApplyResourceChange(self, r: Any, c: Any) -> Any:  # noqa: N802
        prior, planned = stub["dec"](r.prior_state), stub["dec"](r.planned_state)
        said = ask({"kind": r.type_name, "prior": prior, "planned": planned})
        if "error" in said:
            return pb.ApplyResourceChange.Response(new_state=r.prior_state, diagnostics=refused(said))
        response = super().ApplyResourceChange(r, c)
        if planned is not None and said.get("attributes"):
            state = stub["dec"](response.new_state) | said["attributes"]
            response = pb.ApplyResourceChange.Response(new_state=stub["enc"](state))
        return response

    def ImportResourceState(self, r: Any, c: Any) -> Any:  # noqa: N802
        said = ask({"kind": r.type_name, "imported": r.id})
        if "error" in said:
            return pb.ImportResourceState.Response(diagnostics=refused(said))
        state = stub["enc"](stub["nulls"](self.res[r.type_name]["block"]) | said["attributes"])
        imported = pb.ImportResourceState.ImportedResource(type_name=r.type_name, state=state)
        return pb.ImportResourceState.Response(imported_resources=[imported])


stub["P"] = Backed
stub["main"]()
