"""The control interface under /control/: JSON, without credentials, for tests and the runner."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from local.simulator.data.encoding import TRUTH
from local.simulator.data.rows import RowStream, Selection
from local.simulator.data.view import TableView
from local.simulator.errors import ControlError
from local.simulator.service.answers import DapError, parse_json
from local.simulator.simulation import Simulation

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answer = Awaitable[dict[str, Any]]


def routes(simulation: Simulation) -> list[web.RouteDef]:
    """The control calls."""
    control = Control(simulation)
    return [
        _get("health", control.health),
        _get("stats", control.stats),
        _get("tables", control.tables),
        _post("advance", control.advance),
        _post("expire", control.expire),
        _post("alter", control.alter),
        _post("add_table", control.add_table),
        _post("remove_table", control.remove_table),
        _post("fault", control.fault),
        _post("limits", control.limits),
        _post("settings", control.settings),
        web.post("/control/clear_faults", _answered(lambda _: control.clear_faults())),
        web.post("/control/finish_jobs", _answered(lambda _: control.finish_jobs())),
        web.post("/control/reset_stats", _answered(lambda _: control.reset_stats())),
        web.get("/control/truth/{namespace}/{table}", _refusing(control.truth)),
    ]


def _get(name: str, handler: Callable[[], Answer]) -> web.RouteDef:
    return web.get(f"/control/{name}", _answered(lambda _: handler()))


def _post(name: str, handler: Callable[[dict[str, Any]], Answer]) -> web.RouteDef:
    async def called(request: web.Request) -> dict[str, Any]:
        return await handler(await _body(request))

    return web.post(f"/control/{name}", _answered(called))


def _answered(handler: Callable[[web.Request], Answer]) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(await handler(request))

    return _refusing(answer)


def _refusing(handler: Handler) -> Handler:
    """What cannot be done is answered with 400 and a sentence."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (ControlError, DapError) as error:
            return web.json_response({"error": str(error)}, status=400)

    return answer


async def _body(request: web.Request) -> dict[str, Any]:
    text = await request.text()
    body = parse_json(text) if text else {}
    if not isinstance(body, dict):
        raise ControlError("the request body must be a JSON object")
    return body


class Control:
    """One method a call, from the request's JSON to the answer's; `SimulatorControl` describes them."""

    def __init__(self, simulation: Simulation) -> None:
        self._s = simulation

    async def health(self) -> dict[str, Any]:
        world = self._s.world
        return {"status": "ok", "tables": len(world.tables), "seed": world.seed, "rows": world.rows}

    async def advance(self, body: dict[str, Any]) -> dict[str, Any]:
        amounts = {kind: body.get(kind, 0) for kind in ("inserts", "updates", "deletes")}
        async with self._s.lock:
            return {"tables": await asyncio.to_thread(self._s.world.advance, body.get("tables"), amounts)}

    async def expire(self, body: dict[str, Any]) -> dict[str, Any]:
        names, told = (body.get("namespace", ""), body.get("table", "")), bool(body.get("told"))
        async with self._s.lock:
            return {"expired": await asyncio.to_thread(self._s.world.expire, *names, body.get("rows", 0), told=told)}

    async def alter(self, body: dict[str, Any]) -> dict[str, Any]:
        names = (body.get("namespace", ""), body.get("table", ""))
        arguments = body.get("arguments") or {}
        async with self._s.lock:
            version = await asyncio.to_thread(self._s.world.alter, *names, body.get("change", ""), arguments)
        return {"version": version}

    async def add_table(self, body: dict[str, Any]) -> dict[str, Any]:
        async with self._s.lock:
            return {"tables": self._s.world.add_tables(body)}

    async def remove_table(self, body: dict[str, Any]) -> dict[str, Any]:
        async with self._s.lock:
            self._s.world.remove_table(body.get("namespace", ""), body.get("table", ""))
        return {}

    async def fault(self, body: dict[str, Any]) -> dict[str, Any]:
        namespace, table = body.get("namespace") or "*", body.get("table") or "*"
        if table != "*":
            self._s.world.table(namespace, table)
        return {"id": self._s.faults.order(body).id}

    async def clear_faults(self) -> dict[str, Any]:
        return {"cleared": self._s.faults.clear()}

    async def limits(self, body: dict[str, Any]) -> dict[str, Any]:
        self._s.limits.change(body)
        return dict(self._s.limits.limits)

    async def settings(self, body: dict[str, Any]) -> dict[str, Any]:
        self._s.settings.change(body)
        return self._s.settings.as_dict()

    async def finish_jobs(self) -> dict[str, Any]:
        self._s.jobs.finish()
        return {}

    async def stats(self) -> dict[str, Any]:
        return {**self._s.statistics.as_dict(), "faults_to_come": self._s.faults.as_list()}

    async def reset_stats(self) -> dict[str, Any]:
        self._s.statistics.reset()
        return {}

    async def tables(self) -> dict[str, Any]:
        return {
            table.name: {
                "rows": table.live,
                "schema_version": len(table.versions),
                "events": len(table.events) - 1,
                "columns": len(table.versions[-1].columns),
            }
            for table in self._s.world.tables.values()
        }

    async def truth(self, request: web.Request) -> web.StreamResponse:
        async with self._s.lock:
            table = self._s.world.table(request.match_info["namespace"], request.match_info["table"])
            view, rows = table.view(), table.live
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        # Who reads may stop at any time.
        with contextlib.suppress(ConnectionResetError):
            await response.prepare(request)
            head = json.dumps(truth_header(view, rows), ensure_ascii=False)
            await response.write(head.encode() + b"\n")
            chunks = RowStream(view, TRUTH).chunks(Selection())
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                # A duplicated delivery precedes the row's present form; the truth has only the latter.
                lines = chunk.lines[-chunk.rows :]
                await response.write(b"\n".join(lines) + b"\n")
            await response.write_eof()
        return response


def truth_header(view: TableView, rows: int) -> dict[str, Any]:
    """The first line of the truth: what the columns of a faithful replica are."""
    namespace, name = view.definition.namespace, view.definition.name
    columns = [
        {
            "name": column.name,
            "kind": column.type.kind,
            "array": column.type.array,
            "type": column.type.postgresql(namespace, name, column.name),
            "nullable": column.nullable,
            "key": column.key,
            "values": list(column.type.values),
            "comment": column.comment,
        }
        for column in view.columns
    ]
    return {
        "namespace": namespace,
        "table": name,
        "rows": rows,
        "schema_version": len(view.versions),
        "at": view.at_ms / 1000,
        "columns": columns,
    }
