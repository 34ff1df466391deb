"""Column types of the simulator: the short notation of the catalogue, the JSON schema and the PostgreSQL type."""

import re
from dataclasses import dataclass
from typing import Any

_TYPE = re.compile(
    r"(?:(?P<simple>i64|i32|i16|f64|f32|bool|text|ts|date|uuid|json|time|ip|open|loose)"
    r"|s(?P<size>\d+)|num\((?P<precision>\d+),(?P<scale>\d+)\)|(?P<open>open)?enum\((?P<values>[^)]+)\))(?P<array>\[\])?$"
)
UNSPECIFIED = "__dap_unspecified__"

_JSON_SCHEMA: dict[str, dict[str, Any]] = {
    "i64": {"type": "integer", "format": "int64"},
    "i32": {"type": "integer", "format": "int32"},
    "i16": {"type": "integer", "format": "int16"},
    "f64": {"type": "number", "format": "float64"},
    "f32": {"type": "number", "format": "float32"},
    "bool": {"type": "boolean"},
    "text": {"type": "string"},
    "ts": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "uuid": {"type": "string", "format": "uuid"},
    "ip": {"oneOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]},
    "json": {"type": "object", "properties": {}, "additionalProperties": False},
    "open": {"type": "object"},
    "loose": {"type": "object", "properties": {}, "additionalProperties": True},
}
_POSTGRESQL = {
    "i64": "bigint",
    "i32": "integer",
    "i16": "smallint",
    "f64": "double precision",
    "f32": "real",
    "bool": "boolean",
    "text": "text",
    "ts": "timestamp without time zone",
    "date": "date",
    "time": "time without time zone",
    "uuid": "uuid",
    "ip": "inet",
    "json": "jsonb",
    "open": "jsonb",
    "loose": "jsonb",
    "openenum": "text",
}


@dataclass(frozen=True)
class ColumnType:
    """A type of the catalogue.

    :param kind: one of the simple names, or `string` (of `size` characters), `numeric`, `enum`, `openenum` (one of the
        values, or any other text: the form of web_logs).
    :param array: a list of values of that type.
    """

    kind: str
    size: int = 0
    precision: int = 0
    scale: int = 0
    values: tuple[str, ...] = ()
    array: bool = False

    @classmethod
    def parse(cls, text: str) -> "ColumnType":
        """Read the notation of the catalogue, e.g. `s255`, `num(6,2)`, `enum(a|b)[]`.

        :raises ValueError: the notation is not one of the catalogue's.
        """
        match = _TYPE.match(text)
        if match is None:
            raise ValueError(f"'{text}' is not a column type; use i64, s255, text, num(6,2), enum(a|b), text[] ...")
        array = bool(match["array"])
        if match["simple"]:
            return cls(match["simple"], array=array)
        if match["size"]:
            return cls("string", size=int(match["size"]), array=array)
        if match["values"]:
            values = tuple(dict.fromkeys((*match["values"].split("|"), UNSPECIFIED)))
            return cls("openenum" if match["open"] else "enum", values=values, array=array)
        return cls("numeric", precision=int(match["precision"]), scale=int(match["scale"]), array=array)

    def notation(self) -> str:
        """The text that `parse` reads."""
        match self.kind:
            case "string":
                base = f"s{self.size}"
            case "numeric":
                base = f"num({self.precision},{self.scale})"
            case "enum" | "openenum":
                base = f"{self.kind}({'|'.join(self.values)})"
            case _:
                base = self.kind
        return base + ("[]" if self.array else "")

    def json_schema(self) -> dict[str, Any]:
        """The type as DAP describes it."""
        match self.kind:
            case "string":
                schema: dict[str, Any] = {"type": "string", "maxLength": self.size}
            case "numeric":
                bound = 10 ** (self.precision - self.scale)
                schema = {
                    "type": "number",
                    "exclusiveMinimum": -bound,
                    "exclusiveMaximum": bound,
                    "multipleOf": round(10.0**-self.scale, self.scale),
                }
            case "enum":
                schema = {"type": "string", "enum": list(self.values)}
            case "openenum":
                schema = {"oneOf": [{"type": "string", "enum": list(self.values)}, {"type": "string"}]}
            case _:
                schema = dict(_JSON_SCHEMA[self.kind])
        return {"type": "array", "items": schema} if self.array else schema

    def postgresql(self, namespace: str, table: str, column: str) -> str:
        """The type of the column in a faithful replica, as `format_type` prints it with an empty search_path."""
        match self.kind:
            case "string":
                base = f"character varying({self.size})"
            case "numeric":
                base = f"numeric({self.precision},{self.scale})"
            case "enum":
                name = f"{table}__{column}".encode()[:63].decode("utf-8", "ignore")
                base = f"{_quoted(namespace)}.{_quoted(name)}"
            case _:
                base = _POSTGRESQL[self.kind]
        return base + ("[]" if self.array else "")


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else f'"{name}"'


@dataclass(frozen=True)
class Column:
    """A column of a table in one version of its schema.

    :param lineage: the schema version that added it: a column dropped and added again is another column.
    :param group: columns of one group take their values together (rows.py).
    """

    name: str
    type: ColumnType
    nullable: bool = False
    key: bool = False
    comment: str = ""
    lineage: int = 1
    group: int = 0

    def json_schema(self) -> dict[str, Any]:
        """The column as DAP describes it."""
        schema = self.type.json_schema()
        if self.type.kind == "openenum" and self.nullable and not self.type.array:
            schema["oneOf"].append({"type": "null"})
        if self.comment and "oneOf" not in schema:
            schema["description"] = self.comment
        return schema


def parse_columns(tokens: list[str]) -> tuple[Column, ...]:
    """Read the columns of a table: `name:type[?]`, `*` in front of a key column, `+stamps`, `+state(a|b)`.

    :raises ValueError: a token is not of that form; names the token.
    """
    keys: list[Column] = []
    values: list[Column] = []
    for token in (part for written in tokens for part in _expanded(written)):
        name, separator, notation = token.partition(":")
        key = name.startswith("*")
        name = name.removeprefix("*")
        if not separator or not name:
            raise ValueError(f"'{token}' is not a column; write name:type, name:type? or *name:type for a key")
        column_type = ColumnType.parse(notation.removesuffix("?"))
        column = Column(name, column_type, notation.endswith("?"), key, comment_of(name))
        (keys if key else values).append(column)
    keys = keys or [Column("id", ColumnType("i64"), key=True, comment="Primary key.")]
    names = [column.name for column in (*keys, *values)]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"column {', '.join(sorted(repeated))} appears more than once")
    if any(key.nullable or key.type.kind not in ("i64", "i32", "i16", "uuid", "string", "date") for key in keys):
        raise ValueError("a key column must be a required integer, uuid, sized string or date")
    return (*keys, *values)


def _expanded(token: str) -> list[str]:
    if token == "+stamps":
        return ["created_at:ts", "updated_at:ts"]
    if token.startswith("+state("):
        optional = "?" if token.endswith("?") else ""
        return [f"workflow_state:enum{token.removesuffix('?').removeprefix('+state')}{optional}"]
    return [token]


def comment_of(name: str) -> str:
    """A description for a column, from its name."""
    words = name.removesuffix("_id").removesuffix("_at").replace("_", " ")
    if name.endswith("_id"):
        return f"The ID of the {words}."
    if name.endswith("_at"):
        return f"Timestamp for when the record was {words}."
    return f"The {words} of the record."
