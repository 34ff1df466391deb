"""A client of the simulator's control interface, for tests and the runner."""

import json
from collections.abc import Generator, Iterator
from typing import Any

import requests


class SimulatorError(RuntimeError):
    """The simulator cannot be reached or refuses a request: one sentence that says why."""


class SimulatorControl:
    """Steers a running simulator.

    :param base_url: its address, e.g. `http://127.0.0.1:8300`.
    :param timeout: seconds to wait for an answer.
    :raises SimulatorError: by every method: no answer, or a request that the simulator refuses.
    """

    def __init__(self, base_url: str, timeout: float = 300.0) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._session = requests.Session()
        # Never reach this machine through a proxy.
        self._session.trust_env = False

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _call(self, method: str, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        url = f"{self.base_url}/control/{name}"
        try:
            response = self._session.request(method, url, json=body, timeout=self._timeout)
            answer: dict[str, Any] = response.json()
        except requests.RequestException as error:
            raise SimulatorError(f"the simulator at {self.base_url} does not answer ({type(error).__name__})") from None
        if response.status_code != 200:
            raise SimulatorError(answer.get("error", f"the simulator answered {response.status_code}"))
        return answer

    def health(self) -> dict[str, Any]:
        """`status`, `tables` (how many), `seed`, `rows`."""
        return self._call("GET", "health")

    def advance(
        self,
        fraction: float | None = None,
        tables: list[str] | None = None,
        *,
        inserts: float | int = 0,
        updates: float | int = 0,
        deletes: float | int = 0,
    ) -> dict[str, dict[str, int]]:
        """Let time pass.

        :param fraction: of all rows that change: half of it is updated, three tenths are inserted, two tenths deleted.
        :param tables: `namespace.table` or `namespace.*`; None for all.
        :param inserts, updates, deletes: instead of a fraction: whole numbers of rows, or fractions (float) of the rows
            there are.
        :returns: by table: `inserts`, `updates`, `deletes`, `unseen_deletes` (of keys never delivered).
        """
        if fraction is not None:
            updates, inserts, deletes = fraction * 0.5, fraction * 0.3, fraction * 0.2
        body = {"tables": tables, "inserts": inserts, "updates": updates, "deletes": deletes}
        changes: dict[str, dict[str, int]] = self._call("POST", "advance", body)["tables"]
        return changes

    def expire(self, namespace: str, table: str, rows: float | int, *, told: bool = False) -> int:
        """Let the oldest rows of a table become older than what the service keeps, as web logs after 30 days.

        :param rows: how many; a whole number, or a fraction (float) of the rows there are.
        :param told: changes have a D for each of them; otherwise they only vanish from snapshots.
        :returns: how many expired.
        """
        body = {"namespace": namespace, "table": table, "rows": rows, "told": told}
        return int(self._call("POST", "expire", body)["expired"])

    def alter(self, namespace: str, table: str, change: str, column: str = "", **arguments: Any) -> int:
        """Change the schema of a table; returns its new version.

        Changes: `add_column` (type, nullable=True), `drop_column`, `widen` (type), `retype` (type), `nullable`,
        `not_null`, `add_enum_value` (value), `drop_enum_value` (value), `comment` (text; of the table without column).
        Types are those of the catalogue: i64, s255, text, num(6,2), enum(a|b), openenum(a|b), text[] ... Rows that are
        written later have the new form; `backfill=True` rewrites all rows at once, which `not_null`, `retype`,
        `drop_enum_value` and a required new column do by themselves.
        """
        arguments["column"] = column
        body = {"namespace": namespace, "table": table, "change": change, "arguments": arguments}
        return int(self._call("POST", "alter", body)["version"])

    def add_table(self, namespace: str, table: str, columns: str | None = None, rows: int | None = None) -> None:
        """Add a table.

        :param columns: in the notation of the catalogue (`*key:i64 name:s255? ...`); None: a table of the hard set, or
            one that was removed.
        :param rows: its rows; None: as its weight says.
        """
        self._call("POST", "add_table", {"namespace": namespace, "table": table, "columns": columns, "rows": rows})

    def add_hard_tables(self) -> list[str]:
        """Add the tables that the official client cannot replicate; returns their names."""
        return list(self._call("POST", "add_table", {"set": "hard"})["tables"])

    def remove_table(self, namespace: str, table: str) -> None:
        """Remove a table."""
        self._call("POST", "remove_table", {"namespace": namespace, "table": table})

    def fault(
        self,
        namespace: str = "*",
        table: str = "*",
        kind: str = "",
        times: int = 1,
        endpoint: str | None = None,
        **options: Any,
    ) -> int:
        """Order a fault; returns its number.

        :param kind: of a call: `too_many_requests` (retry_after: seconds, none without), `server_error` (status=500,
            body=`json` or `html`), `hang` (seconds=3600), `unauthorized`, `account_disabled`, `account_not_onboarded`,
            `account_under_maintenance`; of a query: `request_type_forbidden` (snapshots), `snapshot_required`,
            `out_of_range` (incrementals); of a job: `failed_job`, `hung_job`; of an object: `truncated_object`
            (cut=`mid_line` or `after_line`), `corrupt_object`, `expired_url`, `slow_download` (seconds); of the data:
            `malformed_value`, `duplicate_key` (older=True: of an older version), `nul_byte`, `invalid_utf8` (row,
            column), `large_value` (row, column, megabytes), `ragged_line` (row), `missing_column` (column),
            `shuffled_columns`; without a word: every n-th row of the first thousands is missing or has another value
            (every=5, column) in an incremental (`lost_changes`, `altered_changes`) or in a snapshot (`lost_rows`,
            `altered_rows`), a job is complete and has `no_objects`, the `old_snapshot` is served again.
        :param times: how often it happens.
        :param endpoint: for the kinds of a call: login, list, schema, data (default), job, object, download.
        """
        body = {"namespace": namespace, "table": table, "kind": kind, "times": times}
        return int(self._call("POST", "fault", {**body, "endpoint": endpoint, "options": options})["id"])

    def clear_faults(self) -> int:
        """Cancel the faults that are still pending; returns how many there were."""
        return int(self._call("POST", "clear_faults")["cleared"])

    def limits(self, **per_minute: int) -> dict[str, int]:
        """Set limits a minute (list, schema, data, job, object; 0: none); returns all of them."""
        return self._call("POST", "limits", per_minute)

    def settings(self, **values: Any) -> dict[str, Any]:
        """Change settings (`local.simulator.settings.Settings`); returns all of them."""
        return self._call("POST", "settings", values)

    def job_seconds(self, seconds: float) -> None:
        """How long jobs take from now on; 0: their POST already answers `complete`."""
        self.settings(job_seconds=seconds)

    def finish_jobs(self) -> None:
        """Let jobs that are running finish at once."""
        self._call("POST", "finish_jobs", {})

    def stats(self) -> dict[str, Any]:
        """What was called how often.

        :returns: `calls`, `statuses`, `too_many_requests` (answers 429), `data_posts_busiest_minute`, `jobs` (by
            table), `bytes_served`, `faults_to_come`.
        """
        return self._call("GET", "stats")

    def reset_stats(self) -> None:
        """Reset the statistics."""
        self._call("POST", "reset_stats", {})

    def tables(self) -> dict[str, dict[str, Any]]:
        """By `namespace.table`: `rows`, `schema_version`, `events`, `columns`."""
        return self._call("GET", "tables")

    def truth(self, namespace: str, table: str) -> Generator[Any]:
        """What a replica of the table must hold.

        :returns: first a description (`columns` with their PostgreSQL types, `rows`), then a list of typed values for
            each row, in key order.
        """
        url = f"{self.base_url}/control/truth/{namespace}/{table}"
        try:
            with self._session.get(url, stream=True, timeout=self._timeout) as response:
                if response.status_code != 200:
                    raise SimulatorError(response.json().get("error", f"the simulator answered {response.status_code}"))
                yield from _lines(response)
        except requests.RequestException as error:
            raise SimulatorError(f"the simulator at {self.base_url} does not answer ({type(error).__name__})") from None


def _lines(response: requests.Response) -> Iterator[Any]:
    rest = b""
    for block in response.iter_content(1 << 18):
        # Only \n ends a line: iter_lines would also split at characters inside of values.
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield json.loads(line)
