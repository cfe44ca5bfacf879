"""Which files a render reads and writes, and what it must not replace; names of given pictures, and their files."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiler.errors import ConfigError, OutputError
from tiler.request import given, places
from tiler.request.config import RenderConfig
from tiler.request.given import Given, Named
from tiler.request.kept import absolute, from_store, to_store
from tiler.request.option import expanded
from tiler.request.regions import with_files

RED = np.full((3, 4, 3), (200, 30, 30), np.uint8)
FILLED: dict[str, Any] = dict(
    content="a.png", styles=("b.png", "c.png"), output="d.png", tiles="e", overlay="f.png", protect="g.png",
    init="h.png", region=["sea=j.png,k.png"], mask=["sea=l.png", "rest=r.png"], labels="m.png",
    label=["#0000ff=sea", "#ff0000=n.png"], style_mask=["sea=o.png,p.png", "rest=q.png,s.png"],
)  # fmt: skip


def test_all_that_is_read_in_the_order_of_what_it_is_for() -> None:
    read = places.pictures_of(RenderConfig(**FILLED))
    assert [name.partition(".")[0] for name in read] == [
        *("a", "b", "q", "c", "s", "j", "o", "k", "p", "n"),
        *("l", "r", "m", "g", "f", "h"),
    ]
    assert places.pictures_of(RenderConfig(None, ("b.png",), "c.png", content_weight=0, init="noise")) == ["b.png"]
    assert places.pictures_of(RenderConfig("a.png", ("b.png",), "c.png")) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("values", "inputs", "said"),
    [
        (dict(output="in/a.png"), ["in/b.png", "in/a.png"], "in/a.png: would replace one of the inputs, in/a.png"),
        (dict(output="link.png"), ["in/a.png"], "link.png: would replace one of the inputs, in/a.png"),
        (dict(output="in"), ["in/a.png"], "in: would replace one of the inputs, in/a.png"),
        (dict(output="x.dzi"), ["x_files/0/0.png"], "x.dzi: would replace one of the inputs, x_files/0/0.png"),
        (dict(output="j.zarr"), [], "j.zarr: would replace the state of a job, j.zarr"),
        (dict(output="p.png", tiles="."), [], ".: would replace the state of a job, j.zarr"),
        (dict(output="t/p.png", tiles="t"), [], "t: would replace the poster, t/p.png"),
        (dict(output="t", tiles="t/u"), [], "t: would replace the map tiles, t/u"),
        (dict(output=None, tiles="in"), ["in/a.png"], "in: would replace one of the inputs, in/a.png"),
        (dict(output="x.dzi", tiles="x_files/t"), [], "x.dzi: would replace the map tiles, x_files/t"),
    ],
)
def test_nothing_that_is_read_or_written_is_replaced(
    values: dict[str, Any], inputs: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    (tmp_path / "link.png").symlink_to("in/a.png")
    with pytest.raises(OutputError) as error:
        places.check_places(RenderConfig("a.png", ("b.png",), **values), "j.zarr", inputs)
    assert str(error.value) == f"{said}; choose another name"
    places.check_places(RenderConfig("a.png", ("b.png",), "in/x.dzi", tiles="in/x"), "in/j.zarr", ["in/a.png", "x"])


def test_files_of_a_job_lie_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "out.png").symlink_to("../b.png")
    inside = dict(content="in/a.png", styles=("in/x/../b.png",), output="in/c.png")
    places.check_within(RenderConfig(**inside), "in")
    for values, name in (
        (dict(styles=("b.png",)), "b.png"),
        (dict(output="in/../c.png"), "in/../c.png"),
        (dict(tiles="in2/t"), "in2/t"),
        (dict(content="in/out.png"), "in/out.png"),
        (dict(store="s3://in/a"), "s3://in/a"),
    ):
        with pytest.raises(ConfigError) as error:
            places.check_within(RenderConfig(**{**inside, **values}), "in")
        assert str(error.value) == f"{name}: lies outside of in, where all files of this job must be"


def test_what_another_wrote_is_named_with_what_to_say(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_text("mine")
    with pytest.raises(OutputError) as error:
        places.check_own(str(path), tmp_path / "job", None, "store j.zarr", "--tiles")
    assert str(error.value) == (
        f"{path}: store j.zarr names it, but did not write what is there, which would be replaced; if that is wanted, "
        f"say --tiles {path}"
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "l.png").symlink_to(path)
    with pytest.raises(OutputError):
        places.check_own(str(tmp_path / "in" / "l.png"), tmp_path / "in", None, "it", "-o")


# Names ------------------------------------------------------------------------------------------------------------


def test_places_beside_a_store_are_kept_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("x/a.png") == f"{tmp_path}/x/a.png"
    assert absolute("s3://x/a") == "s3://x/a"
    assert to_store("x/a.png", "j.zarr") == "./x/a.png"
    assert to_store("x/a.png", "x/j.zarr") == "./a.png"
    assert to_store("a.png", "x/j.zarr") == f"{tmp_path}/a.png"
    assert to_store("a.png", "s3://b/j") == f"{tmp_path}/a.png"
    assert from_store("x/a.png", "y/j.zarr") == f"{tmp_path}/y/x/a.png"
    assert from_store("./a.png", "s3://b/j") == "./a.png"
    assert from_store("/x/a.png", "y/j.zarr") == "/x/a.png"


def test_a_folder_whose_name_begins_as_home_does_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(ConfigError) as error:
        expanded("~/x.png")
    assert str(error.value) == "~/x.png: there is no home folder ~; for a folder of this name: ./~/x.png"
    with pytest.raises(ConfigError, match=r"^~: there is no home folder ~"):
        expanded("~")
    (tmp_path / "~").mkdir()
    assert [expanded("~/x.png"), expanded("~"), expanded("~x"), expanded("x/~")] == ["~/x.png", "~", "~x", "x/~"]


def test_what_a_text_names_is_changed_file_by_file() -> None:
    names = ("rest", "sea")

    def changed(text: str) -> str:
        return with_files(text, lambda file: f"/{file}", names)

    assert changed("ice= a.png , b\\,c.png") == "ice=/a.png,/b\\,c.png"
    assert changed(" #00ff00 =a=b.png") == "#00ff00=/a=b.png"
    assert changed("ice=a.png,,b.png") == "ice=/a.png,,/b.png"
    for kept in ("#00ff00=sea", "#00ff00= rest ", "ice=", "ice= ", "ice"):
        assert changed(kept) == kept


# Given pictures ---------------------------------------------------------------------------------------------------


def test_a_given_picture_is_called_by_what_it_holds() -> None:
    one, other = Given.of(RED), Given.of(RED[::-1, ::-1])
    assert one == other != Given.of(RED[:2])
    assert one == f"{one.pixels.digest()}.tif"
    there = one.beside("/x/y/p.png")
    assert (there, there.pixels) == (f"/x/y/p.pictures/{one}", one.pixels)
    assert there.beside("q.tif") == f"q.pictures/{one}"
    copied = pickle.loads(pickle.dumps(there))
    assert (copied, type(copied), copied.pixels.digest()) == (there, Given, one.pixels.digest())


def test_a_text_knows_which_of_its_files_were_given() -> None:
    one = Given.of(RED)
    named = Named.of(f"sea=a.png,{one}", ["a.png", one])
    assert (type(named), named) == (Named, f"sea=a.png,{one}")
    assert type(Named.of("sea=a.png", ["a.png"])) is str
    seen: list[Any] = []
    moved = given.with_named(named, lambda file: seen.append(type(file)) or f"/x/{file}", ("sea",))  # type: ignore[func-returns-value]
    assert (seen, moved, type(moved)) == ([str, Given], f"sea=/x/a.png,/x/{one}", str)
    beside = given.with_named(named, lambda file: file.beside("/x/p.png") if isinstance(file, Given) else file, ())
    assert pickle.loads(pickle.dumps(beside)).held == {f"/x/p.pictures/{one}": f"/x/p.pictures/{one}"}


@pytest.mark.parametrize("value", [None, "a", 3, 2.5, ["a"], ("a",), {"a": 1}, Path("a"), object()])
def test_what_is_no_picture(value: Any) -> None:
    assert not given.is_given(value)
    assert given.is_given(RED)


def test_files_of_given_pictures_go_where_the_block_fails(tmp_path: Path) -> None:
    """And they alone, and their folder where it is empty then; what was there already stays."""
    blue = RED[..., ::-1]
    config = RenderConfig(RED, (RED, blue), str(tmp_path / "p.png"), region={"sea": [blue, RED[:2]]}, mask={"sea": RED})
    folder = tmp_path / "p.pictures"
    with given.landed(config) as new:
        assert [Path(name).parent for name in new] == [folder] * 3
        assert sorted(os.listdir(folder)) == sorted(Path(name).name for name in new)
        assert new[0] == config.content
    assert len(os.listdir(folder)) == 3
    os.unlink(new[1])
    failing, again = contextlib.ExitStack(), given.landed(config)
    assert failing.enter_context(again) == (new[1],)
    with pytest.raises(KeyError), failing:
        raise KeyError
    assert sorted(os.listdir(folder)) == sorted(Path(name).name for name in (new[0], new[2]))
    given.dropped(iter(new))
    assert os.listdir(tmp_path) == []
    with pytest.raises(KeyboardInterrupt), given.landed(config):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.pictures").write_text("mine")
    config = RenderConfig(RED, (RED,), str(tmp_path / "p.png"))
    with pytest.raises(OutputError) as error, given.landed(config):
        pass
    assert str(error.value).startswith(f"{config.content}: cannot be written (")
    assert (tmp_path / "p.pictures").read_text() == "mine"


def test_only_files_of_ours_that_nothing_reads_are_tidied_away(tmp_path: Path) -> None:
    name = f"{'0a' * 32}.tif"
    files = {
        key: tmp_path / place
        for key, place in {
            "old": f"p.pictures/{name}",
            "read": f"p.pictures/{'1b' * 32}.tif",
            "short": f"p.pictures/{'0a' * 31}.tif",
            "other": f"p.pictures/{name}.png",
            "elsewhere": f"album/{name}",
        }.items()
    }
    for path in files.values():
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "link").symlink_to("p.pictures")
    given.tidy(map(str, files.values()), [str(tmp_path / "link" / files["read"].name)])
    assert [key for key, path in files.items() if not path.exists()] == ["old"]
