"""Query jobs: waiting, running, complete or failed, and their objects for a day."""

import asyncio
import json
import logging
import shutil
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from local.simulator.data.encoding import TSV
from local.simulator.data.rows import RowStream, Selection, reordered, without
from local.simulator.data.view import TableView
from local.simulator.settings import Settings
from local.simulator.state.objects import Cancelled, RowFault, write_objects
from local.simulator.state.world import World

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Query:
    """What a job was asked for.

    :param since_ms, until_ms: an incremental query's range [since, until); None: a snapshot.
    """

    namespace: str
    table: str
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def selection(self) -> Selection:
        """The rows it selects."""
        return Selection(self.since_ms, self.until_ms)


@dataclass
class Job:
    """A job; `ready` is set once its objects exist, or once it is clear that they never will."""

    id: str
    query: Query
    asked: str
    created: float
    seconds: float
    expires: float
    at_ms: int
    schema_version: int
    state: tuple[int, int]
    tainted: bool = False
    hung: bool = False
    objects: list[str] | None = None
    error: dict[str, str] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def status(self) -> str:
        """waiting, running, complete or failed."""
        elapsed = time.time() - self.created
        if elapsed * 3 < self.seconds:
            return "waiting"
        if self.hung or elapsed < self.seconds or not self.ready.is_set():
            return "running"
        return "failed" if self.error else "complete"


class Jobs:
    """All jobs that have not expired, and the threads that generate their objects."""

    def __init__(self, world: World, settings: Settings, directory: Path) -> None:
        self._world = world
        self._settings = settings
        self.directory = directory / "objects"
        self._jobs: dict[str, Job] = {}
        self._latest: dict[str, str] = {}
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="generate")
        self._stop = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unfinished: dict[str, tuple[Job, TableView, list[RowFault]]] = {}

    # -- asking -----------------------------------------------------------------------------------------------------

    def living(self, asked: str, state: tuple[int, int], *, whatever_its_age: bool = False) -> Job | None:
        """The job that answers the same question, if it has not expired.

        Unless the setting `reuse_jobs` is `always`, a job only answers while the table is as it was.
        """
        job = self.get(self._latest.get(asked, ""))
        if whatever_its_age and job is not None:
            return job
        if job is None or job.error or job.tainted or self._settings.reuse_jobs == "never":
            return None
        return job if self._settings.reuse_jobs == "always" or job.state == state else None

    def get(self, job_id: str) -> Job | None:
        """A job that has not expired."""
        job = self._jobs.get(job_id)
        if job is not None and job.expires <= time.time():
            self._drop(job)
            return None
        return job

    def finish(self) -> None:
        """Let every job take no longer than its data needs."""
        for job in self._jobs.values():
            job.seconds = 0.0

    def path(self, job_id: str, name: str) -> Path | None:
        """The file of an object, if its job has not expired."""
        job = self.get(job_id)
        if job is None or name not in (job.objects or ()):
            return None
        return self.directory / job.id / name

    def start(self, query: Query, asked: str, view: TableView, faults: list[dict[str, Any]], fate: str | None) -> Job:
        """Make a job of a query and begin to generate its objects.

        :param faults: faults in the data, as `RowFault` arguments.
        :param fate: `failed_job` or `hung_job`, if it is to end that way.
        """
        now = time.time()
        job = Job(
            id=str(uuid.uuid4()),
            query=query,
            asked=asked,
            created=now,
            seconds=self._settings.job_seconds,
            expires=now + self._settings.job_life_seconds,
            at_ms=view.at_ms,
            schema_version=len(view.versions),
            state=(len(view.events), len(view.versions)),
            tainted=bool(faults or fate),
            hung=fate == "hung_job",
        )
        if fate == "failed_job":
            job.error = processing_error("The query job was terminated by an internal error.")
        entry = {"do": "job", "id": job.id, "query": asdict(query), "asked": asked, "created": now, "faults": faults}
        self._world.record_job({**entry, "seconds": job.seconds, "expires": job.expires, "fate": fate})
        self._admit(job)
        self._run(job, view, [RowFault(**fault) for fault in faults])
        return job

    def _admit(self, job: Job) -> None:
        self._jobs[job.id] = job
        self._latest[job.asked] = job.id

    # -- generating -------------------------------------------------------------------------------------------------

    def _run(self, job: Job, view: TableView, faults: list[RowFault]) -> None:
        if job.error or job.hung:
            job.ready.set()
            return
        task = asyncio.get_running_loop().create_task(self._generate(job, view, faults))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _generate(self, job: Job, view: TableView, faults: list[RowFault]) -> None:
        loop = asyncio.get_running_loop()
        directory = self.directory / job.id
        rows = self._settings.rows_per_object
        try:
            keep_empty = self._settings.empty_result == "header"
            work = partial(_write, directory, view, job.query, rows, self._stop, faults, keep_empty)
            job.objects = await loop.run_in_executor(self._threads, work)
        except Cancelled:
            return
        except Exception:
            log.exception("job %s of %s failed", job.id, view.name)
            job.error = processing_error("The query job was terminated by an error of the simulator; see its log.")
        self._world.record_job({"do": "job_end", "id": job.id, "objects": job.objects, "error": job.error})
        job.ready.set()

    async def stop(self) -> None:
        """Stop generating; the next start generates unfinished jobs again."""
        self._stop.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown()

    # -- the past ---------------------------------------------------------------------------------------------------

    def replay(self, entry: dict[str, Any]) -> None:
        """Restore a job from the journal; called at its point in history."""
        if entry["do"] == "job_end":
            job = self._jobs.get(entry["id"])
            if job is not None:
                job.objects, job.error = entry["objects"], entry["error"]
                self._unfinished.pop(job.id, None)
                job.ready.set()
            return
        if entry["do"] != "job" or entry["expires"] <= time.time():
            return
        query = Query(**entry["query"])
        table = self._world.table(query.namespace, query.table)
        job = Job(
            id=entry["id"],
            query=query,
            asked=entry["asked"],
            created=entry["created"],
            seconds=entry["seconds"],
            expires=entry["expires"],
            at_ms=table.events[-1].at_ms,
            schema_version=len(table.versions),
            state=(len(table.events), len(table.versions)),
            tainted=bool(entry["faults"] or entry["fate"]),
            hung=entry["fate"] == "hung_job",
        )
        if entry["fate"] == "failed_job":
            job.error = processing_error("The query job was terminated by an internal error.")
        self._admit(job)
        if job.error or job.hung:
            job.ready.set()
        else:
            self._unfinished[job.id] = (job, table.view(), [RowFault(**fault) for fault in entry["faults"]])

    def resume(self) -> None:
        """After the replay: generate what a crash left unfinished, remove what belongs to no job."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for path in self.directory.iterdir():
            if path.name not in self._jobs or path.name in self._unfinished:
                shutil.rmtree(path, ignore_errors=True)
        for job, view, faults in self._unfinished.values():
            self._run(job, view, faults)
        self._unfinished.clear()

    def expire(self) -> None:
        """Remove expired jobs and their objects."""
        for job in list(self._jobs.values()):
            self.get(job.id)

    def _drop(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        if self._latest.get(job.asked) == job.id:
            del self._latest[job.asked]
        shutil.rmtree(self.directory / job.id, ignore_errors=True)


def processing_error(message: str) -> dict[str, str]:
    """The error of a failed job."""
    return {"type": "ProcessingError", "uuid": str(uuid.uuid4()), "message": message}


def question(query: Query, body: dict[str, Any]) -> str:
    """What makes two queries the same."""
    return json.dumps([query.namespace, query.table, body.get("since"), body.get("until")])


def _write(
    directory: Path,
    view: TableView,
    query: Query,
    rows: int,
    stop: threading.Event,
    faults: list[RowFault],
    keep_empty: bool,
) -> list[str]:
    columns = view.columns
    for fault in faults:
        if fault.kind == "shuffled_columns":
            columns = reordered(columns)
        elif fault.kind == "missing_column":
            name = fault.column or next(column.name for column in columns if not column.key)
            columns = without(columns, name)
    if any(fault.kind == "no_objects" for fault in faults):
        directory.mkdir(parents=True, exist_ok=True)
        return []
    stream = RowStream(view, TSV, columns)
    in_lines = [fault for fault in faults if fault.kind in _IN_LINES]
    return write_objects(directory, stream, query.selection, rows, stop, in_lines, keep_empty)


_IN_LINES = (
    "malformed_value",
    "large_value",
    "ragged_line",
    "duplicate_key",
    "nul_byte",
    "invalid_utf8",
    "lost_changes",
    "altered_changes",
    "lost_rows",
    "altered_rows",
)
