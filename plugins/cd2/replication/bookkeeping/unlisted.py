"""Tables that are replicated and that DAP no longer lists: nobody else would notice that they stay as they are."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime

from cd2.replication.database.connection import Replica
from cd2.replication.names import TableName
from cd2.replication.results import Unlisted

# Times in seconds since 1970, because JSON would have them in the session's time zone.
_NOTE = """
WITH listed AS (
    SELECT * FROM unnest($1::text[], $2::text[]) AS l (namespace, table_name)
), held AS (
    SELECT source_namespace AS namespace, source_table AS table_name, max(timestamp) AS data_as_of
    FROM instructure_dap.table_sync WHERE source_namespace = ANY($3) GROUP BY 1, 2
), again AS (
    UPDATE cd2.freshness f SET unlisted_since = NULL FROM listed l
    WHERE f.unlisted_since IS NOT NULL AND f.namespace = l.namespace AND f.table_name = l.table_name
), noted AS (
    INSERT INTO cd2.freshness AS f (namespace, table_name, unlisted_since)
    SELECT namespace, table_name, clock_timestamp() FROM held
    WHERE (namespace, table_name) NOT IN (SELECT namespace, table_name FROM listed)
    ON CONFLICT (namespace, table_name) DO UPDATE
        SET unlisted_since = coalesce(f.unlisted_since, excluded.unlisted_since)
    RETURNING namespace, table_name, unlisted_since
)
SELECT coalesce(json_agg(json_build_array(
    namespace, table_name, extract(epoch FROM unlisted_since), extract(epoch FROM data_as_of)
) ORDER BY namespace, table_name), '[]') AS found
FROM noted JOIN held USING (namespace, table_name)"""


async def note(replica: Replica, namespaces: Collection[str], listed: Collection[TableName]) -> tuple[Unlisted, ...]:
    """Note which tables with a cursor are not listed, and since when; forget it of those that are listed again.

    :param namespaces: those that were listed.
    :param listed: all their tables.
    """
    names = [name.namespace for name in listed], [name.table for name in listed]
    row = await replica.row(_NOTE, *names, list(namespaces))
    return tuple(
        Unlisted(TableName(namespace, table), _moment(since), _moment(data_as_of))
        for namespace, table, since, data_as_of in (json.loads(row["found"]) if row else [])
    )


def _moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
