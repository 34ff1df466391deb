"""What IAM decides about a request, by MiniStack's evaluator of policies: the one that it enforces IAM with.

Here the context of a request is given. MiniStack itself does not know all of it: it asks for no right to pass a role,
knows no grants for services of AWS, and does not look at the resource when a service-linked role is made, an alarm is
deleted, or something of EC2, RDS or MWAA is asked for.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from typing import Any

from tests.infra.ministack import VERSION
from tests.infra.tools import installed

Request = tuple[str, str, dict[str, str]]
"""The action, the ARN of the resource, and the context's keys."""

EVALUATOR = """
import json, sys
from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document
given = json.load(sys.stdin)
policies = [parse_policy_document(each) for each in given["policies"]]
print(json.dumps([
    evaluate(EvalContext("arn:aws:iam::123456789012:role/deployer", "AssumedRole", "123456789012", action, resource, "",
                         service_context={key.lower(): value for key, value in context.items()}), policies).decision
    for action, resource, context in given["requests"]
]))
"""


def allowed(policies: Iterable[dict[str, Any]], requests: Iterable[Request]) -> list[bool]:
    """Whether each request is allowed by these policies of a role."""
    done = subprocess.run(
        [installed("ministack", VERSION) / "python", "-c", EVALUATOR],
        input=json.dumps({"policies": [*policies], "requests": [*requests]}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [decision == "Allow" for decision in json.loads(done.stdout)]
