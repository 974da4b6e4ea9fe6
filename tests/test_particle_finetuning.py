"""Fine-tuning of particle models: careful by default, on data like those of the start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pympnode
from pympnode.cli import status_of
from pympnode.datasets.record import record
from pympnode.errors import InvalidOption, OutsideTrainingRange
from pympnode.particles.schema import box_of

TINY: dict[str, Any] = {
    "model": "deltagn", "edge_width": 8, "node_width": 8, "progress": False, "device": "cpu",
}  # fmt: skip
MORE: dict[str, Any] = {"updates": 1, "progress": False, "device": "cpu"}
FEW: dict[str, Any] = {"trajectories": 4, "steps": 3}
OTHER: dict[str, Any] = {"constant": 3.0, "softening": 0.4, "mass": 2.0}


@pytest.fixture(scope="module")
def start() -> Any:
    """A model of three dimensions, few particles, long steps, other physics and density."""
    ds = pympnode.simulate("gravity", particles=8, dims=3, dt=0.02, seed=1, **FEW,
                           parameters={**OTHER, "side": 10.0})  # fmt: skip
    return pympnode.train(data=ds, updates=1, **TINY).model


def test_a_tenth_of_the_rate_and_the_start_until_something_better_comes(start) -> None:
    ds = pympnode.simulate("gravity", seed=2, **FEW, **start.simulation())
    fresh = pympnode.train(data=ds, updates=1, **TINY).model.about["training"]
    again = pympnode.finetune(start, data=ds, **MORE)
    training = again.model.about["training"]
    assert training["learning_rate"] == pytest.approx(fresh["learning_rate"] / 10)
    assert training["keep_start"] and not fresh["keep_start"]
    # A rate that ruins any model returns the start itself.
    ruined = pympnode.finetune(start, data=ds, **MORE | {"updates": 20, "learning_rate": 1e3})
    np.testing.assert_array_equal(ruined.model.theta, start.theta)


def test_data_are_simulated_like_those_of_the_start(start) -> None:
    result = pympnode.finetune(start, **FEW, **MORE)
    made = result.test_set(trajectories=1)
    assert made.sizes["particle"] == 8 and made.sizes["axis"] == 3
    assert float(np.diff(made["time"])[0]) == pytest.approx(0.02)
    assert box_of(made).side == pytest.approx(10.0)
    physics = record(made)["parameters"]
    assert (physics["constant"], physics["softening"]) == (3.0, 0.4)
    assert (made["mass"] == 2.0).all()
    assert result.model.dt == 0.02


def test_more_particles_keep_the_density(start) -> None:
    result = pympnode.finetune(start, particles=64, **FEW, **MORE)
    made = result.test_set(trajectories=1)
    assert made.sizes["particle"] == 64
    assert box_of(made).side == pytest.approx(10.0 * 8 ** (1 / 3))


def test_given_options_override_and_other_physics_are_warned_of(start) -> None:
    with pytest.warns(OutsideTrainingRange) as found:
        result = pympnode.finetune(start, dt=0.01, parameters={"constant": 5.0}, **FEW, **MORE)
    (told,) = [str(w.message) for w in found]
    assert "time step 0.01 (trained on 0.02)" in told
    assert "constant 5 (trained on 3)" in told and "softening" not in told
    physics = record(result.test_set(trajectories=1))["parameters"]
    assert (physics["constant"], physics["softening"]) == (5.0, 0.4)


def test_open_space_stays_open() -> None:
    ds = pympnode.simulate("coulomb", particles=6, parameters={"side": None, "charge": 1.0}, **FEW)
    model = pympnode.train(data=ds, updates=1, **TINY).model
    asked = model.simulation()
    assert asked["parameters"]["side"] is None and asked["parameters"]["charge"] == 1.0
    usual = pympnode.simulate("coulomb", particles=6, **FEW)
    own = pympnode.train(data=usual, updates=1, **TINY).model.simulation(particles=20)
    assert own["particles"] == 20 and not own["parameters"].keys() & {"side", "charge", "mass"}
    assert model.simulation(parameters={"side": 9.0})["parameters"]["side"] == 9.0


def test_the_command_line_goes_on_likewise(start, tmp_path, capsys) -> None:
    path, out = str(tmp_path / "start.nc"), str(tmp_path / "more.nc")
    start.save(path)
    few = ["--trajectories", "4", "--steps", "3"]
    assert status_of(["finetune", path, *few, "--updates", "1", "--out", out]) == 0
    assert pympnode.load(out).dt == 0.02 and "warning" not in capsys.readouterr().err
    assert status_of(["evaluate", path, "--system", "gravity", *few]) == 0
    assert "warning" not in capsys.readouterr().err


def test_the_normalisation_of_particles_is_kept(start) -> None:
    with pytest.raises(InvalidOption, match="normalisation belongs to networks"):
        pympnode.finetune(start, normalisation="refit", **FEW, **MORE)


def test_models_and_results_show_themselves_in_a_notebook(start) -> None:
    assert "pympnode.ParticleModel" in start._repr_html_() and "gravity" in start._repr_html_()
    again = pympnode.finetune(start, **FEW, **MORE)
    assert f"started from all {len(start.weights)} tensors of the start" in repr(again)
    some, rest = again.restored_tensors[:2], again.restored_tensors[2:]
    shown = repr(replace(again, restored_tensors=some))
    assert f"started from 2 tensors of the start; fresh: {', '.join(rest)}" in shown
    assert "tensors of the start" in again._repr_html_()


@pytest.mark.parametrize("progress", [True, False])
def test_the_making_of_the_data_shows_how_far_it_is(start, progress, monkeypatch) -> None:
    from pympnode.particles import half as particles

    seen = []
    made = particles.simulate_particles

    def noted(*given: Any, progress: Any, **words: Any) -> Any:
        seen.append(progress)
        return made(*given, **words)

    monkeypatch.setattr(particles, "simulate_particles", noted)
    pympnode.train("gravity", particles=8, updates=1, **FEW, **TINY | {"progress": progress})
    assert seen == [progress]
