"""What the studio's pages of posters ask for: the queue, a job that is watched, proofs and retouches."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from tiler.errors import ConfigError
from tiler.jobs import Request as Wish
from tiler.request.config import RenderConfig
from tiler.series.retouch import FEATHER
from tiler.studio import watching
from tiler.studio.answers import Hands, Told, download, page_of, said_in
from tiler.studio.bench import Bench, Task
from tiler.studio.controls import changed
from tiler.studio.errands import Planning, Proofing, Retouching, checked_spot, decoded
from tiler.studio.folder import Folder
from tiler.studio.posters import FORMATS, Posters

# Of a mask that was painted, as it is sent.
MOST_MASK = 2**23
_WATCH = "/watch/{name}"


class PosterPages:
    """Routes. asked(values): what a page says as a configuration. bench: of previews, plans and proofs; second: of
    retouches, which nothing else is to cancel."""

    def __init__(self, folder: Folder, posters: Posters, bench: Bench, second: Bench, hands: Hands, asked: Any) -> None:
        self._folder, self._posters, self._bench, self._second = folder, posters, bench, second
        self._hands, self._asked = hands, asked
        self._tasks: dict[str, Task] = {}
        self._asking = threading.Lock()
        self._views: OrderedDict[str, bytes] = OrderedDict()

    def routes(self) -> list[Route]:
        watched = watching.routes(lambda request: self._watch(request), self._hands, _WATCH, self)
        return [
            Route("/api/queue", self._queue),
            Route("/api/queue", self._add, methods=["POST"]),
            Route("/api/queue/{name}/keep", self._keep, methods=["POST"]),
            Route("/api/queue/{name}/{what}", self._act, methods=["POST"]),
            Route("/api/work/{switch}", self._switch, methods=["POST"]),
            Route("/api/poster/{file}", self._file),
            Route("/api/view/{name}", self._view),
            Route("/api/plan", self._plan, methods=["POST"]),
            Route("/api/proof", self._proof, methods=["POST"]),
            Route("/api/proof/{run:int}.png", self._proof_picture),
            Route("/api/retouch", self._retouch, methods=["POST"]),
            Route("/api/retouch/stop", self._stop_retouch, methods=["POST"]),
            Route("/api/errand/{kind}", self._errand),
            Route("/watch/{name}", self._to_watch),
            Route("/watch/{name}/", self._watch_page),
            *watched,
        ]

    # The queue ----------------------------------------------------------------------------------------------------

    async def _queue(self, request: Request) -> Response:
        return Told(await self._hands.do(self._posters.told))

    async def _add(self, request: Request) -> Response:
        said = await said_in(request)

        def add() -> str:
            config, name, suffix = self._wish(said)
            with self._folder.clearly():
                found = self._posters.add(config, name, suffix)
                if not said.get("later"):
                    self._posters.go()
            return found

        return Told({"name": await self._hands.do(add)}, 201)

    def _wish(self, said: dict[str, Any]) -> tuple[RenderConfig, str, str]:
        """(configuration, name, format)."""
        config, name = self._asked(said.get("values")), said.get("name")
        if not isinstance(name, str | None) or len(name or "") > 200:
            raise ConfigError("name: allowed: a text of up to 200 letters")
        like = name or Path(str(config.content or config.styles[0])).stem
        return config, like, str(said.get("format") or FORMATS[0])

    async def _act(self, request: Request) -> Response:
        names = request.path_params
        await self._hands.do(self._clearly, self._posters.act, names["name"], names["what"])
        return Told({})

    async def _keep(self, request: Request) -> Response:
        return Told({"file": await self._hands.do(self.keep, request)})

    async def _switch(self, request: Request) -> Response:
        switch = request.path_params["switch"]
        if switch not in ("on", "off"):
            raise HTTPException(404, "allowed: on, off")
        await self._hands.do(self._clearly, self._posters.go if switch == "on" else self._posters.hold)
        return Told({})

    def _clearly(self, work: Any, *arguments: Any) -> Any:
        with self._folder.clearly():
            return work(*arguments)

    async def _file(self, request: Request) -> Response:
        return download(await self._hands.do(self._posters.file, request.path_params["file"]))

    async def _view(self, request: Request) -> Response:
        data = await self._hands.do(self._clearly, self._posters.view, request.path_params["name"])
        return Response(data, 200, {}, "image/jpeg")

    # Watching -----------------------------------------------------------------------------------------------------

    def _watch(self, request: Request) -> watching.Watch:
        return self._clearly(self._posters.watch, request.path_params["name"])

    async def _to_watch(self, request: Request) -> Response:
        return RedirectResponse(request.url.path + "/", 303)

    async def _watch_page(self, request: Request) -> Response:
        await self._hands.do(self._watch, request)
        return HTMLResponse(page_of("watch.html"))

    def stop(self, request: Request) -> None:
        """See `watching.Steering`."""
        self._clearly(self._posters.act, request.path_params["name"], "stop")

    def keep(self, request: Request) -> str:
        """See `watching.Steering`."""
        return self._clearly(self._posters.keep, request.path_params["name"])

    # Plans, proofs and retouches ----------------------------------------------------------------------------------

    async def _plan(self, request: Request) -> Response:
        said = await said_in(request)

        def begin() -> int:
            with self._folder.clearly():
                config = self._posters.placed(*self._wish(said))
                Wish.of(config)
            return self._begun("plan", Planning(config, self._folder.said), self._bench)

        return Told({"run": await self._hands.do(begin)}, 202)

    async def _proof(self, request: Request) -> Response:
        said = await said_in(request)

        def begin() -> int:
            at, edge = checked_spot(said.get("at"), said.get("edge"))
            return self._begun("proof", Proofing(self._folder, self._asked(said.get("values")), at, edge), self._bench)

        return Told({"run": await self._hands.do(begin)}, 202)

    def _begun(self, kind: str, task: Task, bench: Bench) -> int:
        with self._asking:  # what is asked for last is what is told of
            number = bench.ask(task)
            self._tasks[kind] = task
        return number

    async def _errand(self, request: Request) -> Response:
        task = self._tasks.get(request.path_params["kind"])
        return Told(task.told() if task else {"run": 0, "done": True})

    async def _proof_picture(self, request: Request) -> Response:
        task = self._tasks.get("proof")
        found = isinstance(task, Proofing) and task.number == request.path_params["run"] and task.file
        if not found or not Path(found).is_file():
            raise HTTPException(404, "There is no such proof any more.")
        return FileResponse(found, media_type="image/png")

    async def _retouch(self, request: Request) -> Response:
        said = await said_in(request, MOST_MASK)

        def begin() -> int:
            feather = said.get("feather", FEATHER)
            if type(feather) is not int:
                raise ConfigError(f"feather = {str(feather)[:20]}; allowed: 0 to 4096")
            mask, changes = decoded(said.get("mask")), changed(said.get("set"))
            with self._folder.clearly():
                url, output = self._posters.retouched(str(said.get("name")))
            return self._begun("retouch", Retouching(self._folder, url, mask, output, changes, feather), self._second)

        return Told({"run": await self._hands.do(begin)}, 202)

    async def _stop_retouch(self, request: Request) -> Response:
        self._second.stop()
        return Told({})
