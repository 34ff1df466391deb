"""The `[cd2]` section of the Airflow configuration as one frozen `Settings`.

Light on purpose: the DAG file imports it, and MWAA parses the DAG file every 30 seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from cd2.replication.names import NAMESPACES

SECTION = "cd2"
ENVIRONMENTS = ("dev", "stg", "prod")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
NOTIFICATION_FORMATS = ("text", "chatbot")
RDS_CA_BUNDLE = Path(__file__).with_name("rds-global-bundle.pem")
"""Amazon's certificate authorities for RDS and Aurora, of the regions in docs/deploy.md; shipped with the plugins."""


class SettingsError(ValueError):
    """One or more `[cd2]` settings are wrong.

    :param problems: one sentence for each wrong setting.
    :param usable: the settings with the default in place of each wrong one, so that the mistake can still be reported.
    """

    def __init__(self, problems: list[str], usable: Settings) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems
        self.usable = usable


@dataclass(frozen=True)
class Settings:
    """All settings. Names and defaults are a contract; docs/configuration.md describes each."""

    environment: str = "dev"
    namespaces: tuple[str, ...] = ("canvas",)
    include_tables: tuple[str, ...] = ()
    skip_tables: tuple[str, ...] = ()
    append_only_tables: tuple[str, ...] = ("canvas_logs.*",)
    dap_base_url: str = "https://api-gateway.instructure.com"
    dap_conn_id: str = "cd2_dap"
    ssm_path: str = "canvas_data_2"
    postgres_conn_id: str = "cd2_postgres"
    database_secret: str = ""
    database_sslmode: str = "verify-full"
    database_sslrootcert: str = str(RDS_CA_BUNDLE)
    sns_topic_arn: str = ""
    notification_format: str = "text"
    high_severity_tables: int = 5
    volume_alerts: str = "on"
    metrics_namespace: str = ""
    dictionary_s3_uri: str = ""
    job_creations_per_minute: int = 5
    max_active_tables: int = 10
    max_shrink: float = 20
    verify_tables_per_day: int = 0
    quiet_hours: tuple[int, ...] = ()
    aws_conn_id: str = "aws_default"

    @classmethod
    def load(cls) -> Settings:
        """Read the section `[cd2]`: `AIRFLOW__CD2__NAME` in the environment, `cd2.name` on MWAA.

        :raises SettingsError: naming every wrong setting, what is wrong with it and what is allowed.
        """
        from airflow.sdk.configuration import conf

        return cls.from_text(lambda key: conf.get(SECTION, key, fallback=None))

    @classmethod
    def load_usable(cls) -> Settings:
        """Like `load`, with the default in place of each wrong setting: for parsing the DAG and notifying."""
        try:
            return cls.load()
        except SettingsError as error:
            return error.usable

    @classmethod
    def from_text(cls, read: Callable[[str], str | None]) -> Settings:
        """Parse the settings.

        :param read: returns the text of a setting, None if it is not set.

        :raises SettingsError: see `load`.
        """
        values: dict[str, object] = {}
        problems: list[str] = []
        for field in fields(cls):
            text = (read(field.name) or "").strip()
            if not text:
                continue
            try:
                values[field.name] = _PARSERS.get(field.name, str)(text)
            except ValueError as error:
                problems.append(f"Setting [{SECTION}] {field.name} = {text!r} is wrong: {error}.")
        settings = cls(**values)  # type: ignore[arg-type]
        if problems:
            raise SettingsError(problems, settings)
        return settings

    def ssm_parameter(self, name: str) -> str:
        """The path of one of our SSM parameters, for example `/prod/canvas_data_2/dap_client_id`."""
        return f"/{self.environment}/{self.ssm_path.strip('/')}/{name}"


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"it must be one of {', '.join(allowed)}")
        return text

    return parse


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in (part.strip() for part in text.split(",")) if name))


def _names_or_none(text: str) -> tuple[str, ...]:
    """`none`, because an empty text means the default."""
    names = _names(text)
    if names == ("none",):
        return ()
    for name in names:
        namespace, dot, _ = name.partition(".")
        if name == "none" or (dot and not any(fnmatchcase(known, namespace) for known in NAMESPACES)):
            raise ValueError(f"{name} is not a table name; name tables such as canvas_logs.*, or write none")
    return names


def _namespaces(text: str) -> tuple[str, ...]:
    names = _names(text)
    if unknown := [name for name in names if name not in NAMESPACES]:
        raise ValueError(f"{', '.join(unknown)} is not a namespace; allowed are {', '.join(NAMESPACES)}")
    if not names:
        raise ValueError(f"name at least one of {', '.join(NAMESPACES)}")
    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("it must be a whole number of 1 or more")
    return int(text)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("it must be a whole number of 0 or more")
    return int(text)


def _percent(text: str) -> float:
    try:
        percent = float(text.removesuffix("%").strip())
    except ValueError:
        percent = -1
    if not 0 <= percent <= 100:
        raise ValueError("it must be a percentage from 0 to 100, such as 20")
    return percent


def _hours(text: str) -> tuple[int, ...]:
    """`7-19`: the hours 7 to 18; `22-6` goes over midnight."""
    hours: set[int] = set()
    for part in _names(text):
        first, _, end = part.partition("-")
        if not (first.isdecimal() and end.isdecimal() and int(first) < 24 and int(end) <= 24):
            raise ValueError("it must be hours of UTC such as 7-19, or several: 7-12, 22-2")
        length = (int(end) - int(first)) % 24 or 24
        hours |= {(int(first) + hour) % 24 for hour in range(length)}
    return tuple(sorted(hours))


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must be an address such as https://api-gateway.instructure.com")
    return text.rstrip("/")


def _authorities(text: str) -> str:
    if text != "system" and not Path(text).is_file():
        raise ValueError(
            "there is no such file on this worker; give the path of a PEM file with CA certificates, or system"
        )
    return text


def _metrics_namespace(text: str) -> str:
    if not re.fullmatch(r"(?!AWS/|:)[A-Za-z0-9._/#:-]{1,255}", text):
        raise ValueError(
            "it must be a namespace of CloudWatch: letters, digits and ._/#:-, at most 255, and not AWS/...; for "
            "example CanvasData2/prod"
        )
    return text


def _s3_uri(text: str) -> str:
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^/?#*\s][^?#*\s]*(?<!/)", text):
        raise ValueError("it must be the address of an object, such as s3://bucket/canvas/dictionary.html")
    return text


def _topic_arn(text: str) -> str:
    parts = text.split(":")
    if len(parts) != 6 or parts[0] != "arn" or parts[2] != "sns":
        raise ValueError("it must be the ARN of an SNS topic (arn:aws:sns:REGION:ACCOUNT:NAME), or empty")
    return text


_PARSERS: dict[str, Callable[[str], object]] = {
    "environment": _one_of(ENVIRONMENTS),
    "namespaces": _namespaces,
    "include_tables": _names,
    "skip_tables": _names,
    "append_only_tables": _names_or_none,
    "dap_base_url": _http_url,
    "database_sslmode": _one_of(SSL_MODES),
    "database_sslrootcert": _authorities,
    "sns_topic_arn": _topic_arn,
    "notification_format": _one_of(NOTIFICATION_FORMATS),
    "high_severity_tables": _number,
    "volume_alerts": _one_of(("on", "off")),
    "metrics_namespace": _metrics_namespace,
    "dictionary_s3_uri": _s3_uri,
    "job_creations_per_minute": _positive,
    "max_active_tables": _positive,
    "max_shrink": _percent,
    "verify_tables_per_day": _number,
    "quiet_hours": _hours,
}
