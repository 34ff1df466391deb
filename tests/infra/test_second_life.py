"""A deployment's second life: deploy, change, destroy, and deploy again, by the real commands and the real Terraform.

The offline provider has an account behind it (account.py), in which names can be used once, as in AWS.
"""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
import trustme

from cd2.settings import Settings
from local.settings import REPOSITORY
from scripts.package import BUNDLE
from tests.infra.life import Life
from tests.infra.plan import resources

pytestmark = pytest.mark.infra


def test_dev_and_prod_are_deployed_changed_destroyed_and_deployed_again(life: Life) -> None:
    """Beside each other in one account. A snapshot of prod stays readable; AWS makes the logs of dev anew."""
    for environment in ("dev", "prod"):
        life.deploy(environment)
    (life.workspace.package / "startup.sh").write_text("# changed\n")
    for environment in ("dev", "prod"):
        assert re.search(r"Resources: 0 added, [1-9]\d* changed, 0 destroyed", life.deploy(environment))

    snapshot, key = prod_is_destroyed(life)
    dev_is_destroyed(life)

    # MWAA and RDS may write even later.
    for name in ("airflow-canvas-data-2-dev-Task", "/aws/rds/cluster/canvas-data-2-dev/postgresql"):
        life.account.client("logs").create_log_group(logGroupName=name)
    output = life.deploy("dev")
    assert "log group /aws/rds/cluster/canvas-data-2-dev/postgresql" in output
    assert "2 imported" in output
    output = life.deploy("prod")
    assert f"key {key.rsplit('/', 1)[1]}" in output
    assert "secret prod/canvas_data_2/database (deleted, in its recovery window)" in output
    assert "3 imported" in output
    for environment in ("dev", "prod"):
        assert "Nothing to change in AWS." in life.deploy(environment)
    assert not (life.workspace.root_module / "adopted.tf").exists()

    life.put_code("prod")
    life.unprotect("prod")
    life.destroy("prod")
    assert len(life.snapshots("prod")) == 2
    assert snapshot in life.snapshots("prod")
    assert set(life.snapshots("prod").values()) == {key}
    assert life.key_state(key) == "Enabled"


def prod_is_destroyed(life: Life) -> tuple[str, str]:
    """Leaves a snapshot and its key; returns both."""
    life.put_code("prod")
    life.unprotect("prod")
    output = life.destroy("prod")
    ((snapshot, key),) = life.snapshots("prod").items()
    assert f"(kept in the snapshot {snapshot})" in output
    assert "2 object versions deleted from canvas-data-2-prod-" in output
    assert life.key_state(key) == "Enabled"
    assert f"the key {key.rsplit('/', 1)[1]}, without which the snapshots cannot be read" in output
    assert f"--db-cluster-snapshot-identifier {snapshot}" in output
    assert life.log_groups("prod") == set()
    return snapshot, key


def dev_is_destroyed(life: Life) -> None:
    """Leaves nothing."""
    key = life.account.client("kms").describe_key(KeyId="alias/canvas-data-2-dev")["KeyMetadata"]["KeyId"]
    output = life.destroy("dev")
    assert "log groups deleted that AWS had created again: airflow-canvas-data-2-dev-DAGProcessing" in output
    assert life.log_groups("dev") == set()
    assert life.snapshots("dev") == {}
    # Nothing is left that needs it.
    assert life.key_state(key) == "PendingDeletion"


def test_the_key_of_a_snapshot_that_a_person_made_is_kept_too(life: Life) -> None:
    life.deploy("dev")
    life.account.client("rds").create_db_cluster_snapshot(
        DBClusterIdentifier="canvas-data-2-dev", DBClusterSnapshotIdentifier="before-the-term"
    )
    key = life.snapshots("dev")["before-the-term"]
    life.destroy("dev")
    assert life.key_state(key) == "Enabled"


def test_a_destroy_that_aws_interrupted_is_completed_by_the_next_and_keeps_the_key(life: Life) -> None:
    """A bucket that is not the reason is not emptied."""
    life.deploy("prod")
    life.put_code("prod")
    life.unprotect("prod")
    life.account.failing = {"aws_vpc"}
    life.account.failing |= {"aws_s3_object"}  # so that the bucket's turn does not come
    code, output = life.run("destroy", "prod", YES="prod")
    assert code == 1
    assert "DependencyViolation" in output
    assert "object versions deleted" not in output
    life.account.failing = set()
    output = life.destroy("prod")
    ((_, key),) = life.snapshots("prod").items()
    assert life.key_state(key) == "Enabled"
    assert f"the key {key.rsplit('/', 1)[1]}" in output


def test_a_snapshot_of_the_same_name_is_found_before_anything_is_destroyed(life: Life) -> None:
    life.deploy("prod")
    life.unprotect("prod")
    state = life.workspace.root_module / "terraform.tfstate.d" / "prod" / "terraform.tfstate"
    name = re.search(r'"(canvas-data-2-prod-final-\d{14})"', state.read_text())
    assert name
    life.account.client("rds").create_db_cluster_snapshot(
        DBClusterIdentifier="canvas-data-2-prod", DBClusterSnapshotIdentifier=name[1]
    )
    code, output = life.run("destroy", "prod", YES="prod")
    assert code == 1
    assert f"there is a snapshot {name[1]} already" in output
    assert "Destroying..." not in output


def test_a_key_that_a_person_scheduled_for_deletion_is_explained(life: Life) -> None:
    kms = life.account.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/canvas-data-2-dev", TargetKeyId=key)
    kms.schedule_key_deletion(KeyId=key)
    code, output = life.run("deploy", "dev", YES="1")
    assert code == 1
    assert f"alias/canvas-data-2-dev names the key {key}, which is scheduled for deletion" in output
    assert f"aws kms cancel-key-deletion --key-id {key}" in output


def test_a_region_whose_certificates_are_not_shipped_is_refused_until_they_are_uploaded(life_by_command: Life) -> None:
    life = life_by_command
    region = "us-gov-west-1"
    code, output = life.run("deploy", "dev", YES="1", CD2_REGION=region)
    assert code == 1
    assert f"are not for {region}" in output
    assert "Creating..." not in output

    # As the sentence says: name the file, and save it.
    variables = life.workspace.root_module / "environments" / "dev.tfvars"
    bundle = re.search(r'database_sslrootcert = "(/usr/local/airflow/dags/(.+\.pem))"', output)
    assert bundle
    variables.write_text(variables.read_text().replace("settings = {", f"settings = {{\n  {bundle[0]}\n"))
    code, output = life.run("deploy", "dev", YES="1", CD2_REGION=region)
    assert code == 1
    assert f"names {bundle[1]}, but there is no dags/{bundle[2]}" in output
    assert "Creating..." not in output
    # Those of other regions are not enough.
    shipped = (REPOSITORY / "plugins" / BUNDLE).read_bytes()
    (life.workspace.dags / bundle[2]).write_bytes(shipped)
    code, output = life.run("deploy", "dev", YES="1", CD2_REGION=region)
    assert code == 1
    assert f"not those of {region}" in output
    assert "Creating..." not in output
    (life.workspace.dags / bundle[2]).write_bytes(trustme.CA(organization_name="Amazon").cert_pem.bytes())
    code, output = life.run("deploy", "dev", PLAN_ONLY="1", CD2_REGION=region)
    assert code == 0, output
    plan = life.workspace.root_module, str(REPOSITORY / "dist" / "dev.tfplan")
    shown = subprocess.run(
        ["terraform", f"-chdir={plan[0]}", "show", "-json", plan[1]],
        env=os.environ | life.environment | {"CD2_REGION": region}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    made = resources(json.loads(shown.stdout))
    assert made[f'module.storage.aws_s3_object.dag["{bundle[2]}"]']["key"] == f"dags/{bundle[2]}"
    options = made["module.environment.aws_mwaa_environment.this"]["airflow_configuration_options"]
    assert options["cd2.database_sslrootcert"] == bundle[1]
    # The DAG takes it where the folder is.
    here = {"database_sslrootcert": str(life.workspace.dags / bundle[2])}
    assert Settings.from_text(here.get).database_sslrootcert == here["database_sslrootcert"]


def test_public_authorities_are_refused_for_aurora(life: Life) -> None:
    variables = life.workspace.root_module / "environments" / "dev.tfvars"
    text = variables.read_text().replace("settings = {", 'settings = {\n  database_sslrootcert = "system"\n')
    variables.write_text(text)
    code, output = life.run("deploy", "dev", YES="1")
    assert code == 1
    assert "database_sslrootcert = system trusts public authorities, and Aurora's are Amazon's own" in output
    assert "Creating..." not in output


def test_a_version_of_aurora_that_aws_would_refuse_is_refused_before_anything_changes(life: Life) -> None:
    variables = life.workspace.root_module / "environments" / "dev.tfvars"
    before = variables.read_text()
    life.deploy("dev")
    for version, why in {
        "17.10": "from Aurora PostgreSQL 16.14 to 17.10 is an upgrade to a new major version",
        "16.9": 'does not go back to 16.9: set database_engine_version = "16.14", or newer',
    }.items():
        variables.write_text(f'{before}database_engine_version = "{version}"\n')
        code, output = life.run("deploy", "dev", YES="1")
        assert code == 1
        assert why in output
        assert "Modifying..." not in output
    variables.write_text(f'{before}database_engine_version = "17.10"\ndatabase_allow_major_version_upgrade = true\n')
    assert "aws_rds_cluster.this: Modifications complete" in life.deploy("dev")


def test_a_reviewed_plan_is_applied_exactly_or_not_at_all(life: Life) -> None:
    code, output = life.run("deploy", "dev", PLAN_ONLY="1")
    assert code == 0, output
    assert "Nothing was changed. `make deploy ENV=dev PLAN=" in output
    assert "Creating..." not in output
    plan = REPOSITORY / "dist" / "dev.tfplan"
    overview = (REPOSITORY / "dist" / "dev-plan.txt").read_text()
    assert re.match(r"# dev: \d+ changes\n\n- create: `", overview)
    assert "- create: `module.environment.aws_mwaa_environment.this`" in overview

    startup = life.workspace.package / "startup.sh"
    before = startup.read_bytes()
    startup.write_bytes(before + b"# changed after the review\n")
    code, output = life.run("deploy", "dev", PLAN=str(plan))
    assert code == 1
    assert "was made with other files than this checkout has (startup.sh)" in output
    startup.write_bytes(before)
    code, output = life.run("deploy", "prod", PLAN=str(plan))
    assert code == 1
    assert "is a plan of dev, not of prod" in output
    code, output = life.run("deploy", "dev", PLAN="nowhere.tfplan")
    assert code == 1
    assert "nowhere.tfplan is missing: `make deploy ENV=dev PLAN_ONLY=1` writes it" in output

    _, output = life.run("deploy", "dev", PLAN=str(plan))
    assert "Apply complete!" in output
    assert "preparing the database" in output
    code, output = life.run("deploy", "dev", PLAN=str(plan))
    assert code == 1
    assert "Saved plan is stale" in output


def test_a_plan_for_a_review_restores_nothing(life: Life) -> None:
    secrets = life.account.client("secretsmanager")
    secrets.create_secret(Name="dev/canvas_data_2/database", SecretString="{}")
    arn = secrets.delete_secret(SecretId="dev/canvas_data_2/database")["ARN"]
    code, output = life.run("deploy", "dev", PLAN_ONLY="1")
    assert code == 1
    assert f"a plan can take over {arn} only after it was restored" in output
    assert secrets.describe_secret(SecretId=arn)["DeletedDate"]


def test_the_dag_rests_while_the_environment_is_updated(life: Life) -> None:
    """What the plan does to the environment decides; tests/infra/deployed/test_pausing.py has a real Airflow."""
    life.deploy("dev")
    variables = life.workspace.root_module / "environments" / "dev.tfvars"
    variables.write_text(variables.read_text() + 'environment_class = "mw1.medium"\n')
    output = life.deploy("dev")
    assert life.airflow.paused == [True, False]
    order = ["canvas_data_2 is paused during", "this: Modifications complete", "canvas_data_2 is unpaused again"]
    assert sorted(order, key=output.index) == order
    # Files alone do not stop anything.
    (life.workspace.dags / "more.py").write_text("#")
    life.deploy("dev")
    assert life.airflow.paused == [True, False]
