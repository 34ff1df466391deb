"""A person verifies and repairs tables through the real DAG, and what an export lost without a word is found."""

from __future__ import annotations

import pytest

from local.compare import compare
from local.stack import Stack
from tests.e2e.story import PATIENCE_S, next_notification, run

pytestmark = pytest.mark.slow

TABLE = "canvas.courses"
OTHER = "canvas.users"


def differing(stack: Stack) -> list[str]:
    return [found.table for found in compare(stack.simulator_url, stack.replica_dsn, [TABLE, OTHER]) if not found.equal]


def test_rows_that_an_export_lost_are_found_told_and_repaired(filled: Stack) -> None:
    names = [TABLE, OTHER]
    filled.simulator.fault("canvas", "courses", "lost_changes", every=2)
    filled.simulator.advance(tables=names, inserts=20, updates=10, deletes=5)
    _, state = run(filled, {"tables": names})
    assert (state, differing(filled)) == ("success", [TABLE])
    assert next_notification(filled).attributes["status"] == "success"

    filled.simulator.advance(tables=names, inserts=3, updates=3)
    run_id, state = run(filled, {"tables": names, "verify": True})
    assert state == "success"
    message = next_notification(filled)
    assert message.attributes["status"] == "warning"
    assert "1 not equal to DAP's snapshot" in message.subject
    assert f"{TABLE}: verified, not equal: " in message.body
    assert f"{OTHER}: verified, equal: " in message.body
    found = {f"{result['namespace']}.{result['table']}": result["verification"] for result in filled.results(run_id)}
    assert found[OTHER]["outcome"] == "equal"
    assert found[TABLE]["missing"] > 0

    _, state = run(filled, {"tables": [TABLE], "repair": True})
    assert (state, differing(filled)) == ("success", [])
    assert f"{TABLE}: verified, repaired: " in next_notification(filled).body


def test_a_verification_of_all_tables_is_refused_before_anything_is_done(filled: Stack) -> None:
    run_id = filled.trigger({"verify": True})
    assert filled.wait(run_id, PATIENCE_S) == "failed"
    assert "which needs named tables" in next_notification(filled).body
