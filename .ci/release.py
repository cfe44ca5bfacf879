#!/usr/bin/env python3
"""A release: `.ci/release.py VERSION` on a clean checkout whose tiler/version.py and CHANGELOG.md say VERSION.

Builds dist/ from what is committed, the same bytes wherever and whenever, tries the wheel in fresh environments, and
tags the commit. Nothing leaves this machine: what to type for that is printed.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BUILD = "import setuptools.build_meta as backend; backend.build_sdist({0!r}); backend.build_wheel({0!r})"


def wrong(version: str, said: str, changelog: str, changed: str, tags: str = "") -> str | None:
    """Why VERSION cannot be released; None where it can. said: by tiler/version.py. changed: what git status says.
    tags: what git tag does."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        return f"{version}: no version of a release; allowed: 1.2.3"
    if f"v{version}" in tags.split():
        return f"v{version} is tagged already; git tag -d v{version} undoes that, as long as it was not pushed"
    if said != version:
        return f"tiler/version.py says {said}, not {version}"
    first = re.search(r"^## (.*)$", changelog, re.MULTILINE)
    if not first or not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", first[1]):
        return f"CHANGELOG.md begins with '{first[1] if first else ''}', not with '{version} (YEAR-MONTH-DAY)'"
    return f"not committed: {changed.split(chr(10))[0].strip()}" if changed else None


def build(source: Path, to: Path, epoch: int) -> list[Path]:
    """The sdist and the wheel of `source`, all of whose times are `epoch`."""
    to.mkdir(parents=True, exist_ok=True)
    for old in (*to.glob("*.tar.gz"), *to.glob("*.whl")):  # an earlier release's would be uploaded with this one
        old.unlink()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    command = [sys.executable, "-c", _BUILD.format(str(to.resolve()))]
    subprocess.run(command, cwd=source, check=True, env=environment, stdout=subprocess.DEVNULL)
    [sdist], [wheel] = to.glob("*.tar.gz"), to.glob("*.whl")
    _settle(sdist, epoch)
    return [sdist, wheel]


def _settle(sdist: Path, epoch: int) -> None:
    """setuptools writes the time, the user and the folder's order into an sdist."""
    with tarfile.open(sdist) as archive:
        held = {one.name: (one, archive.extractfile(one)) for one in archive.getmembers() if one.isfile()}
        content = {name: file.read() for name, (_, file) in held.items() if file}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(content):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content[name]), epoch, 0o644
            archive.addfile(entry, io.BytesIO(content[name]))
    sdist.write_bytes(gzip.compress(packed.getvalue(), mtime=epoch))


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def main(version: str) -> None:
    said = re.search(r'__version__ = "(.*)"', (ROOT / "tiler" / "version.py").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    reason = wrong(version, said[1] if said else "nothing", changelog, _git("status", "--porcelain"), _git("tag"))
    if reason:
        sys.exit(f"release: {reason}")
    epoch = int(_git("log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory() as folder:
        whole = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
            archive.extractall(folder, filter="data")
        files = build(Path(folder), ROOT / "dist", epoch)
    tests = [sys.executable, "-m", "pytest", "-n", "0", "-m", "slow or not slow", "tests/test_package.py"]
    subprocess.run(tests, cwd=ROOT, check=True)
    _git("tag", "-a", f"v{version}", "-m", f"tiler {version}")
    print(
        f"built and tagged v{version}. To publish: git push origin v{version}; twine upload {' '.join(map(str, files))}"
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
