"""The studio through its page, in a real browser; and what it does not do whoever asks."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from serial_pool import Here
from small_studios import small

from tiler.errors import ConfigError
from tiler.studio.bench import Bench
from tiler.studio.controls import command, config_of, controls, varied
from tiler.studio.folder import OWN, Folder, checked_name
from tiler.studio.previews import Cell, Previewer, kept_place


def _png(shade: int = 90) -> bytes:
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", "<script>alert(3)</script>")
    found = io.BytesIO()
    Image.new("RGB", (40, 30), (shade, 20, 30)).save(found, "PNG", pnginfo=about)
    return found.getvalue()


def _traces(folder: Path) -> dict[str, int]:
    found = (Path(above) / name for above, _, names in os.walk(folder) for name in names)
    return {str(one.relative_to(folder)): one.stat().st_mtime_ns for one in found}


def test_what_is_asked_last_is_rendered(folder: Path) -> None:
    """A change cancels what is rendered; what is there already is shown at once."""
    values = {"content": "content.png", "styles": ["style.png"]}
    held = Folder(folder)
    configs = [
        held.confined(small(config_of({**values, "content_weight": str(weight)}), folder)) for weight in (1, 2, 3)
    ]
    with Bench(held.said, Here) as bench:  # type: ignore[arg-type]
        previewer = Previewer(held, bench)
        numbers = [previewer.ask([Cell("", config)], 64) for config in configs]
        told = _done(previewer)
        assert (told["run"], told["error"]) == (numbers[-1], "")
        assert told["cells"][0]["finished"]
        assert previewer.picture(numbers[0], 0) is None
        pixels = previewer.picture(numbers[-1], 0)
        again = previewer.ask([Cell("", configs[-1])], 64)
        assert _done(previewer)["cells"][0]["version"] == 1
        assert previewer.picture(again, 0) == pixels
        (folder / "style.png").unlink()
        previewer.ask([Cell("", configs[0])], 64)
        assert "style.png" in _done(previewer)["error"]
        assert str(folder) not in _done(previewer)["error"]


def _done(previewer: Previewer) -> dict[str, Any]:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        told = previewer.told()
        if told["done"]:
            return told
        time.sleep(0.02)
    raise AssertionError(told)


OUTSIDE = (
    "../secret.png", "/etc/hostname", "link.png", "linked/secret.png", ".hidden.png", "~/x.png", "no\0.png",
    f"{OWN}/x.png", "pipe.png",
)  # fmt: skip
ODD_PATHS = (
    "../secret.png", "%2e%2e/secret.png", "..%2fsecret.png", "link.png", "linked/secret.png", "%2fetc%2fpasswd",
)  # fmt: skip
ODD_NAMES = (
    "%2e%2e%2fa.png", "..%5ca.png", ".a.png", "a%00.png", "a%0a.png", "a.html", "a", "a.png%20", "a%e2%80%ae.png",
)  # fmt: skip
NOT_A_PAGE_S = ("store", "scheduler", "workers", "output", "tiles", "weights", "checkpoint_seconds")


def test_nothing_outside_the_folder_is_read(client: Any, folder: Path) -> None:
    outside = folder.parent / "secret.png"
    outside.write_bytes(_png())
    (folder / "link.png").symlink_to(outside)
    (folder / "linked").symlink_to(folder.parent)
    (folder / ".hidden.png").write_bytes(_png())
    (folder / OWN).mkdir(exist_ok=True)
    (folder / OWN / "x.png").write_bytes(_png())
    os.mkfifo(folder / "pipe.png")
    held = Folder(folder)
    for name in OUTSIDE:
        with pytest.raises(ConfigError, match="no such picture in the studio's folder"):
            held.inside(name)
        two = {"content": "content.png", "styles": ["style.png"]}
        region = {"mask": [f"a={name}"], "region": ["a=style.png"]}
        for values in ({**two, "content": name}, {**two, "styles": [name]}, {**two, **region}):
            sent = json.dumps({"values": values}).encode()
            status, _, body = client.ask("POST", "/api/run", sent, Origin=client.origin)
            assert status == 400, (name, values)
            assert str(folder.parent) not in body.decode()
    for name in ODD_PATHS:
        assert client.ask("GET", f"/api/thumbnail/{name}")[0] in (400, 404)
    listed = json.loads(client.ask("GET", "/api/pictures")[2])
    assert listed["folder"] == "pictures"
    names = {one["name"]: one for one in listed["pictures"]}
    assert {*names} == {"content.png", "style.png", "link.png", "pipe.png"}
    assert "no such picture" in names["link.png"]["error"]


@pytest.mark.parametrize("option", NOT_A_PAGE_S)
def test_what_a_page_may_not_say(client: Any, option: str) -> None:
    values = {"content": "content.png", "styles": ["style.png"], option: "1"}
    status, _, body = client.ask("POST", "/api/run", json.dumps({"values": values}).encode(), Origin=client.origin)
    assert (status, json.loads(body)) == (400, {"error": f"{option}: a page cannot say that"})


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"values": 3}', b'{"values": {"content": 3}}', b'{"values": {"styles": "a"}}',
             b'{"values": {}, "edge": 99999}', b'{"values": {}, "vary": [["seed", []]]}', b'{"values": {}, "vary": 3}',
             b'{"values": {"keep_detail": "yes"}}', b"\xff"],
)  # fmt: skip
def test_what_is_no_wish_is_refused(client: Any, body: bytes) -> None:
    status, headers, said = client.ask("POST", "/api/run", body, Origin=client.origin)
    assert (status, headers["Content-Type"]) == (400, "application/json")
    assert len(json.loads(said)["error"].splitlines()) == 1


@pytest.mark.parametrize(
    ("more", "count", "said"),
    [({}, "2", "count = 2; allowed: 1 to 8"), ({}, 9, "count = 9"), ({}, True, "count = True"), ({}, 0, "count = 0"),
     ({"content": "", "init": "noise", "content_weight": "0"}, 2, "auto_regions = 2 beside no content"),
     ({"styles": ""}, 2, "STYLE is missing"),
     ({"region": ["a=style.png"], "mask": ["a=content.png"]}, 2, "auto_regions = 2 beside region"),
     ({"styles": ["style.png", "content.png"], "style_scale": "1,2"}, 2, "auto_regions = 2 beside style_scale"),
     ({"styles": ["../pictures.png"]}, 2, "no such picture")],
)  # fmt: skip
def test_regions_that_cannot_be_found(client: Any, folder: Path, more: dict[str, Any], count: Any, said: str) -> None:
    before = _traces(folder)
    values = {"content": "content.png", "styles": ["style.png"], **more}
    sent = json.dumps({"values": values, "count": count}).encode()
    status, _, body = client.ask("POST", "/api/regions", sent, Origin=client.origin)
    assert status == 400
    assert said in json.loads(body)["error"]
    assert _traces(folder) == before


def test_regions_whose_files_are_gone_are_taken_away(client: Any, folder: Path) -> None:
    def asked(values: dict[str, Any], count: int) -> dict[str, Any]:
        sent = json.dumps({"values": values, "count": count}).encode()
        status, _, body = client.ask("POST", "/api/regions", sent, Origin=client.origin)
        assert status == 200, body
        return json.loads(body)["values"]

    values = {"content": "content.png", "styles": ["style.png"]}
    found = asked(values, 2)
    assert (found["styles"], found["labels"], len(found["label"])) == ([], "content-labels.png", 2)
    for file in folder.glob("content-labels*"):
        file.unlink()
    nothing = {"labels": None, "label": None, "style_mask": None}
    assert asked({**values, **found}, 1) == {"styles": ["style.png"], **nothing}
    assert asked({**values, **found}, 2) == found


@pytest.mark.parametrize("name", ["content-labels.png", "content-labels-1-style-1.png", "content-labels.toml"])
@pytest.mark.parametrize("link", [False, True])
def test_regions_replace_nothing_and_follow_no_link(client: Any, folder: Path, name: str, link: bool) -> None:
    outside = folder.parent / "of-others"
    outside.write_bytes(b"of others")
    if link:
        (folder / name).symlink_to(outside)
    else:
        shutil.copy(outside, folder / name)
    before = _traces(folder.parent)
    sent = json.dumps({"values": {"content": "content.png", "styles": ["style.png"]}, "count": 2}).encode()
    status, _, body = client.ask("POST", "/api/regions", sent, Origin=client.origin)
    assert status == 400
    said = json.loads(body)["error"]
    assert said.startswith(f"{name}: is a link" if link and "style" not in name else f"{name}: is there already")
    assert _traces(folder.parent) == before


def test_an_upload_is_a_picture_or_nothing(client: Any, folder: Path) -> None:
    def put(name: str, body: bytes, **headers: str) -> int:
        with contextlib.suppress(ConnectionError):
            return client.ask("PUT", f"/api/pictures/{name}", body, Origin=client.origin, **headers)[0]
        return 413

    before = _traces(folder.parent)
    assert put("big.png", b"x" * (2**20 + 1)) == 413
    assert put("big.png", b"x", Content_Length=str(2**40)) == 413
    for name in ODD_NAMES:
        assert put(name, _png()) in (400, 404), name
    for content in (b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", _png()[:60], b"MZ" + bytes(99)):
        assert put("a.png", content) == 400
    assert client.ask("PUT", "/api/pictures/a.png", _png())[0] == 403
    assert _traces(folder.parent) == before
    assert put("a.png", _png(10)) == 201
    assert put("a.png", _png(20)) == 201  # which replaces nothing
    assert (folder / "a.png").read_bytes() == _png(10)
    assert (folder / "a 2.png").read_bytes() == _png(20)
    assert {*_traces(folder.parent)} - {*before} == {"pictures/a.png", "pictures/a 2.png"}
    with pytest.raises(ConfigError, match="cannot be a picture's name"):
        checked_name("x" * 300 + ".png")


def test_what_a_page_is_left_with_is_data(client: Any, folder: Path) -> None:
    def put(body: bytes) -> int:
        return client.ask("PUT", "/api/values", body, Origin=client.origin)[0]

    assert put(b'{"seed": "3"}') == 200
    assert client.ask("GET", "/api/values")[2] == b'{"seed":"3"}'
    for body in (b"", b"3", b"[" * 10**5, b"\xff"):
        assert put(body) == 400
    assert put(b'"' + b"x" * 2**18 + b'"') == 413
    memory = folder / OWN / "page.json"
    memory.unlink()
    memory.symlink_to(folder.parent / "secret.json")
    (folder.parent / "secret.json").write_text('{"a": "b"}')
    assert client.ask("GET", "/api/values")[2] == b"{}"
    assert put(b"{}") == 200
    assert (folder.parent / "secret.json").read_text() == '{"a": "b"}'


def test_a_studio_s_own_folder_is_no_link(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (folder / OWN).symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="or a link"), Folder(folder).arriving():
        pass
    assert list(elsewhere.iterdir()) == []
    shutil.rmtree(elsewhere)


def test_previews_are_kept_and_removed_in_the_studio_s_own_folder_only(folder: Path) -> None:
    """Whoever sent the folder may have put anything into it, and the oldest previews make way."""
    place = folder / OWN / "previews"
    elsewhere = folder.parent / "elsewhere"
    (elsewhere / "old").mkdir(parents=True)
    for number in range(20):
        (elsewhere / f"{number:016x}").mkdir()
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="previews: is no folder, or a link"):
        kept_place(Folder(folder), "previews", 64, 12)
    place.unlink()
    shutil.copytree(elsewhere, place)
    (place / ("f" * 16)).symlink_to(elsewhere)
    kept_place(Folder(folder), "previews", 64, 12)
    assert len(list(elsewhere.iterdir())) == 21
    assert {"old", "f" * 16} < {one.name for one in place.iterdir()}
    assert len(list(place.iterdir())) == 2 + 12
    shutil.rmtree(elsewhere)
    shutil.rmtree(place.parent)


def test_controls_are_the_options(folder: Path) -> None:
    """Names, ranges, help and defaults come from the fields; what a control says comes back as the option's value."""
    found = {one["name"]: one for one in controls()}
    assert {"content", "styles", "content_weight", "steps", "region", "labels", "wrap", "size"} <= {*found}
    assert {"at", "output", "workers"}.isdisjoint(found)
    weight = found["content_weight"]
    assert (weight["kind"], weight["low"], weight["default"], weight["group"]) == ("number", 0, 0.3, "Look")
    assert weight["reach"] == (0.3 / 32, 0.3 * 32, True)
    assert (found["region_edge"]["reach"], found["keep_detail"]["kind"]) == ((0, 100, False), "flag")
    assert [found[name]["kind"] for name in ("wrap", "style_layers", "region")] == ["choice", "text", "lines"]
    said = {"content": "c.png", "styles": ["a.png", "b.png"], "steps": "5,4", "keep_detail": True, "wrap": "x",
            "style_layer_weights": ["1,0,0,0,0", "1,1,1,1,1"], "seed": ""}  # fmt: skip
    config = config_of(said)
    assert (config.styles, config.steps, config.keep_detail) == (("a.png", "b.png"), (5, 4), True)
    assert config.style_layer_weights == ((1, 0, 0, 0, 0), (1, 1, 1, 1, 1))
    assert json.dumps(controls())
    words = shlex.split(command({**said, "content": "-c d.png", "wrap": "", "keep_detail": False}))
    assert words[:5] == ["tiler", "render", "./-c d.png", "a.png", "b.png"]
    layers = ["--style-layer-weights=1,0,0,0,0", "--style-layer-weights=1,1,1,1,1"]
    assert words[5:] == ["-o", "poster.png", "--steps=5,4", *layers]
    many = varied([["content_weight", ["1", "2"]], ["keep_detail", ["yes", "no"]]])
    assert [one.values for one in many] == [(1.0, 2.0), (True, False)]
    with pytest.raises(ConfigError, match="content_layers: 25 values; allowed: up to 24, each once"):
        varied([["content_layers", [str(n) for n in range(25)]]])
