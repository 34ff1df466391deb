"""The AWS services the DAG uses, played by a moto server: SSM, Secrets Manager, SNS with an SQS queue, CloudWatch."""

import json
from dataclasses import dataclass
from typing import Any

import requests

from local.airflow.environment import everywhere

_SETTINGS = everywhere()
REGION = _SETTINGS["AWS_DEFAULT_REGION"]
TOPIC = _SETTINGS["AIRFLOW__CD2__SNS_TOPIC_ARN"]
ACCOUNT = TOPIC.split(":")[4]
DATABASE_SECRET = _SETTINGS["AIRFLOW__CD2__DATABASE_SECRET"]
QUEUE = "canvas-data-2-notifications"


@dataclass(frozen=True)
class Notification:
    """One message as a subscriber of the topic received it."""

    subject: str
    body: str
    attributes: dict[str, str]


def environment(endpoint: str) -> dict[str, str]:
    """Environment variables that make every AWS client of a process talk to the moto server only."""
    ours = {name: value for name, value in _SETTINGS.items() if name.startswith(("AWS_", "AIRFLOW_CONN_AWS_"))}
    return ours | {"AWS_ENDPOINT_URL": endpoint}


class Aws:
    """A client of the moto server at ``endpoint``."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """A boto3 client."""
        if service not in self._clients:
            import boto3
            from botocore.config import Config

            self._clients[service] = boto3.client(
                service,
                endpoint_url=self.endpoint,
                region_name=REGION,
                aws_access_key_id="local",
                aws_secret_access_key="local",
                config=Config(proxies={}),
            )
        return self._clients[service]

    def ready(self) -> bool:
        """Whether the server answers."""
        with requests.Session() as session:
            session.trust_env = False
            try:
                return session.get(f"{self.endpoint}/moto-api/data.json", timeout=5).ok
            except requests.RequestException:
                return False

    def seed(self, client_id: str, client_secret: str, database: dict[str, Any]) -> None:
        """Create what a deployment has: the DAP key, the database's secret, the topic and a subscriber.

        Harmless twice.
        """
        parameters = {"dap_client_id": client_id, "dap_client_secret": client_secret}
        for name, value in parameters.items():
            self.client("ssm").put_parameter(
                Name=f"/dev/canvas_data_2/{name}", Value=value, Type="SecureString", Overwrite=True
            )
        secrets = self.client("secretsmanager")
        try:
            secrets.create_secret(Name=DATABASE_SECRET, SecretString=json.dumps(database))
        except secrets.exceptions.ResourceExistsException:
            secrets.put_secret_value(SecretId=DATABASE_SECRET, SecretString=json.dumps(database))
        self.client("sns").create_topic(Name=TOPIC.rsplit(":", 1)[1])
        self.client("sqs").create_queue(QueueName=QUEUE)
        self.client("sns").subscribe(TopicArn=TOPIC, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:{QUEUE}")

    def notifications(self) -> list[Notification]:
        """Take all messages out of the queue, oldest first."""
        sqs = self.client("sqs")
        queue = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
        received = []
        while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                envelope = json.loads(message["Body"])
                attributes = envelope.get("MessageAttributes") or {}
                received.append(
                    Notification(
                        envelope.get("Subject") or "",
                        envelope["Message"],
                        {name: attribute["Value"] for name, attribute in attributes.items()},
                    )
                )
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return received
