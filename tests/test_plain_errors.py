"""Common mistakes of a new user raise errors of the package: got, allowed, fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import InvalidData, InvalidOption, PympnodeError, UnknownName
from pympnode.files import netcdf as storage

TINY: dict[str, Any] = {
    "model": "deltagn", "edge_width": 8, "node_width": 8, "updates": 1, "progress": False,
    "device": "cpu",
}  # fmt: skip
NETWORK: dict[str, Any] = {"epochs": 1, "kernel": "eager", "hidden": 4, "progress": False}
SMALL: dict[str, Any] = {"trajectories": 4, "steps": 3}


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate("gravity", particles=8, seed=3, **SMALL)


@pytest.fixture(scope="module")
def nodes() -> xr.Dataset:
    return pympnode.simulate("kuramoto", nodes=4, topology="ring", **SMALL)


@pytest.fixture(scope="module")
def particles(data) -> Any:
    return pympnode.train(data=data, **TINY).model


@pytest.fixture(scope="module")
def network(nodes) -> Any:
    return pympnode.train(data=nodes, **NETWORK).model


# ---- numbers and names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"particles": "20"}, "particles must be a whole number"),
        ({"particles": 20.0}, "particles must be a whole number"),
        ({"dtype": "float16"}, "unknown dtype"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"dt": "x"}, "dt must be a positive number"),
        ({"edge_width": 8.0}, "edge_width must be a whole number"),
        ({"updates": True}, "updates must be a whole number"),
        ({"learning_rate": "x"}, "learning_rate must be a positive number"),
    ],
)
def test_training_particles_takes_numbers(option, says) -> None:
    words = {"particles": 8, **SMALL, **TINY, **option}
    with pytest.raises(PympnodeError, match=says) as error:
        pympnode.train("gravity", **words)
    assert repr(next(iter(option.values()))) in str(error.value.got)


@pytest.mark.parametrize(
    "option",
    [{"dtype": "float16"}, {"seed": -1}, {"seed": "a"}, {"dt": "x"}, {"hidden": 8.0},
     {"members": 1.5}, {"epochs": "3"}],
)  # fmt: skip
def test_training_networks_takes_numbers(option) -> None:
    with pytest.raises(PympnodeError):
        pympnode.train("kuramoto", nodes=4, topology="ring", **{**SMALL, **NETWORK, **option})


@pytest.mark.parametrize(
    ("system", "option"),
    [
        ("gravity", {"dt": "x"}),
        ("gravity", {"dtype": "flaot"}),
        ("gravity", {"particles": 20.0}),
        ("gravity", {"seed": -1}),
        ("kuramoto", {"dt": "x"}),
        ("kuramoto", {"seed": "a"}),
    ],
)
def test_simulating_takes_numbers(system, option) -> None:
    with pytest.raises(PympnodeError):
        pympnode.simulate(system, **{"trajectories": 1, "steps": 1, **option})


def test_numbers_of_numpy_are_numbers(data, nodes, particles, network) -> None:
    words = {**TINY, "edge_width": np.int64(8), "updates": np.int64(1), "batch_size": np.int32(2)}
    model = pympnode.train(data=data, seed=np.int64(3), learning_rate=np.float32(1e-3),
                           dtype=np.float32, **words).model  # fmt: skip
    assert model.spec == particles.spec and type(model.spec.edge_width) is int
    words = {**NETWORK, "hidden": np.int64(4), "epochs": np.int64(1)}
    assert pympnode.train(data=nodes, members=np.int64(2), **words).model.members == 2
    assert particles.rollout(data, steps=np.int64(2)).sizes["time"] == 3
    assert network.rollout(nodes, steps=np.int64(2)).sizes["time"] == 3


def test_steps_of_a_rollout_are_whole(data, nodes, particles, network) -> None:
    for model, ds in ((particles, data), (network, nodes)):
        for steps in (10.0, 0, "2"):
            with pytest.raises(InvalidOption, match="steps must be a whole number") as error:
                model.rollout(ds, steps=steps)
            assert error.value.got == repr(steps)


# ---- data and files ------------------------------------------------------------------------------


def test_rollouts_take_paths_and_list_the_other_inputs(
    data, nodes, particles, network, tmp_path
) -> None:
    for model, ds in ((particles, data), (network, nodes)):
        path = tmp_path / "d.nc"
        storage.write_netcdf(ds, path)
        for given in (path, str(path)):
            assert model.rollout(given).identical(model.rollout(ds))
    for given in (data["position"].values, data["position"], 5):
        with pytest.raises(InvalidData, match="given as a dataset") as error:
            particles.rollout(given)
        assert "unpack_particles" in str(error.value.fix)
    with pytest.raises(InvalidData, match="wrong dims") as error:
        particles.rollout(data.isel(time=0))
    assert "isel(time=[0])" in str(error.value.fix)
    with pytest.raises(InvalidData, match="wrong dims") as error:
        particles.rollout(data.isel(trajectory=1))
    assert "isel(trajectory=[0])" in str(error.value.fix)


def test_values_that_are_no_datasets_are_refused_as_data(particles, network) -> None:
    for model in (particles, network):
        with pytest.raises(InvalidData, match="data are a dataset"):
            pympnode.evaluate(model, 5)
    for given in (5, [np.zeros(3)]):
        with pytest.raises(InvalidData, match="data are a dataset"):
            pympnode.train(data=given, **NETWORK)


def test_folders_of_parts_train_alone_and_in_a_list(tmp_path: Path) -> None:
    parts = str(tmp_path / "parts")
    pympnode.simulate("gravity", particles=8, path=parts, workers=1, **SMALL)
    for given in (parts, [parts], [parts, Path(parts)]):
        result = pympnode.train(data=given, **TINY)
        assert result.model.trained.particles == (8, 8)


@pytest.mark.parametrize("half", ["particles", "network"])
def test_a_run_is_a_folder(half, data, nodes, tmp_path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    words = {"data": data, **TINY} if half == "particles" else {"data": nodes, **NETWORK}
    with pytest.raises(InvalidOption, match="run is a folder"):
        pympnode.train(run=file, **words)


# ---- what belongs elsewhere ----------------------------------------------------------------------


def test_keywords_of_the_other_half_are_refused(data, particles, network) -> None:
    for crossing in (
        lambda: pympnode.finetune(network, system="gravity", particles=5),
        lambda: pympnode.finetune(particles, system="kuramoto"),
        lambda: pympnode.train("gravity", start=network),
    ):
        with pytest.raises(InvalidOption, match="of the other half"):
            crossing()
    for call in (pympnode.simulate, pympnode.train):
        with pytest.raises(InvalidOption, match="particles belongs to particles"):
            call("kuramoto", particles=5)
    words = {name: value for name, value in TINY.items() if name != "model"}
    again = pympnode.train(start=particles, particles=8, **SMALL, **words)
    assert again.model.trained.particles == (8, 8) and set(again.restored_tensors) == set(
        particles.weights
    )


def test_evaluation_refuses_keywords_of_the_other_half(data, nodes, particles, network) -> None:
    for option in ({"threshold": 0.4}, {"system": "coulomb"}):
        with pytest.raises(InvalidOption, match="belongs to networks"):
            pympnode.evaluate(particles, data, **option)
        assert "rmse" in pympnode.evaluate(network, nodes, **{**option, "system": "kuramoto"})
    with pytest.raises(InvalidOption, match="horizons belong"):
        pympnode.evaluate(network, nodes, horizons=[2])


def test_the_test_set_of_given_data_is_the_held_out_part(data, nodes) -> None:
    for words in ({"data": data, **TINY}, {"data": nodes, **NETWORK}):
        result = pympnode.train(**words)
        assert result.test_set().sizes["trajectory"] == 1
        for option in ({"trajectories": 7}, {"seed": 3}):
            for ask in (result.test_set, result.evaluate):
                with pytest.raises(InvalidOption, match="the data were given"):
                    ask(**option)


@pytest.mark.parametrize(
    "option", [{"engine": "julia"}, {"tolerance": 1e-4}, {"graph_seed": 1}, {"noise": 0.1}]
)
def test_simulating_particles_refuses_options_without_effect(option) -> None:
    with pytest.raises(InvalidOption):
        pympnode.simulate("gravity", particles=4, trajectories=1, steps=1, **option)
    with pytest.raises(UnknownName, match="unknown engine"):
        pympnode.simulate("gravity", particles=4, trajectories=1, steps=1, engine="jluia")


def test_particles_know_one_engine(data) -> None:
    for engine in ("auto", "torch"):
        assert pympnode.train(data=data, engine=engine, **TINY).engine == "torch"
    with pytest.raises(InvalidOption, match="the Julia engine has networks alone"):
        pympnode.train(data=data, engine="julia", **TINY)


def test_options_of_the_simulation_are_pointed_to_simulate() -> None:
    for option, fix in (
        ({"integrator": "global"}, "simulate(system, integrator='global')"),
        ({"start": "plummer"}, "simulate(system, start='plummer')"),
        ({"workers": 2}, "simulate(system, workers=2, ...)"),
    ):
        with pytest.raises(InvalidOption) as error:
            pympnode.train("gravity", particles=8, **SMALL, **option)
        assert fix in str(error.value.fix)


def test_a_system_of_three_dimensions_trains_in_three() -> None:
    system = pympnode.systems.get("gravity").__class__(dims=3)
    assert pympnode.train(system, particles=6, **SMALL, **TINY).model.spec.dims == 3
