"""Where a store may lie: what is there already, what can be written, and what is said where neither is known."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine import place
from tiler.errors import StoreError


class FarError(Exception):
    """As obstore's, which have a module of their own."""


FarError.__module__ = "obstore.exceptions"


class NearerError(FarError):
    pass


NearerError.__module__ = "elsewhere"


def said(call: Any, *given: Any) -> str:
    with pytest.raises(StoreError) as error:
        call(*given)
    return str(error.value)


# Here -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "free"),
    [
        ((), True), ((".writer",), True), (("zarr.5.partial",), True), ((".writer", "zarr.json.1.partial"), True),
        (("zarr.json",), False), (("x.partial",), False), ((".writers",), False), ((".writer", "a"), False),
        (("a", ".writer"), False), (("zarr.partial",), True),
    ],
)  # fmt: skip
def test_a_folder_is_free_but_for_what_a_killed_process_leaves(
    names: tuple[str, ...], free: bool, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert place.is_free(str(tmp_path)) is free
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(names)


def test_a_place_is_free_where_nothing_is_and_its_folders_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for name, to in (("to folder", "folder"), ("to file", "file"), ("to nothing", "nothing")):
        (tmp_path / name).symlink_to(tmp_path / to)
    (tmp_path / "folder" / "zarr.json").touch()
    found = {name: place.is_free(str(tmp_path / name)) for name in (
        "new", "new/deep/job.zarr", "file", "folder", "folder/job.zarr", "to folder", "to folder/job.zarr", "to file",
        "to nothing",
    )}  # fmt: skip
    assert found == {
        "new": True, "new/deep/job.zarr": True, "file": False, "folder": False, "folder/job.zarr": True,
        "to folder": False, "to folder/job.zarr": True, "to file": False, "to nothing": False,
    }  # fmt: skip
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_written_is_named_with_the_folder_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def none(dir: Path) -> Any:
        asked.append(dir)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place.tempfile, "TemporaryFile", none)
    for name, folder in (("a/b/job.zarr", ""), ("", "")):
        url = str(tmp_path / name)
        assert said(place.is_free, url) == (
            f"store {url}: cannot be created: nothing can be written in {tmp_path / folder}: No space left on device"
        )
    assert asked == [tmp_path, tmp_path]


def test_a_place_that_cannot_be_looked_at_is_not_called_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(place, "os", SimpleNamespace(lstat=denied))
    assert said(place.is_free, str(tmp_path)) == f"store {tmp_path}: cannot be used: Permission denied"


def test_the_folder_above_is_the_nearest_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    monkeypatch.chdir(tmp_path / "a")
    assert place.folder_above(str(tmp_path / "a" / "b" / "c.zarr")) == tmp_path / "a"
    assert place.folder_above("b/c.zarr") == tmp_path / "a"
    assert place.folder_above(str(tmp_path / "a")) == tmp_path
    assert place.folder_above(str(tmp_path / "a" / "file" / "c.zarr")) == tmp_path / "a"
    assert place.folder_above("s3://a/b") is None


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("s3://b/a", "s3://b/a"), ("gs://b/a", "gs://b/a"), ("az://b/a", "az://b/a"), ("FILE:///a/b", "/a/b"),
        ("s3://b\n/a", "s3://b\n/a"), ("/a/../b", "/a/../b"),
    ],
)  # fmt: skip
def test_addresses_of_these_kinds_stay_as_they_are(url: str, same: str) -> None:
    assert place.absolute(url) == same


@pytest.mark.parametrize(
    "url", ["s4://b/a", "gs://", "az:///", "a+b.c-1://x", "file://a", "s3:///a", "s3://b/a#1", "s3://b/a?x=1"]
)
def test_other_addresses_are_refused_with_those_that_can_be_used(url: str) -> None:
    text = said(place.absolute, url)
    assert text.startswith(f"store {url}: ")
    assert text.endswith("allowed: a folder, or s3://BUCKET/NAME, gs://BUCKET/NAME, az://BUCKET/NAME, without # and ?")


# Elsewhere --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text"),
    [(FarError("no such\nbucket"), "no such"), (NearerError("x" * 300), "x" * 200), (OSError("cut"), "cut"),
     (ValueError(), "ValueError"),
     (FarError("Error GET http://x: 404\n<?xml?>\n<Error><Code>NoSuchBucket</Code><Message>It is\nnot</Message>"),
      "NoSuchBucket: It is not"),
     (FarError("x<Code>SlowDown</Code><Other/>"), "SlowDown"),
     (FarError("Error PUT http://169.254.169.254/latest/api/token in 3ms"),
      "no keys are known; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY say them for s3")],
)  # fmt: skip
def test_what_an_object_store_says_is_told_in_one_line(error: Exception, text: str) -> None:
    def fails() -> None:
        with place.remote_errors("s3://b/a"):
            raise error

    assert said(fails) == f"store s3://b/a: cannot be reached: {text}"


def test_a_mistake_of_ours_is_not_blamed_on_an_object_store() -> None:
    with pytest.raises(KeyError), place.remote_errors("s3://b/a"):
        raise KeyError("x")
    found = [place.is_remote_error(one) for one in (FarError(), NearerError(), OSError(), ValueError())]
    assert found == [True, True, False, False]


@pytest.mark.parametrize(
    ("listed", "free"),
    [
        ([], True), ([[{"path": ".writer"}]], True), ([[{"path": ".writer"}, {"path": "zarr.json"}]], False),
        ([[{"path": "zarr.json"}]], False), ([[]], True),
    ],
)  # fmt: skip
def test_a_bucket_s_place_is_free_where_it_has_a_lock_at_most(
    listed: list[Any], free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def list_of(chunk_size: int) -> list[Any]:
        asked.append(chunk_size)
        return listed

    monkeypatch.setattr(place, "connect", lambda url: SimpleNamespace(list=list_of))
    assert place.is_free("s3://b/a") is free
    assert asked[0] >= 2, "one that is more than the lock would not be seen"


def test_a_bucket_is_asked_for_seconds_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def from_url(url: str, **how: Any) -> str:
        asked.append((url, how))
        if "broken" in url:
            raise FarError("not found\nand more")
        return "store"

    monkeypatch.setitem(sys.modules, "obstore", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "obstore.store", SimpleNamespace(from_url=from_url))
    assert place.connect("s3://b/a") == "store"
    ((url, how),) = asked
    assert url == "s3://b/a"
    assert how["retry_config"]["max_retries"] == 3
    assert how["retry_config"]["retry_timeout"].total_seconds() == 15
    assert how["client_options"] == {"connect_timeout": "5s", "timeout": "60s", "allow_http": True}
    assert said(place.connect, "s3://broken/a") == "store s3://broken/a: cannot be reached: not found"
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    assert "need the package obstore; pip install 'tiler-render[s3]'" in said(place.connect, "s3://b/a")
