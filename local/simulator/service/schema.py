"""The schema of a table as DAP describes it."""

from typing import Any

from local.simulator.data.columns import Column
from local.simulator.data.view import SchemaVersion


def json_schema(version: SchemaVersion) -> dict[str, Any]:
    """A version of a schema: `meta`, `key` and `value`."""

    def described(columns: list[Column]) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {column.name: column.json_schema() for column in columns},
            "required": [column.name for column in columns if not column.nullable],
            "additionalProperties": False,
        }

    meta = {
        "type": "object",
        "properties": {
            "ts": {"type": "string", "format": "date-time"},
            "action": {"type": "string", "enum": ["U", "D"]},
        },
        "required": ["ts"],
        "additionalProperties": False,
    }
    key = described([column for column in version.columns if column.key])
    value = described([column for column in version.columns if not column.key])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": version.description,
        "type": "object",
        "properties": {"meta": meta, "key": key, "value": value},
        "required": ["meta", "key"],
        "additionalProperties": False,
    }
