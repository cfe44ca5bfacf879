"""The studio's posters: what may not be done there whoever asks, and whatever lies in the folder."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serial_pool import Here, StoppedError, render_module
from small_studios import small

from tiler.errors import CancelledError, ConfigError, StoreError
from tiler.queue.queue import Queue
from tiler.queue.turn import NOT_HERE, take
from tiler.request.config import RenderConfig
from tiler.studio.errands import Proofing
from tiler.studio.folder import Folder
from tiler.studio.posters import Posters
from tiler.studio.steering import Steered, kept, stop_writer

MASK = {"name": "x", "mask": "data:;base64,aaaa"}
VALUES = {"content": "content.png", "styles": ["style.png"]}
POSTS = (
    "/api/queue", "/api/queue/x/stop", "/api/queue/x/keep", "/api/queue/x/remove", "/api/work/on", "/api/plan",
    "/api/proof", "/api/retouch", "/api/retouch/stop", "/watch/x/api/stop", "/watch/x/api/keep",
)  # fmt: skip
GETS = (
    "/api/queue", "/api/poster/x.png", "/api/view/x", "/api/proof/1.png", "/api/errand/plan", "/watch/x", "/watch/x/",
    "/watch/x/api/state", "/watch/x/api/tiles/0/0_0.jpg", "/api/run/1/sheet.png",
)  # fmt: skip
ODD = ("..", "%2e%2e", "..%2fcontent", "%2e%2e%2fcontent.png", ".queue", "x%00", "nothing", "%3cscript%3e", "a" * 400)


def _send(client: Any, path: str, said: Any) -> tuple[int, Any]:
    status, _, body = client.ask("POST", path, json.dumps(said).encode(), Origin=client.origin)
    return status, json.loads(body)


def test_every_route_is_behind_the_door(client: Any) -> None:
    """Without the token, under another name, from another's page."""
    cookie = client.cookie
    for method, paths in (("GET", GETS), ("POST", POSTS)):
        for path in paths:
            body = b"{}" if method == "POST" else None
            client.cookie = ""
            assert client.ask(method, path, body, Origin=client.origin)[0] == 401, path
            client.cookie = cookie
            assert client.ask(method, path, body, Origin="http://elsewhere.example")[0] == 403, path
            assert client.ask(method, path, body, Host="elsewhere.example", Origin=client.origin)[0] == 421, path
    for path in POSTS:
        assert client.ask("POST", path, b"{}")[0] == 403, path
        assert client.ask("GET", path)[0] in (200, 303, 400, 404, 405), path


def test_no_name_leads_elsewhere(client: Any, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}
    for name in ODD:
        for path in (f"/api/poster/{name}", f"/api/view/{name}", f"/watch/{name}/", f"/watch/{name}/api/state"):
            status, _, body = client.ask("GET", path)
            assert status in (400, 404), path
            assert str(folder.parent).encode() not in body
        for what in ("stop", "remove", "keep", "up", "__init__", "run"):
            assert client.ask("POST", f"/api/queue/{name}/{what}", b"", Origin=client.origin)[0] in (400, 404, 405)
        said = {"name": name, "mask": "data:image/png;base64,aaaa", "set": {}}
        assert _send(client, "/api/retouch", said)[0] == 400
    assert {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("path", "said", "words"),
    [
        ("/api/queue", {"values": 3}, "values: allowed"),
        ("/api/queue", {"values": {**VALUES, "content": "../x.png"}}, "no such picture"),
        ("/api/queue", {"values": {**VALUES, "output": "/x.png"}}, "output: a page cannot say that"),
        ("/api/queue", {"values": VALUES, "format": ".zarr"}, "format = .zarr; allowed: .png"),
        ("/api/queue", {"values": VALUES, "format": "/../../x.png"}, "allowed: .png"),
        ("/api/queue", {"values": VALUES, "name": 3}, "name: allowed"),
        ("/api/plan", {"values": {**VALUES, "compression": "zstd"}}, "zstd"),
        ("/api/proof", {"values": VALUES, "at": [2, 0], "edge": 64}, "allowed: two shares"),
        ("/api/proof", {"values": VALUES, "at": "0,0", "edge": 64}, "allowed: two shares"),
        ("/api/proof", {"values": VALUES, "at": [0, 0], "edge": 10**6}, "16 to 2048"),
        ("/api/retouch", {"name": "x", "mask": 3, "set": {}}, "mask: allowed"),
        ("/api/retouch", {**MASK, "set": 3}, "set: allowed"),
        (
            "/api/retouch",
            {**MASK, "set": {"protect": "/etc/x"}},
            "protect: is the same",
        ),
        ("/api/retouch", {**MASK, "set": {"weights": "x"}}, "weights: is the same"),
        ("/api/retouch", {**MASK, "set": {}, "feather": "9"}, "feather = 9"),
    ],
)
def test_what_is_no_wish_is_refused_in_a_line(client: Any, folder: Path, path: str, said: Any, words: str) -> None:
    status, found = _send(client, path, said)
    assert (status, words in found["error"]) == (400, True), found
    assert str(folder) not in found["error"]
    assert not list(folder.glob("posters/*"))


def test_what_is_sent_has_an_end_and_is_no_program(client: Any) -> None:
    for path in ("/api/queue", "/api/plan", "/api/proof"):
        for body in (b"", b"[]", b"{", b"[" * 10**5, b"\xff"):
            assert client.ask("POST", path, body, Origin=client.origin)[0] == 400
    try:
        status = client.ask("POST", "/api/retouch", b"x" * (2**23 + 1), Origin=client.origin)[0]
    except ConnectionError:
        status = 413
    assert status == 413


def test_many_requests_at_once_are_answered(client: Any, folder: Path) -> None:
    for path in ("/api/queue", "/watch/nothing/api/state"):
        assert {*client.flooded(path, 400)} <= {b"200", b"400", b"503"}
    assert client.ask("GET", "/api/queue")[0] == 200


def test_a_script_as_a_job_s_name_is_text(client: Any, folder: Path, page: Any, showing: Any, studio: Any) -> None:
    """As is whatever a job file says."""
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    queue, name = folder / "posters", "<img src=x onerror=alert(1)>"
    queue.mkdir()
    (queue / f"{name}.toml").write_text("'<script>alert(2)<\\u002fscript>' = 3")
    with showing(page, studio):
        page.get_by_role("tab", name="Poster").click()
        job = page.locator("#jobs li")
        job.get_by_text(name, exact=True).wait_for()
        assert "unknown key '<script>" in (job.text_content() or "")
        assert page.locator("#jobs img").count() == 0
        job.get_by_role("button", name="Remove").click()
        assert (queue / f"{name}.toml").exists()
        job.get_by_role("button", name="Really remove?").click()
        page.get_by_text("no posters yet").wait_for()
    assert not list(queue.glob("*.toml"))


def test_a_folder_of_somebody_else_s(folder: Path) -> None:
    """Jobs and files in it that lead elsewhere are shown, and neither rendered nor handed out."""
    queue, outside = folder / "posters", folder.parent / "outside"
    outside.mkdir()
    Image.new("RGB", (8, 8)).save(outside / "secret.png")
    held = Folder(folder)
    queue.symlink_to(outside)
    with pytest.raises(ConfigError, match="posters: is no folder, or a link"):
        Posters(held).told()
    queue.unlink()
    queue.mkdir()
    paths = {"output": f"{outside}/new.png", "content": "../../outside/secret.png", "overlay": "/etc/hostname"}
    for name, path in paths.items():
        values = {"content": "../content.png", "styles": ["../style.png"], "output": "p.png", name: path}
        (queue / f"{name}.toml").write_text("\n".join(f"{key} = {json.dumps(one)}" for key, one in values.items()))
    (queue / "linked.png").symlink_to(outside / "secret.png")
    (queue / "linked.zarr").symlink_to(outside)
    (queue / "output.zarr").mkdir()
    posters = Posters(held)
    for name in paths:
        ending = take(queue, name, {}, lambda event: None, pytest.fail, within=folder)
        assert (ending.how, "lies outside of" in ending.reason) == (NOT_HERE, True), name
        assert Queue(queue).job(name).state == "waiting"
    told = {job["name"]: job for job in posters.told()["jobs"]}
    assert {*told} == {*paths}
    assert all(job["file"] is None and "lies outside" in job["reason"] for job in told.values())
    assert str(folder) not in json.dumps(told).replace(str(outside), "")
    for call in (posters.file, posters.store, posters.view):
        for name in ("linked", "linked.png", "../content.png", ".queue"):
            with pytest.raises(ConfigError):
                call(name)
    with pytest.raises(StoreError):
        posters.watch("output")
    assert {path.name for path in outside.iterdir()} == {"secret.png"}


def test_a_poster_replaces_nothing(folder: Path, small_studio: Any) -> None:
    """Neither one that was removed from the queue, nor its store."""
    posters, config = Posters(Folder(folder)), _config(folder)
    (folder / "posters").mkdir()
    (folder / "posters" / "map.png").write_bytes(b"mine")
    (folder / "posters" / "map-2.zarr").mkdir()
    assert posters.add(config, "map", ".tif") == "map-3"
    assert posters.add(config, "../a b/ü", ".jpg") == "a-b-ü"
    assert (folder / "posters" / "map.png").read_bytes() == b"mine"


def _config(folder: Path, **more: Any) -> RenderConfig:
    files = dict(content=str(folder / "content.png"), styles=(str(folder / "style.png"),), output="preview.png")
    return small(RenderConfig(**files), folder, **more)  # type: ignore[arg-type]


def test_a_retouch_reads_what_is_within_only(folder: Path, tmp_path: Path) -> None:
    (folder / "posters").mkdir()
    other = tmp_path / "other.png"
    other.write_bytes((folder / "style.png").read_bytes())
    posters = Posters(Folder(folder))
    for name, styles in (("good", str(folder / "style.png")), ("bad", str(other))):
        config = _config(folder, styles=(styles,), steps=(0, 0))
        output = str(folder / "posters" / f"{name}.png")
        render_module().render(RenderConfig(**{**vars(config), "output": output}), pool=Here())
    assert posters.retouched("good") == (str(folder / "posters/good.zarr"), str(folder / "posters/good-retouched.png"))
    with pytest.raises(ConfigError, match=r"other\.png: lies outside of"):
        posters.retouched("bad")
    assert Image.open(io.BytesIO(posters.view("good"))).size == (96, 72)
    assert {job["name"]: job["file"] for job in posters.told()["jobs"]} == {"bad": "bad.png", "good": "good.png"}


# A watched store that may be steered --------------------------------------------------------------------------------


def test_who_renders_is_stopped_and_nobody_else(tmp_path: Path) -> None:
    """A lock file may say what it likes."""
    url = tmp_path / "p.zarr"
    hold = "with sole_writer(sys.argv[1]): print(flush=True); time.sleep(60)"
    code = f"import sys, time; from tiler.engine.lock import sole_writer\n{hold}"
    holder = subprocess.Popen([sys.executable, "-c", code, str(url)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    lock = next(path for path in url.iterdir())
    record = json.loads(lock.read_text())
    lock.write_text(json.dumps({**record, "pid": os.getpid()}))
    with pytest.raises(StoreError, match="no process of this machine"):
        stop_writer(str(url))
    lock.write_text(json.dumps(record))
    stop_writer(str(url))
    assert holder.wait(20) == -15
    with pytest.raises(StoreError, match="no process of this machine"):
        stop_writer(str(url))
    with pytest.raises(StoreError, match="no process of this machine"):
        stop_writer("s3://bucket/p.zarr")


def test_what_there_is_is_kept(folder: Path) -> None:
    """The finest level that has come to anything, as far as it has."""
    output = folder / "p.png"
    config = RenderConfig(**{**vars(_config(folder)), "output": str(output), "state": "store"})

    class Short(Here):
        tiles = 7  # one of the coarse level, four of the fine one, and some more

    with pytest.raises(StoppedError):
        render_module().render(config, pool=Short())
    kept(str(folder / "p.zarr"), str(folder / "kept.png"))
    assert np.asarray(Image.open(folder / "kept.png")).std() > 5
    with pytest.raises(StoreError, match="no readable job there"):
        Steered(str(folder / "q.zarr"), str(folder / "q.png")).keep(None)  # type: ignore[arg-type]


def test_a_proof_that_was_cancelled_is_gone_on_with_or_makes_way(folder: Path) -> None:
    held, config = Folder(folder), _config(folder)
    other = _config(folder, content_weight=2.0)

    def proofed(at: tuple[float, float], levels: int = 9, config: RenderConfig = config) -> tuple[Proofing, list[str]]:
        """Cancelled when so many levels are done."""
        task, told = Proofing(held, config, at, 32), list[str]()
        pool: Any = Here()
        with contextlib.suppress(CancelledError):
            task.work(pool, lambda: told.count("level done") >= levels, lambda event: told.append(event["event"]))
        return task, told

    first, told = proofed((0, 0), 1)
    assert (first.told()["there"], told.count("level done")) == (False, 1)
    first, told = proofed((0, 0))
    assert (first.told()["there"], told.count("level done")) == (True, 1)
    assert Image.open(first.file or "").size == (32, 32)
    assert "proof: 32 x 32 px from (0, 0) of 96 x 72" in first.told()["part"]
    proofed((1, 0), 1, other)
    last, told = proofed((1, 1), config=other)
    assert (last.told()["there"], "x 32 px from (64, 40)" in last.told()["part"]) == (True, True)
