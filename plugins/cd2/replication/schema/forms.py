"""Every form in which JSON schema can describe a column -> one that the official client's code knows.

What the client itself can represent stays as it is, so that names and types are the client's. The exception: of an
enumeration *or* any string, the client makes an integer and a lookup table; here it is a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

MAX_LABEL = 63
"""The longest value of an enumeration in PostgreSQL, in bytes."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_COMMON = ("title", "description")
_KEYWORDS = {
    "boolean": ("const", "default"),
    "integer": ("format", "const", "default", "enum", "minimum", "maximum"),
    "number": (
        "format", "const", "default", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    ),
    "string": ("format", "const", "default", "enum", "minLength", "maxLength"),
    "array": ("items",),
    "object": (),
}  # fmt: skip
"""The keywords that matter for each type; the client rejects others."""
_HINTS = {
    "properties": "object", "additionalProperties": "object", "patternProperties": "object", "items": "array",
    "prefixItems": "array", "format": "string", "maxLength": "string", "minLength": "string", "pattern": "string",
    "contentEncoding": "string", "contentMediaType": "string", "minimum": "number", "maximum": "number",
    "exclusiveMinimum": "number", "exclusiveMaximum": "number", "multipleOf": "number",
}  # fmt: skip
"""What a keyword tells about a type that is not named."""
_STRING_FORMATS = ("date-time", "date", "time", "duration", "uuid", "ipv4", "ipv6")
_INTEGER_FORMATS = ("int16", "int32", "int64")
_ADDRESSES = {"ipv4", "ipv6"}
_TEXT: dict[str, Any] = {"type": "string"}
_JSON: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_DEPTH = 20


@dataclass(frozen=True)
class Form:
    """A column in the client's words.

    :param schema: a JSON schema that the client's code can represent.
    :param nullable: rows may have no value.
    :param known: False: the form is not known, and `schema` is the type that takes every value.
    """

    schema: dict[str, Any]
    nullable: bool = False
    known: bool = True


def form_of(column: Any, root: Mapping[str, Any]) -> Form:
    """The form of a column.

    :param column: its JSON schema, whatever that is.
    :param root: the schema of the table, in which references are resolved.
    """
    alternatives = list(_alternatives(column, root, _DEPTH))
    present = [alternative for alternative in alternatives if alternative.get("type") != "null"]
    nullable = len(present) < len(alternatives) or any(alternative.pop("nullable", False) for alternative in present)
    if _addresses(column):
        return Form({"oneOf": [{"type": "string", "format": name} for name in ("ipv4", "ipv6")]}, nullable)
    described = {key: column[key] for key in _COMMON if isinstance(column, dict) and isinstance(column.get(key), str)}
    united = _united([_scalar(alternative, root) for alternative in present]) if present else None
    if united is None:
        # A text takes every value, also a JSON document.
        return Form(_TEXT | described, nullable or column is False, known=False)
    return Form({**united, **described}, nullable)


def _alternatives(node: Any, root: Mapping[str, Any], depth: int) -> Iterable[dict[str, Any]]:
    """All that a value may be, without references and combinations; an empty one: anything."""
    if not isinstance(node, dict) or depth <= 0:
        yield {}
    elif (choices := _choices(dict(node), root)) is not None:
        for choice in choices:
            yield from _alternatives(choice, root, depth - 1)
    elif "const" in node and node["const"] is None:
        yield {"type": "null"}
    elif isinstance(values := node.get("enum"), list) and None in values:
        yield {"type": "null"}
        yield {**node, "enum": [value for value in values if value is not None]}
    else:
        yield dict(node)


def _choices(node: dict[str, Any], root: Mapping[str, Any]) -> list[Any] | None:
    """What a reference, a combination or a list of types stands for; None: the node is none of them."""
    if "$ref" in node:
        return [{**_pointed(node.pop("$ref"), root), **node}]
    if isinstance(parts := node.pop("allOf", None), list):
        whole: dict[str, Any] = {}
        for part in (*parts, node):
            if isinstance(part, dict):
                whole |= {**_pointed(part.get("$ref"), root), **{k: v for k, v in part.items() if k != "$ref"}}
        return [whole]
    for keyword in ("oneOf", "anyOf"):
        if isinstance(choices := node.pop(keyword, None), list) and choices:
            return [{**node, **choice} if isinstance(choice, dict) else choice for choice in choices]
    if isinstance(names := node.get("type"), list):
        return [{**node, "type": name} for name in names]
    return None


def _pointed(reference: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """What a reference inside of the schema points to; empty: nothing that we know."""
    found: Any = root
    for step in str(reference).removeprefix("#").strip("/").split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return dict(found) if isinstance(found, Mapping) and str(reference).startswith("#/") else {}


def storable(schema: Any) -> Any:
    """A copy of a schema without characters that PostgreSQL cannot store: U+FFFD instead, as in the rows."""
    if isinstance(schema, dict):
        return {key: storable(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [storable(value) for value in schema]
    return _UNSTORABLE.sub("\ufffd", schema) if isinstance(schema, str) else schema


def _addresses(column: Any) -> bool:
    """Whether the column is an IP address as DAP describes it; the client has an inet for it."""
    choices = column.get("oneOf") or column.get("anyOf") or () if isinstance(column, dict) else ()
    formats = {choice.get("format") for choice in choices if isinstance(choice, dict) and choice.get("type") != "null"}
    return formats == _ADDRESSES


def _scalar(node: dict[str, Any], root: Mapping[str, Any]) -> dict[str, Any] | None:
    """One alternative in the client's words; None: unknown."""
    kind = node.get("type") or _kind(node)
    if kind not in _KEYWORDS:
        return None
    kept = {key: node[key] for key in (*_COMMON, *_KEYWORDS[kind]) if node.get(key) is not None}
    kept = {key: value for key, value in kept.items() if key not in _COMMON or isinstance(value, str)} | {"type": kind}
    match kind:
        case "string":
            return _string(kept)
        case "integer" | "number" | "boolean":
            return _number(kept)
        case "array":
            return _array(node, root)
    return dict(_JSON)


def _kind(node: Mapping[str, Any]) -> str | None:
    """The type of a node that does not name it."""
    values = node.get("enum") if isinstance(node.get("enum"), list) else [node["const"]] if "const" in node else []
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    kinds = {names.get(type(value)) for value in values or ()}
    if kinds == {"integer", "number"}:
        return "number"
    if kinds:
        return kinds.pop() if len(kinds) == 1 else None
    found = {_HINTS[key] for key in node if key in _HINTS}
    return found.pop() if len(found) == 1 else None


def _string(node: dict[str, Any]) -> dict[str, Any]:
    if node.get("format") not in _STRING_FORMATS:
        node.pop("format", None)
    if "enum" in node:
        values = list(dict.fromkeys(value for value in node["enum"] if isinstance(value, str)))
        if not values or len(values) < len(set(map(repr, node["enum"]))):
            node.pop("enum")
        elif any(len(value.encode()) > MAX_LABEL for value in values):
            node.pop("enum")  # PostgreSQL cannot hold such a label
        else:
            node["enum"] = values
    if not isinstance(node.get("const"), str) or not node["const"]:
        node.pop("const", None)
    if not isinstance(node.get("maxLength"), int) or not 0 < node["maxLength"] <= 10_485_760:
        node.pop("maxLength", None)
    if not isinstance(node.get("default"), str) or "enum" in node:
        node.pop("default", None)
    node.pop("minLength", None)
    return node


def _number(node: dict[str, Any]) -> dict[str, Any]:
    """Numbers and truth values; limits that the client would misread are left out."""
    kinds: dict[str, tuple[type, ...]] = {"integer": (int,), "number": (int, float), "boolean": (bool,)}
    kind = kinds[node["type"]]
    known = {"integer": _INTEGER_FORMATS, "number": ("float32", "float64"), "boolean": ()}[node["type"]]
    if node.get("format") not in known:
        node.pop("format", None)
    if values := node.pop("enum", None):
        whole = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
        if len(whole) == len(values):
            node["enum"] = whole
    for key in set(node) - {"type", "format", "enum", *_COMMON}:
        if not isinstance(node[key], kind) or (isinstance(node[key], bool) and node["type"] != "boolean"):
            del node[key]
    if node["type"] == "number" and Decimal(str(node.get("multipleOf", 1))).normalize().as_tuple().digits != (1,):
        node.pop("multipleOf", None)  # the client would round: 0.25 to one decimal
    if not node.get("multipleOf", 1) > 0 or not node.get("exclusiveMaximum", 1) > 0:
        node.pop("multipleOf", None)
        node.pop("exclusiveMaximum", None)
    return node


def _array(node: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """A list; the client knows lists of one scalar type, and everything else is a document."""
    items = node.get("prefixItems", node.get("items", _TEXT))
    form = form_of({"oneOf": items} if isinstance(items, list) and items else items, root)
    element = form.schema
    if "oneOf" in element:
        known = element["oneOf"][0].get("format")  # an inet, as the choice is; or constants
        element = {"type": "string", "format": known} if known else _TEXT
    if not form.known or element["type"] in ("array", "object"):
        return dict(_JSON)
    if "const" in element:
        element = {"type": element["type"]}
    return {"type": "array", "items": {key: value for key, value in element.items() if key != "default"}}


def _united(nodes: list[dict[str, Any] | None]) -> dict[str, Any] | None:
    """One type for several alternatives that takes every value of them; None: an alternative is unknown."""
    known = [node for node in nodes if node is not None]
    if len(known) < len(nodes):
        return None
    bare = [{key: value for key, value in node.items() if key not in _COMMON} for node in known]
    if all(node == bare[0] for node in bare):
        return known[0]
    kinds = {node["type"] for node in bare}
    if kinds == {"string"}:
        return _united_strings(bare)
    if kinds == {"integer"}:
        return _united_integers(bare)
    if kinds == {"number"} or (kinds == {"integer", "number"} and _all_small(bare)):
        return {"type": "number", "format": "float64"}
    if kinds == {"array"}:
        items = _united([node["items"] for node in bare])
        return {"type": "array", "items": items if items and "oneOf" not in items else _TEXT}
    if kinds == {"boolean"}:
        return {"type": "boolean"}
    return dict(_JSON) if kinds <= {"object", "array"} else dict(_TEXT)


def _united_strings(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    formats = {node.get("format") for node in nodes}
    if len(formats) == 1 and None not in formats:
        return {"type": "string", "format": formats.pop()}
    if formats == _ADDRESSES:
        return {"oneOf": [{"type": "string", "format": name} for name in sorted(_ADDRESSES)]}
    if all("const" in node for node in nodes):
        return {"oneOf": nodes}
    closed = [node.get("enum") or ([node["const"]] if "const" in node else []) for node in nodes]
    if all(closed):
        return _string({"type": "string", "enum": [value for values in closed for value in values]})
    sizes = [
        max(map(len, values)) if values else node.get("maxLength") for node, values in zip(nodes, closed, strict=True)
    ]
    if formats == {None} and None not in sizes:
        return {"type": "string", "maxLength": max(size for size in sizes if size)}
    return dict(_TEXT)


def _united_integers(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    formats = [node.get("format") for node in nodes]
    if None in formats:
        return {"type": "integer", "format": "int64"}
    return {"type": "integer", "format": max(formats, key=_INTEGER_FORMATS.index)}


def _all_small(nodes: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a double takes all whole numbers exactly."""
    return all(node["type"] == "number" or node.get("format") in ("int16", "int32") for node in nodes)
