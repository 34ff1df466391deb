"""What a plan makes is what MWAA, the DAG and the people who run them need, and no more."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from airflow.configuration import conf

from cd2.settings import Settings
from scripts.compile_constraints import ROOT
from tests.infra.plan import A_KEY, FOLDER, planned, planned_role_policy, resources

pytestmark = pytest.mark.infra

ACCOUNT = "123456789012"
NAME = "canvas-data-2-dev"
OWN_DATABASE = {
    "create_database": "false",
    "database_secret_arn": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:warehouse-AbCdEf",
    "database_security_group_id": "sg-0123456789abcdef0",
}


def statements(policy: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {statement["Sid"]: statement for statement in policy["Statement"]}


def mwaa(environment: str = "dev", **variables: Any) -> dict[str, Any]:
    return resources(planned(environment, **variables))["module.environment.aws_mwaa_environment.this"]


def test_the_role_has_what_mwaa_and_the_dag_need_and_nothing_else() -> None:
    """Each statement, against what AWS documents for an execution role and what cd2/tasks/credentials.py calls."""
    via = [f"{service}.us-east-1.amazonaws.com" for service in ("sqs", "s3", "ssm", "secretsmanager", "sns")]
    planned_statements = statements(planned_role_policy("dev"))
    assert {sid: {k: v for k, v in s.items() if k != "Sid"} for sid, s in planned_statements.items()} == {
        "PublishMetrics": {
            "Effect": "Allow",
            "Action": "airflow:PublishMetrics",
            "Resource": f"arn:aws:airflow:us-east-1:{ACCOUNT}:environment/{NAME}",
        },
        "ReadBucket": {
            "Effect": "Allow",
            "Action": ["s3:GetObject*", "s3:GetBucket*", "s3:List*"],
            "Resource": [f"arn:aws:s3:::{NAME}-{ACCOUNT}-us-east-1", f"arn:aws:s3:::{NAME}-{ACCOUNT}-us-east-1/*"],
        },
        "SeePublicAccessBlock": {"Effect": "Allow", "Action": "s3:GetAccountPublicAccessBlock", "Resource": "*"},
        "WriteAndReadLogs": {
            "Effect": "Allow",
            "Action": [
                "logs:CreateLogStream", "logs:CreateLogGroup", "logs:DescribeLogStreams", "logs:PutLogEvents",
                "logs:GetLogEvents", "logs:GetLogRecord", "logs:GetLogGroupFields", "logs:GetQueryResults",
            ],
            "Resource": f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:airflow-{NAME}-*",
        },
        "ListLogGroups": {"Effect": "Allow", "Action": "logs:DescribeLogGroups", "Resource": "*"},
        "PutMetrics": {
            "Effect": "Allow",
            "Action": "cloudwatch:PutMetricData",
            "Resource": "*",
            "Condition": {"StringEquals": {"cloudwatch:namespace": ["AmazonMWAA", "CanvasData2/dev"]}},
        },
        "UseCeleryQueue": {
            "Effect": "Allow",
            "Action": [
                "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
                "sqs:ReceiveMessage", "sqs:SendMessage",
            ],
            "Resource": "arn:aws:sqs:us-east-1:*:airflow-celery-*",
        },
        "UseKey": {
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*", "kms:Encrypt"],
            "Resource": A_KEY,
            "Condition": {"StringEquals": {"kms:ViaService": via}},
        },
        "ReadDapKey": {
            "Effect": "Allow",
            "Action": ["ssm:GetParameter", "ssm:GetParameters"],
            "Resource": f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/dev/canvas_data_2/*",
        },
        "ReadDatabaseSecret": {
            "Effect": "Allow",
            "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
            "Resource": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:dev/canvas_data_2/database-??????",
        },
        "Notify": {"Effect": "Allow", "Action": "sns:Publish", "Resource": f"arn:aws:sns:us-east-1:{ACCOUNT}:{NAME}"},
    }  # fmt: skip


def test_with_what_is_yours_the_role_may_use_that_instead() -> None:
    foreign_key = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/99999999-2222-3333-4444-555555555555"
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:operations"
    plan = planned("dev", **OWN_DATABASE, sns_topic_arn=topic, other_kms_key_arns=json.dumps([foreign_key]))
    made = resources(plan)
    policy = statements(json.loads(made["module.environment.aws_iam_role_policy.this[0]"]["policy"]))
    assert policy["ReadDatabaseSecret"]["Resource"] == OWN_DATABASE["database_secret_arn"]
    assert policy["Notify"]["Resource"] == topic
    assert policy["UseKeysOfSecretAndTopic"]["Resource"] == [foreign_key]
    assert policy["UseKeysOfSecretAndTopic"]["Action"] == ["kms:Decrypt", "kms:GenerateDataKey*"]
    options = made["module.environment.aws_mwaa_environment.this"]["airflow_configuration_options"]
    assert options["cd2.database_secret"] == OWN_DATABASE["database_secret_arn"]
    assert options["cd2.sns_topic_arn"] == topic
    assert not [address for address in made if "aws_rds" in address or "aws_sns_topic.this" in address]
    assert "aws_vpc_security_group_ingress_rule.own_database[0]" in made


def test_the_role_may_write_the_data_dictionary_and_no_other_object() -> None:
    made = resources(planned("dev", dictionary_s3_uri="s3://reports/canvas/dictionary.html"))
    policy = statements(json.loads(made["module.environment.aws_iam_role_policy.this[0]"]["policy"]))
    assert policy["WriteDictionary"]["Action"] == "s3:PutObject"
    assert policy["WriteDictionary"]["Resource"] == "arn:aws:s3:::reports/canvas/dictionary.html"
    options = made["module.environment.aws_mwaa_environment.this"]["airflow_configuration_options"]
    assert options["cd2.dictionary_s3_uri"] == "s3://reports/canvas/dictionary.html"


def test_only_this_environment_of_mwaa_may_take_the_role() -> None:
    role = resources(planned("dev"))["module.environment.aws_iam_role.this[0]"]
    (trust,) = json.loads(role["assume_role_policy"])["Statement"]
    assert trust["Principal"] == {"Service": ["airflow.amazonaws.com", "airflow-env.amazonaws.com"]}
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnLike": {"aws:SourceArn": f"arn:aws:airflow:us-east-1:{ACCOUNT}:environment/{NAME}"},
    }


def test_a_roles_name_is_never_used_twice() -> None:
    """AWS advises against it; and the environment has its new role before the old one goes."""
    role = resources(planned("dev"))["module.environment.aws_iam_role.this[0]"]
    assert role["name_prefix"] == f"{NAME}-"
    assert "name" not in role


def test_an_empty_setting_is_left_out_because_mwaa_refuses_it() -> None:
    options = mwaa(settings=json.dumps({"skip_tables": "", "include_tables": " ", "namespaces": "catalog"}))
    given = options["airflow_configuration_options"]
    assert {"cd2.skip_tables", "cd2.include_tables"}.isdisjoint(given)
    assert given["cd2.namespaces"] == "catalog"


def test_every_setting_of_the_dag_can_be_set_or_is_set_by_terraform() -> None:
    """The list in main.tf is that of plugins/cd2/settings.py."""
    text = (FOLDER / "main.tf").read_text()
    free = set(re.findall(r'"(\w+)"', re.search(r"free_settings = \[(.*?)\]", text, re.DOTALL)[1]))  # type: ignore[index]
    own = {"environment", "ssm_path", "database_secret", "sns_topic_arn", "dictionary_s3_uri"}
    assert free | own == {field.name for field in dataclasses.fields(Settings)}
    assert not free & own
    assert {key for key in mwaa()["airflow_configuration_options"] if key.startswith("cd2.")} == {
        "cd2.environment", "cd2.ssm_path", "cd2.database_secret", "cd2.sns_topic_arn", "cd2.namespaces",
        "cd2.metrics_namespace",
    }  # fmt: skip


def test_each_environments_metrics_have_a_namespace_unless_a_person_chooses_it() -> None:
    assert mwaa()["airflow_configuration_options"]["cd2.metrics_namespace"] == "CanvasData2/dev"
    chosen = mwaa(settings='{"metrics_namespace": "Canvas"}')
    assert chosen["airflow_configuration_options"]["cd2.metrics_namespace"] == "Canvas"


@pytest.mark.parametrize(("chosen", "allowed"), [("Canvas", ["AmazonMWAA", "Canvas"]), ("", ["AmazonMWAA"])])
def test_the_role_puts_metrics_into_that_namespace_and_no_other(chosen: str, allowed: list[str]) -> None:
    made = resources(planned("dev", settings=json.dumps({"metrics_namespace": chosen})))
    policy = statements(json.loads(made["module.environment.aws_iam_role_policy.this[0]"]["policy"]))
    assert policy["PutMetrics"]["Condition"] == {"StringEquals": {"cloudwatch:namespace": allowed}}
    options = made["module.environment.aws_mwaa_environment.this"]["airflow_configuration_options"]
    assert options.get("cd2.metrics_namespace", "") == chosen


@pytest.mark.parametrize("environment", ["dev", "stg", "prod"])
def test_the_dag_accepts_its_settings_and_finds_what_is_made(environment: str) -> None:
    chosen = {"namespaces": "canvas, catalog", "max_active_tables": "20", "notification_format": "chatbot"}
    made = resources(planned(environment, settings=json.dumps(chosen)))
    options = made["module.environment.aws_mwaa_environment.this"]["airflow_configuration_options"]
    settings = Settings.from_text(lambda name: options.get(f"cd2.{name}"))
    assert settings.namespaces == ("canvas", "catalog")
    assert settings.max_active_tables == 20
    for name in ("dap_client_id", "dap_client_secret"):
        parameter = made[f"module.secrets.aws_ssm_parameter.{name}"]
        assert settings.ssm_parameter(name) == parameter["name"]
        assert parameter["type"] == "SecureString"
    assert settings.database_secret == made["module.secrets.aws_secretsmanager_secret.replication[0]"]["name"]
    assert settings.sns_topic_arn.endswith(f":{made['module.notifications.aws_sns_topic.this[0]']['name']}")


def test_airflow_has_the_options_that_the_documentation_says_matter() -> None:
    table = (ROOT / "docs" / "configuration.md").read_text().split("## Airflow options that matter")[1]
    documented = dict(re.findall(r"(?m)^\| `(\w+\.\w+)` \| `([^`]+)` \|", table))
    assert documented
    options = mwaa()["airflow_configuration_options"]
    assert {key: options.get(key) for key in documented} == documented
    assert mwaa(airflow_configuration_options='{"core.max_map_length": "2048"}')["airflow_configuration_options"][
        "core.max_map_length"
    ] == "2048"  # fmt: skip


@pytest.mark.parametrize("namespaces", ["canvas", "canvas, canvas_logs,catalog , new_quizzes", "catalog"])
def test_all_tables_of_a_run_can_wait_in_any_triggerer(namespaces: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Airflow reads the option, also where MWAA sets its own number, by the name that Airflow 2 had for it."""
    catalogue = ROOT / "local" / "simulator" / "catalogue"
    tables = sum(
        len(re.findall(r"(?m)^\w", (catalogue / f"{name.strip()}.txt").read_text())) for name in namespaces.split(",")
    )
    options = mwaa(settings=json.dumps({"namespaces": namespaces}))["airflow_configuration_options"]
    monkeypatch.setenv("AIRFLOW__TRIGGERER__DEFAULT_CAPACITY", "60")
    monkeypatch.setenv("AIRFLOW__TRIGGERER__CAPACITY", options["triggerer.capacity"])
    capacity = conf.getint("triggerer", "capacity")
    assert tables + 10 <= capacity <= 2 * tables + 40


def test_all_components_log() -> None:
    (logging,) = mwaa()["logging_configuration"]
    assert {component: (log["enabled"], log["log_level"]) for component, (log,) in logging.items()} == dict.fromkeys(
        ("dag_processing_logs", "scheduler_logs", "task_logs", "webserver_logs", "worker_logs"), (True, "INFO")
    )
    groups = [
        v for a, v in resources(planned("dev")).items() if a.startswith("module.environment.aws_cloudwatch_log_group")
    ]
    assert {group["name"] for group in groups} == {
        f"airflow-{NAME}-{part}" for part in ("DAGProcessing", "Scheduler", "Task", "WebServer", "Worker")
    }
    assert {(group["retention_in_days"], group["kms_key_id"]) for group in groups} == {(30, A_KEY)}


def test_the_bucket_is_closed_versioned_and_encrypted() -> None:
    made = {
        a.removeprefix("module.storage."): v for a, v in resources(planned("dev")).items() if "module.storage." in a
    }
    assert made["aws_s3_bucket_versioning.this[0]"]["versioning_configuration"][0]["status"] == "Enabled"
    block = made["aws_s3_bucket_public_access_block.this[0]"]
    assert {name for name, value in block.items() if value is True} == {
        "block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets",
    }  # fmt: skip
    (rule,) = made["aws_s3_bucket_server_side_encryption_configuration.this[0]"]["rule"]
    (encryption,) = rule["apply_server_side_encryption_by_default"]
    assert (encryption["sse_algorithm"], encryption["kms_master_key_id"]) == ("aws:kms", A_KEY)


def test_only_mwaa_reaches_the_database_and_only_at_its_port() -> None:
    rules = {a: v for a, v in resources(planned("dev")).items() if "aws_vpc_security_group_ingress_rule" in a}
    assert set(rules) == {
        "module.database[0].aws_vpc_security_group_ingress_rule.environment",
        "module.environment.aws_vpc_security_group_ingress_rule.self",
    }
    database = rules["module.database[0].aws_vpc_security_group_ingress_rule.environment"]
    assert (database["ip_protocol"], database["from_port"], database["to_port"]) == ("tcp", 5432, 5432)
    assert all(
        rule.get(what) is None for rule in rules.values() for what in ("cidr_ipv4", "cidr_ipv6", "prefix_list_id")
    )


def test_the_private_side_of_the_web_server_lets_in_the_networks_that_are_given_and_only_by_https() -> None:
    cidrs = ["10.20.0.0/16", "10.30.0.0/16"]
    plan = planned("dev", webserver_access_mode="PUBLIC_AND_PRIVATE", webserver_client_cidrs=json.dumps(cidrs))
    rules = [v for a, v in resources(plan).items() if ".aws_vpc_security_group_ingress_rule.webserver" in a]
    assert sorted((r["cidr_ipv4"], r["ip_protocol"], r["from_port"], r["to_port"]) for r in rules) == [
        (cidr, "tcp", 443, 443) for cidr in cidrs
    ]


def test_a_new_network_has_a_way_out_for_mwaa_and_none_for_the_database() -> None:
    made = resources(planned("dev"))
    routes = {address: values for address, values in made.items() if ".aws_route." in address}
    assert set(routes) == {"module.network[0].aws_route.internet"} | {
        f"module.network[0].aws_route.nat[{zone}]" for zone in (0, 1)
    }
    cidrs = {values["cidr_block"] for address, values in made.items() if ".aws_subnet." in address}
    assert len(cidrs) == 6
    assert len([address for address in made if ".aws_nat_gateway." in address]) == 1
    assert len([address for address in resources(planned("prod")) if ".aws_nat_gateway." in address]) == 2
    services = [
        values["service_name"] for address, values in resources(planned("dev", interface_endpoints="true")).items()
        if "aws_vpc_endpoint.service" in address
    ]  # fmt: skip
    called = {"sqs", "logs", "monitoring", "kms", "ssm", "secretsmanager", "sns"}
    called |= {"airflow.api", "airflow.env", "airflow.ops"}
    assert set(services) == {f"com.amazonaws.us-east-1.{service}" for service in called}


def test_the_log_of_the_database_quotes_no_context() -> None:
    group = resources(planned("dev"))["module.database[0].aws_rds_cluster_parameter_group.this"]
    values = {parameter["name"]: parameter["value"] for parameter in group["parameter"]}
    assert values["log_error_verbosity"] == "terse"
