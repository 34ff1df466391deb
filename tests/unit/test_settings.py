"""The [cd2] section: defaults as the contract says, and a sentence for each mistake."""

import dataclasses
from pathlib import Path

import pytest

from cd2.settings import RDS_CA_BUNDLE, Settings, SettingsError


def settings_of(**texts: str) -> Settings:
    return Settings.from_text(texts.get)


def test_an_empty_section_gives_the_defaults_of_the_contract() -> None:
    assert dataclasses.asdict(settings_of()) == {
        "environment": "dev",
        "namespaces": ("canvas",),
        "include_tables": (),
        "skip_tables": (),
        "append_only_tables": ("canvas_logs.*",),
        "dap_base_url": "https://api-gateway.instructure.com",
        "dap_conn_id": "cd2_dap",
        "ssm_path": "canvas_data_2",
        "postgres_conn_id": "cd2_postgres",
        "database_secret": "",
        "database_sslmode": "verify-full",
        "database_sslrootcert": str(RDS_CA_BUNDLE),
        "sns_topic_arn": "",
        "notification_format": "text",
        "high_severity_tables": 5,
        "volume_alerts": "on",
        "metrics_namespace": "",
        "dictionary_s3_uri": "",
        "job_creations_per_minute": 5,
        "max_active_tables": 10,
        "max_shrink": 20,
        "verify_tables_per_day": 0,
        "quiet_hours": (),
        "aws_conn_id": "aws_default",
    }


def test_the_shipped_certificate_bundle_is_there() -> None:
    assert RDS_CA_BUNDLE.read_text().count("BEGIN CERTIFICATE") > 50


def test_the_authorities_of_the_machine_stand_in_for_a_file() -> None:
    assert settings_of(database_sslrootcert="system").database_sslrootcert == "system"


def test_lists_are_split_trimmed_and_freed_of_repetitions() -> None:
    settings = settings_of(namespaces="canvas, catalog,canvas", skip_tables=" users , quiz_* ,")
    assert settings.namespaces == ("canvas", "catalog")
    assert settings.skip_tables == ("users", "quiz_*")


def test_no_table_is_append_only_if_none_is_named() -> None:
    assert settings_of(append_only_tables="none").append_only_tables == ()
    assert settings_of(append_only_tables="").append_only_tables == ("canvas_logs.*",)
    assert settings_of(append_only_tables="*_logs, canvas*.page_views").append_only_tables == (
        "*_logs",
        "canvas*.page_views",
    )


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("7-10", (7, 8, 9)),
        ("22-2", (0, 1, 22, 23)),
        ("7-9, 20-24", (7, 8, 20, 21, 22, 23)),
        ("0-24", tuple(range(24))),
    ],
)
def test_quiet_hours_are_the_hours_that_begin_in_them(text: str, hours: tuple[int, ...]) -> None:
    assert settings_of(quiet_hours=text).quiet_hours == hours


def test_what_may_shrink_is_a_percentage() -> None:
    assert settings_of(max_shrink="12.5 %").max_shrink == 12.5


@pytest.mark.parametrize(
    ("key", "text", "told"),
    [
        ("environment", "production", "it must be one of dev, stg, prod"),
        ("namespaces", "canvas,canvass", "canvass is not a namespace; allowed are canvas"),
        ("namespaces", ",", "name at least one of canvas"),
        ("append_only_tables", "canvas_log.*, users", "canvas_log.* is not a table name; name tables such as"),
        ("append_only_tables", "none, users", "none is not a table name"),
        ("dap_base_url", "api-gateway.instructure.com", "it must be an address such as https://"),
        ("database_sslmode", "verify_full", "it must be one of disable"),
        ("database_sslrootcert", "/nowhere/ca.pem", "there is no such file"),
        ("sns_topic_arn", "my-topic", "it must be the ARN of an SNS topic"),
        ("notification_format", "html", "it must be one of text, chatbot"),
        ("high_severity_tables", "-1", "it must be a whole number of 0 or more"),
        ("volume_alerts", "yes", "it must be one of on, off"),
        ("metrics_namespace", "AWS/MWAA", "it must be a namespace of CloudWatch"),
        ("metrics_namespace", "Canvas Data", "it must be a namespace of CloudWatch"),
        ("dictionary_s3_uri", "bucket/dictionary.html", "it must be the address of an object, such as s3://"),
        ("dictionary_s3_uri", "s3://bucket", "it must be the address of an object"),
        ("dictionary_s3_uri", "s3://bucket/folder/", "it must be the address of an object"),
        ("dictionary_s3_uri", "s3://Bucket/dictionary.html", "it must be the address of an object"),
        ("job_creations_per_minute", "five", "it must be a whole number of 1 or more"),
        ("job_creations_per_minute", "0", "it must be a whole number of 1 or more"),
        ("max_active_tables", "-1", "it must be a whole number of 1 or more"),
        ("max_shrink", "a fifth", "it must be a percentage from 0 to 100"),
        ("max_shrink", "120", "it must be a percentage from 0 to 100"),
        ("max_shrink", "nan", "it must be a percentage from 0 to 100"),
        ("verify_tables_per_day", "-1", "it must be a whole number of 0 or more"),
        ("quiet_hours", "7", "it must be hours of UTC such as 7-19"),
        ("quiet_hours", "7-25", "it must be hours of UTC such as 7-19"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(key: str, text: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of(**{key: text})
    assert f"[cd2] {key} = {text!r} is wrong: {told}" in str(caught.value)


def test_all_wrong_settings_are_told_at_once_and_the_right_ones_stay_usable() -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of(environment="x", max_active_tables="y", sns_topic_arn="arn:aws:sns:us-east-1:123456789012:cd2")
    assert len(caught.value.problems) == 2
    assert caught.value.usable.sns_topic_arn == "arn:aws:sns:us-east-1:123456789012:cd2"
    assert caught.value.usable.max_active_tables == 10


def test_settings_come_from_the_airflow_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__CD2__ENVIRONMENT", "prod")
    monkeypatch.setenv("AIRFLOW__CD2__JOB_CREATIONS_PER_MINUTE", "300")
    settings = Settings.load()
    assert settings.job_creations_per_minute == 300
    assert settings.ssm_parameter("dap_client_id") == "/prod/canvas_data_2/dap_client_id"
