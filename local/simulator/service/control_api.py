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


def routes(simulation: Simulation) -> list[web.RouteDef]:
    """The control calls."""
    control = Control(simulation)
    return [
        web.get("/control/health", _answered(control.health)),
        web.post("/control/advance", _answered(control.advance)),
        web.post("/control/alter", _answered(control.alter)),
        web.post("/control/add_table", _answered(control.add_table)),
        web.post("/control/remove_table", _answered(control.remove_table)),
        web.post("/control/fault", _answered(control.fault)),
        web.post("/control/clear_faults", _answered(control.clear_faults)),
        web.post("/control/limits", _answered(control.limits)),
        web.post("/control/settings", _answered(control.settings)),
        web.get("/control/stats", _answered(control.stats)),
        web.post("/control/reset_stats", _answered(control.reset_stats)),
        web.get("/control/tables", _answered(control.tables)),
        web.get("/control/truth/{namespace}/{table}", _answered(control.truth)),
    ]


def _answered(handler: Handler) -> Handler:
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
    """One method a call; `SimulatorControl` describes them."""

    def __init__(self, simulation: Simulation) -> None:
        self._s = simulation

    async def health(self, request: web.Request) -> web.StreamResponse:
        world = self._s.world
        return web.json_response({"status": "ok", "tables": len(world.tables), "seed": world.seed, "rows": world.rows})

    async def advance(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        amounts = {kind: body.get(kind, 0) for kind in ("inserts", "updates", "deletes")}
        async with self._s.lock:
            done = await asyncio.to_thread(self._s.world.advance, body.get("tables"), amounts)
        return web.json_response({"tables": done})

    async def alter(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        names = (body.get("namespace", ""), body.get("table", ""))
        arguments = body.get("arguments") or {}
        async with self._s.lock:
            version = await asyncio.to_thread(self._s.world.alter, *names, body.get("change", ""), arguments)
        return web.json_response({"version": version})

    async def add_table(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        async with self._s.lock:
            return web.json_response({"tables": self._s.world.add_tables(body)})

    async def remove_table(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        async with self._s.lock:
            self._s.world.remove_table(body.get("namespace", ""), body.get("table", ""))
        return web.json_response({})

    async def fault(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        namespace, table = body.get("namespace") or "*", body.get("table") or "*"
        if table != "*":
            self._s.world.table(namespace, table)
        return web.json_response({"id": self._s.faults.order(body).id})

    async def clear_faults(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"cleared": self._s.faults.clear()})

    async def limits(self, request: web.Request) -> web.StreamResponse:
        self._s.limits.change(await _body(request))
        return web.json_response(self._s.limits.limits)

    async def settings(self, request: web.Request) -> web.StreamResponse:
        self._s.settings.change(await _body(request))
        return web.json_response(self._s.settings.as_dict())

    async def stats(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({**self._s.statistics.as_dict(), "faults_to_come": self._s.faults.as_list()})

    async def reset_stats(self, request: web.Request) -> web.StreamResponse:
        self._s.statistics.reset()
        return web.json_response({})

    async def tables(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {
                table.name: {
                    "rows": table.live,
                    "schema_version": len(table.versions),
                    "events": len(table.events) - 1,
                    "columns": len(table.versions[-1].columns),
                }
                for table in self._s.world.tables.values()
            }
        )

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
