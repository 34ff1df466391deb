"""Publishes notifications to the SNS topic in the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cd2.replication.errors import TransientError

if TYPE_CHECKING:
    from cd2.notification.message import Message
    from cd2.settings import Settings


def publish(settings: Settings, message: Message) -> str:
    """Publish a notification.

    :returns: SNS's id of the message.
    :raises TransientError: SNS refuses or cannot be reached; says what to check.
    """
    from airflow.providers.amazon.aws.hooks.sns import SnsHook

    try:
        response = SnsHook(aws_conn_id=settings.aws_conn_id).publish_to_target(
            target_arn=settings.sns_topic_arn,
            message=message.body,
            subject=message.subject,
            message_attributes=dict(message.attributes),
        )
        return str(response["MessageId"])
    except Exception as error:
        raise TransientError(
            f"The notification could not be published to {settings.sns_topic_arn} ({aws_reason(error)}): check that "
            "the topic exists in this account and region, and that the role has sns:Publish on it. The message "
            "is in this log, above."
        ) from None


def aws_reason(error: Exception) -> str:
    """AWS's error code, if there is one: its messages quote account ids and request ids."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", type(error).__name__))
    return type(error).__name__
