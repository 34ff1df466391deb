"""Changes of a table's schema: what a control call asks for, checked, as the columns of the next version."""

from dataclasses import replace
from typing import Any

from local.simulator.data.columns import Column, ColumnType, comment_of
from local.simulator.data.view import SchemaVersion
from local.simulator.errors import ControlError

_WIDER = {("i16", "i32"), ("i16", "i64"), ("i32", "i64"), ("f32", "f64"), ("string", "text")}
# Rows that are there already would not fit the new schema.
_REWRITING = ("not_null", "drop_enum_value", "retype")


def altered(
    table: str, version: SchemaVersion, number: int, change: str, arguments: dict[str, Any]
) -> tuple[SchemaVersion, bool]:
    """The schema after a change (see `SimulatorControl.alter`), and whether all rows must be written again.

    :param number: of the new version.
    :raises ControlError: the change is unknown or does not fit the table.
    """
    rewrite = bool(arguments.get("backfill"))
    name = arguments.get("column", "")
    if change == "comment" and not name:
        return replace(version, description=str(arguments.get("text", ""))), rewrite
    columns = list(version.columns)
    index = next((i for i, column in enumerate(columns) if column.name == name), None)
    if change == "add_column":
        columns.append(_added(table, index, name, number, arguments))
        rewrite = rewrite or not columns[-1].nullable
    elif index is None:
        raise ControlError(f"{table} has no column '{name}'")
    elif columns[index].key and change != "comment":
        raise ControlError(f"{table}.{name} is a key column; only its comment can change")
    elif change == "drop_column":
        del columns[index]
    else:
        columns[index] = _changed(table, columns[index], change, arguments)
        rewrite = rewrite or change in _REWRITING
    return replace(version, columns=tuple(columns)), rewrite


def _added(table: str, index: int | None, name: str, version: int, arguments: dict[str, Any]) -> Column:
    if not name:
        raise ControlError("a column needs a name")
    if index is not None:
        raise ControlError(f"{table} has a column '{name}' already")
    nullable = bool(arguments.get("nullable", True))
    column_type = _parsed(str(arguments.get("type", "text")))
    return Column(
        name, column_type, nullable, key=False, comment=comment_of(name), lineage=version, group=1000 + version
    )


def _parsed(notation: str) -> ColumnType:
    try:
        return ColumnType.parse(notation)
    except ValueError as error:
        raise ControlError(str(error)) from None


def _changed(table: str, column: Column, change: str, arguments: dict[str, Any]) -> Column:
    where = f"{table}.{column.name}"
    match change:
        case "widen" | "retype":
            new = _parsed(str(arguments.get("type", "")))
            old = column.type
            larger = old.kind == new.kind and (new.size > old.size or new.precision > old.precision)
            fits = old.array == new.array and ((old.kind, new.kind) in _WIDER or larger)
            if change == "widen" and not fits:
                raise ControlError(f"{where} is {old.notation()}; {new.notation()} is not wider (use change 'retype')")
            return replace(column, type=new)
        case "nullable":
            return replace(column, nullable=True)
        case "not_null":
            return replace(column, nullable=False)
        case "comment":
            return replace(column, comment=str(arguments.get("text", "")))
        case "add_enum_value" | "drop_enum_value":
            value = str(arguments.get("value", ""))
            values = column.type.values
            if not values:
                raise ControlError(f"{where} is not an enumeration")
            if (value in values) == (change == "add_enum_value") or not value:
                raise ControlError(
                    f"{where}: the value '{value}' is {'there already' if value in values else 'not there'}"
                )
            changed = (*values, value) if value not in values else tuple(v for v in values if v != value)
            return replace(column, type=replace(column.type, values=changed))
        case _:
            raise ControlError(
                f"unknown change '{change}'; there are add_column, drop_column, widen, retype, nullable, not_null, "
                "add_enum_value, drop_enum_value, comment"
            )
