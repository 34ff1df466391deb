"""Put the DAP key (client id and secret of Instructure) where the DAG reads it: two SSM SecureStrings.

    python -m scripts.dap_key --environment dev

Prompts for both without showing the secret, or takes them from DAP_CLIENT_ID and DAP_CLIENT_SECRET. They never pass
through Terraform or an argument.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys

from botocore.exceptions import BotoCoreError, ClientError

from scripts.aws import AwsError, client, explain
from scripts.terraform import Outputs, Terraform, TerraformError

PLACEHOLDER = "not-set-yet"
"""The value of the parameters when Terraform creates them: SSM rejects an empty value."""


class KeyMissing(Exception):
    """The key was not given."""


def missing(outputs: Outputs) -> list[str]:
    """Names of the parameters that do not hold a key yet.

    :raises AwsError: they cannot be read.
    """
    try:
        answer = client("ssm", outputs.region).get_parameters(
            Names=list(outputs.dap_parameter_names), WithDecryption=True
        )
    except (ClientError, BotoCoreError) as error:
        failure = explain(error, f"Reading {', '.join(outputs.dap_parameter_names)}")
    else:
        values = {found["Name"]: found["Value"].strip() for found in answer["Parameters"]}
        return [name for name in outputs.dap_parameter_names if values.get(name, "") in ("", PLACEHOLDER)]
    raise failure


def put(outputs: Outputs, client_id: str, client_secret: str) -> None:
    """Write both parameters, encrypted with the deployment's KMS key.

    :raises AwsError: AWS refused.
    """
    ssm = client("ssm", outputs.region)
    for name in outputs.dap_parameter_names:
        value = client_secret if name.endswith("secret") else client_id
        try:
            ssm.put_parameter(
                Name=name,
                Value=value,
                Type="SecureString",
                Overwrite=True,
                KeyId=outputs.kms_key_arn or "alias/aws/ssm",
            )
        except (ClientError, BotoCoreError) as error:
            failure = explain(error, f"Writing {name}")
        else:
            continue
        raise failure


def read_key() -> tuple[str, str]:
    """The key, from environment variables or the terminal.

    :raises KeyMissing: neither has it.
    """
    client_id, secret = os.environ.get("DAP_CLIENT_ID", ""), os.environ.get("DAP_CLIENT_SECRET", "")
    if not (client_id and secret) and sys.stdin.isatty():
        client_id = client_id or input("DAP client id: ")
        secret = secret or getpass.getpass("DAP client secret (not shown): ")
    if not client_id.strip() or not secret.strip():
        raise KeyMissing(
            "there is no key: run this in a terminal, which prompts for it, or set DAP_CLIENT_ID and DAP_CLIENT_SECRET."
        )
    return client_id.strip(), secret.strip()


def main(argv: list[str] | None = None) -> None:
    """Prompt for the DAP key and write it to SSM (`make dap-key`)."""
    parser = argparse.ArgumentParser(prog="dap_key", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--environment", metavar="ENV", required=True, help="dev, stg or prod")
    given = parser.parse_args(argv)
    try:
        outputs = Terraform(given.environment).opened_outputs()
        put(outputs, *read_key())
    except (AwsError, TerraformError, KeyMissing) as problem:
        sys.exit(f"dap_key: {problem}")
    except (KeyboardInterrupt, EOFError):
        sys.exit("dap_key: stopped; nothing was written.")
    print(f"The DAP key is in {' and '.join(outputs.dap_parameter_names)}; the next task of the DAG uses it.")


if __name__ == "__main__":
    main()
