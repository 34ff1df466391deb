"""Every fault that the simulator knows, met by an init, a re-init and a sync.

Whatever happens, it has a stated outcome; a failure leaves the database as it was and tells no secret, signed address
or row value; and the next attempt ends with the truth.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from aiohttp import ClientTimeout

from cd2.replication.dap import downloads, jobs, session
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import (
    Cd2Error,
    FailedJobError,
    RefusedCredentials,
    ReinitRequired,
    StopAll,
    TableFailure,
    TransientError,
    WaitError,
)
from cd2.replication.names import TableName
from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult
from local.simulator.__main__ import DEFAULT_CLIENT_SECRET
from local.simulator.control import SimulatorControl
from local.simulator.faults import HTTP_KINDS, KINDS, SILENT_KINDS
from tests.replication.replica import assert_equal, execute, run
from tests.steps import init, sync

NAMESPACE, TABLE = "canvas", "pseudonyms"
NAME = f"{NAMESPACE}.{TABLE}"
TABLE_NAME = TableName.parse(NAME)
ACTIONS = ("init", "reinit", "sync")
INIT, KNOWN, INITS = ("init",), ("reinit", "sync"), ("init", "reinit")
NOT_NOTED = "its schema could not be noted"


@dataclass(frozen=True)
class Case:
    """A fault, and what has to become of it.

    :param error: the class of the failure; None: it is got over. ReinitRequired shows as the result needs_init.
    :param told: part of the message, or of the log when it is got over.
    :param quick: the actions that are tried whenever tests run; the others are slow tests.
    :param replaced: rows in which characters are replaced, which no increment will correct.
    """

    kind: str
    error: type[Cd2Error] | None = None
    told: str = ""
    times: int = 1
    endpoint: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    actions: tuple[str, ...] = ACTIONS
    quick: tuple[str, ...] = ()
    replaced: bool = False

    @property
    def id(self) -> str:
        extra = [str(value) for value in self.options.values() if isinstance(value, str)]
        return "-".join([self.kind, *([self.endpoint] if self.endpoint else []), *extra, f"x{self.times}"])


CASES = [
    Case("too_many_requests", options={"retry_after": 0}),
    Case("too_many_requests", WaitError, "429", times=3, options={"retry_after": 0}, quick=("sync",)),
    # The job goes on while nobody can look at it.
    Case("too_many_requests", times=20, endpoint="job", options={"retry_after": 0}, quick=("init",)),
    Case("too_many_requests", times=19, endpoint="object", options={"retry_after": 0}),
    Case("too_many_requests", WaitError, "429", times=20, endpoint="object", options={"retry_after": 0}),
    Case("too_many_requests", WaitError, "429", times=20, endpoint="schema", options={"retry_after": 0}, actions=INIT),
    # The schema of the data is known from an earlier load.
    Case("too_many_requests", told=NOT_NOTED, times=20, endpoint="schema", options={"retry_after": 0}, actions=KNOWN),
    *(
        Case("server_error", TransientError, "500", times=20, endpoint=endpoint, options={"body": body})
        for endpoint in ("login", "data", "job", "object")
        for body in ("json", "html")
    ),
    Case("server_error", TransientError, "500", times=20, endpoint="schema", actions=INIT),
    Case("server_error", told=NOT_NOTED, times=20, endpoint="schema", options={"body": "html"}, actions=KNOWN),
    Case("server_error", TransientError, "could not be downloaded", times=20, endpoint="download"),
    Case("server_error", TransientError, "502", times=20, options={"status": 502, "body": "html"}, quick=("reinit",)),
    Case("server_error", told="resuming", endpoint="download", quick=("sync",)),
    Case("hang", TransientError, "time limit", times=20, quick=("sync",)),
    Case("hang", TransientError, "time limit", times=20, endpoint="job"),
    Case("hang", told="resuming", endpoint="download"),
    # A token may expire between any two calls, and a gateway may err once; a second refusal stops everything.
    Case("unauthorized", quick=("sync",)),
    Case("unauthorized", RefusedCredentials, "refused the credentials", times=2, quick=("init",)),
    Case("unauthorized", endpoint="login"),
    Case("unauthorized", endpoint="job", quick=("reinit",)),
    Case("unauthorized", endpoint="object"),
    Case("unauthorized", endpoint="schema"),
    Case("unauthorized", RefusedCredentials, "refused the credentials", times=2, endpoint="job"),
    Case("account_disabled", StopAll, "has disabled DAP", quick=("sync",)),
    Case("account_not_onboarded", StopAll, "not yet enabled"),
    Case("account_under_maintenance", WaitError, "maintaining"),
    Case("request_type_forbidden", TableFailure, "refuses this kind of request", actions=INITS),
    Case("snapshot_required", ReinitRequired, "needs a new snapshot", actions=("sync",), quick=("sync",)),
    Case("out_of_range", ReinitRequired, "no longer has these changes", actions=("sync",)),
    Case("failed_job", FailedJobError, "the retry asks for a new one", quick=("sync",)),
    Case("hung_job", TransientError, "is not done after", quick=("reinit",)),
    Case("truncated_object", TransientError, "it is truncated", options={"cut": "mid_line"}),
    Case("truncated_object", TransientError, "it is truncated", options={"cut": "after_line"}, quick=("sync", "init")),
    Case("corrupt_object", TransientError, "damaged", quick=("reinit",)),
    Case("expired_url", told="resuming"),
    Case("expired_url", TransientError, "could not be downloaded", times=5, quick=("init",)),
    Case("slow_download", options={"seconds": 1}),
    Case(
        "malformed_value",
        TableFailure,
        "column id, line 1 of the job's rows",
        options={"column": "id"},
        quick=("reinit",),
    ),
    Case("large_value", TableFailure, "column unique_id, line 1 of the job's rows", options={"column": "unique_id"}),
    Case("ragged_line", TableFailure, "A line of the data has more or fewer fields than its header", quick=("sync",)),
    Case("duplicate_key"),
    Case("missing_column", TableFailure, "which its schema", options={"column": "unique_id"}, quick=("sync",)),
    Case("shuffled_columns"),
    Case("nul_byte", told="1 row(s) held characters", options={"column": "unique_id"}, replaced=True, quick=("sync",)),
    Case("invalid_utf8", told="1 row(s) held characters", options={"column": "unique_id"}, replaced=True),
]
HANG_LIMIT_S = 3.0
"""How long a call may take where one hangs (for an hour): the others take milliseconds."""


def each_with_each_action() -> list[object]:
    return [
        pytest.param(case, action, id=f"{case.id}-{action}", marks=() if action in case.quick else pytest.mark.slow)
        for case in CASES
        for action in case.actions
    ]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "DOWNLOAD_PAUSE_S", 0.01)
    monkeypatch.setattr(jobs, "POLL_S", (0.05,))


def let_it_be_noticed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends by a time limit only gets a short one."""
    if case.kind == "hung_job":
        monkeypatch.setattr(jobs, "JOB_DEADLINE_S", 0.5)
        monkeypatch.setattr(jobs, "CHANGES_DEADLINE_S", 0.5)
    elif case.kind == "hang" and case.endpoint == "download":
        monkeypatch.setattr(downloads, "DOWNLOAD_TIMEOUT", ClientTimeout(total=None, sock_read=HANG_LIMIT_S))
    elif case.kind == "hang":
        monkeypatch.setattr(session, "REQUEST_TIMEOUT", ClientTimeout(total=HANG_LIMIT_S))


def test_every_fault_has_its_case() -> None:
    """But those that nothing tells about, which only a verification finds."""
    assert {case.kind for case in CASES} == set(KINDS) - SILENT_KINDS
    assert {case.kind for case in CASES if case.endpoint} <= HTTP_KINDS


@pytest.mark.parametrize(("case", "action"), each_with_each_action())
def test_a_fault_has_its_stated_outcome_and_leaves_nothing_behind(
    case: Case,
    action: str,
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if action != "init":
        run(init(replicator, NAME))
        simulator.advance(tables=[NAME], inserts=4, updates=8, deletes=3)
    if case.endpoint == "job":
        simulator.job_seconds(0.3)
    before = everything(database)
    caplog.clear()
    # A log-in is about no table.
    subject = ("*", "*") if case.endpoint == "login" else (NAMESPACE, TABLE)
    simulator.fault(*subject, case.kind, times=case.times, endpoint=case.endpoint, **case.options)
    let_it_be_noticed(case, monkeypatch)

    with caplog.at_level(logging.DEBUG):
        outcome = attempt(replicator, action)

    told = caplog.text
    if case.error is ReinitRequired:
        assert isinstance(outcome, TableResult)
        assert outcome.state == "needs_init"
        assert outcome.error is not None
        assert outcome.error.uuid
        told = outcome.error.message
    elif case.error is not None:
        assert type(outcome) is case.error, outcome
        assert outcome.result is not None
        assert outcome.result.state == "failed"
        assert outcome.result.error == outcome.info
        told = outcome.message
    else:
        assert isinstance(outcome, TableResult), outcome
        assert outcome.state in ("complete", "initialized")
        assert outcome.error is None
    assert case.told in told
    assert_nothing_private(simulator, f"{caplog.text} {outcome}")
    if case.error is not None:
        assert everything(database) == before
    elif not case.replaced:
        assert_equal(simulator, database, NAME)

    monkeypatch.undo()
    simulator.clear_faults()
    simulator.job_seconds(0)
    again = "reinit" if case.error is ReinitRequired or case.replaced else action
    assert isinstance(attempt(replicator, again), TableResult)
    assert_equal(simulator, database, NAME)


@pytest.mark.parametrize("retry_after", [7, None])
def test_a_429_moves_the_clock_of_everybody(
    retry_after: int | None, replicator: Replicator, simulator: SimulatorControl, target: DatabaseTarget
) -> None:
    run(init(replicator, NAME))
    cursor = run(replicator.cursor(TABLE_NAME))
    simulator.fault(NAMESPACE, TABLE, "too_many_requests", retry_after=retry_after)
    before = seconds(target, "clock_timestamp()")
    with pytest.raises(WaitError):
        run(replicator.ask(TABLE_NAME, cursor, tries=1))
    after = seconds(target, "clock_timestamp()")
    wanted = session.DEFAULT_RETRY_AFTER_S if retry_after is None else retry_after
    moved_to = seconds(target, "(SELECT next_turn FROM cd2.pacer WHERE endpoint = 'data')")
    assert before + wanted <= moved_to <= after + wanted


def seconds(target: DatabaseTarget, moment: str) -> float:
    return float(execute(target, f"SELECT extract(epoch FROM {moment})"))


def test_wrong_credentials_stop_everything_before_anything_is_asked_for(
    replicator: Replicator, simulator: SimulatorControl, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = everything(database)
    simulator.fault(kind="unauthorized", endpoint="login", times=2)
    simulator.reset_stats()
    with caplog.at_level(logging.DEBUG):
        outcome = attempt(replicator, "init")
    assert type(outcome) is RefusedCredentials
    assert simulator.stats()["jobs"] == {}
    assert_nothing_private(simulator, f"{caplog.text} {outcome}")
    assert everything(database) == before


def attempt(replicator: Replicator, action: str) -> TableResult | Cd2Error:
    """What becomes of an action on the table."""
    step = sync if action == "sync" else init
    try:
        return run(step(replicator, NAME))
    except Cd2Error as failure:
        return failure


def everything(database: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that a failed attempt could have changed: tables, types, rows, cursors."""
    with psycopg.connect(database) as connection:
        found = {
            "tables": connection.execute(
                "SELECT relnamespace::regnamespace::text, relname, relkind, relpersistence FROM pg_class WHERE"
                " relnamespace::regnamespace::text !~ '^pg_' AND relnamespace <> 'information_schema'::regnamespace"
                " ORDER BY 1, 2"
            ).fetchall(),
            "columns": connection.execute(
                "SELECT attrelid::regclass::text, attname, atttypid::regtype::text, attnotnull FROM pg_attribute"
                " WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace IN"
                " (SELECT oid FROM pg_namespace WHERE nspname IN ('canvas', 'cd2'))) ORDER BY 1, attnum"
            ).fetchall(),
            "types": connection.execute("SELECT typname FROM pg_type WHERE typtype = 'e' ORDER BY 1").fetchall(),
            "cursors": connection.execute("SELECT * FROM instructure_dap.table_sync ORDER BY 1").fetchall(),
        }
        if (NAMESPACE, TABLE, "r", "p") in found["tables"]:
            found["rows"] = connection.execute(f"SELECT t.xmin::text, t::text FROM {NAME} t ORDER BY id").fetchall()
        return found


def assert_nothing_private(simulator: SimulatorControl, text: str) -> None:
    """Neither the secret nor a signature nor a token nor a value that only one row has."""
    assert DEFAULT_CLIENT_SECRET not in text
    assert "signature" not in text.lower()
    assert "Bearer " not in text
    _, *rows = simulator.truth(NAMESPACE, TABLE)
    values = Counter(value for row in rows for value in row if isinstance(value, str) and len(value) >= 8)
    alone = [value for value, count in values.items() if count == 1]
    assert len(alone) > len(rows)
    assert [value for value in alone if value in text] == []
