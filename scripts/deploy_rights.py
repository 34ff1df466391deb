"""What whoever deploys must be allowed to do, by type of resource; `deploy_policy` makes policies of it.

Each type has the calls that Terraform's AWS provider makes to create, read, change and delete it.
"""

from __future__ import annotations

from typing import Any

OURS = "ours"
"""Condition: the resource has the tag Project, which every resource of a deployment gets."""
NEW = "new"
"""Condition: the call gives that tag. AWS looks at a key's tags before it is made."""
FOR_AWS = "for AWS"
PASSED = "passed"
TO_LAMBDA = "to Lambda"

Rights = tuple[str, str, str | None]
"""Actions of a service (`service:A B C`), the resource, and the condition."""

BUCKET, OBJECTS = "arn:{partition}:s3:::{name}-*", "arn:{partition}:s3:::{name}-*/*"
ROLE = "arn:{partition}:iam::{account}:role/{name}-*"
KEY = "arn:{partition}:kms:{region}:{account}:key/*"
ALIAS = "arn:{partition}:kms:{region}:{account}:alias/{name}-*"
SECRET = "arn:{partition}:secretsmanager:{region}:{account}:secret:*/canvas_data_2/*"
ADMIN_SECRET = "arn:{partition}:secretsmanager:{region}:{account}:secret:rds!cluster-*"
PARAMETER = "arn:{partition}:ssm:{region}:{account}:parameter/*/canvas_data_2/*"
TOPIC = "arn:{partition}:sns:{region}:{account}:{name}-*"
QUEUE = "arn:{partition}:sqs:{region}:{account}:{name}-*-alarm-check-*"
ALARM, DASHBOARD = (
    "arn:{partition}:cloudwatch:{region}:{account}:alarm:{name}-*",
    "arn:{partition}:cloudwatch::{account}:dashboard/{name}-*",
)
LOGS = "arn:{partition}:logs:{region}:{account}:log-group:airflow-{name}-*"
DATABASE_LOGS = "arn:{partition}:logs:{region}:{account}:log-group:/aws/rds/cluster/{name}-*"
RDS = "arn:{partition}:rds:{region}:{account}:*:{name}-*"
ENVIRONMENT = "arn:{partition}:airflow:{region}:{account}:environment/{name}-*"
ATHENA = "arn:{partition}:athena:{region}:{account}:*"
REDSHIFT = "arn:{partition}:redshift-serverless:{region}:{account}:*"
# AWS publishes it in this partition only under this name.
CONNECTOR = "arn:aws:serverlessrepo:us-east-1:292517598671:applications/AthenaPostgreSQLConnector"
STACK = "arn:{partition}:cloudformation:{region}:{account}:stack/serverlessrepo-{name}-*"
FUNCTION = "arn:{partition}:lambda:{region}:{account}:function:*_replica"
EC2 = "arn:{partition}:ec2:{region}:{account}:*"

OF_LOGS = (
    "logs:CreateLogGroup DeleteLogGroup PutRetentionPolicy DeleteRetentionPolicy AssociateKmsKey DisassociateKmsKey "
    "TagResource UntagResource ListTagsForResource"
)

OF_TYPES: dict[str, list[Rights]] = {
    "aws_athena_data_catalog": [
        ("athena:CreateDataCatalog GetDataCatalog UpdateDataCatalog DeleteDataCatalog", ATHENA, None),
        ("athena:TagResource UntagResource ListTagsForResource", ATHENA, None),
    ],
    "aws_athena_workgroup": [("athena:CreateWorkGroup GetWorkGroup UpdateWorkGroup DeleteWorkGroup", ATHENA, None)],
    "aws_cloudwatch_dashboard": [("cloudwatch:PutDashboard GetDashboard DeleteDashboards", DASHBOARD, None)],
    "aws_cloudwatch_log_group": [
        (OF_LOGS, LOGS, None),
        ("logs:DescribeLogGroups", "*", None),
    ],
    "aws_cloudwatch_metric_alarm": [
        (
            "cloudwatch:PutMetricAlarm DeleteAlarms DescribeAlarms TagResource UntagResource ListTagsForResource",
            ALARM,
            None,
        )
    ],
    "aws_db_subnet_group": [
        ("rds:CreateDBSubnetGroup ModifyDBSubnetGroup DeleteDBSubnetGroup", RDS, None),
        ("rds:DescribeDBSubnetGroups", "*", None),
    ],
    "aws_eip": [
        ("ec2:AllocateAddress CreateTags DisassociateAddress", EC2, None),
        ("ec2:ReleaseAddress", EC2, OURS),
        ("ec2:DescribeAddresses DescribeAddressesAttribute", "*", None),
    ],
    "aws_iam_role": [
        (
            "iam:CreateRole GetRole DeleteRole UpdateRole UpdateAssumeRolePolicy PutRolePermissionsBoundary TagRole "
            "UntagRole List*",
            ROLE,
            None,
        )
    ],
    "aws_iam_role_policy": [("iam:PutRolePolicy GetRolePolicy DeleteRolePolicy", ROLE, None)],
    "aws_internet_gateway": [
        ("ec2:CreateInternetGateway AttachInternetGateway CreateTags", EC2, None),
        ("ec2:DetachInternetGateway DeleteInternetGateway", EC2, OURS),
        ("ec2:DescribeInternetGateways", "*", None),
    ],
    "aws_kms_alias": [("kms:CreateAlias UpdateAlias DeleteAlias", ALIAS, None), ("kms:ListAliases", "*", None)],
    "aws_kms_key": [
        ("kms:CreateKey", "*", None),
        ("kms:TagResource", "*", NEW),
        (
            "kms:DescribeKey GetKeyPolicy PutKeyPolicy GetKeyRotationStatus EnableKeyRotation ListResourceTags "
            "TagResource UntagResource UpdateKeyDescription ScheduleKeyDeletion CancelKeyDeletion CreateAlias "
            "UpdateAlias DeleteAlias",
            KEY,
            OURS,
        ),
    ],
    "aws_mwaa_environment": [
        (
            "airflow:CreateEnvironment GetEnvironment UpdateEnvironment DeleteEnvironment TagResource UntagResource "
            "ListTagsForResource",
            ENVIRONMENT,
            None,
        ),
        # MWAA does this with the rights of who creates the environment.
        ("ec2:CreateNetworkInterface CreateVpcEndpoint", EC2, None),
        ("ec2:DescribeSubnets DescribeRouteTables DescribeVpcEndpoints DescribeVpcs", "*", None),
        ("s3:GetAccountPublicAccessBlock", "*", None),
        ("iam:PassRole", ROLE, PASSED),
        (
            "iam:CreateServiceLinkedRole",
            "arn:{partition}:iam::{account}:role/aws-service-role/airflow.amazonaws.com/AWSServiceRoleForAmazonMWAA",
            None,
        ),
    ],
    "aws_nat_gateway": [
        ("ec2:CreateNatGateway CreateTags", EC2, None),
        ("ec2:DeleteNatGateway", EC2, OURS),
        ("ec2:DescribeNatGateways", "*", None),
    ],
    "aws_rds_integration": [
        (
            "rds:CreateIntegration ModifyIntegration DeleteIntegration",
            "arn:{partition}:rds:{region}:{account}:*:*",
            None,
        ),
        ("rds:DescribeIntegrations", "*", None),
        ("redshift:CreateInboundIntegration", REDSHIFT, None),
    ],
    "aws_redshift_resource_policy": [
        ("redshift:PutResourcePolicy GetResourcePolicy DeleteResourcePolicy", REDSHIFT, None)
    ],
    "aws_redshiftserverless_namespace": [
        ("redshift-serverless:CreateNamespace GetNamespace UpdateNamespace DeleteNamespace", REDSHIFT, None),
        ("redshift-serverless:TagResource UntagResource ListTagsForResource", REDSHIFT, None),
        (
            "iam:CreateServiceLinkedRole",
            "arn:{partition}:iam::{account}:role/aws-service-role/redshift.amazonaws.com/AWSServiceRoleForRedshift",
            None,
        ),
    ],
    "aws_redshiftserverless_workgroup": [
        ("redshift-serverless:CreateWorkgroup GetWorkgroup UpdateWorkgroup DeleteWorkgroup", REDSHIFT, None)
    ],
    "aws_serverlessapplicationrepository_cloudformation_stack": [
        ("serverlessrepo:GetApplication CreateCloudFormationChangeSet", CONNECTOR, None),
        (
            "cloudformation:CreateChangeSet DescribeChangeSet ExecuteChangeSet DeleteChangeSet DescribeStacks "
            "GetTemplate DeleteStack TagResource",
            STACK,
            None,
        ),
        (
            "lambda:CreateFunction GetFunction UpdateFunctionCode UpdateFunctionConfiguration DeleteFunction "
            "TagResource",
            FUNCTION,
            None,
        ),
        ("iam:PassRole", ROLE, TO_LAMBDA),
    ],
    "aws_rds_cluster": [
        (
            "rds:CreateDBCluster ModifyDBCluster DeleteDBCluster CreateDBClusterSnapshot EnableHttpEndpoint "
            "DisableHttpEndpoint AddTagsToResource RemoveTagsFromResource ListTagsForResource",
            RDS,
            None,
        ),
        ("rds:DescribeDBClusters DescribeDBClusterSnapshots DescribeGlobalClusters", "*", None),
        (OF_LOGS, DATABASE_LOGS, None),
        # make prepare-database
        ("rds-data:ExecuteStatement BeginTransaction CommitTransaction RollbackTransaction", RDS, None),
        ("secretsmanager:GetSecretValue", ADMIN_SECRET, None),
        # RDS makes the administrator's secret with the rights of who creates the cluster.
        ("secretsmanager:CreateSecret TagResource RotateSecret DescribeSecret", ADMIN_SECRET, None),
        (
            "iam:CreateServiceLinkedRole",
            "arn:{partition}:iam::{account}:role/aws-service-role/rds.amazonaws.com/AWSServiceRoleForRDS",
            None,
        ),
    ],
    "aws_rds_cluster_instance": [
        ("rds:CreateDBInstance ModifyDBInstance DeleteDBInstance RebootDBInstance", RDS, None),
        ("rds:DescribeDBInstances", "*", None),
    ],
    "aws_rds_cluster_parameter_group": [
        (
            "rds:CreateDBClusterParameterGroup ModifyDBClusterParameterGroup DeleteDBClusterParameterGroup "
            "ResetDBClusterParameterGroup DescribeDBClusterParameters",
            RDS,
            None,
        ),
        ("rds:DescribeDBClusterParameterGroups", "*", None),
    ],
    "aws_route": [("ec2:CreateRoute ReplaceRoute", EC2, None), ("ec2:DeleteRoute", EC2, OURS)],
    "aws_route_table": [
        ("ec2:CreateRouteTable CreateTags", EC2, None),
        ("ec2:DeleteRouteTable", EC2, OURS),
        ("ec2:DescribeRouteTables", "*", None),
    ],
    "aws_route_table_association": [
        ("ec2:AssociateRouteTable ReplaceRouteTableAssociation DisassociateRouteTable", EC2, None)
    ],
    "aws_s3_bucket": [
        ("s3:CreateBucket DeleteBucket PutBucketTagging Get* ListBucket ListBucketVersions", BUCKET, None),
        ("s3:DeleteObject DeleteObjectVersion", OBJECTS, None),
    ],
    "aws_s3_bucket_lifecycle_configuration": [("s3:PutLifecycleConfiguration", BUCKET, None)],
    "aws_s3_bucket_ownership_controls": [("s3:PutBucketOwnershipControls", BUCKET, None)],
    "aws_s3_bucket_policy": [("s3:PutBucketPolicy DeleteBucketPolicy", BUCKET, None)],
    "aws_s3_bucket_public_access_block": [("s3:PutBucketPublicAccessBlock", BUCKET, None)],
    "aws_s3_bucket_server_side_encryption_configuration": [("s3:PutEncryptionConfiguration", BUCKET, None)],
    "aws_s3_bucket_versioning": [("s3:PutBucketVersioning", BUCKET, None)],
    "aws_s3_object": [("s3:PutObject PutObjectTagging Get*", OBJECTS, None)],
    "aws_secretsmanager_secret": [
        (
            "secretsmanager:CreateSecret DescribeSecret UpdateSecret DeleteSecret RestoreSecret TagResource "
            "UntagResource GetResourcePolicy",
            SECRET,
            None,
        )
    ],
    "aws_secretsmanager_secret_version": [
        ("secretsmanager:PutSecretValue GetSecretValue UpdateSecretVersionStage ListSecretVersionIds", SECRET, None),
        ("secretsmanager:GetRandomPassword", "*", None),
    ],
    "aws_security_group": [
        ("ec2:CreateSecurityGroup RevokeSecurityGroupEgress CreateTags", EC2, None),
        ("ec2:DeleteSecurityGroup", EC2, OURS),
        ("ec2:DescribeSecurityGroups DescribeNetworkInterfaces", "*", None),
    ],
    "aws_sns_topic": [
        ("sns:CreateTopic DeleteTopic GetTopicAttributes SetTopicAttributes TagResource UntagResource", TOPIC, None),
        ("sns:ListTagsForResource", TOPIC, None),
    ],
    "aws_sns_topic_policy": [("sns:GetTopicAttributes SetTopicAttributes", TOPIC, None)],
    "aws_sns_topic_subscription": [
        ("sns:Subscribe GetSubscriptionAttributes SetSubscriptionAttributes ListSubscriptionsByTopic", TOPIC, None),
        ("sns:Unsubscribe", "*", None),
    ],
    "aws_ssm_parameter": [
        (
            "ssm:PutParameter GetParameter GetParameters DeleteParameter AddTagsToResource RemoveTagsFromResource "
            "ListTagsForResource",
            PARAMETER,
            None,
        ),
        ("ssm:DescribeParameters", "*", None),
    ],
    "aws_subnet": [
        ("ec2:CreateSubnet ModifySubnetAttribute CreateTags", EC2, None),
        ("ec2:DeleteSubnet", EC2, OURS),
        ("ec2:DescribeSubnets DescribeAvailabilityZones", "*", None),
    ],
    "aws_vpc": [
        ("ec2:CreateVpc ModifyVpcAttribute CreateTags", EC2, None),
        ("ec2:DeleteVpc", EC2, OURS),
        ("ec2:DescribeVpcs DescribeVpcAttribute DescribeNetworkAcls DescribeRouteTables", "*", None),
    ],
    "aws_vpc_endpoint": [
        ("ec2:CreateVpcEndpoint ModifyVpcEndpoint CreateTags", EC2, None),
        ("ec2:DeleteVpcEndpoints", EC2, OURS),
        ("ec2:DescribeVpcEndpoints DescribePrefixLists DescribeVpcEndpointServices", "*", None),
    ],
    "aws_vpc_security_group_egress_rule": [
        ("ec2:AuthorizeSecurityGroupEgress RevokeSecurityGroupEgress ModifySecurityGroupRules CreateTags", EC2, None),
        ("ec2:DescribeSecurityGroupRules", "*", None),
    ],
    "aws_vpc_security_group_ingress_rule": [
        ("ec2:AuthorizeSecurityGroupIngress RevokeSecurityGroupIngress ModifySecurityGroupRules CreateTags", EC2, None),
        ("ec2:DescribeSecurityGroupRules", "*", None),
    ],
}
BESIDE_TERRAFORM: list[Rights] = [
    # The key, through the services that encrypt with it; RDS, MWAA and CloudWatch get grants.
    ("kms:Decrypt Encrypt GenerateDataKey* ReEncrypt* DescribeKey", KEY, OURS),
    ("kms:CreateGrant ListGrants RevokeGrant", KEY, FOR_AWS),
    # make smoke, deploy, destroy
    ("airflow:InvokeRestApi", "arn:{partition}:airflow:{region}:{account}:role/{name}-*/Op", None),
    ("cloudwatch:SetAlarmState DescribeAlarmHistory", ALARM, None),
    ("sqs:CreateQueue DeleteQueue GetQueueAttributes SetQueueAttributes ReceiveMessage", QUEUE, None),
]
CONDITIONS: dict[str | None, dict[str, Any]] = {
    OURS: {"StringEquals": {"aws:ResourceTag/Project": "{name}"}},
    NEW: {"StringEquals": {"aws:RequestTag/Project": "{name}"}},
    FOR_AWS: {
        "StringEquals": {"aws:ResourceTag/Project": "{name}"},
        "Bool": {"kms:GrantIsForAWSResource": "true"},
    },
    TO_LAMBDA: {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}},
    PASSED: {"StringEquals": {"iam:PassedToService": ["airflow.amazonaws.com", "airflow-env.amazonaws.com"]}},
}
