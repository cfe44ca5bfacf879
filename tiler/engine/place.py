"""Where a store lies: a folder here or on a shared file system, or an address in an object store."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from tiler.errors import StoreError

LOCK_FILE = ".writer"
SCHEMES = ("s3", "gs", "az")
# A task that fails is tried again anyway, and who mistyped an address should not wait for minutes.
_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}
_CLIENT: Any = {"connect_timeout": "5s", "timeout": "60s", "allow_http": True}  # http only where an endpoint says so


def absolute(url: str) -> str:
    """The same place for processes with another current folder. Raises StoreError for a kind of address that is
    unknown."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", url, re.DOTALL)
    if not found:
        return str(Path(url).absolute())
    scheme, rest = found[1].lower(), found[2]
    if scheme == "file" and rest.startswith("/"):
        return rest
    if scheme not in SCHEMES or not rest.strip("/") or rest.startswith("/") or {*"#?"} & {*rest}:
        allowed = ", ".join(f"{one}://BUCKET/NAME" for one in SCHEMES) + ", without # and ?"
        raise StoreError(f"store {url}: this address cannot be used; allowed: a folder, or {allowed}")
    return url


def is_remote(url: str) -> bool:
    return "://" in url


def connect(url: str) -> Any:
    """The obstore store at `url`, whose credentials and endpoint come from the environment (AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, ...) of whichever process opens it."""
    try:
        from obstore.store import from_url
    except ImportError:
        raise StoreError(
            f"store {url}: object stores need the package obstore; pip install 'tiler-render[s3]'"
        ) from None
    with remote_errors(url):
        return from_url(url, client_options=_CLIENT, retry_config=_RETRIES)


def is_free(url: str) -> bool:
    """Whether nothing at all is at `url`, but for what a process leaves that is killed while it creates a store. Raises
    StoreError where a new store could not be written."""
    if is_remote(url):
        with remote_errors(url):
            return all(one["path"] == LOCK_FILE for one in next(iter(connect(url).list(chunk_size=2)), []))
    path = Path(url)
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        _check_writable(path, next(one for one in path.parents if os.path.lexists(one)))
        return True
    except OSError as error:
        raise StoreError(f"store {url}: cannot be used: {error.strerror}") from None
    if stat.S_ISLNK(mode) and path.is_dir():
        mode = path.stat().st_mode
    if not stat.S_ISDIR(mode):
        return False
    _check_writable(path, path)
    return all(_is_remnant(each.name) for each in path.iterdir())


def make(url: str) -> None:
    """Have a folder there, where that is what a store needs."""
    if not is_remote(url):
        Path(absolute(url)).mkdir(parents=True, exist_ok=True)


def _is_remnant(name: str) -> bool:
    """The writer's lock, or zarr's unfinished file."""
    return name == LOCK_FILE or (name.startswith("zarr.") and name.endswith(".partial"))


@contextmanager
def remote_errors(url: str) -> Iterator[None]:
    """Object stores' errors as StoreError in one line."""
    try:
        yield
    except Exception as error:
        if not is_remote_error(error) and not isinstance(error, OSError | ValueError):
            raise
        raise StoreError(f"store {url}: cannot be reached: {first_line(error)}") from None


def is_remote_error(error: BaseException) -> bool:
    """obstore's errors have a base class of their own, which is not there to be named without obstore."""
    return any(one.__module__ == "obstore.exceptions" for one in type(error).__mro__)


# Of an answer, as XML: what is wrong, by one word and by a sentence.
_ANSWER = re.compile(r"<Code>([^<]+)</Code>(?:\s*<Message>([^<]+)</Message>)?")
_OF_A_CLOUD = ("169.254.169.254", "metadata.google.internal")  # is asked for keys where nobody has given any


def first_line(error: BaseException) -> str:
    """What it says, in one line of up to 200 characters."""
    text, answer = str(error), _ANSWER.search(str(error))
    if any(address in text for address in _OF_A_CLOUD):
        return "no keys are known; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY say them for s3"
    if answer:
        return " ".join(": ".join(filter(None, answer.groups())).split())[:200]
    return (text.splitlines() or [type(error).__name__])[0][:200]


def _check_writable(path: Path, folder: Path) -> None:
    """Only writing tells: root may write everywhere but on a read-only mount, and quotas show in no mode."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise StoreError(
            f"store {path}: cannot be created: nothing can be written in {folder}: {error.strerror}"
        ) from None


def folder_above(url: str) -> Path | None:
    """The nearest folder above `url` that is there already; None for an address that is not on this machine's disks."""
    return None if is_remote(url) else next(parent for parent in Path(url).absolute().parents if parent.is_dir())
