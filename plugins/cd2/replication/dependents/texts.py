"""Views as people wrote them: `cd2.view_texts`.

PostgreSQL keeps no cast that changes nothing. A view with `score::text` that is recreated while the column is a text
loses the cast, and its own column would follow the next change of the type. So what was written is kept, and used as
long as the view is what we made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from cd2.replication.dependents.catalog import oid_of
from cd2.replication.dependents.view import View


async def as_written(connection: asyncpg.Connection, oids: Sequence[int], views: Sequence[View]) -> list[View]:
    """The views with the texts that people gave them."""
    rows = {row["relation"]: row for row in await connection.fetch(_WRITTEN, list(oids))}
    return [
        replace(view, create=view.create.replace(rows[oid]["restored"], rows[oid]["written"], 1))
        if oid in rows
        else view
        for oid, view in zip(oids, views, strict=True)
    ]


async def keep(connection: asyncpg.Connection, view: View) -> None:
    """Keep the text of a view that was just recreated, if PostgreSQL has made another of it."""
    oid = await oid_of(connection, view.sql_name)
    restored = await connection.fetchval("SELECT rtrim(pg_get_viewdef($1::oid), ';')", oid)
    if restored not in view.create:
        written = view.create.partition(" AS\n")[2].removesuffix("\nWITH NO DATA")
        await connection.execute(_KEEP, oid, restored, written)


async def forget_gone(connection: asyncpg.Connection) -> None:
    """Delete the texts of views that are gone."""
    await connection.execute("DELETE FROM cd2.view_texts WHERE relation NOT IN (SELECT oid FROM pg_class)")


_WRITTEN = """
SELECT relation, restored, written FROM cd2.view_texts
WHERE relation = ANY ($1::oid[]) AND restored = rtrim(pg_get_viewdef(relation), ';')"""
_KEEP = """
INSERT INTO cd2.view_texts (relation, restored, written) VALUES ($1, $2, $3)
ON CONFLICT (relation) DO UPDATE SET restored = excluded.restored, written = excluded.written"""
