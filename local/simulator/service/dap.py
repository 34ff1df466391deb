"""The HTTP interface of DAP."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from local.simulator.data.encoding import moment_text, timestamp_text
from local.simulator.data.table import Table
from local.simulator.faults import HTTP_KINDS, Fault, row_kinds
from local.simulator.service.answers import DapError, invalid, not_found, parse_json, too_many_requests, unauthenticated
from local.simulator.service.query import parse_query
from local.simulator.service.schema import json_schema
from local.simulator.service.tokens import SCOPE
from local.simulator.simulation import Simulation
from local.simulator.state.jobs import Job, Query, question

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# A job that is asked to be instant is awaited by its POST, but not for ever.
LONGEST_POST = 20.0
_FATES = ("failed_job", "hung_job")


def routes(simulation: Simulation) -> list[web.RouteDef]:
    """The calls of DAP."""
    dap = Service(simulation)
    return [
        web.post("/ids/auth/login", dap.call("login", dap.login)),
        web.get("/dap/query/{namespace}/table", dap.call("list", dap.tables)),
        web.get("/dap/query/{namespace}/table/{table}/schema", dap.call("schema", dap.schema)),
        web.post("/dap/query/{namespace}/table/{table}/data", dap.call("data", dap.data)),
        web.get("/dap/job/{job}", dap.call("job", dap.job)),
        web.post("/dap/object/url", dap.call("object", dap.urls)),
    ]


class Service:
    """Answers the calls; each method is one endpoint."""

    def __init__(self, simulation: Simulation) -> None:
        self._s = simulation

    def call(self, name: str, handler: Handler) -> Handler:
        """An endpoint: authentication, limits, faults and statistics around a handler."""

        async def answer(request: web.Request) -> web.StreamResponse:
            status = 500
            try:
                response = await self._admitted(name, request, handler)
                status = response.status
                return response
            except DapError as error:
                status = error.status
                return error.response()
            finally:
                self._s.statistics.call(name, status)

        return answer

    async def _admitted(self, name: str, request: web.Request, handler: Handler) -> web.StreamResponse:
        if name != "login":
            client = self._s.tokens.client(request.headers.get("Authorization", ""))
            retry_after = self._s.limits.admit(client, name)
            if retry_after is not None:
                raise too_many_requests(retry_after)
        fault = self._s.faults.take(HTTP_KINDS, name, *await self._subject(name, request))
        if fault is not None and (response := await happen(fault)) is not None:
            return response
        return await handler(request)

    async def _subject(self, name: str, request: web.Request) -> tuple[str, str]:
        """The namespace and table a call is about."""
        job = None
        if name == "job":
            job = self._s.jobs.get(request.match_info["job"])
        elif name == "object":
            found = re.search(r'"([0-9a-f-]{36})/', await request.text())
            job = self._s.jobs.get(found[1]) if found else None
        if job is not None:
            return job.query.namespace, job.query.table
        return request.match_info.get("namespace", "*"), request.match_info.get("table", "*")

    def _table(self, request: web.Request) -> Table:
        namespace, name = request.match_info["namespace"], request.match_info["table"]
        self._namespace(request)
        table = self._s.world.tables.get((namespace, name))
        if table is None:
            raise not_found("Table", name)
        return table

    def _namespace(self, request: web.Request) -> str:
        namespace = request.match_info["namespace"]
        if namespace not in self._s.world.namespaces:
            raise not_found("Namespace", namespace)
        return namespace

    # -- the calls --------------------------------------------------------------------------------------------------

    async def login(self, request: web.Request) -> web.StreamResponse:
        """Exchange credentials for a token."""
        form = await request.post()
        if not self._s.credentials.accepts(request.headers.get("Authorization", "")):
            raise unauthenticated("Invalid client credentials")
        if form.get("grant_type") != "client_credentials":
            raise invalid("grant_type must be client_credentials")
        seconds = self._s.settings.token_seconds
        token = self._s.tokens.make(self._s.credentials.client_id, seconds)
        body = {"access_token": token, "expires_in": int(seconds), "scope": SCOPE, "token_type": "Bearer"}
        return web.json_response(body)

    async def tables(self, request: web.Request) -> web.StreamResponse:
        """The tables of a namespace."""
        namespace = self._namespace(request)
        return web.json_response({"tables": sorted(name for ns, name in self._s.world.tables if ns == namespace)})

    async def schema(self, request: web.Request) -> web.StreamResponse:
        """The schema of a table."""
        versions = self._table(request).versions
        return web.json_response({"schema": json_schema(versions[-1]), "version": len(versions)})

    async def data(self, request: web.Request) -> web.StreamResponse:
        """Ask for a snapshot or for changes."""
        self._table(request)
        text = await request.text()
        body = parse_json(text)
        async with self._s.lock:
            table = self._table(request)
            query = parse_query(table, body, text)
            self._refused(query)
            asked = question(query, body)
            again = query.since_ms is None and self._s.faults.take(
                ("old_snapshot",), "data", query.namespace, query.table
            )
            job = self._s.jobs.living(asked, (len(table.events), len(table.versions)), whatever_its_age=bool(again))
            if job is None or self._new_one_is_to_fail(query):
                job = self._new_job(query, asked, table)
        if job.seconds == 0 and not job.hung:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(job.ready.wait(), LONGEST_POST)
        return web.json_response(job_answer(job))

    def _new_one_is_to_fail(self, query: Query) -> bool:
        """Whether a pending fault needs a new job."""
        subject = (query.namespace, query.table)
        pending = self._s.faults.pending
        return pending(row_kinds(query.since_ms is not None), "rows", *subject) or pending(_FATES, "job", *subject)

    def _new_job(self, query: Query, asked: str, table: Table) -> Job:
        row_faults: list[dict[str, Any]] = []
        kinds = row_kinds(query.since_ms is not None)
        while fault := self._s.faults.take(kinds, "rows", query.namespace, query.table):
            known = ("row", "column", "every", "megabytes", "older")
            options: dict[str, Any] = {name: fault.options[name] for name in known if name in fault.options}
            row_faults.append({"kind": fault.kind, **options})
            if fault.times > 0:
                break
        fate = self._s.faults.take(_FATES, "job", query.namespace, query.table)
        self._s.statistics.jobs[table.name] += 1
        return self._s.jobs.start(query, asked, table.view(), row_faults, fate.kind if fate else None)

    def _refused(self, query: Query) -> None:
        """Apply faults that refuse this kind of query."""
        incremental = query.since_ms is not None
        kinds = ("snapshot_required", "out_of_range") if incremental else ("request_type_forbidden",)
        fault = self._s.faults.take(kinds, "data", query.namespace, query.table)
        if fault is None:
            return
        if fault.kind == "request_type_forbidden":
            raise DapError(403, "RequestTypeForbidden", "Snapshot queries are forbidden for this table at the moment")
        latest = self._s.world.table(query.namespace, query.table).events[-1].at_ms
        kind, message = {
            "snapshot_required": ("SnapshotRequired", "The table was reloaded; a new snapshot is required"),
            "out_of_range": ("OutOfRange", "The requested time range is outside of the permitted range"),
        }[fault.kind]
        raise DapError(400, kind, message, since=moment_text(latest), until=moment_text(latest))

    async def job(self, request: web.Request) -> web.StreamResponse:
        """The state of a job."""
        job = self._s.jobs.get(request.match_info["job"])
        if job is None:
            raise not_found("Job", request.match_info["job"])
        return web.json_response(job_answer(job))

    async def urls(self, request: web.Request) -> web.StreamResponse:
        """Exchange object identifiers for URLs that work for some minutes."""
        text = await request.text()
        body = parse_json(text)
        if not isinstance(body, list) or not all(isinstance(o, dict) and isinstance(o.get("id"), str) for o in body):
            raise invalid("The request body must be a list of objects with an 'id'", 0, text)
        urls = {}
        for identifier in (item["id"] for item in body):
            job_id, _, name = identifier.partition("/")
            if self._s.jobs.path(job_id, name) is None:
                raise not_found("Object", identifier)
            path = f"/objects/{identifier}"
            query = self._s.signer.query(path, self._s.settings.url_seconds)
            url = request.url.origin().with_path(path).with_query(query)
            urls[identifier] = {"url": str(url)}
        return web.json_response({"urls": urls})


async def happen(fault: Fault) -> web.StreamResponse | None:
    """Apply a fault of the HTTP kind; returns None if the call proceeds after all."""
    options = fault.options
    match fault.kind:
        case "hang":
            await asyncio.sleep(float(options.get("seconds", 3600)))
            return None
        case "too_many_requests":
            raise too_many_requests(options.get("retry_after"))
        case "unauthorized":
            raise unauthenticated("The access token is invalid")
        case "server_error":
            status = int(options.get("status", 500))
            if options.get("body", "json") == "html":
                page = f"<html><head><title>{status}</title></head><body><h1>{status} Server Error</h1></body></html>"
                return web.Response(status=status, text=page, content_type="text/html")
            raise DapError(status, "InternalServerError", "An unexpected error occurred")
        case _:
            kind = "".join(word.capitalize() for word in fault.kind.split("_"))
            raise DapError(403, kind, f"Access is forbidden: {fault.kind.replace('_', ' ')}")


def job_answer(job: Job) -> dict[str, Any]:
    """A job as DAP describes it."""
    expires = datetime.fromtimestamp(int(job.expires), UTC)
    answer: dict[str, Any] = {"id": job.id, "status": job.status, "expires_at": timestamp_text(expires)}
    if answer["status"] == "failed":
        return {**answer, "error": job.error}
    if answer["status"] == "complete":
        answer["objects"] = [{"id": f"{job.id}/{name}"} for name in job.objects or ()]
        answer["schema_version"] = job.schema_version
        if job.query.since_ms is None:
            answer["at"] = moment_text(job.at_ms)
        else:
            answer["since"] = moment_text(job.query.since_ms)
            answer["until"] = moment_text(job.query.until_ms or 0)
    return answer
