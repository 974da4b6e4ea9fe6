"""What is given to `simulate`, `train` and `finetune` of particles is taken, or refused in words."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.datasets.record import record
from pympnode.errors import (
    InvalidData,
    InvalidGraph,
    InvalidOption,
    OutsideTrainingRange,
    PympnodeError,
    UnknownName,
)
from pympnode.particles.engine.program import ParticleProgram
from pympnode.particles.presets import particle_preset, preset_fields
from pympnode.particles.schema import box_of
from pympnode.particles.spec import MODELS, ParticleScales, ParticleSpec
from pympnode.particles.systems.gravity import Gravity

TINY: dict[str, Any] = {"edge_width": 8, "node_width": 8, "progress": False, "device": "cpu"}
NETWORK: dict[str, Any] = {"epochs": 1, "kernel": "eager", "hidden": 4, "progress": False}
NETWORKS: dict[str, Any] = {name: NETWORK[name] for name in ("kernel", "hidden", "progress")}


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate("gravity", particles=20, trajectories=6, steps=6, seed=3)


@pytest.fixture(scope="module")
def nodes() -> xr.Dataset:
    return pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=8, steps=5)


# ---- data that are given are not simulated -------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [
        {"particles": 55},
        {"dims": 3},
        {"steps": 3},
        {"dt": 0.5},
        {"trajectories": 2},
        {"parameters": {"constant": 9}},
        {"nodes": 4},
    ],
)
def test_keywords_of_the_simulation_contradict_given_particles(data, option) -> None:
    with pytest.raises(InvalidOption, match="the data are given"):
        pympnode.train(data=data, updates=1, **option, **TINY)


@pytest.mark.parametrize(
    "option",
    [
        {"nodes": 4},
        {"topology": "ring"},
        {"topology": np.array([[0, 1], [1, 0]])},
        {"graphs": 2},
        {"graph_seed": 1},
        {"noise": 0.1},
        # What simulate would do by itself: the data are others all the same.
        {"trajectories": 1000},
        {"graphs": 1},
        {"graph_seed": 42},
        {"noise": 0.0},
        {"steps": 3},
        {"dt": 0.5},
        {"trajectories": 2},
        {"parameters": {"coupling": 9}},
    ],
)
def test_keywords_of_the_simulation_contradict_given_networks(nodes, option) -> None:
    with pytest.raises(InvalidOption, match="the data are given"):
        pympnode.train(data=nodes, **option, **NETWORK)


def test_a_system_may_not_contradict_the_data(data, nodes) -> None:
    with pytest.raises(InvalidOption, match="of another system") as error:
        pympnode.train("coulomb", data=data, updates=1, **TINY)
    assert "'gravity'" in str(error.value)
    with pytest.raises(InvalidOption, match="dataset 1 is of another system"):
        pympnode.train("lorenz", data=[nodes.drop_attrs(), nodes], **NETWORK)
    assert pympnode.train("gravity", data=data, updates=1, **TINY).model.system == "gravity"
    named = pympnode.train("kuramoto", data=nodes.drop_attrs(), **NETWORK)
    assert named.model.system == "kuramoto"


@pytest.mark.parametrize("system", ["gravity", "kuramoto", None])
def test_no_dataset_at_all_is_refused_as_such(system) -> None:
    with pytest.raises(InvalidData, match="no datasets"):
        pympnode.train(system, data=[], edge_width=8)


# ---- options that a model has no use for ---------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "option"),
    [
        ("deltagn", {"integrator": "euler"}),
        ("hogn", {"integrator": "euler"}),
        ("hogn", {"global_width": 8}),
        ("hierarchical_deltagn", {"global_width": 8}),
        ("deltagn", {"neighbours": 3}),
        ("hierarchical_deltagn", {"neighbours": 3}),
        ("deltagn", {"levels": 2}),
        ("nearest_deltagn", {"levels": 3}),
        ("hogn", {"mixed_levels": True}),
        ("hierarchical_deltagn", {"levels": 2, "mixed_levels": True}),
    ],
)
def test_an_option_that_changes_nothing_is_refused(data, model, option) -> None:
    with pytest.raises(InvalidOption, match="changes nothing in this model") as error:
        pympnode.train(data=data, model=model, updates=1, **option, **TINY)
    name = next(reversed(option))
    assert f"{name}={option[name]!r} for {model}" in str(error.value.got)


@pytest.mark.parametrize(
    ("model", "option"),
    [
        ("hogn", {"integrator": "euler", "inputs": "plain", "global_width": 8}),
        ("nearest_deltagn", {"neighbours": 3}),
        ("hierarchical_hogn", {"levels": 2, "mixed_levels": False}),
        ("hierarchical_deltagn", {"mixed_levels": True}),
        ("deltagn", {"mixed_levels": False}),
    ],
)
def test_an_option_that_a_model_uses_is_taken(data, model, option) -> None:
    result = pympnode.train(data=data, model=model, updates=1, batch_size=2, **option, **TINY)
    fields = {**result.model.spec.as_dict(), "mixed_levels": result.model.about["mixed_levels"]}
    assert {name: fields[name] for name in option} == option


@pytest.mark.parametrize("levels", ["3", 2.0, 1, 0, True])
def test_levels_are_a_whole_number(levels) -> None:
    with pytest.raises(InvalidOption, match="levels must be a whole number"):
        ParticleSpec(levels=levels)


def test_published_behaviour_leaves_momentum_free() -> None:
    for name in MODELS:
        fields = preset_fields(particle_preset("fast", name, 20), {"behaviour": "published"})
        assert not ParticleSpec.named(name, **fields).conserve_momentum
    asked = {"behaviour": "published", "conserve_momentum": True}
    fields = preset_fields(particle_preset("fast", "deltagn", 20), asked)
    assert ParticleSpec.named("deltagn", **fields).conserve_momentum


def test_an_unknown_preset_lists_the_names() -> None:
    with pytest.raises(UnknownName, match="did you mean 'hogn'"):
        particle_preset("paper", "hogm", 20)
    with pytest.raises(UnknownName, match="did you mean 'fast'"):
        particle_preset("fats", "hogn", 20)


@pytest.mark.parametrize(
    ("option", "value", "others"),
    [
        ("first_message", "linear", {"messages": "emitted"}),
        ("first_message", "zero", {"messages": "pairwise"}),
        ("first_message", "mlp", {}),
        ("first_message", "mlp", {"model": "node"}),
        ("aggregation", "sum", {"model": "node"}),
        ("message_size", 3, {"model": "node"}),
        ("message_size", 3, {"model": "l2s"}),
        ("messages", "pairwise", {"model": "l2s"}),
        ("coupling", "mixed", {"model": "node"}),
    ],
)
def test_an_option_that_changes_nothing_is_refused_by_networks(
    nodes, option, value, others
) -> None:
    with pytest.raises(InvalidOption, match=f"{option} changes nothing in this model"):
        pympnode.train(nodes, updates=1, **{option: value}, **others, **NETWORKS)
    if others:
        left = {name: "auto" for name in ("messages", "coupling") if name not in others}
        pympnode.train(nodes, updates=1, **others, **left, **NETWORKS)


def test_a_normalisation_is_that_of_a_start(nodes) -> None:
    with pytest.raises(InvalidOption, match="start model"):
        pympnode.train(nodes, normalisation="keep", **NETWORK)


def test_the_system_of_an_evaluation_fits_the_data(nodes) -> None:
    model = pympnode.train(nodes, updates=1, **NETWORKS).model
    assert "uncoupled" in pympnode.evaluate(model, nodes, system="kuramoto").predictor
    with pytest.raises(InvalidOption, match="that of the data"):
        pympnode.evaluate(model, nodes, system="heat")


def test_chunks_do_not_go_with_a_partition(nodes) -> None:
    with pytest.raises(InvalidOption, match="chunks_in_memory=3"):
        pympnode.train(nodes, partition="blocks", chunks_in_memory=3, updates=1, progress=False)


@pytest.mark.parametrize("which", ["data", "nodes"])
def test_a_split_is_not_that_of_the_labels(request, which) -> None:
    ds = request.getfixturevalue(which)
    words = {**TINY, "model": "deltagn"} if which == "data" else NETWORKS
    with pytest.raises(InvalidOption, match="have labels") as error:
        pympnode.train(ds, split=0.3, updates=1, **words)
    assert "drop_vars" in str(error.value.fix)
    pympnode.train(ds, split=0.7, updates=1, **words)  # what the labels say
    pympnode.train(ds.drop_vars("split"), split=0.3, updates=1, **words)


# ---- fine-tuning ---------------------------------------------------------------------------------


def test_another_kind_of_model_does_not_come_of_fine_tuning(data, nodes) -> None:
    particles = pympnode.train(data=data, model="deltagn", updates=1, **TINY)
    networks = pympnode.train(data=nodes, **NETWORK)
    with pytest.raises(InvalidOption, match="another kind") as error:
        pympnode.finetune(particles, data=data, model="hogn", updates=1)
    assert "'deltagn'" in str(error.value.allowed)
    with pytest.raises(InvalidOption, match="another kind"):
        pympnode.finetune(networks, data=nodes, model="node", **NETWORK)
    for start, given in ((particles, nodes), (networks, data)):
        with pytest.raises(InvalidOption, match="of the other half"):
            pympnode.finetune(start, data=given, updates=1)
    same = pympnode.finetune(particles, data=data, model="deltagn", updates=1, progress=False)
    assert same.model.spec == particles.model.spec
    with pytest.raises(InvalidOption, match="changes nothing"):
        pympnode.finetune(particles, data=data, levels=3, updates=1, progress=False)


def test_fine_tuning_to_another_time_step_takes_the_scale_of_a_step_along(data) -> None:
    """Acceleration times the step: a model of one step is a start for a step five times as long."""
    first = pympnode.train(data=data, model="deltagn", updates=100, **TINY).model
    longer = pympnode.simulate("gravity", particles=20, trajectories=6, steps=6, seed=3, dt=0.05)
    with pytest.warns(OutsideTrainingRange, match=r"time step 0\.05 \(trained on 0\.01\)"):
        second = pympnode.finetune(
            first, data=longer, updates=1, learning_rate=1e-12, device="cpu", progress=False
        )
    assert second.model.dt == pytest.approx(0.05)
    assert second.model.scales.change == pytest.approx(5 * first.scales.change)
    assert second.model.scales.length == first.scales.length
    assert second.best_loss < 1  # which is knowing nothing; more than 20 with the old scale
    same = pympnode.finetune(first, data=data, updates=1, device="cpu", progress=False)
    assert same.model.scales == first.scales


# ---- simulation ----------------------------------------------------------------------------------


def test_a_dataset_that_is_started_from_brings_its_physics() -> None:
    physics = {"side": 9.0, "constant": 5.0, "softening": 0.3}
    first = pympnode.simulate(
        "gravity", particles=8, trajectories=2, steps=2, parameters=physics, seed=1
    )
    again = pympnode.simulate("gravity", start=first, steps=2)
    assert box_of(again).side == 9.0
    assert record(again)["parameters"] == record(first)["parameters"]
    np.testing.assert_array_equal(again["position"], first["position"])
    other = pympnode.simulate("gravity", start=first, steps=2, parameters={"constant": 2.0})
    assert record(other)["parameters"] == {**record(first)["parameters"], "constant": 2.0}
    space = pympnode.simulate("gravity", particles=8, trajectories=1, steps=1,
                              parameters={"side": None})  # fmt: skip
    assert not box_of(pympnode.simulate("gravity", start=space, steps=1)).periodic
    boxed = pympnode.simulate("gravity", start=space, steps=1, parameters={"side": 50.0})
    assert box_of(boxed).side == 50.0
    assert box_of(pympnode.simulate("gravity", start=first.drop_attrs(), steps=1)).periodic


@pytest.mark.parametrize("workers", [-1, 0, 1.5])
def test_workers_are_a_whole_number(workers, tmp_path) -> None:
    for path in (None, tmp_path / "parts"):
        with pytest.raises(InvalidOption, match="workers must be a whole number"):
            pympnode.simulate(
                "gravity", particles=4, trajectories=1, steps=1, workers=workers, path=path
            )


def test_dimensions_are_those_of_the_system_and_of_the_start(data) -> None:
    size: dict[str, Any] = {"particles": 3, "trajectories": 1, "steps": 1}
    space = Gravity(3)
    assert pympnode.simulate(space, **size).sizes["axis"] == 3
    assert pympnode.simulate(space, dims=3, **size).sizes["axis"] == 3
    for call in (
        lambda: pympnode.simulate(space, dims=2, **size),
        lambda: pympnode.simulate("gravity", start=data, dims=3, steps=1),
        lambda: pympnode.train(space, dims=2, updates=1, **size, **TINY),
    ):
        with pytest.raises(InvalidOption, match="dims= and"):
            call()


def test_options_of_another_solver_are_refused(nodes) -> None:
    with pytest.raises(InvalidOption, match="equal steps"):
        pympnode.simulate("gravity", particles=3, trajectories=1, steps=1, substeps=2)
    few: dict[str, Any] = {"trajectories": 1, "steps": 2}
    for call in ({"system": "quadrotors"}, {"system": "kuramoto", "nodes": 3, "delay": 0.1}):
        with pytest.raises(InvalidOption, match="adaptive integrator"):
            pympnode.simulate(**call, **few, tolerance=1e-8)
    first = nodes.state.isel(time=0).values[:2]
    words: dict[str, Any] = {"nodes": 4, "topology": "ring", "steps": 1, "initial": first}
    assert pympnode.simulate("kuramoto", trajectories=2, **words).sizes["trajectory"] == 2
    with pytest.raises(InvalidOption, match="number of initial states"):
        pympnode.simulate("kuramoto", trajectories=1000, **words)


def test_rungs_are_those_of_halving(tmp_path) -> None:
    with pytest.raises(InvalidOption, match="halving"):
        pympnode.sweep({"seed": [0, 1]}, "heat", rungs=2, run=tmp_path / "sweep", epochs=1)


def test_objects_in_a_grid_have_one_length(tmp_path) -> None:
    grid = {"config": [pympnode.TrainConfig(updates=1), pympnode.TrainConfig(updates=2)]}
    with pytest.raises(InvalidOption, match="different length"):
        pympnode.sweep(grid, "heat", run=tmp_path / "sweep")


# ---- data that a model cannot take ---------------------------------------------------------------


def test_datasets_that_hold_nothing_are_refused(data) -> None:
    model = pympnode.train(data=data, model="deltagn", updates=1, **TINY).model
    for use in (model.rollout, lambda ds: pympnode.evaluate(model, ds)):
        with pytest.raises(InvalidData, match="no trajectory"):
            use(data.isel(trajectory=[]))
    with pytest.raises(InvalidData, match="no particle"):
        model.rollout(data.isel(particle=[]))


def test_a_particle_alone_has_no_neighbours() -> None:
    alone = pympnode.simulate("gravity", particles=1, trajectories=4, steps=2)
    with pytest.raises(InvalidGraph, match="alone has no neighbours") as error:
        pympnode.train(data=alone, model="nearest_deltagn", updates=1, **TINY)
    assert isinstance(error.value, PympnodeError) and "two or more" in str(error.value.allowed)


def test_arrays_that_cannot_be_written_are_taken_in_silence(data) -> None:
    spec = ParticleSpec.named("deltagn", inputs="scaled", edge_width=8, node_width=8)
    program = ParticleProgram(spec, ParticleScales(), 0.01, dtype="float64", device="cpu")
    names = ("position", "velocity", "mass")
    fixed = [np.array(data[name].values[:, 0] if name != "mass" else data[name]) for name in names]
    for array in fixed:
        array.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program.batch(*fixed, None, box_of(data))
