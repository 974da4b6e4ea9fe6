"""`TrainConfig`, `ModelSpec` and `ParticleSpec` objects in place of keywords of `train`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode import ModelSpec, ParticleSpec, TrainConfig
from pympnode.errors import InvalidOption
from pympnode.losses import SquaredError
from pympnode.networks.half import NETWORKS
from pympnode.particles.half import PARTICLES

# A value of each field of a run that is not its default, and that goes with the others.
RUN: dict[str, Any] = {
    "preset": "paper", "epochs": 3, "updates": 5, "batch_size": 7, "optimiser": "soap",
    "learning_rate": 3e-3, "schedule": "steps", "warmup": 0.1, "final_rate": 0.2,
    "rate_floor": 1e-5, "plateau_factor": 0.4, "patience": 9, "clip": 2.0,
    "curriculum": ((2, 0.5), (0, 0.5)), "matching": 0.25, "standstill": 0.5, "average": 0.9,
    "training_noise": 1e-9, "keep_start": True, "from_start": 0.5, "loss": SquaredError(),
    "decay_every": 3, "margin": 2.0, "keep": "last", "retry_diverged": True, "seed": 4,
}  # fmt: skip


QUIET: dict[str, Any] = dict(kernel="eager", progress=False)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate("heat", nodes=4, trajectories=12, steps=20, dt=0.02)


@pytest.fixture(scope="module")
def bodies() -> xr.Dataset:
    return pympnode.simulate("gravity", particles=3, trajectories=4, steps=3)


def prepared(ds: xr.Dataset, **options: Any) -> Any:
    half = PARTICLES if "position" in ds else NETWORKS
    return half.prepare(None, [ds], half.Training(kernel="eager", **options), None)


def test_every_field_of_a_run_reaches_it(data: xr.Dataset) -> None:
    others = {f.name for f in dataclasses.fields(TrainConfig)} - set(RUN)
    assert others == {"time_budget", "race"}
    for name, value in RUN.items():
        given = TrainConfig(**{name: value})
        assert getattr(given, name) != getattr(TrainConfig(), name)
    # A race changes other fields of the run that follows, a budget excludes updates, and the
    # messages of the preset "paper" have no stage of matching.
    made = prepared(data, config=TrainConfig(**RUN), messages="emitted").config
    assert made == TrainConfig(**RUN)
    assert prepared(data, config=TrainConfig(time_budget=9.0)).config == TrainConfig(
        time_budget=9.0
    )


def test_keywords_go_before_fields(data: xr.Dataset) -> None:
    config = TrainConfig(updates=9, learning_rate=1e-3, seed=2, clip=3.0)
    made = prepared(data, config=config, epochs=4, learning_rate=2e-3, loss="mse", seed=3).config
    wanted = dict(epochs=4, updates=None, learning_rate=2e-3, loss="mse", seed=3)
    assert made == config.replace(**wanted)


def test_particles_take_a_run_too_but_no_fields_of_networks(bodies: xr.Dataset) -> None:
    config = TrainConfig(updates=2, clip=3.0, schedule="constant")
    assert prepared(bodies, config=config).config == config
    with pytest.raises(InvalidOption, match="matching"):
        prepared(bodies, config=TrainConfig(matching=0.5))
    config = TrainConfig(loss=pympnode.losses.Huber(delta=0.5))
    assert prepared(bodies, config=config).fingerprint["loss"]["delta"] == 0.5


SPECS = {
    "mlp first": dict(messages="state", first_message="mlp", hidden=7, depth=1, solver="tsit5"),
    "sum as it is": dict(messages="emitted", aggregation="sum", divisor=1.0, hidden=5),
    "pairs": dict(messages="pairwise", coupling="superposed", aggregation="sum", relative=(0,)),
    "l2s": dict(family="l2s", depth=2, aggregation="sum"),
    "whole system": dict(family="node", hidden=9, substeps=2),
    "a delay": dict(messages="emitted", delay=0.5),
    "stride": dict(messages="emitted", stride=2),
}


@pytest.mark.parametrize("name", SPECS)
def test_a_specification_is_taken_as_it_is(data: xr.Dataset, name: str) -> None:
    spec = ModelSpec(**SPECS[name], **({"message": 1} if name == "pairs" else {}))
    made = prepared(data, model=spec, updates=1).model.spec
    bodies = 4 if spec.family == "node" else 1
    assert made == spec.replace(channels=data.sizes["feature"], bodies=bodies)


def test_keywords_change_a_specification_and_the_data_fit_it(data: xr.Dataset) -> None:
    spec = ModelSpec(messages="emitted", hidden=9, codes=0)
    made = prepared(data, model=spec, updates=1, hidden=3, node_codes=2).model.spec
    assert (made.hidden, made.codes, made.coded_nodes) == (3, 2, 4)
    with pytest.raises(InvalidOption, match="channels"):
        prepared(data, model=ModelSpec(channels=5), updates=1)
    with pytest.raises(InvalidOption, match="learned_edges"):
        prepared(data, model=ModelSpec(messages="emitted", learned_edges=3), updates=1)


def test_a_specification_trains_and_is_saved(data: xr.Dataset, tmp_path: Path) -> None:
    spec = ModelSpec(messages="pairwise", coupling="mixed", aggregation="max", hidden=4)
    result = pympnode.train(data, model=spec, config=TrainConfig(updates=2), run=tmp_path, **QUIET)
    assert pympnode.load(tmp_path).spec == result.model.spec
    assert result.model.spec.aggregation == "max" and result.updates == 2
    tuned = pympnode.finetune(result, data=data, config=TrainConfig(updates=1), **QUIET)
    assert tuned.model.spec == result.model.spec
    with pytest.raises(InvalidOption, match="another kind"):
        pympnode.finetune(result, data=data, model=spec)


def test_particle_specifications(bodies: xr.Dataset) -> None:
    spec = ParticleSpec(
        join="complete", inputs="scaled", messages="antisymmetric", edge_width=5, node_width=6,
        update="leapfrog", mass_coupling="reduced",
    )  # fmt: skip
    made = prepared(bodies, model=spec, updates=1, edge_width=7)
    assert made.model.spec == dataclasses.replace(spec, edge_width=7)
    assert np.isfinite(
        made.task.loss(made.theta[0], next(made.task.batches(1, np.random.default_rng(0))))[0]
    )
    with pytest.raises(InvalidOption, match="dims"):
        prepared(bodies, model=dataclasses.replace(spec, dims=3), updates=1)


@pytest.mark.parametrize(
    "options",
    [dict(config={"epochs": 3}), dict(config="fast"), dict(model=ParticleSpec()), dict(model=3)],
)
def test_other_objects_are_refused(data: xr.Dataset, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        pympnode.train(data, **options)


def test_a_specification_of_networks_is_refused_by_particles(bodies: xr.Dataset) -> None:
    with pytest.raises(InvalidOption, match="ParticleSpec"):
        pympnode.train(bodies, model=ModelSpec())
