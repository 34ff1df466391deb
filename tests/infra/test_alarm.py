"""Whether alarms reach the topic's subscribers is shown by a message that arrives, or by what stands in the way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from scripts.alarm import REASON, AlarmCheck, main
from scripts.aws import AwsError
from tests.infra.ministack import ACCOUNT, REGION, MiniStack, running

pytestmark = pytest.mark.infra

NAME = "canvas-data-2-dev"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:{NAME}"


@pytest.fixture(scope="module")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    """Here alarms publish."""
    with running(tmp_path_factory.mktemp("ministack")) as started:
        yield started


@pytest.fixture
def cloudwatch(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The scripts act as the account's root there."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": ministack.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return ministack.client("cloudwatch")


def make(cloudwatch: Any, sns: Any, **changed: Any) -> None:
    """The topic and the alarm as they are planned, as far as they matter here."""
    topic = sns.create_topic(Name=NAME)["TopicArn"]
    planned = {
        "AlarmName": f"{NAME}-run-failed", "Namespace": "AmazonMWAA", "MetricName": "DAGDurationFailed", "Period": 300,
        "Statistic": "SampleCount", "ComparisonOperator": "GreaterThanOrEqualToThreshold", "Threshold": 1.0,
        "EvaluationPeriods": 1, "AlarmActions": [topic], "TreatMissingData": "notBreaching",
    }  # fmt: skip
    cloudwatch.delete_alarms(AlarmNames=[f"{NAME}-run-failed"])
    cloudwatch.put_metric_alarm(**planned | changed)


def test_an_alarm_that_arrives_is_reported_and_nothing_of_the_check_stays(
    cloudwatch: Any, ministack: MiniStack, capsys: pytest.CaptureFixture[str]
) -> None:
    make(cloudwatch, ministack.client("sns"))
    main(["--name", NAME, "--region", REGION])
    assert capsys.readouterr().out.splitlines() == [
        f"alarm {NAME}-run-failed raised; CloudWatch takes it back within minutes",
        f"its message arrived through {TOPIC}",
    ]
    assert ministack.client("sqs").list_queues().get("QueueUrls", []) == []
    assert ministack.client("sns").list_subscriptions()["Subscriptions"] == []
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=[f"{NAME}-run-failed"])["MetricAlarms"]
    assert alarm["StateReason"] == REASON


def test_what_makes_the_check_pointless_is_said_before_anything_is_made(cloudwatch: Any, ministack: MiniStack) -> None:
    with pytest.raises(SystemExit, match=r"There is no alarm other-run-failed: `make deploy` creates it"):
        main(["--name", "other", "--region", REGION])
    make(cloudwatch, ministack.client("sns"), ActionsEnabled=False)
    with pytest.raises(SystemExit, match="notifies no topic, or its actions are off"):
        main(["--name", NAME, "--region", REGION])
    make(cloudwatch, ministack.client("sns"))
    cloudwatch.set_alarm_state(AlarmName=f"{NAME}-run-failed", StateValue="ALARM", StateReason="a run failed")
    with pytest.raises(SystemExit, match="is already raised, because a run has failed"):
        main(["--name", NAME, "--region", REGION])
    assert ministack.client("sqs").list_queues().get("QueueUrls", []) == []


class TestAlarmsThatDoNotArrive:
    """By moto, whose alarms publish nothing."""

    @pytest.fixture
    def check(self, moto: str, monkeypatch: pytest.MonkeyPatch) -> AlarmCheck:
        make(boto3.client("cloudwatch"), boto3.client("sns"))
        check = AlarmCheck(NAME, str(boto3.client("sns").meta.region_name), timeout_s=0.5)
        # Moto does not have it, which the client would take for a failure that passes, and try again.
        monkeypatch.setattr(check._cloudwatch, "describe_alarm_history", lambda **_: {"AlarmHistoryItems": []})
        return check

    def test_a_message_that_does_not_come_names_the_policies(self, check: AlarmCheck) -> None:
        with pytest.raises(AwsError, match=r"no message came through .*: check that the policies of the topic"):
            check.run()
        assert boto3.client("sqs").list_queues(QueueNamePrefix=f"{NAME}-alarm-check").get("QueueUrls", []) == []
        # People's, by e-mail, are none of this check.
        left = boto3.client("sns").list_subscriptions()["Subscriptions"]
        assert [s for s in left if NAME in s["TopicArn"] and s["Protocol"] == "sqs"] == []

    def test_what_cloudwatch_says_about_it_is_handed_on(
        self, check: AlarmCheck, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The text of CloudWatch's history for a key that it may not use, as AWS's knowledge center quotes it."""
        said = f'Failed to execute action {TOPIC}. Received error: "CloudWatch Alarms does not have authorization"'
        asked: dict[str, Any] = {}

        def history(**arguments: Any) -> dict[str, Any]:
            asked.update(arguments)
            return {"AlarmHistoryItems": [{"HistorySummary": said}]}

        monkeypatch.setattr(check._cloudwatch, "describe_alarm_history", history)
        with pytest.raises(AwsError, match=r"It says: Failed to execute action .* does not have authorization"):
            check.run()
        assert time.time() - asked["StartDate"].timestamp() < 600, "a failure of earlier is none of this check"

    def test_another_message_is_not_taken_for_the_alarms(self, check: AlarmCheck) -> None:
        alarm = check._cloudwatch.set_alarm_state

        def other_message(**arguments: Any) -> None:
            alarm(**arguments)
            topic = boto3.client("sns").create_topic(Name=NAME)["TopicArn"]
            for text in ("a run succeeded", json.dumps({"AlarmName": "another", "NewStateReason": REASON})):
                boto3.client("sns").publish(TopicArn=topic, Message=text)

        check._cloudwatch.set_alarm_state = other_message
        with pytest.raises(AwsError, match="no message came through"):
            check.run()
