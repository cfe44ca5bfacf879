"""What is installed: a wheel with all of both packages, typed, the same bytes whenever it is built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tiler

ROOT = Path(tiler.__file__).parent.parent
TAKEN = ("pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY.md", "tiler", "kernels")


def built(folder: Path) -> Path:
    """The wheel of a copy of the sources: a build leaves files beside them."""
    for name in TAKEN:
        source, target = ROOT / name, folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([*command, "-w", str(folder), str(folder / "source")], check=True, env=environment)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"))


def test_it_is_built_to_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    assert built(tmp_path).read_bytes() == wheel.read_bytes()


def test_it_holds_all_of_both_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for name in ("tiler", "kernels") for path in (ROOT / name).rglob("*.py")}
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "tiler/studio/page").rglob("*") if path.is_file()}
    assert {"tiler/studio/page/watch.html", "tiler/studio/page/openseadragon/LICENSE.txt"} <= pages
    assert held == modules | pages | {"tiler/py.typed", "kernels/py.typed"}


def test_it_runs_from_where_it_is_installed_without_a_warning(wheel: Path, tmp_path: Path) -> None:
    """And a plain import loads nothing large."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import sys, tiler; print(tiler.__file__); print({*sys.modules} & {'torch', 'dask', 'zarr', 'numpy'})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-P", "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.stdout.splitlines() == [str(tmp_path / "site/tiler/__init__.py"), "set()"], done.stderr
    said = subprocess.run(
        [sys.executable, "-P", "-m", "tiler", "--version"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert said.stdout.startswith("tiler, version ")


@pytest.mark.parametrize("other", ["", "def get_kernel(name): ..."])
def test_a_package_of_that_name_which_is_not_ours_is_said(wheel: Path, tmp_path: Path, other: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site", [name for name in archive.namelist() if name.startswith("tiler/")])
    if other:
        (tmp_path / "site" / "kernels").mkdir()
        (tmp_path / "site" / "kernels" / "__init__.py").write_text(other)
    code = (
        "import sys; sys.path[:] = [one for one in sys.path if not (one and (__import__('pathlib').Path(one) / "
        "'kernels' / 'gram_triton.py').exists())]; sys.meta_path[:] = [one for one in sys.meta_path if 'editable' not "
        "in repr(one).lower()]; from tiler.cli import main; sys.argv = ['tiler', 'info', 'no.zarr']; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    where = tmp_path / "site/kernels/__init__.py" if other else "missing"
    assert (done.returncode, done.stderr) == (
        2,
        f"tiler: the package 'kernels' is {where}, and not the one that tiler-render brings; install tiler-render into "
        "an environment of its own, without the distribution called kernels\n",
    )
