"""What a page asks for, and what comes of it: every address, with what is behind it put in by hand."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from asking import Answer, ask, post
from starlette.applications import Starlette

from tiler.errors import StoreError
from tiler.request.config import RenderConfig
from tiler.series.retouch import FEATHER
from tiler.studio import poster_pages
from tiler.studio import studio as studio_module
from tiler.studio.answers import application
from tiler.studio.bench import Task
from tiler.studio.controls import config_of
from tiler.studio.errands import Planning, Proofing, Retouching
from tiler.studio.folder import Folder
from tiler.studio.previews import Run
from tiler.studio.studio import Studio

VALUES = {"content": "sub/c d.png", "styles": ["s.png"]}
MASK = "data:image/png;base64," + base64.b64encode(b"mask").decode()


class Asked:
    """As Posters and as Bench: keeps what was asked for, and gives what a test has put in."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.gives: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any) -> Any:
            self.calls.append((name, *given))
            found = self.gives.get(name)
            if isinstance(found, Exception):
                raise found
            return found(*given) if callable(found) else found

        return call


class Line(Asked):
    """As Bench."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.next = first

    def ask(self, task: Task) -> int:
        self.calls.append(("ask", task))
        task.number = self.next
        self.next += 1
        return task.number


class Site:
    """The studio of `folder`, whatever is behind it."""

    def __init__(self, folder: Folder) -> None:
        self.folder, self.posters, self.bench, self.second = folder, Asked(), Line(10), Line(70)
        studio = Studio(folder, self.posters, self.bench, self.second)  # type: ignore[arg-type]
        self.app: Starlette = application("studio.html", studio.routes())

    def get(self, path: str) -> Answer:
        return ask(self.app, "GET", path)

    def post(self, path: str, said: Any = None) -> Answer:
        return post(self.app, path, said)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    from PIL import Image

    for name in ("sub/c d.png", "s.png"):
        (tmp_path / "maps" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 18), (9, 90, 200)).save(tmp_path / "maps" / name)
    return Site(Folder(tmp_path / "maps", most=4000))


def _config(site: Site, **more: Any) -> RenderConfig:
    return site.folder.confined(config_of({**VALUES, **more}))


# Posters -------------------------------------------------------------------------------------------------------------


def test_the_queue_is_told(site: Site) -> None:
    site.posters.gives["told"] = {"jobs": [], "on": True}
    assert (site.get("/api/queue").status, site.get("/api/queue").said) == (200, {"jobs": [], "on": True})


@pytest.mark.parametrize(
    ("more", "like", "suffix", "goes"),
    [
        ({}, "c d", ".png", True),
        ({"name": "my map", "format": ".tif", "later": False}, "my map", ".tif", True),
        ({"name": "x" * 200, "later": True}, "x" * 200, ".png", False),
    ],
)
def test_a_poster_is_added_and_rendered(site: Site, more: dict[str, Any], like: str, suffix: str, goes: bool) -> None:
    site.posters.gives["add"] = "called-so"
    answer = site.post("/api/queue", {"values": VALUES, **more})
    assert (answer.status, answer.said) == (201, {"name": "called-so"})
    assert site.posters.calls == [("add", _config(site), like, suffix), *([("go",)] if goes else [])]


def test_a_poster_without_a_content_is_called_like_its_style(site: Site) -> None:
    site.post("/api/queue", {"values": {"styles": ["s.png"], "init": "noise", "content_weight": "0", "size": "9x7"}})
    assert site.posters.calls[0][2:] == ("s", ".png")


def test_what_cannot_be_added_is_not_begun(site: Site) -> None:
    site.posters.gives["add"] = StoreError(f"store {site.folder.root}/p.zarr: is full")
    for name, words in (("n", "store p.zarr: is full"), ("x" * 201, "name: allowed: a text of up to 200 letters")):
        answer = site.post("/api/queue", {"values": VALUES, "name": name})
        assert (answer.status, answer.said) == (400, {"error": words})
    assert [call[0] for call in site.posters.calls] == ["add"]


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("/api/queue/n1/pause", ("act", "n1", "pause")),
        ("/api/queue/n2/up", ("act", "n2", "up")),
        ("/api/queue/n3/keep", ("keep", "n3")),
        ("/api/work/on", ("go",)),
        ("/api/work/off", ("hold",)),
        ("/watch/n4/api/stop", ("act", "n4", "stop")),
        ("/watch/n5/api/keep", ("keep", "n5")),
    ],
)
def test_a_poster_is_steered(site: Site, path: str, call: tuple[str, ...]) -> None:
    site.posters.gives["keep"] = "n-so-far.png"
    answer = site.post(path)
    assert (answer.status, site.posters.calls) == (200, [call])
    assert answer.said == ({"file": "n-so-far.png"} if call[0] == "keep" else {})
    assert ask(site.app, "GET", path).status in (404, 405)
    site.posters.gives[call[0]] = StoreError(f"{site.folder.root}/x: gone")
    assert (site.post(path).status, site.post(path).said) == (400, {"error": "x: gone"})


@pytest.mark.parametrize("name", ["stop", "regions", "plan", "proof", "retouch", "retouch/stop", "work/on"])
def test_what_changes_something_is_not_done_by_opening_an_address(site: Site, name: str) -> None:
    assert site.get(f"/api/{name}").status == 405
    assert [*site.posters.calls, *site.bench.calls, *site.second.calls] == []


def test_a_switch_is_on_or_off(site: Site) -> None:
    assert site.post("/api/work/up").status == 404
    assert site.posters.calls == []


def test_files_and_views_are_handed_out(site: Site) -> None:
    (site.folder.root / "p.tif").write_bytes(b"poster")
    site.posters.gives = {"file": site.folder.root / "p.tif", "view": b"small"}
    answer = site.get("/api/poster/p.tif")
    assert (answer.body, answer.headers["content-type"]) == (b"poster", "application/octet-stream")
    assert 'filename="p.tif"' in answer.headers["content-disposition"]
    answer = site.get("/api/view/p")
    assert (answer.body, answer.headers["content-type"]) == (b"small", "image/jpeg")
    assert site.posters.calls == [("file", "p.tif"), ("view", "p")]


def test_a_poster_is_watched_on_a_page_of_its_own(site: Site) -> None:
    answer = site.get("/watch/n1")
    assert (answer.status, answer.headers["location"]) == (303, "/watch/n1/")
    assert site.posters.calls == []
    assert site.get("/watch/n1/").body == ask(application("watch.html", []), "GET", "/").body
    site.posters.gives["watch"] = SimpleNamespace(state=lambda: {"version": 3}, tile=lambda *of: (str(of), None))
    assert site.get("/watch/n2/api/state").said == {"version": 3, "steered": True}
    assert site.get("/watch/n3/api/tiles/4/5_6.jpg").headers["etag"] == "\"(4, 5, 6, '')\""
    assert site.posters.calls == [("watch", "n1"), ("watch", "n2"), ("watch", "n3")]
    site.posters.gives["watch"] = StoreError("gone")
    assert (site.get("/watch/n1/").status, site.get("/watch/n1/api/state").status) == (400, 400)


# Plans, proofs and retouches -----------------------------------------------------------------------------------------


def test_nothing_is_told_of_errands_that_nobody_went_on(site: Site) -> None:
    assert site.get("/api/errand/plan").said == {"run": 0, "done": True}
    assert site.get("/api/proof/0.png").status == 404


def test_a_plan_is_of_the_poster_that_would_be_added(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[RenderConfig] = []
    monkeypatch.setattr(poster_pages.Wish, "of", looked.append)
    placed = _config(site, seed="7")
    site.posters.gives["placed"] = placed
    answer = site.post("/api/plan", {"values": {**VALUES, "seed": "3"}, "name": "n", "format": ".tif"})
    assert (answer.status, answer.said) == (202, {"run": 10})
    assert site.posters.calls == [("placed", _config(site, seed="3"), "n", ".tif")]
    assert looked == [placed]
    ((_, task),) = site.bench.calls
    assert isinstance(task, Planning)
    assert task._config is placed
    told = site.get("/api/errand/plan").said
    assert (told["run"], told["plan"]) == (10, None)
    assert site.get("/api/errand/proof").said == {"run": 0, "done": True}
    assert site.second.calls == []


def test_a_proof_is_a_picture_once_it_is_there(site: Site) -> None:
    answer = site.post("/api/proof", {"values": VALUES, "at": [0.25, 1], "edge": 48})
    assert (answer.status, answer.said) == (202, {"run": 10})
    ((_, task),) = site.bench.calls
    assert isinstance(task, Proofing)
    assert (task._config, task._at, task._edge) == (_config(site), (0.25, 1.0), 48)
    assert site.get("/api/proof/10.png").status == 404
    task.file = site.folder.root / "s.png"
    answer = site.get("/api/proof/10.png")
    assert (answer.body, answer.headers["content-type"]) == (task.file.read_bytes(), "image/png")
    assert site.get("/api/proof/9.png").status == 404
    assert site.get("/api/errand/proof").said["at"] == [0.25, 1.0]


@pytest.mark.parametrize(("more", "feather"), [({}, FEATHER), ({"feather": 0}, 0), ({"feather": 7}, 7)])
def test_a_retouch_is_nobody_else_s_to_cancel(site: Site, more: dict[str, int], feather: int) -> None:
    site.posters.gives["retouched"] = "/p.zarr", "/q/p-retouched.png"
    answer = site.post("/api/retouch", {"name": "p", "mask": MASK, "set": {"seed": "3"}, **more})
    assert (answer.status, answer.said) == (202, {"run": 70})
    assert site.posters.calls == [("retouched", "p")]
    ((_, task),) = site.second.calls
    assert isinstance(task, Retouching)
    assert (task._url, task._mask, task._output) == ("/p.zarr", b"mask", "/q/p-retouched.png")
    assert (task._changes, task._feather) == ({"seed": 3}, feather)
    assert site.get("/api/errand/retouch").said["run"] == 70
    assert site.post("/api/retouch/stop").said == {}
    assert (site.second.calls[1:], site.bench.calls) == ([("stop",)], [])
    site.posters.gives["retouched"] = StoreError(f"{site.folder.root}/p.zarr: gone")
    wrong = site.post("/api/retouch", {"name": "p", "mask": MASK, "set": {}})
    assert (wrong.status, wrong.said) == (400, {"error": "p.zarr: gone"})


# Pictures and previews -----------------------------------------------------------------------------------------------


def test_a_page_knows_its_controls_and_their_bounds(site: Site) -> None:
    said = site.get("/api/controls").said
    assert said["controls"][0]["name"] == "content"
    assert {key: one for key, one in said.items() if key != "controls"} == {
        "edge": 512, "most_edge": 1024, "most_proof": 2048, "most_regions": 8,
        "formats": [".png", ".tif", ".jpg", ".webp"],
    }  # fmt: skip


def test_pictures_are_listed_and_shown_small(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    said = site.get("/api/pictures").said
    assert (said["folder"], [one["name"] for one in said["pictures"]]) == ("maps", ["s.png", "sub/c d.png"])
    made: list[str] = []
    monkeypatch.setattr(Folder, "thumbnail", lambda self, name: made.append(name) or name.encode())
    monkeypatch.setattr(studio_module, "_THUMBS", 2)
    answer = site.get("/api/thumbnail/sub/c d.png")
    assert (answer.body, answer.headers["content-type"]) == (b"sub/c d.png", "image/png")
    (site.folder.root / "b.png").write_bytes(b"one")
    for name in ("s.png", "sub/c d.png", "b.png", "s.png"):
        site.get(f"/api/thumbnail/{name}")
    assert made == ["sub/c d.png", "s.png", "b.png"]
    (site.folder.root / "b.png").write_bytes(b"another")
    for name in ("b.png", "s.png", "sub/c d.png"):
        site.get(f"/api/thumbnail/{name}")
    assert made[3:] == ["b.png", "s.png", "sub/c d.png"]
    assert site.get("/api/thumbnail/gone.png").status == 400


def test_an_upload_has_an_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (site.folder.root / "s.png").read_bytes()

    def put(body: bytes, **headers: str) -> Answer:
        return ask(site.app, "PUT", "/api/pictures/new.png", body, **headers)

    assert put(data.ljust(4001)).status == 413
    assert put(data, Content_Length="4001").status == 413
    room = SimpleNamespace(free=7999)
    monkeypatch.setattr(studio_module.shutil, "disk_usage", lambda path: room)
    assert put(data, Content_Length="4000").status == 413
    assert not (site.folder.root / "new.png").exists()
    room.free = 8000
    answer = put(data.ljust(4000), Content_Length="4000")
    assert (answer.status, answer.said["name"], answer.said["width"]) == (201, "new.png", 24)
    assert put(data).said["name"] == "new 2.png"
    assert [*site.folder.own.iterdir()] == []


def test_what_a_page_says_last_it_is_left_with(site: Site) -> None:
    assert site.get("/api/values").said == {}
    assert ask(site.app, "PUT", "/api/values", b'{"seed": "4"}').said == {}
    assert site.get("/api/values").said == {"seed": "4"}
    for size, status in ((2**18, 200), (2**18 + 1, 413)):
        assert ask(site.app, "PUT", "/api/values", b'{"seed": "5"}'.ljust(size)).status == status


def test_regions_are_of_what_a_page_says(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(folder: Folder, config: RenderConfig, count: Any, used: set[Path]) -> dict[str, Any]:
        assert (folder, config, used) == (site.folder, config_of(VALUES), {Path("waiting-labels.png")})
        if count == 9:
            raise StoreError(f"{folder.root}/x: gone")
        return {"count": count}

    site.posters.gives["labels"] = {Path("waiting-labels.png")}
    monkeypatch.setattr(studio_module, "regions", found)
    assert site.post("/api/regions", {"values": VALUES, "count": 3}).said == {"values": {"count": 3}}
    answer = site.post("/api/regions", {"values": VALUES, "count": 9})
    assert (answer.status, answer.said) == (400, {"error": "x: gone"})


@pytest.mark.parametrize(("edge", "taken"), [(None, 512), (16, 16), (1024, 1024)])
def test_a_preview_is_of_what_a_page_says(site: Site, edge: int | None, taken: int) -> None:
    values = {**VALUES, "long_edge": "240"}
    answer = site.post("/api/run", {"values": values, **({} if edge is None else {"edge": edge})})
    said = "tiler render 'sub/c d.png' s.png -o poster.png --long-edge=240"
    assert (answer.status, answer.said) == (202, {"run": 10, "command": said})
    ((_, run),) = site.bench.calls
    assert isinstance(run, Run)
    ((cell,), table) = run.cells, run.table
    assert (cell.caption, cell.config, table, run._edge) == ("", _config(site, long_edge="240"), None, taken)
    assert cell.whole == (180, 240)
    told = site.get("/api/run").said
    assert (told["run"], told["cells"]) == (10, [{"caption": "", "version": 0, "whole": [180, 240]}])
    assert site.post("/api/stop").said == {}
    assert site.bench.calls[1:] == [("stop",)]
    assert site.get("/api/run/10/0.png").status == 404


@pytest.mark.parametrize("edge", [15, 1025, 64.0, "64", True])
def test_a_preview_has_bounds(site: Site, edge: Any) -> None:
    answer = site.post("/api/run", {"values": VALUES, "edge": edge})
    assert (answer.status, answer.said) == (400, {"error": f"edge = {edge}; allowed: 16 to 1024"})
    assert site.bench.calls == []


@pytest.mark.parametrize(("edge", "taken"), [(512, 256), (64, 64)])
def test_a_sheet_is_a_cell_for_each_value(site: Site, edge: int, taken: int) -> None:
    values = {**VALUES, "long_edge": "240"}
    said = {"values": values, "edge": edge, "vary": [["content_weight", ["1", "2"]], ["seed", ["3", "4"]]]}
    assert site.post("/api/run", said).status == 202
    ((_, run),) = site.bench.calls
    captions = [cell.caption for cell in run.cells]
    assert captions == [f"content weight {one}, seed {two}" for one in ("1", "2") for two in (3, 4)]
    assert [(one.config.content_weight, one.config.seed) for one in run.cells] == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert {one.config.content for one in run.cells} == {f"{site.folder.root}/sub/c d.png"}
    assert {one.whole for one in run.cells} == {(180, 240)}
    assert run._edge == taken
    assert site.get("/api/run/10/sheet.png").status == 404


def test_pictures_and_sheets_of_a_run_are_handed_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiler.series.preview import Preview

    def seen(shade: int) -> Preview:
        return Preview(0, 2, 1, 3, None, None, 1.0, np.full((18, 24, 3), shade, np.uint8))

    site.post("/api/run", {"values": VALUES, "vary": [["seed", ["3", "4"]]]})
    ((_, run),) = site.bench.calls
    run.cells[1].seen = seen(7)
    answer = site.get("/api/run/10/1.png")
    assert (answer.body, answer.headers["content-type"]) == (seen(7).png(), "image/png")
    for path in ("10/0.png", "10/2.png", "9/1.png", "10/sheet.png"):
        assert site.get(f"/api/run/{path}").status == 404
    run.cells[0].seen = seen(200)
    answer = site.get("/api/run/10/sheet.png")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream")
    assert answer.headers["content-disposition"] == "attachment; filename=sheet.png"
    assert answer.body[1:4] == b"PNG"
    assert site.get("/api/run/9/sheet.png").status == site.get("/api/run/10/sheet.gif").status == 404
    assert [*site.folder.own.iterdir()] == []
    assert json.loads(site.get("/api/run").body)["cells"][0]["height"] == 18
