"""Every benchmark is a program, from wherever its folder is."""

import ast
from pathlib import Path

import pytest

PROGRAMS = sorted((Path(__file__).resolve().parents[2] / "benchmarks").glob("[a-z]*.py"))
ROOT = "sys.path.insert(0, str(Path(__file__).resolve().parent.parent))"


def _imports(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_our_kernels_come_before_the_benchmark_of_that_name(path: Path) -> None:
    """A program's own folder is the first of `sys.path`, and kernels.py lies in it."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    ours = [i for i, node in enumerate(body) for name in _imports(node) if name.split(".")[0] in ("tiler", "kernels")]
    roots = [i for i, node in enumerate(body) if ast.unparse(node) == ROOT]
    assert not ours or (roots and roots[0] < ours[0])


def test_there_are_programs() -> None:
    assert {"step.py", "kernels.py", "duel.py"} <= {path.name for path in PROGRAMS}
