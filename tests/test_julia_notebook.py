"""The notebook of the Julia engine explains, and stops without an error, where no Julia is."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra `test` brings nbformat")
nbclient = pytest.importorskip("nbclient", reason="the extra `test` brings nbclient")

NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "julia_engine.ipynb"


def test_without_julia_it_says_so_and_no_cell_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(NOTEBOOK.parent.parent)
    monkeypatch.setenv("PYTHONPATH", root)
    # No record of an installation, whatever this computer has.
    monkeypatch.setenv("PYMPNODE_JULIA_RECORD", str(tmp_path / "none.json"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    first, *others = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = "".join(out.get("text", "") for out in first.outputs)
    assert "Julia is not installed" in said and "pympnode julia install" in said
    assert len(others) > 3
    assert all(cell.outputs == [] for cell in others)
