"""The studio: what its page asks for."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from typing import Any

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tiler.errors import ConfigError
from tiler.request.asked import Asked
from tiler.series.preview import EDGE
from tiler.studio.answers import Hands, body_of
from tiler.studio.controls import command, config_of, controls, several
from tiler.studio.folder import MOST_REMEMBERED, Folder
from tiler.studio.previews import Previewer

MOST_EDGE = 1024
_THUMBS = 512


class Studio:
    """Routes of the page. folder: its pictures; previewer: what renders."""

    def __init__(self, folder: Folder, previewer: Previewer, hands: Hands | None = None) -> None:
        self._folder, self._previewer, self._hands = folder, previewer, hands or Hands()
        self._thumbs: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()

    def routes(self) -> list[Route]:
        return [
            Route("/api/controls", self._controls),
            Route("/api/pictures", self._pictures),
            Route("/api/pictures/{name}", self._upload, methods=["PUT"]),
            Route("/api/thumbnail/{name:path}", self._thumbnail),
            Route("/api/values", self._values),
            Route("/api/values", self._keep_values, methods=["PUT"]),
            Route("/api/run", self._run),
            Route("/api/run", self._render, methods=["POST"]),
            Route("/api/stop", self._stop, methods=["POST"]),
            Route("/api/run/{run:int}/{cell:int}.png", self._picture),
        ]

    # Pictures -----------------------------------------------------------------------------------------------------

    async def _controls(self, request: Request) -> Response:
        return JSONResponse({"controls": controls(), "edge": EDGE, "most_edge": MOST_EDGE})

    async def _pictures(self, request: Request) -> Response:
        def listed() -> list[dict[str, Any]]:
            return [self._folder.about(name) for name in self._folder.names()]

        return JSONResponse({"folder": self._folder.root.name, "pictures": await self._hands.do(listed)})

    async def _thumbnail(self, request: Request) -> Response:
        return Response(await self._hands.do(self._small, request.path_params["name"]), 200, {}, "image/png")

    def _small(self, name: str) -> bytes:
        path = self._folder.inside(name)
        about = path.stat()
        key = (str(path), about.st_mtime_ns, about.st_size)
        if key not in self._thumbs:
            self._thumbs[key] = self._folder.thumbnail(name)
            while len(self._thumbs) > _THUMBS:
                self._thumbs.popitem(last=False)
        return self._thumbs[key]

    async def _upload(self, request: Request) -> Response:
        """The body is the file. It never lies under its name before all of it was read as a picture."""
        most = self._folder.most
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > min(most, shutil.disk_usage(self._folder.root).free // 2):
            raise HTTPException(413, f"More than the {most} bytes that are allowed, or than the disk has room for.")
        with self._folder.arriving() as waiting:
            async with await anyio.open_file(waiting, "xb") as file:
                size = 0
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > most:
                        raise HTTPException(413, f"More than the {most} bytes that are allowed.")
                    await file.write(chunk)
            name = await self._hands.do(self._folder.keep, waiting, request.path_params["name"])
        return JSONResponse(self._folder.about(name), 201)

    # What the page was left with ------------------------------------------------------------------------------------

    async def _values(self, request: Request) -> Response:
        return JSONResponse(await self._hands.do(self._folder.remembered))

    async def _keep_values(self, request: Request) -> Response:
        try:
            said = json.loads(await body_of(request, MOST_REMEMBERED))
        except (ValueError, RecursionError):
            raise HTTPException(400, "This is not what the page sends.") from None
        if not isinstance(said, dict):
            raise HTTPException(400, "This is not what the page sends.")
        await self._hands.do(self._folder.remember, said)
        return JSONResponse({})

    # Previews -----------------------------------------------------------------------------------------------------

    async def _render(self, request: Request) -> Response:
        try:
            asked = json.loads(await body_of(request))
            values, edge, vary = dict(asked["values"]), asked.get("edge", EDGE), asked.get("vary", [])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise HTTPException(400, "This is not what the page sends.") from None
        if type(edge) is not int or not 16 <= edge <= MOST_EDGE:
            raise ConfigError(f"edge = {str(edge)[:20]}; allowed: 16 to {MOST_EDGE}")
        run = await self._hands.do(self._begun, values, edge, vary)
        return JSONResponse({"run": run, "command": command(values)}, 202)

    def _begun(self, values: dict[str, Any], edge: int, vary: Any) -> int:
        """What is wrong is said before anything is rendered, and leaves what is rendered alone."""
        cells = [(caption, self._folder.confined(config_of(said))) for caption, said in several(values, vary)]
        try:
            for _, config in cells:
                Asked.of(config)
        except ConfigError as error:
            raise ConfigError(self._folder.said(error)) from None
        return self._previewer.ask(cells, edge)

    async def _run(self, request: Request) -> Response:
        return JSONResponse(self._previewer.told())

    async def _stop(self, request: Request) -> Response:
        self._previewer.stop()
        return JSONResponse({})

    async def _picture(self, request: Request) -> Response:
        found = await self._hands.do(self._previewer.picture, request.path_params["run"], request.path_params["cell"])
        if found is None:
            raise HTTPException(404, "There is no such picture any more.")
        return Response(found, 200, {}, "image/png")
