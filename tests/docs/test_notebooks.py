"""The examples' notebooks, run from their first cell to the last."""

from __future__ import annotations

from typing import Any

import pytest
from pages import NOTEBOOKS, cells_of
from reader import Reader

# How many of their cells end in a poster or a plan.
SHOWN = {"cluster.ipynb": 1, "first_poster.ipynb": 3, "regions_and_georeference.ipynb": 1}


def shows_itself(value: Any) -> bool:
    """As a picture or a table of ours."""
    if hasattr(value, "_repr_html_") and value._repr_html_().startswith("<table>"):
        return True
    return type(value).__module__.startswith("tiler.") and value._repr_png_()[1:4] == b"PNG"


def run(notebook: str, reader: Reader) -> list[Any]:
    code = ("".join(cell["source"]) for cell in cells_of(notebook) if cell["cell_type"] == "code")
    return [reader.python(text, f"{notebook}, cell {number}") for number, text in enumerate(code)]


@pytest.mark.parametrize("notebook", [name for name in NOTEBOOKS if name != "cluster.ipynb"])
def test_a_notebook_runs(notebook: str, reader: Reader) -> None:
    values = run(notebook, reader)
    assert sum(map(shows_itself, values)) == SHOWN[notebook]


def test_the_cluster_is_one_of_processes(reader_of_processes: Reader) -> None:
    values = run("cluster.ipynb", reader_of_processes)
    assert sum(map(shows_itself, values)) == SHOWN["cluster.ipynb"]
    assert True in values  # that the bytes are the same


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_nothing_that_was_run_is_kept_in_it(notebook: str) -> None:
    cells = cells_of(notebook)
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        kept = {"cell_type", "id", "metadata", "source"} | ({"outputs"} if cell["cell_type"] == "code" else set())
        assert {*cell} - {"execution_count"} == kept
        assert not any(cell.get(name) for name in ("outputs", "execution_count", "metadata"))
