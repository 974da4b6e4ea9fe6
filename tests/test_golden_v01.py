"""Files that pympnode 0.1.0 wrote: they are read, give the same numbers, and their runs go on.

`golden/v0.1/make.py` wrote them; they are not to be written again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.networks.presets import PRESETS

GOLDEN = Path(__file__).resolve().parent / "golden" / "v0.1"
NETWORK_DATA, PARTICLE_DATA = GOLDEN / "network_data.nc", GOLDEN / "particle_data.nc"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))
# Other processors round differently: relative to the largest number of an array.
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
FAST: dict[str, Any] = {"device": "cpu", "progress": False}
NETWORK: dict[str, Any] = {**FAST, "engine": "torch", "kernel": "eager"}
# As in make.py: another call would not continue the runs.
NETWORK_RUN = {
    **NETWORK,
    "missing": "mask",
    "dtype": "float64",
    "epochs": 60,
    "batch_size": 4,
    "optimiser": "adam",
}
PARTICLE_RUN = {
    **FAST,
    "kernel": "eager",
    "dtype": "float64",
    "epochs": 60,
    "batch_size": 3,
    "optimiser": "adam",
}
RUNS: dict[str, tuple[str, Path, dict[str, Any]]] = {
    "network_run": ("kuramoto_controlled.nc", NETWORK_DATA, NETWORK_RUN),
    "particle_run": ("hogn.nc", PARTICLE_DATA, PARTICLE_RUN),
}


def close(got: Any, expected: Any, tolerance: float) -> None:
    expected = np.asarray(expected, dtype=np.float64)
    assert np.isfinite(expected).any()
    scale = float(np.nanmax(np.abs(expected)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def first_states() -> np.ndarray:
    with xr.open_dataset(NETWORK_DATA) as ds:
        return ds["state"].values[:3, 0]


def rollout_of(name: str, model: Any) -> xr.Dataset:
    if name == "kuramoto_fast":
        return model.rollout(first_states(), topology="ring", steps=6, check=False)
    data = NETWORK_DATA if name == "kuramoto_controlled" else PARTICLE_DATA
    return model.rollout(data, check=False)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("kuramoto_fast", "float32"),
        ("kuramoto_controlled", "float64"),
        ("hierarchical_deltagn", "float32"),
        ("hogn", "float64"),
    ],
)
def test_a_model_of_0_1_predicts_what_it_predicted(name: str, dtype: str, tmp_path: Path) -> None:
    model = pympnode.load(GOLDEN / f"{name}.nc")
    assert model.theta.dtype == dtype and model.about["version"] == "0.1.0"
    model.save(tmp_path / "again.nc")
    for each in (model, pympnode.load(tmp_path / "again.nc")):
        last = rollout_of(name, each).isel(time=-1)
        for variable in ("state", "message", "position", "velocity"):
            if variable in EXPECTED[name]:
                close(last[variable].values, EXPECTED[name][variable], TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("name", "data", "options", "tolerance"),
    [
        ("kuramoto_controlled", NETWORK_DATA, {}, 1e-10),
        ("hierarchical_deltagn", PARTICLE_DATA, {"horizons": [5]}, 1e-4),
        ("hogn", PARTICLE_DATA, {"horizons": [5]}, 1e-9),
    ],
)
def test_a_model_of_0_1_has_the_errors_it_had(
    name: str, data: Path, options: dict[str, Any], tolerance: float
) -> None:
    # An error is a difference of numbers that are larger than it, and less exact than they.
    errors = pympnode.evaluate(GOLDEN / f"{name}.nc", data, **options).sel(predictor="model")
    expected = EXPECTED[name]["errors"]
    assert len(expected) > 3
    for variable, values in expected.items():
        close(errors[variable].values, values, tolerance)


def test_datasets_of_0_1_are_valid() -> None:
    with xr.open_dataset(NETWORK_DATA) as ds:
        assert pympnode.networks.schema.validate(ds, missing="mask") is not None
        assert int(ds["state"].isnull().sum()) > 10 and len(set(ds["graph"].values)) == 2
        assert "control" in ds
        with pytest.raises(pympnode.errors.InvalidData):
            pympnode.networks.schema.validate(ds)
    with xr.open_dataset(PARTICLE_DATA) as ds:
        assert pympnode.particles.schema.validate_particles(ds) is not None


def test_datasets_of_0_1_train() -> None:
    short: dict[str, Any] = {"epochs": 1, "batch_size": 4}
    result = pympnode.train(data=NETWORK_DATA, missing="mask", hidden=4, **short, **NETWORK)
    assert result.status == "completed" and result.model.spec.controls == 1
    widths: dict[str, Any] = {"edge_width": 4, "node_width": 4, "kernel": "eager"}
    particles = pympnode.train(data=PARTICLE_DATA, updates=2, **widths, **FAST)
    assert particles.status == "completed" and particles.updates == 2


@pytest.mark.parametrize("name", list(RUNS))
def test_an_interrupted_run_of_0_1_goes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fine-tuning as it was then: a run goes on with the settings that it began with, or not at all.
    monkeypatch.setitem(PRESETS["fast"].finetune, "average", 0.0)
    monkeypatch.setitem(PRESETS["fast"].finetune, "from_start", 0.0)
    monkeypatch.delitem(PRESETS["fast"].finetune, "margin")
    start, data, options = RUNS[name]
    folder = tmp_path / name
    shutil.copytree(GOLDEN / name, folder)
    assert pympnode.load(folder).about["status"] == "interrupted"
    with xr.open_dataset(folder / "history.nc") as history:
        done, seconds = history.sizes["epoch"], history["seconds"].values
    expected = EXPECTED[name]
    assert 0 < done < len(expected["validation_loss"])
    result = pympnode.finetune(GOLDEN / start, data=data, run=folder, **options)
    assert result.status == "completed" and result.updates == expected["updates"]
    # The epochs before the interrupt are those of the folder, not made again.
    np.testing.assert_array_equal(result.history["seconds"][:done], seconds)
    close(result.history["validation_loss"].values, expected["validation_loss"], 1e-6)
    close(result.best_loss, expected["best_loss"], 1e-6)
    assert pympnode.load(folder).about["status"] == "completed"
