"""Quoted names in statements, whatever characters they have."""

from __future__ import annotations

from psycopg import sql


def statement(template: str, *names: str) -> str:
    """A statement with `{}` replaced by quoted names.

    :param template: our own text, never external input.
    """
    return sql.SQL(template).format(*map(sql.Identifier, names)).as_string(None)


def tables(schema: str, names: list[str]) -> str:
    """Tables of a schema as a quoted list for a statement."""
    return sql.SQL(", ").join(sql.Identifier(schema, name) for name in names).as_string(None)
