"""The models that come with the package load, are those of their cards, and predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pympnode
from pympnode.errors import InvalidData, UnknownName
from pympnode.pretrained_models import FOLDER, card, names, pretrained

NETWORKS = [name for name in names() if card(name)["data"]["system"] != "gravity"]


def test_each_model_has_a_card_and_all_are_small() -> None:
    assert set(names()) >= {"kuramoto", "gene", "lorenz", "gravity"}
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(names())
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 300_000


@pytest.mark.parametrize("name", names())
def test_a_card_says_what_the_model_is(name: str) -> None:
    found, model = card(name), pretrained(name)
    assert model.system == found["data"]["system"]
    assert model.theta.size == found["training"]["weights"]
    assert found["limits"] and found["commit"] and found["title"]
    held_out = found["errors"][0]
    baselines = [value for key, value in held_out.items() if key not in ("of", "measure", "model")]
    assert held_out["of"] == "held out" and held_out["model"] < min(baselines)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_has_about_the_error_of_its_card(name: str) -> None:
    """Four fresh trajectories instead of fifty: their error is within a factor of ten."""
    found = card(name)
    data = {**found["data"], "trajectories": 4}
    error = pympnode.evaluate(pretrained(name), pympnode.simulate(**data, seed=7)).rmse_z
    assert float(error.sel(predictor="model")) < 10 * found["errors"][0]["model"]
    assert float(error.sel(predictor="model")) < float(error.sel(predictor="persistence"))


def test_particles_are_predicted_better_than_by_free_flight() -> None:
    ds = pympnode.simulate("gravity", particles=100, trajectories=1, steps=20, seed=7)
    found = pympnode.evaluate(pretrained("gravity"), ds, horizons=[20]).rmse_position
    assert float(found.sel(predictor="model").max()) < 0.1 * float(
        found.sel(predictor="free_flight").max()
    )


def test_a_model_is_a_start_for_fine_tuning(tmp_path: Path) -> None:
    result = pympnode.finetune(
        pretrained("kuramoto"), topology="ring", nodes=5, trajectories=10, epochs=1, progress=False
    )
    assert np.isfinite(result.best_loss)


def test_data_of_more_or_fewer_features_are_refused() -> None:
    for start, system in (("gene", "lorenz"), ("lorenz", "gene")):
        with pytest.raises(InvalidData, match="number of features than the start model"):
            pympnode.finetune(
                pympnode.pretrained(start),
                system,
                nodes=4,
                trajectories=3,
                steps=3,
                epochs=1,
                progress=False,
            )


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UnknownName, match="kuramoto"):
        pretrained("kuramotto")
    with pytest.raises(UnknownName):
        card("../kuramoto")
    with pytest.raises(UnknownName):
        pretrained(3)  # type: ignore[arg-type]
