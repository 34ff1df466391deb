"""What AWS's own descriptions of its calls (botocore's) say about planned values."""

from __future__ import annotations

import re
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, Shape, StructureShape


def input_of(service: str, operation: str) -> StructureShape:
    """The parameters of a call."""
    shape = botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape
    assert isinstance(shape, StructureShape)
    return shape


def problems(shape: Shape, value: Any, where: str = "") -> list[str]:
    """What is wrong with a value: unknown and missing members, types, enumerations, patterns, lengths and ranges.

    None stands for a value that is known only after something else was made: it counts as given, and is not looked at.
    """
    if value is None:
        return []
    if isinstance(shape, StructureShape):
        return _of_structure(shape, value, where)
    if isinstance(shape, ListShape):
        inside = [each for n, item in enumerate(value) for each in problems(shape.member, item, f"{where}[{n}]")]
        return _of_size(shape, len(value), where) + inside
    if isinstance(shape, MapShape):
        inside = [each for key, item in value.items() for each in problems(shape.key, key, f"{where} key {key}")]
        inside += [each for key, item in value.items() for each in problems(shape.value, item, f"{where}.{key}")]
        return _of_size(shape, len(value), where) + inside
    return _of_scalar(shape, value, where)


def _of_structure(shape: StructureShape, value: dict[str, Any], where: str) -> list[str]:
    found = [f"{where}.{name} is unknown to AWS" for name in value if name not in shape.members]
    found += [f"{where}.{name} is missing" for name in shape.required_members if name not in value]
    for name, item in value.items():
        if name in shape.members:
            found += problems(shape.members[name], item, f"{where}.{name}")
    return found


TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "long": int, "boolean": bool, "double": (int, float), "float": (int, float),
}  # fmt: skip


def _of_scalar(shape: Shape, value: Any, where: str) -> list[str]:
    kind = TYPES[shape.type_name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return [f"{where} = {value!r} must be of the type {shape.type_name}"]
    rules = shape.metadata
    found = []
    if rules.get("enum") and value not in rules["enum"]:
        found.append(f"{where} = {value!r} must be one of {rules['enum']}")
    if rules.get("pattern") and not re.fullmatch(rules["pattern"], str(value)):
        found.append(f"{where} = {value!r} must look like {rules['pattern']}")
    return found + _of_size(shape, len(value) if isinstance(value, str) else value, where)


def _of_size(shape: Shape, size: Any, where: str) -> list[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and size < low) or (high is not None and size > high):
        return [f"{where} is {size}, allowed are {low} to {high}"]
    return []


def pascal(name: str) -> str:
    """`dag_s3_path` as AWS writes it: `DagS3Path`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def given(values: dict[str, Any], unknown: dict[str, Any]) -> dict[str, Any]:
    """A resource's arguments: what is set, with None for what is known only later; blocks of one become structures.

    Whether an unknown value was set at all is not told by a plan: compare with what the provider fills in by itself.
    """
    arguments = {name: value for name, value in values.items() if value not in (None, [], {})}
    return arguments | {name: None for name, later in unknown.items() if later is True and name not in arguments}
