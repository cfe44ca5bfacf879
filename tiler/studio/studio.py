"""The studio: what its page asks for."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from typing import Any

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tiler.errors import ConfigError
from tiler.output.contact import SUFFIXES
from tiler.request.asked import Asked
from tiler.request.config import RenderConfig
from tiler.request.proposing import MOST
from tiler.series import sheet
from tiler.series.preview import EDGE
from tiler.studio.answers import Hands, Told, said_in
from tiler.studio.bench import Bench
from tiler.studio.controls import command, config_of, controls, varied
from tiler.studio.errands import MOST_PROOF
from tiler.studio.folder import MOST_REMEMBERED, Folder
from tiler.studio.found import regions
from tiler.studio.poster_pages import PosterPages
from tiler.studio.posters import FORMATS, Posters
from tiler.studio.previews import Cell, Previewer

MOST_EDGE = 1024
_THUMBS = 512


class Studio:
    """Routes of the page. bench: what renders previews, plans and proofs; second: what renders retouches."""

    def __init__(self, folder: Folder, posters: Posters, bench: Bench, second: Bench) -> None:
        self._folder, self._posters, self._bench, self._hands = folder, posters, bench, Hands()
        self._previewer = Previewer(folder, bench)
        self._pages = PosterPages(folder, posters, bench, second, self._hands, self._asked)
        self._thumbs: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()

    def routes(self) -> list[Route]:
        return [
            Route("/api/controls", self._controls),
            Route("/api/pictures", self._pictures),
            Route("/api/pictures/{name}", self._upload, methods=["PUT"]),
            Route("/api/thumbnail/{name:path}", self._thumbnail),
            Route("/api/values", self._values),
            Route("/api/values", self._keep_values, methods=["PUT"]),
            Route("/api/regions", self._regions, methods=["POST"]),
            Route("/api/run", self._run),
            Route("/api/run", self._render, methods=["POST"]),
            Route("/api/stop", self._stop, methods=["POST"]),
            Route("/api/run/{run:int}/{cell:int}.png", self._picture),
            Route("/api/run/{run:int}/sheet{suffix}", self._sheet),
            *self._pages.routes(),
        ]

    # Pictures -----------------------------------------------------------------------------------------------------

    async def _controls(self, request: Request) -> Response:
        about = {
            "edge": EDGE, "most_edge": MOST_EDGE, "most_proof": MOST_PROOF, "most_regions": MOST, "formats": FORMATS,
        }  # fmt: skip
        return Told({"controls": controls(), **about})

    async def _pictures(self, request: Request) -> Response:
        def listed() -> list[dict[str, Any]]:
            return [self._folder.about(name) for name in self._folder.names()]

        return Told({"folder": self._folder.root.name, "pictures": await self._hands.do(listed)})

    async def _thumbnail(self, request: Request) -> Response:
        return Response(await self._hands.do(self._small, request.path_params["name"]), 200, {}, "image/png")

    def _small(self, name: str) -> bytes:
        path = self._folder.inside(name)
        about = path.stat()
        key = (str(path), about.st_mtime_ns, about.st_size)
        if key not in self._thumbs:
            with self._folder.clearly():
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
        return Told(self._folder.about(name), 201)

    # What the page was left with ------------------------------------------------------------------------------------

    async def _values(self, request: Request) -> Response:
        return Told(await self._hands.do(self._folder.remembered))

    async def _keep_values(self, request: Request) -> Response:
        await self._hands.do(self._folder.remember, await said_in(request, MOST_REMEMBERED))
        return Told({})

    async def _regions(self, request: Request) -> Response:
        said = await said_in(request)

        def found() -> dict[str, Any]:
            with self._folder.clearly():
                return regions(self._folder, _said(said.get("values")), said.get("count"), self._posters.labels())

        return Told({"values": await self._hands.do(found)})

    # Previews -----------------------------------------------------------------------------------------------------

    async def _render(self, request: Request) -> Response:
        said = await said_in(request)
        values, edge, vary = said.get("values"), said.get("edge", EDGE), said.get("vary") or []
        if type(edge) is not int or not 16 <= edge <= MOST_EDGE:
            raise ConfigError(f"edge = {str(edge)[:20]}; allowed: 16 to {MOST_EDGE}")
        run = await self._hands.do(self._begun, values, edge, vary)
        return Told({"run": run, "command": command(values or {})}, 202)

    def _asked(self, values: Any) -> RenderConfig:
        """Raises ConfigError."""
        return self._folder.confined(_said(values))

    def _begun(self, values: Any, edge: int, vary: Any) -> int:
        """What is wrong is said before anything is rendered, and leaves what is rendered alone."""
        config, table = self._asked(values), None
        cells = [Cell("", config)]
        if vary:
            many = varied(vary)
            table, edge = sheet.table_of(config, many), min(edge, sheet.EDGE)
            found = [self._folder.confined(one) for one in sheet.cells_of(config, many)]
            cells = [Cell(table.caption(number), one) for number, one in enumerate(found)]
        with self._folder.clearly():
            for cell in cells:
                last = Asked.of(cell.config).job.cut.last
                cell.whole = last.height, last.width
        return self._previewer.ask(cells, edge, table)

    async def _run(self, request: Request) -> Response:
        return Told(self._previewer.told())

    async def _stop(self, request: Request) -> Response:
        self._bench.stop()
        return Told({})

    async def _picture(self, request: Request) -> Response:
        found = await self._hands.do(self._previewer.picture, request.path_params["run"], request.path_params["cell"])
        if found is None:
            raise HTTPException(404, "There is no such picture any more.")
        return Response(found, 200, {}, "image/png")

    async def _sheet(self, request: Request) -> Response:
        run, suffix = request.path_params["run"], request.path_params["suffix"]
        found = await self._hands.do(self._previewer.sheet, run, suffix) if suffix in SUFFIXES else None
        if found is None:
            raise HTTPException(404, "There is no such sheet, or not all of it yet.")
        headers = {"Content-Disposition": f"attachment; filename=sheet{suffix}"}
        return Response(found, 200, headers, "application/octet-stream")


def _said(values: Any) -> RenderConfig:
    """Names are as a page has them. Raises ConfigError."""
    if not isinstance(values, dict):
        raise ConfigError("values: allowed: what is said of each option")
    return config_of(values)
