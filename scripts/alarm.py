"""Check the way from an alarm to the subscribers of the topic: raise one, and wait for its message.

    python -m scripts.alarm --environment dev

CloudWatch publishes to an encrypted topic only if the policies of topic and key let it. Otherwise it says so nowhere
but in the history of the alarm. A queue that is made for this check, and deleted again, subscribes to the topic.
"""

from __future__ import annotations

import argparse
import json
import math
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from scripts.aws import AwsError, client, explain
from scripts.terraform import Terraform, TerraformError

TIMEOUT_S = 3 * 60.0
"""CloudWatch publishes within seconds."""
ALARM = "run-failed"
"""The alarm to raise. No data is no alarm to it, so CloudWatch takes it back at its next look, minutes later."""
REASON = "This is a test of the path from an alarm to the topic (make smoke ALARM=1). Nothing is wrong."


class AlarmCheck:
    """A check of one deployment.

    :param name: of the deployment, as in the names of its alarms.
    :raises AwsError: of any method: what AWS refused, and what to do.
    """

    def __init__(
        self, name: str, region: str, *, tell: Callable[[str], None] = print, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._name, self._tell, self._timeout_s = name, tell, timeout_s
        self._cloudwatch, self._sns, self._sqs = (client(each, region) for each in ("cloudwatch", "sns", "sqs"))

    def run(self) -> None:
        """Raise the alarm, and wait until its message has arrived.

        :raises AwsError: it has not arrived; says what CloudWatch says about it.
        """
        alarm = self._alarm()
        (topic,) = alarm["AlarmActions"]
        with self._subscribed_queue(topic) as queue:
            begun = datetime.now(UTC)
            self._call(
                f"Raising the alarm {alarm['AlarmName']}",
                self._cloudwatch.set_alarm_state,
                AlarmName=alarm["AlarmName"],
                StateValue="ALARM",
                StateReason=REASON,
            )
            self._tell(f"alarm {alarm['AlarmName']} raised; CloudWatch takes it back within minutes")
            self._wait(queue, alarm["AlarmName"], topic, begun)
        self._tell(f"its message arrived through {topic}")

    def _alarm(self) -> dict[str, Any]:
        name = f"{self._name}-{ALARM}"
        found = self._call("Reading the alarm", self._cloudwatch.describe_alarms, AlarmNames=[name])["MetricAlarms"]
        if not found:
            raise AwsError(f"There is no alarm {name}: `make deploy` creates it.")
        alarm: dict[str, Any] = found[0]
        if alarm["StateValue"] == "ALARM":
            # Only a change of state is published.
            raise AwsError(
                f"The alarm {name} is already raised, because a run has failed: try again when it has cleared."
            )
        if not alarm["ActionsEnabled"] or len(alarm["AlarmActions"]) != 1:
            raise AwsError(f"The alarm {name} notifies no topic, or its actions are off: `make deploy` sets both.")
        return alarm

    @contextmanager
    def _subscribed_queue(self, topic: str) -> Iterator[str]:
        """The URL of a queue that gets what the topic gets."""
        name = f"{self._name}-alarm-check-{secrets.token_hex(4)}"
        queue = self._call("Creating a queue for the check", self._sqs.create_queue, QueueName=name)["QueueUrl"]
        subscription = ""
        try:
            wanted = ["QueueArn"]
            attributes = self._call(
                "Reading the queue", self._sqs.get_queue_attributes, QueueUrl=queue, AttributeNames=wanted
            )
            arn = attributes["Attributes"]["QueueArn"]
            statement = {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
            }
            policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            self._call(
                "Opening the queue", self._sqs.set_queue_attributes, QueueUrl=queue, Attributes={"Policy": policy}
            )
            subscription = self._call(
                f"Subscribing to {topic}",
                self._sns.subscribe,
                TopicArn=topic,
                Protocol="sqs",
                Endpoint=arn,
                ReturnSubscriptionArn=True,
            )["SubscriptionArn"]
            yield queue
        finally:
            for doing, call, of in (
                ("subscription", self._sns.unsubscribe, {"SubscriptionArn": subscription}),
                ("queue", self._sqs.delete_queue, {"QueueUrl": queue}),
            ):
                if all(of.values()):
                    self._delete(doing, call, of)

    def _delete(self, what: str, call: Callable[..., Any], of: dict[str, str]) -> None:
        try:
            call(**of)
        except (ClientError, BotoCoreError) as error:
            left = next(iter(of.values()))
            self._tell(f"the {what} {left} of this check is left: delete it ({explain(error, 'deleting it')})")

    def _wait(self, queue: str, alarm: str, topic: str, begun: datetime) -> None:
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            received = self._call(
                "Reading the queue",
                self._sqs.receive_message,
                QueueUrl=queue,
                WaitTimeSeconds=min(5, math.ceil(self._timeout_s)),
                MaxNumberOfMessages=10,
            )
            if any(_is_of(message, alarm) for message in received.get("Messages", [])):
                return
            if refused := self._refusal(alarm, begun):
                raise AwsError(f"CloudWatch raised {alarm}, but could not publish to {topic}. It says: {refused}")
        raise AwsError(
            f"CloudWatch raised {alarm}, but no message came through {topic} within {self._timeout_s / 60:.0f} "
            "minutes: check that the policies of the topic and of its key let cloudwatch.amazonaws.com publish "
            "(infra/terraform/modules/encryption and modules/notifications show how)."
        )

    def _refusal(self, alarm: str, begun: datetime) -> str:
        """What CloudWatch has noted since then because it could not publish; empty if nothing or not readable."""
        with suppress(ClientError, BotoCoreError):
            items = self._cloudwatch.describe_alarm_history(
                AlarmName=alarm, HistoryItemType="Action", StartDate=begun, MaxRecords=1
            )["AlarmHistoryItems"]
            summary = str(items[0]["HistorySummary"]) if items else ""
            return summary if summary.startswith("Failed") else ""
        return ""

    @staticmethod
    def _call(doing: str, call: Callable[..., Any], **arguments: Any) -> Any:
        try:
            return call(**arguments)
        except (ClientError, BotoCoreError) as error:
            problem = explain(error, doing)
        raise problem


def _is_of(message: dict[str, Any], alarm: str) -> bool:
    """Whether this is what CloudWatch published about an alarm."""
    with suppress(ValueError, KeyError, TypeError):
        said = json.loads(json.loads(message["Body"])["Message"])
        return bool(said["AlarmName"] == alarm and said["NewStateReason"] == REASON)
    return False


def main(argv: list[str] | None = None) -> None:
    """Raise an alarm and wait for its message (`make smoke ALARM=1`)."""
    parser = argparse.ArgumentParser(prog="alarm", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--environment", metavar="ENV", help="dev, stg or prod: read the name from Terraform")
    parser.add_argument("--name", help="the name of the deployment, instead")
    parser.add_argument("--region")
    given = parser.parse_args(argv)
    try:
        if given.environment:
            outputs = Terraform(given.environment).opened_outputs()
            given.name, given.region = outputs.mwaa_environment_name, given.region or outputs.region
        if not given.name:
            parser.error("give --environment or --name")
        AlarmCheck(given.name, given.region).run()
    except (AwsError, TerraformError) as problem:
        sys.exit(f"alarm: {problem}")
    except KeyboardInterrupt:
        sys.exit("alarm: stopped.")


if __name__ == "__main__":
    main()
