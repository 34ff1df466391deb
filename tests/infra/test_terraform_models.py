"""The calls that follow from a plan are ones that AWS accepts, as far as its own models tell."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.infra.aws_models import given, input_of, pascal, problems
from tests.infra.plan import planned, resources, unknown

pytestmark = pytest.mark.infra

MWAA = "module.environment.aws_mwaa_environment.this"
AURORA = "module.database[0].aws_rds_cluster.this"
WRITER = "module.database[0].aws_rds_cluster_instance.this[0]"
FILLED_IN = {
    "arn", "created_at", "database_vpc_endpoint_service", "id", "last_updated", "region", "service_role_arn", "status",
    "tags_all", "webserver_url", "webserver_vpc_endpoint_service", "worker_replacement_strategy", "timeouts",
    # not set by us, so AWS chooses
    "endpoint_management", "max_webservers", "min_webservers", "schedulers",
}  # fmt: skip
"""Of aws_mwaa_environment: what is no argument of the call, or is left to AWS."""

RDS_NAMES = {
    "cluster_identifier": "DBClusterIdentifier",
    "db_subnet_group_name": "DBSubnetGroupName",
    "db_cluster_parameter_group_name": "DBClusterParameterGroupName",
    "enabled_cloudwatch_logs_exports": "EnableCloudwatchLogsExports",
    "serverlessv2_scaling_configuration": "ServerlessV2ScalingConfiguration",
    "identifier": "DBInstanceIdentifier",
    "instance_class": "DBInstanceClass",
    "ca_cert_identifier": "CACertificateIdentifier",
    "performance_insights_enabled": "EnablePerformanceInsights",
    "performance_insights_kms_key_id": "PerformanceInsightsKMSKeyId",
}
FOR_TERRAFORM = {
    "allow_major_version_upgrade",  # of ModifyDBCluster
    "skip_final_snapshot",
    "final_snapshot_identifier",
    "apply_immediately",
    "tags_all",
    "id",
    "force_destroy",
}

ENVIRONMENTS = {
    "dev": {"environment_class": "mw1.micro", "max_workers": "1"},
    "stg": {
        "webserver_access_mode": "PUBLIC_AND_PRIVATE",
        "webserver_client_cidrs": '["10.20.0.0/16"]',
        "database_engine_version": "17.10",
    },
    "prod": {"environment_class": "mw1.2xlarge", "max_workers": "25", "weekly_maintenance_window_start": "MON:23:30"},
}


def create_environment(environment: str, **variables: Any) -> dict[str, Any]:
    """The parameters of CreateEnvironment."""
    plan = planned(environment, **variables)
    arguments = given(resources(plan)[MWAA], unknown(plan, MWAA))
    call = {pascal(name): value for name, value in arguments.items() if name not in FILLED_IN}
    (network,) = arguments["network_configuration"]
    call["NetworkConfiguration"] = {
        "SubnetIds": network.get("subnet_ids") or [None, None],
        "SecurityGroupIds": network.get("security_group_ids") or [None],
    }
    (logging,) = arguments["logging_configuration"]
    call["LoggingConfiguration"] = {
        pascal(component): {pascal(name): value for name, value in settings[0].items() if not name.endswith("_arn")}
        for component, settings in logging.items()
    }
    return call


def create_cluster(environment: str, **variables: Any) -> dict[str, Any]:
    """The parameters of CreateDBCluster, as far as they are known before."""
    values = resources(planned(environment, **variables))[AURORA]
    call = {
        RDS_NAMES.get(name, pascal(name)): value
        for name, value in values.items()
        if value not in (None, [], {}) and name not in FOR_TERRAFORM
    }
    (scaling,) = values["serverlessv2_scaling_configuration"]
    call["ServerlessV2ScalingConfiguration"] = {pascal(k): v for k, v in scaling.items() if v is not None}
    return call


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_mwaa_accepts_the_environment(environment: str) -> None:
    call = create_environment(environment, **ENVIRONMENTS[environment])
    assert problems(input_of("mwaa", "CreateEnvironment"), call) == []
    assert len(call["NetworkConfiguration"]["SubnetIds"]) == 2
    # The plan knows nearly all of it: what is not looked at is not tested.
    later = {name for name, value in call.items() if value is None}
    assert later == {
        "ExecutionRoleArn", "PluginsS3ObjectVersion", "RequirementsS3ObjectVersion", "StartupScriptS3ObjectVersion",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"WeeklyMaintenanceWindowStart": "SUN:04:15"}, "must look like"),
        ({"WebserverAccessMode": "OPEN"}, "must be one of"),
        ({"MinWorkers": 0}, "allowed are 1"),
        ({"Name": "1-name"}, "must look like"),
        ({"KmsKey": "a-key"}, "must look like"),
        ({"Workers": 3}, "unknown to AWS"),
        ({"MaxWorkers": "three"}, "must be of the type integer"),
    ],
)
def test_what_mwaa_would_refuse_is_found(changed: dict[str, Any], problem: str) -> None:
    """That the test above can fail."""
    (found,) = problems(input_of("mwaa", "CreateEnvironment"), create_environment("dev") | changed)
    assert problem in found


def test_a_required_argument_that_is_missing_is_found() -> None:
    call = create_environment("dev")
    del call["SourceBucketArn"]
    assert problems(input_of("mwaa", "CreateEnvironment"), call) == [".SourceBucketArn is missing"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_rds_accepts_the_cluster(environment: str) -> None:
    call = create_cluster(environment, **ENVIRONMENTS[environment])
    assert problems(input_of("rds", "CreateDBCluster"), call) == []
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", call["DBClusterIdentifier"])
    assert len(call["DBClusterIdentifier"]) <= 63


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_rds_accepts_the_instance(environment: str) -> None:
    values = resources(planned(environment, **ENVIRONMENTS[environment]))[WRITER]
    call = {
        RDS_NAMES.get(name, pascal(name)): value
        for name, value in values.items()
        if value not in (None, [], {}) and name not in FOR_TERRAFORM
    }
    assert problems(input_of("rds", "CreateDBInstance"), call) == []
    assert call["DBInstanceClass"] == "db.serverless"


def test_the_database_is_closed_encrypted_backed_up_and_reachable_by_the_data_api() -> None:
    call = create_cluster("prod")
    assert call["Engine"] == "aurora-postgresql"
    assert call["EngineMode"] == "provisioned"  # Serverless v2
    assert call["StorageEncrypted"] is True
    assert call["EnableHttpEndpoint"] is True
    assert call["ManageMasterUserPassword"] is True
    assert "MasterUserPassword" not in call
    assert call["BackupRetentionPeriod"] == 14
    assert call["EnableCloudwatchLogsExports"] == ["postgresql"]
    assert call["ServerlessV2ScalingConfiguration"] == {"MinCapacity": 0.5, "MaxCapacity": 16}
    made = resources(planned("prod"))
    parameters = made["module.database[0].aws_rds_cluster_parameter_group.this"]["parameter"]
    assert {"name": "rds.force_ssl", "value": "1"}.items() <= next(
        each for each in parameters if each["name"] == "rds.force_ssl"
    ).items()
    instances = [values for address, values in made.items() if ".aws_rds_cluster_instance." in address]
    assert [(each["publicly_accessible"], each["ca_cert_identifier"]) for each in instances] == [
        (False, "rds-ca-rsa2048-g1")
    ] * 2


def test_storage_without_charges_for_io_and_without_performance_insights_is_one_that_rds_accepts() -> None:
    inputs = {"database_io_optimized": "true", "database_performance_insights": "false"}
    call = create_cluster("dev", **inputs)
    assert problems(input_of("rds", "CreateDBCluster"), call) == []
    assert call["StorageType"] == "aurora-iopt1"
    writer = resources(planned("dev", **inputs))[WRITER]
    assert writer["performance_insights_enabled"] is False
    assert writer.get("performance_insights_kms_key_id") is None
    # The provider takes nothing for "as it is": the way back would never be planned.
    assert create_cluster("dev")["StorageType"] == "aurora"
    assert resources(planned("dev"))[WRITER]["performance_insights_enabled"] is True


def test_it_pauses_where_it_may() -> None:
    assert create_cluster("dev")["ServerlessV2ScalingConfiguration"] == {
        "MinCapacity": 0, "MaxCapacity": 2, "SecondsUntilAutoPause": 600,
    }  # fmt: skip


@pytest.mark.parametrize(("environment", "protected"), [("dev", False), ("stg", False), ("prod", True)])
def test_only_prod_is_protected_against_being_deleted(environment: str, protected: bool) -> None:
    made = resources(planned(environment))
    assert made[AURORA]["deletion_protection"] is protected
    assert (final_snapshot(made[AURORA]) is not None) is protected
    assert made["module.storage.aws_s3_bucket.this[0]"]["force_destroy"] is not protected
    days = made["module.secrets.aws_secretsmanager_secret.replication[0]"]["recovery_window_in_days"]
    assert days == (30 if protected else 0)


def test_a_database_of_prod_that_may_go_still_leaves_a_snapshot() -> None:
    cluster = resources(planned("prod", database_deletion_protection="false"))[AURORA]
    assert cluster["deletion_protection"] is False
    assert re.fullmatch(r"canvas-data-2-prod-final-20\d{12}", final_snapshot(cluster) or "")
    assert final_snapshot(resources(planned("prod", database_final_snapshot="false"))[AURORA]) is None


def final_snapshot(cluster: dict[str, Any]) -> str | None:
    """Name of the snapshot that is left, if one is."""
    name: str | None = cluster["final_snapshot_identifier"]
    assert (name is None) is cluster["skip_final_snapshot"]
    return name
