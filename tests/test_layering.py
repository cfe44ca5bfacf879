"""The folder listing is the architecture: imports go down only, and each heavy library has one door."""

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for top in ("tiler", "kernels") for path in (ROOT / top).rglob("*.py"))

# Higher may import lower; equals may not, but for the files of one room and the four that are a render.
RANK = {
    "__main__": 13, "cli": 12, "studio": 11, "": 10, "series": 9, "queue": 9, "growing": 9, "rendering": 8, "levels": 8,
    "jobs": 8, "ingest": 8, "planning": 7, "output": 6, "request": 5, "engine": 4, "style": 3, "pictures": 2,
    "geometry": 1, "errors": 0, "version": 0,
}  # fmt: skip
SIBLINGS = ("rendering", "levels", "jobs", "ingest")
MOST_LOOSE_FILES = 8
ENGINE_SHUNS = ("pictures",)
ONE_DOOR = {
    "zarr": (
        "tiler.engine.store",
        "tiler.engine.arrays",
        "tiler.engine.gate",
        "tiler.engine.local",
        "tiler.pictures.omezarr",
    ),
    "dask": ("tiler.engine.schedule", "tiler.engine.cluster", "tiler.engine.host", "tiler.output.poster"),
    "distributed": tuple(f"tiler.engine.{name}" for name in ("schedule", "cluster", "sole", "worker", "host")),
    "cryptography": ("tiler.engine.certificate",),
    "triton": ("kernels.gram_triton", "kernels.trunk_triton", "kernels.step_triton"),
    "uvicorn": ("tiler.studio.serve",),
    "torchvision": ("tiler.style.weights",),
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, module: str, is_package: bool) -> set[str]:
    """Every module or name imported, dotted and absolute, wherever in the file and however it is spelled."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                above = parts[: len(parts) - node.level + is_package]
                base = ".".join([*above, *([base] if base else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__", "Remote")):
            found |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return found


def layer_of(module: str) -> str:
    """`tiler.engine.store` -> engine; the package itself, and any name taken from it, is the layer ''."""
    second = module.split(".")[1] if "." in module else ""
    return second if second in RANK else ""


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    found = []
    top, layer = module.split(".")[0], layer_of(module)
    for name in sorted(imports_of(source, module, is_package)):
        library, target = name.split(".")[0], layer_of(name)
        if module not in ONE_DOOR.get(library, (module,)):
            found.append(f"{module} imports {name}: only {', '.join(ONE_DOOR[library])} may")
        if top == "kernels" and library == "tiler":
            found.append(f"{module} imports {name}: kernels know nothing of tiler")
        if top == "tiler" and library == "kernels" and layer != "style":
            found.append(f"{module} imports {name}: only style calls kernels")
        if top == "tiler" and library == "tiler":
            same = layer == target or (layer in SIBLINGS and target in SIBLINGS)
            shunned = layer == "engine" and target in ENGINE_SHUNS
            if shunned or not (same or RANK[target] < RANK[layer]):
                found.append(f"{module} imports {name}: {layer} may not import {target or 'the package itself'}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_go_down_only(path):
    module = module_of(path)
    assert violations(path.read_text(encoding="utf-8"), module, path.name == "__init__.py") == []


def test_every_source_has_a_layer():
    modules = {module_of(path) for path in SOURCES}
    known = {module for module in modules if module.split(".")[0] == "kernels" or layer_of(module) or module == "tiler"}
    assert modules == known
    assert {"tiler.engine.store", "kernels.gram_triton", "tiler.cli.render"} <= modules


def test_the_listing_is_the_architecture():
    loose = [path.name for path in (ROOT / "tiler").glob("*.py")]
    assert len(loose) <= MOST_LOOSE_FILES, loose
    rooms = {path.parent.name for path in (ROOT / "tiler").glob("*/*.py")}
    assert rooms <= {*RANK}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tiler.geometry.tiles", "from tiler.style.grams import GramSums"),
        ("tiler.pictures.read", "from tiler import style"),
        ("tiler.geometry.tiles", "import tiler.pictures"),
        ("tiler.style.losses", "def f():\n    import tiler.engine.store"),
        ("tiler.style.losses", "from ..engine import store"),
        ("tiler.style.losses", "from tiler import RenderConfig"),
        ("tiler.engine.tasks", "from tiler.request.config import RenderConfig"),
        ("tiler.engine.tasks", "from tiler.pictures import open_picture"),
        ("tiler.engine.tasks", "import kernels.reference"),
        ("tiler.engine.blend", "import zarr.codecs as codecs"),
        ("tiler.pictures.write", "import zarr"),
        ("tiler.engine.store", "from distributed import Client"),
        ("tiler.engine.tasks", "import dask"),
        ("tiler.engine.tasks", "import importlib\nimportlib.import_module('tiler.rendering')"),
        ("tiler.rendering", "from tiler.cli import main"),
        ("tiler.request.config", "from tiler.output.export import check_files"),
        ("tiler.output.export", "from tiler.planning import plan"),
        ("tiler.planning.plan", "from tiler.jobs import Request"),
        ("tiler.errors", "from .geometry import Rect"),
        ("tiler.rendering", "import kernels"),
        ("kernels.gram", "from tiler.errors import TilerError"),
        ("kernels.gram_launch", "import triton"),
        ("tiler.style.backbone", "from torchvision.models import vgg19"),
    ],
)
def test_checker_sees_violations(module, source):
    assert len(violations(source, module)) == 1


def test_checker_resolves_relative_imports_of_packages():
    assert violations("from . import store", "tiler.engine", is_package=True) == []
    assert len(violations("from .. import render", "tiler.engine", is_package=True)) == 1


def loaded_with(module: str) -> set[str]:
    """All of tiler and kernels that an import of the module brings: what files import at their top."""
    files, found, waiting = {module_of(path): path for path in SOURCES}, set(), [module]
    while waiting:
        name = waiting.pop()
        if name in found or name not in files:
            continue
        found.add(name)
        top = ast.parse(files[name].read_text(encoding="utf-8")).body
        source = "\n".join(ast.unparse(node) for node in top if isinstance(node, ast.Import | ast.ImportFrom))
        for one in imports_of(source, name, files[name].name == "__init__.py"):
            parts = one.split(".")
            waiting += [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return found


def test_what_a_store_says_needs_no_pictures():
    """As many files again, of which none says anything about a job."""
    found = loaded_with("tiler.output.info")
    assert {"tiler.engine.store", "tiler.request.config", "tiler.style.terms"} <= found
    assert not {name for name in found if name.startswith("tiler.pictures")}


def test_import_is_light():
    code = "import sys, json, tiler; print(json.dumps([m for m in sys.modules if '.' not in m]))"
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        seconds.append(time.monotonic() - began)
        loaded = set(json.loads(run.stdout))
        assert "tiler" in loaded
        assert not loaded & {"torch", "torchvision", "triton", "dask", "distributed", "zarr", "numpy", "kernels"}
        if seconds[-1] < 1:
            return
    pytest.fail(f"import tiler took {seconds} seconds")


def test_who_asks_for_a_render_needs_no_torch():
    """Which takes longer to load than all else, and three times its memory. Workers have it."""
    code = "import sys, importlib; importlib.import_module('tiler.rendering'); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout == "False\n"
