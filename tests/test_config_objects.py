"""`TrainConfig`, `ModelSpec` and `ParticleSpec` objects in place of keywords of `train`."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode import ModelSpec, ParticleSpec, TrainConfig
from pympnode.config import given_fields
from pympnode.errors import InvalidOption
from pympnode.losses import Huber, SquaredError
from pympnode.networks.half import NETWORKS
from pympnode.particles.half import PARTICLES

# A value of each field of a run that is not its default, and that goes with the others.
RUN: dict[str, Any] = {
    "preset": "paper", "updates": 5, "batch_size": 7, "optimiser": "soap",
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
    assert others == {"epochs", "time_budget", "race"}
    for name, value in RUN.items():
        given = TrainConfig(**{name: value})
        assert getattr(given, name) != getattr(TrainConfig(), name)
    # A race changes other fields of the run that follows, other lengths exclude updates, and the
    # messages of the preset "paper" have no stage of matching.
    made = prepared(data, config=TrainConfig(**RUN), messages="emitted").config
    assert made == TrainConfig(**RUN)
    for length in (dict(epochs=3), dict(time_budget=9.0)):
        assert prepared(data, config=TrainConfig(**length)).config == TrainConfig(**length)


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


@pytest.mark.parametrize("loss", ["huber", Huber()])
def test_the_loss_of_the_other_half_is_taken_where_it_is_given(
    data: xr.Dataset, bodies: xr.Dataset, loss: Any
) -> None:
    made = prepared(bodies, config=TrainConfig(updates=2, loss=loss))
    assert made.task.program.measure.loss == Huber()
    assert made.fingerprint["loss"] == Huber().as_dict()
    copied = dataclasses.replace(TrainConfig(loss=loss), updates=2)
    assert prepared(bodies, config=copied).task.program.measure.loss == Huber()
    assert prepared(bodies, config=TrainConfig(updates=2)).task.program.measure is None
    # Files of networks stay what they were.
    plain = prepared(data, config=TrainConfig(updates=2))
    same = prepared(data, config=TrainConfig(updates=2, loss=loss))
    assert same.fingerprint == plain.fingerprint and "loss" not in plain.fingerprint["training"]
    assert (
        prepared(data, config=TrainConfig(updates=2, loss="mse")).task.program.measure is not None
    )


def test_a_keyword_goes_before_a_field_also_where_it_is_the_usual_value(data: xr.Dataset) -> None:
    config = TrainConfig(updates=2, seed=4, preset="paper", retry_diverged=True, loss="mse")
    usual = dict(seed=0, preset="fast", retry_diverged=False, loss="huber")
    made = prepared(data, config=config, **usual)
    assert made.config == config.replace(**usual)
    assert made.model.spec.messages == "emitted"  # of the preset "fast"
    assert prepared(data, config=config).config == config


def test_fields_know_that_they_were_given() -> None:
    assert given_fields(TrainConfig()) == frozenset()
    config = TrainConfig(epochs=80, clip=1.0)
    assert given_fields(config) == {"epochs", "clip"} and config == TrainConfig()
    assert given_fields(config.replace(seed=0)) == {"epochs", "clip", "seed"}
    assert given_fields(config.replace(updates=3)) == {"clip", "updates"}
    assert given_fields(dataclasses.replace(config, seed=3)) == {"seed"}
    assert given_fields(copy.copy(config)) == given_fields(config)
    assert given_fields(ModelSpec("l2s", 1)) == {"family", "channels"}
    spec = ModelSpec.from_dict(dataclasses.asdict(ModelSpec(hidden=5)))
    assert given_fields(spec) == {"hidden"}


@pytest.mark.parametrize(
    "lengths",
    [dict(epochs=80, updates=5), dict(updates=5, time_budget=9.0), dict(epochs=3, time_budget=9.0)],
)
def test_a_run_in_an_object_has_one_length_too(data: xr.Dataset, lengths: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="one length"):
        prepared(data, config=TrainConfig(**lengths))
    assert prepared(data, config=TrainConfig(epochs=3).replace(updates=5)).config.updates == 5


@pytest.mark.parametrize(
    "fields",
    [dict(margin=2.0), dict(training_noise=0.1), dict(curriculum=((5, 1.0),)), dict(race=0.3),
     dict(from_start=0.5)],
)  # fmt: skip
def test_particles_refuse_fields_that_would_change_nothing(
    bodies: xr.Dataset, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidOption, match="is of networks"):
        prepared(bodies, config=TrainConfig(updates=2, **fields))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (dict(model="l2s"), "two classes"),
        (dict(messages="emitted"), "two classes"),
        (dict(messages="pairwise", coupling="mixed", aggregation="mean"), "two classes"),
        (dict(updates=5), "600 updates"),
        (dict(epochs=1), "600 updates"),
    ],
)
def test_a_race_that_would_not_take_place_is_refused(
    data: xr.Dataset, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidOption, match="none do") as error:
        prepared(data, config=TrainConfig(updates=700, race=0.3), **options)
    assert why in str(error.value)
    assert not prepared(data, config=TrainConfig(updates=700), **options).candidates


def test_matching_of_an_object_is_asked_for(data: xr.Dataset) -> None:
    config = TrainConfig(updates=5, matching=0.5)
    with pytest.raises(InvalidOption, match="no stage of gradient matching"):
        prepared(data, config=config, messages="state")
    assert prepared(data, config=config, messages="state", matching=0.0).config.matching == 0
    half = NETWORKS
    options = half.Training(config=config, partition="blocks")
    with pytest.raises(InvalidOption, match="not divided"):
        half.prepare(None, [data], options, None)


def test_windows_of_an_object_are_not_those_of_the_data() -> None:
    """Of trajectories of more than 200 intervals the curriculum of a preset is stretched."""
    long = pympnode.simulate("heat", nodes=3, trajectories=4, steps=250, dt=0.02)
    stages = ((5, 0.5), (20, 0.5))
    config = TrainConfig(updates=5, curriculum=stages)
    made = prepared(long, config=config, messages="emitted")
    assert made.config.curriculum == stages and made.task.steps == 20
    whole = prepared(long, config=config.replace(curriculum=((0, 1.0),)), messages="emitted")
    assert whole.task.steps == 250
    free = prepared(long, config=TrainConfig(updates=5), messages="emitted")
    assert free.task.steps <= 200


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


def test_widths_that_are_given_are_compared_also_where_they_are_the_usual_ones(
    bodies: xr.Dataset,
) -> None:
    two = pympnode.simulate("fitzhugh_nagumo", nodes=5, trajectories=8, steps=5)
    assert prepared(two, model=ModelSpec(messages="emitted"), updates=1).model.spec.channels == 2
    for fields in (dict(channels=1), dict(family="node", bodies=1)):
        with pytest.raises(InvalidOption, match="follows from the data"):
            prepared(two, model=ModelSpec(**fields), updates=1)
    spec = ModelSpec(channels=1, messages="emitted").replace(channels=2)
    assert prepared(two, model=spec, updates=1).model.spec.channels == 2
    three = pympnode.simulate("coulomb", particles=4, trajectories=4, steps=2, dims=3)
    made = prepared(three, model=ParticleSpec(edge_width=4, node_width=4), updates=1).model.spec
    assert made.dims == 3 and made.charged
    for fields in (dict(dims=2), dict(charged=False)):
        with pytest.raises(InvalidOption, match="follows from the data"):
            prepared(three, model=ParticleSpec(edge_width=4, node_width=4, **fields), updates=1)
    radial = dict(join="complete", inputs="scaled", messages="radial", update="leapfrog",
                  mass_coupling="product", edge_width=4)  # fmt: skip
    with pytest.raises(InvalidOption, match="learned_masses"):
        prepared(bodies, model=ParticleSpec(learned_masses=2, **radial), updates=1)
    made = prepared(bodies, model=ParticleSpec(learned_masses=3, **radial), updates=1).model.spec
    assert made.learned_masses == 3


def test_a_message_size_that_is_given_is_not_replaced() -> None:
    two = pympnode.simulate("fitzhugh_nagumo", nodes=5, trajectories=8, steps=5)
    spec = ModelSpec(messages="pairwise", coupling="superposed", aggregation="sum", message=1)
    assert prepared(two, model=spec, updates=1).model.spec.message == 2
    with pytest.raises(InvalidOption, match="components of the state"):
        prepared(two, model=spec, updates=1, message_size=3)


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
