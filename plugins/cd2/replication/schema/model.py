"""What a table must look like: DAP's JSON schema as columns, by the official client's own code."""

from __future__ import annotations

import itertools
import json
import sys
import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dap.replicator.sql_op import create_table_dataclass
from pysqlsync.base import BaseGenerator
from pysqlsync.dialect.postgresql.generator import PostgreSQLGenerator
from pysqlsync.dialect.postgresql.object_types import PostgreSQLTable
from pysqlsync.formation.object_types import Column, EnumType, Table
from pysqlsync.model.data_types import (
    SqlArrayType,
    SqlDataType,
    SqlJsonType,
    SqlUserDefinedType,
    SqlVariableCharacterType,
)
from pysqlsync.model.id_types import LocalId, QualifiedId
from strong_typing.auxiliary import float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64
from strong_typing.serialization import json_dump_string

from cd2.replication.database.dialect import generator_options
from cd2.replication.errors import TableFailure
from cd2.replication.names import TableName
from cd2.replication.schema.forms import form_of, storable
from cd2.replication.schema.naming import column_names, type_names

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class ColumnModel:
    """A column.

    :param name: in PostgreSQL.
    :param source: in DAP, whose files prefix it with `key.` or `value.`.
    :param type: SQL type.
    :param required: NOT NULL.
    :param array: arrives as a JSON list.
    :param json: a jsonb column.
    :param text: a text, or a list of texts: it has a collation.
    """

    name: str
    source: str
    type: str
    key: bool
    required: bool
    array: bool
    json: bool
    text: bool


@dataclass(frozen=True)
class TableModel:
    """A table according to one version of its schema.

    :param description: the JSON schema, as the official client keeps it in `table_sync`.
    :param target: the table as pysqlsync sees it.
    :param enums: its enumeration types.
    :param notes: sentences about columns whose form is unknown.
    """

    name: TableName
    version: int
    columns: tuple[ColumnModel, ...]
    description: str
    target: Table = field(repr=False, compare=False)
    enums: tuple[EnumType, ...] = field(repr=False, compare=False)
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """Names of the key columns."""
        return tuple(column.name for column in self.columns if column.key)

    def limited_to(self, names: Collection[str]) -> TableModel:
        """The model with only these columns of DAP: for data that is older than the schema."""
        kept_columns = tuple(column for column in self.columns if column.source in names)
        there = {column.name for column in kept_columns}
        columns = [column for column in self.target.columns.values() if column.name.local_id in there]
        target = _table(self.target, columns, self.target.primary_key)
        kept = {enum_of(column) for column in columns}
        return replace(
            self,
            columns=kept_columns,
            description=_limited(self.description, names),
            target=target,
            enums=tuple(enum for enum in self.enums if enum.name.local_id in kept),
        )


def table_model(name: TableName, schema: Mapping[str, Any], version: int) -> TableModel:
    """The model of a table.

    :param schema: JSON schema from DAP; it is not modified.
    :raises TableFailure: PostgreSQL cannot represent it.
    """
    try:
        described = storable(dict(schema))
        described["properties"].pop("meta", None)
        renamed, names, keys, values, unknown = _with_plain_names(described)
        made, enums = _client_model(name.namespace, renamed, values)
    except Exception as error:
        raise TableFailure(
            f"{name}: its schema (version {version}) cannot be represented in PostgreSQL ({type(error).__name__}): "
            "please report this as a bug.",
            cause=type(error).__name__,
        ) from None
    model = _model(name, version, json_dump_string(described), made, enums, names, keys)
    return replace(model, notes=tuple(_note(name, column) for column in unknown))


def _note(name: TableName, column: str) -> str:
    return f"{name}: DAP describes the column {column} in an unknown form: it is replicated as text."


def _with_plain_names(
    schema: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str], list[str], dict[str, list[str]], list[str]]:
    """The schema with columns `column_0` ...: the client makes Python classes, and not every name is valid there.

    The same goes for the values of enumerations.

    :returns: the schema, the real names in order, the names of the key columns, the values of the plain columns'
        enumerations, the columns whose form is unknown.
    """
    names: list[str] = []
    unknown: list[str] = []
    values: dict[str, list[str]] = {}
    parts: dict[str, Any] = {}
    for part in ("key", "value"):
        described = schema["properties"].get(part, {"type": "object", "properties": {}, "required": []})
        properties = {}
        required = []
        for name, column in (described.get("properties") or {}).items():
            plain = f"column_{len(names)}"
            names.append(name)
            form = form_of(column, schema)
            properties[plain] = _with_plain_values(form.schema)
            values[plain] = form.schema.get("enum") or form.schema.get("items", {}).get("enum")
            if (name in (described.get("required") or ()) and not form.nullable) or part == "key":
                required.append(plain)
            unknown += [] if form.known else [name]
        parts[part] = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    keys = list(schema["properties"]["key"]["properties"])
    if not keys:
        raise ValueError("no key")
    properties = {"meta": {"type": "object", "properties": {}}, "key": parts["key"]}
    if parts["value"]["properties"]:
        properties["value"] = parts["value"]
    renamed = {"$schema": "", "type": "object", "properties": properties, "required": [], "additionalProperties": False}
    if isinstance(schema.get("description"), str):
        renamed["description"] = schema["description"]
    return renamed, names, keys, values, unknown


def _with_plain_values(form: Mapping[str, Any]) -> dict[str, Any]:
    if form.get("type") == "array":
        return {**form, "items": _with_plain_values(form["items"])}
    return {**form, "enum": ["a", "b"]} if form.get("type") == "string" and "enum" in form else dict(form)


def _generator(module: types.ModuleType, namespace: str) -> BaseGenerator:
    """The client's DDL generator."""
    generator = PostgreSQLGenerator(generator_options(**{namespace: module}))
    # pysqlsync compares these with `is`, which works only while Python's cache of 128 typing expressions holds the
    # first one. In a process as big as an Airflow worker it does not, and int64 columns would get CHECK constraints.
    converter = generator.converter
    for annotated in (int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64):
        converter.options.substitutions[annotated] = converter.simple_type_to_sql_data_type(annotated)
    return generator


def _client_model(
    namespace: str, schema: dict[str, Any], values: Mapping[str, list[str]]
) -> tuple[Table, list[EnumType]]:
    # A module for each table: the client leaves its classes there, and the next table would clash with them.
    module = types.ModuleType(f"cd2_table_{next(_NUMBERS)}")
    sys.modules[module.__name__] = module
    try:
        generator = _generator(module, namespace)
        generator.create(tables=[create_table_dataclass("t", module, schema)])
    finally:
        del sys.modules[module.__name__]
    (made,) = (ns for ns in generator.state.namespaces.values() if ns.tables)
    (table,) = made.tables.values()
    # The client omits some types: of lists, of a single value, and one of two with the same values.
    enums = [
        EnumType(QualifiedId(namespace, type_name), list(values[column.name.local_id]))
        for column in table.columns.values()
        if (type_name := enum_of(column))
    ]
    return table, enums


def _model(
    name: TableName,
    version: int,
    description: str,
    made: Table,
    enums: list[EnumType],
    names: list[str],
    keys: list[str],
) -> TableModel:
    in_postgresql = column_names(names)
    keys = [in_postgresql[name] for name in keys]
    real = {f"column_{number}": name for number, name in enumerate(names)}
    types_of = type_names(name.table, [real[enum.name.local_id.removeprefix("t__")] for enum in enums])
    target_enums = {
        enum.name.local_id: EnumType(
            QualifiedId(name.namespace, types_of[real[enum.name.local_id.removeprefix("t__")]]), list(enum.values)
        )
        for enum in enums
    }

    def typed(data_type: SqlDataType) -> SqlDataType:
        if isinstance(data_type, SqlArrayType):
            return SqlArrayType(typed(data_type.element_type))
        if isinstance(data_type, SqlUserDefinedType) and data_type.ref.local_id in target_enums:
            return SqlUserDefinedType(target_enums[data_type.ref.local_id].name)
        return data_type

    columns = []
    for column in made.columns.values():
        column_name = in_postgresql[real[column.name.local_id]]
        columns.append(
            replace(
                column,
                name=LocalId(column_name),
                data_type=typed(column.data_type),
                nullable=column.nullable and column_name not in keys,
            )
        )
    named = PostgreSQLTable(
        QualifiedId(name.namespace, name.table),
        columns,
        primary_key=tuple(map(LocalId, keys)),
        description=made.description,
    )
    return TableModel(
        name,
        version,
        tuple(
            ColumnModel(
                column.name.local_id,
                source,
                str(column.data_type),
                column.name.local_id in keys,
                not column.nullable,
                isinstance(column.data_type, SqlArrayType),
                isinstance(column.data_type, SqlJsonType),
                isinstance(_element(column.data_type), SqlVariableCharacterType),
            )
            for column, source in zip(
                columns, (real[column.name.local_id] for column in made.columns.values()), strict=True
            )
        ),
        description,
        named,
        tuple(target_enums.values()),
    )


def _limited(description: str, names: Collection[str]) -> str:
    """A JSON schema with only these columns."""
    schema = json.loads(description)
    for part in schema["properties"].values():
        part["properties"] = {name: column for name, column in part["properties"].items() if name in names}
        part["required"] = [name for name in part.get("required") or () if name in names]
    return json_dump_string(schema)


def enum_of(column: Column) -> str | None:
    """Name of the enumeration type of a column, or of its elements."""
    data_type = _element(column.data_type)
    if not isinstance(data_type, SqlUserDefinedType) or data_type.ref.scope_id is None:
        return None  # inet is user-defined for pysqlsync, but belongs to no schema
    name: str = data_type.ref.local_id
    return name


def _element(data_type: SqlDataType) -> SqlDataType:
    """The type of a value, or of each element of a list."""
    return data_type.element_type if isinstance(data_type, SqlArrayType) else data_type


def _table(like: Table, columns: list[Column], primary_key: tuple[LocalId, ...]) -> Table:
    return PostgreSQLTable(like.name, columns, primary_key=primary_key, description=like.description)
