"""The object store behind the pre-signed URLs: no access tokens, errors in XML."""

import asyncio
import contextlib
from pathlib import Path

from aiohttp import web

from local.simulator.faults import HTTP_KINDS, Fault
from local.simulator.service.answers import DapError, store_error
from local.simulator.service.dap import happen
from local.simulator.simulation import Simulation
from local.simulator.state.objects import corrupted, truncated

_KINDS = (*HTTP_KINDS, "truncated_object", "corrupt_object", "expired_url", "slow_download")
_BLOCK = 256 * 1024


def routes(simulation: Simulation) -> list[web.RouteDef]:
    """The one call there is."""
    return [web.get("/objects/{job}/{name}", Store(simulation).get)]


class Store:
    """Hands out objects."""

    def __init__(self, simulation: Simulation) -> None:
        self._s = simulation

    async def get(self, request: web.Request) -> web.StreamResponse:
        """An object."""
        response: web.StreamResponse | None = None
        try:
            response = await self._get(request)
        except DapError as error:
            response = store_error(error.status, error.name, error.message)
        finally:
            self._s.statistics.call("download", response.status if response is not None else 500)
        return response

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if "Authorization" in request.headers:
            return store_error(400, "InvalidArgument", "Only one auth mechanism allowed")
        verdict = self._s.signer.verdict(request.path, dict(request.query))
        if verdict == "SignatureDoesNotMatch":
            return store_error(
                403, verdict, "The request signature we calculated does not match the signature you provided."
            )
        path = self._s.jobs.path(request.match_info["job"], request.match_info["name"])
        job = self._s.jobs.get(request.match_info["job"])
        fault = None
        if job is not None:
            fault = self._s.faults.take(_KINDS, "download", job.query.namespace, job.query.table)
        if verdict == "AccessDenied" or (fault is not None and fault.kind == "expired_url"):
            return store_error(403, "AccessDenied", "Request has expired")
        if path is None:
            return store_error(404, "NoSuchKey", "The specified key does not exist.")
        if fault is None:
            return await self._send(request, path)
        return await self._spoilt(request, path, fault)

    async def _spoilt(self, request: web.Request, path: Path, fault: Fault) -> web.StreamResponse:
        match fault.kind:
            case "truncated_object":
                after_line = fault.options.get("cut", "mid_line") == "after_line"
                data = await asyncio.to_thread(truncated, path, after_line)
                return web.Response(body=data, content_type="application/octet-stream")
            case "corrupt_object":
                data = await asyncio.to_thread(corrupted, path)
                return web.Response(body=data, content_type="application/octet-stream")
            case "slow_download":
                return await self._send(request, path, seconds=float(fault.options.get("seconds", 10)))
        response = await happen(fault)
        return response if response is not None else await self._send(request, path)

    async def _send(self, request: web.Request, path: Path, seconds: float = 0) -> web.StreamResponse:
        size = (await asyncio.to_thread(path.stat)).st_size
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)})
        # Slow: in ten steps, so that a client sees something arrive all the time.
        block = max(1, size // 10) if seconds else _BLOCK
        # A client may stop at any time; an object may expire while it is fetched.
        with contextlib.suppress(ConnectionResetError):
            await response.prepare(request)
            with path.open("rb") as file:
                while data := await asyncio.to_thread(file.read, block):
                    if seconds:
                        await asyncio.sleep(seconds / 10)
                    await response.write(data)
                    self._s.statistics.bytes_served += len(data)
            await response.write_eof()
        return response
