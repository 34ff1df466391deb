"""What the simulator's address answers to a person: what to look at, and what to do, each with an example."""

from __future__ import annotations

import html
import re

from aiohttp import web

from local.simulator.simulation import Simulation

_LOOK = (
    ("health", "how many tables of how many rows"),
    ("tables", "every table: rows, version of its schema, number of changes"),
    ("stats", "how often each call was made, and the pending faults"),
    ("truth/canvas/users", "what a replica of the table must hold; the first line names the columns"),
)
_DO = (
    (
        "time passes: these fractions of all rows change",
        "advance",
        '{"inserts": 0.01, "updates": 0.03, "deletes": 0.01}',
    ),
    (
        "a column is added; also drop_column, widen, retype, nullable, add_enum_value, comment",
        "alter",
        '{"namespace": "canvas", "table": "courses", "change": "add_column",'
        ' "arguments": {"column": "homeroom", "type": "bool"}}',
    ),
    (
        "the next job of the table fails; also server_error, too_many_requests, truncated_object, malformed_value",
        "fault",
        '{"namespace": "canvas", "table": "users", "kind": "failed_job"}',
    ),
    ("pending faults are cancelled", "clear_faults", "{}"),
    ("the oldest rows expire", "expire", '{"namespace": "canvas_logs", "table": "web_logs", "rows": 20}'),
    (
        "a new table",
        "add_table",
        '{"namespace": "canvas", "table": "lamps", "columns": "*id:i64 name:s255?", "rows": 10}',
    ),
    ("a table is no longer listed", "remove_table", '{"namespace": "canvas", "table": "lamps"}'),
    ("calls a minute: list, schema, data, job, object; 0 is no limit", "limits", '{"data": 6000}'),
    ("each job takes this long", "settings", '{"job_seconds": 8}'),
    ("jobs that are running finish at once", "finish_jobs", "{}"),
    ("reset the statistics to zero", "reset_stats", "{}"),
)


def routes(simulation: Simulation) -> list[web.RouteDef]:
    """The guide, at every address that a person may try first."""

    async def answer(request: web.Request) -> web.StreamResponse:
        text = guide(simulation, str(request.url.origin()))
        if "text/html" in request.headers.get("Accept", ""):
            return web.Response(text=as_html(text), content_type="text/html")
        return web.Response(text=text)

    return [web.get(path, answer) for path in ("/", "/control", "/control/")]


def guide(simulation: Simulation, address: str) -> str:
    """The text.

    :param address: of the simulator, as whoever asks reaches it.
    """
    world = simulation.world
    lines = [
        f"DAP simulator: {len(world.tables)} tables, {world.rows} rows in a typical one",
        "",
        "The DAG and the official client call it as they call DAP; here you steer it, without a password. What you do",
        "to the data stays until `make reset`. In Python: local.simulator.control.SimulatorControl.",
        "",
        "To look at:",
    ]
    lines += [f"  {address}/control/{name}\n      {what}" for name, what in _LOOK]
    lines += ["", "To do:"]
    for what, name, body in _DO:
        lines += [f"  {what}", f"      curl -d '{body}' {address}/control/{name}"]
    lines += [
        "",
        "Afterwards `make run` shows what the DAG makes of it, and `make compare` whether the replica is equal.",
        "",
    ]
    return "\n".join(lines)


def as_html(text: str) -> str:
    """The text as a page: the addresses to look at can be clicked."""
    title, _, rest = html.escape(text, quote=False).partition("\n")
    rest = re.sub(r"(?m)^  (http\S+)$", r'  <a href="\1">\1</a>', rest)
    head = f"<meta charset=utf-8><meta name=color-scheme content='light dark'><title>{title}</title>"
    return f"<!doctype html><html lang=en>{head}<h1>{title}</h1><pre>{rest}</pre></html>\n"
