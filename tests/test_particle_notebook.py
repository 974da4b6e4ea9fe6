"""The notebook of particles runs from the first cell to the last and draws what it promises."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra `test` brings nbformat")
nbclient = pytest.importorskip("nbclient", reason="the extra `test` brings nbclient")

NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "nbody.ipynb"
PICTURES = 5


def pictures(notebook) -> int:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert all(out.output_type != "error" for out in outputs)
    return sum("image/png" in out.get("data", {}) for out in outputs)


def test_stored_with_its_pictures_and_without_errors() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert pictures(notebook) == PICTURES


@pytest.mark.slow
def test_runs_from_the_first_cell_to_the_last(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    client = nbclient.NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    assert pictures(notebook) == PICTURES
