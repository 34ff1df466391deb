"""Writes the data dictionary to S3, after the message of a scheduled run about all tables.

If it cannot be written, the log says so, and nothing fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cd2.notification.sns import aws_reason
from cd2.replication.errors import Cd2Error

if TYPE_CHECKING:
    from airflow.sdk import Context

    from cd2.notification.summary import RunSummary
    from cd2.replication.replicator import Replicator
    from cd2.settings import Settings

log = logging.getLogger(__name__)

SCHEDULED = "scheduled"
PATIENCE_S = 10.0
"""For a connection to a database that has just answered: nobody waits for it a second time."""


def is_due(context: Context, settings: Settings, summary: RunSummary) -> bool:
    """Whether this run writes the dictionary: scheduled, about all tables, and reported for the first time."""
    full = bool(summary.results) and not summary.partial and not summary.rerun
    scheduled: Any = context["dag_run"].run_type
    # Without the freshness the database could not be read.
    return bool(settings.dictionary_s3_uri and full and scheduled == SCHEDULED and summary.freshness)


def put(settings: Settings, make_replicator: Callable[[], Replicator]) -> None:
    """Write the dictionary to `[cd2] dictionary_s3_uri`; if that fails, the log says so, and nothing else happens."""
    uri = settings.dictionary_s3_uri
    try:
        content = asyncio.run(_content(make_replicator()))
        _put(settings, content)
    except Cd2Error as error:
        log.warning("The data dictionary was not written: %s The run is not affected.", error.message)
    except Exception as error:
        log.warning(
            "The data dictionary could not be written to %s (%s): check that the bucket exists and can be reached, and "
            "that the role has s3:PutObject on it. The run is not affected.",
            uri,
            aws_reason(error),
        )
    else:
        log.info("Wrote the data dictionary to %s, %.1f MB.", uri, len(content) / 1e6)


async def _content(replicator: Replicator) -> bytes:
    from cd2.dictionary import catalog
    from cd2.dictionary.page import render
    from cd2.replication.database.connection import connected

    async with connected(replicator.replica.target, PATIENCE_S) as connection:
        dictionary = await catalog.read(connection)
    return "".join(render(dictionary)).encode()


def _put(settings: Settings, content: bytes) -> None:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from botocore.config import Config

    patience = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 2})
    hook = AwsBaseHook(aws_conn_id=settings.aws_conn_id, client_type="s3", config=patience)
    place = urlsplit(settings.dictionary_s3_uri)
    hook.get_conn().put_object(
        Bucket=place.netloc,
        Key=place.path.removeprefix("/"),
        Body=content,
        ContentType="text/html; charset=utf-8",
        CacheControl="no-cache",
    )
