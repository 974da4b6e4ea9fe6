"""Valid calls of every public function, whose arguments `test_fuzz` replaces by hostile values."""

from __future__ import annotations

import datetime
import functools
import inspect
import pathlib
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

import pympnode
from pympnode import networks, particles, plotting, systems
from pympnode.networks.graphs.topology import resolve


@functools.cache
def network_data() -> xr.Dataset:
    return pympnode.simulate("kuramoto", nodes=3, topology="ring", trajectories=4, steps=3)


@functools.cache
def smooth_data() -> xr.Dataset:
    return pympnode.simulate("kuramoto", nodes=3, topology="ring", trajectories=4, steps=12)


@functools.cache
def particle_data() -> xr.Dataset:
    return pympnode.simulate("gravity", particles=3, trajectories=4, steps=3)


def own_module() -> torch.nn.Module:
    class Decay(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = torch.nn.Parameter(torch.ones(3))

        def forward(self, x: Any, edge_index: Any) -> Any:
            return -self.rate * x

    return Decay()


@functools.cache
def typed_data() -> xr.Dataset:
    rng = np.random.default_rng(0)
    states = {"tank": rng.normal(size=(4, 5, 2, 1)), "pump": rng.normal(size=(4, 5, 2, 2))}
    return pympnode.from_arrays(states, dt=0.1, topology="ring")


@functools.cache
def typed_result() -> Any:
    return pympnode.train(data=typed_data(), updates=1, kernel="eager", progress=False)


@functools.cache
def network_result() -> Any:
    return pympnode.train(data=network_data(), epochs=1, kernel="eager", progress=False)


@functools.cache
def particle_result() -> Any:
    return pympnode.train(data=particle_data(), updates=1, kernel="eager", progress=False)


@functools.cache
def path_data() -> xr.Dataset:
    return pympnode.simulate("heat", nodes=3, topology="path", trajectories=4, steps=3)


@functools.cache
def pair_model() -> Any:
    return pympnode.train(data=path_data(), messages="pairwise", aggregation="sum", **_RUN).model


@functools.cache
def calibrated() -> Any:
    return network_result().model.calibrate(network_data())


@functools.cache
def scores() -> xr.Dataset:
    return pympnode.evaluate(network_result().model, network_data())


@functools.cache
def particle_scores() -> xr.Dataset:
    return pympnode.evaluate(particle_result().model, particle_data(), horizons=[1, 2])


@functools.cache
def predicted() -> xr.Dataset:
    return network_result().model.rollout(network_data())


@functools.cache
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {"time": [0.0, 0.1, 0.2] * 2, "node": list("aaabbb"), "x": np.arange(6.0), "y": 1.0}
    )


@functools.cache
def coded_result() -> pympnode.Result:
    return pympnode.train(data=network_data(), node_codes=1, epochs=1, progress=False)


_ARRAY = np.random.default_rng(0).normal(size=(2, 5, 2, 2))
_PATHS = np.random.default_rng(1).normal(size=(2, 5, 3, 2)) * 1e-3
_RUN = dict(epochs=1, kernel="eager", progress=False)


def _field(t: float, x: Any, u: Any, graph: Any, parameters: Any) -> Any:
    return -x


# Name -> (function, valid arguments). A function takes keywords only; what it takes by position is
# named as in its signature.
CALLS: dict[str, Callable[[], tuple[Callable[..., Any], dict[str, Any]]]] = {
    "simulate networks": lambda: (
        pympnode.simulate,
        dict(system="kuramoto", nodes=3, topology="ring", trajectories=2, steps=2),
    ),
    "simulate particles": lambda: (
        pympnode.simulate,
        dict(system="gravity", particles=3, trajectories=2, steps=2),
    ),
    "train networks": lambda: (pympnode.train, dict(data=network_data(), **_RUN)),
    "train a system": lambda: (
        pympnode.train,
        dict(system="kuramoto", nodes=3, topology="ring", trajectories=4, steps=2, **_RUN),
    ),
    "simulate weights": lambda: (
        pympnode.simulate,
        dict(
            system="swing",
            nodes=3,
            topology="ring",
            trajectories=2,
            steps=2,
            edge_weight=(0.5, 2.0),
        ),
    ),
    "train pairs": lambda: (
        pympnode.train,
        dict(
            data=network_data(),
            messages="pairwise",
            coupling="superposed",
            aggregation="sum",
            antisymmetric=True,
            linear_path=True,
            relative=[],
            optimiser="soap",
            **_RUN,
        ),
    ),
    "train weights": lambda: (
        pympnode.train,
        dict(data=network_data(), edge_weight="learn", optimiser="adam", **_RUN),
    ),
    "train graph": lambda: (
        pympnode.train,
        dict(data=network_data(), topology="learn", **_RUN),
    ),
    "train graphs": lambda: (
        pympnode.train,
        dict(data=network_data(), topology="learn each", **_RUN),
    ),
    "train codes": lambda: (
        pympnode.train,
        dict(data=network_data(), node_codes=2, **_RUN),
    ),
    "train parts of a graph": lambda: (
        pympnode.train,
        dict(data=network_data(), partition="blocks", updates=1, progress=False),
    ),
    "simulate delays": lambda: (
        pympnode.simulate,
        dict(system="kuramoto", nodes=3, topology="ring", trajectories=2, steps=2, delay=0.1),
    ),
    "train delays": lambda: (
        pympnode.train,
        dict(
            data=smooth_data(),
            messages="emitted",
            delay="learn",
            delay_start=0.2,
            updates=2,
            kernel="eager",
            progress=False,
        ),
    ),
    "train by derivatives": lambda: (
        pympnode.train,
        dict(
            data=smooth_data(),
            messages="pairwise",
            matching=0.5,
            updates=2,
            kernel="eager",
            progress=False,
        ),
    ),
    "train watched": lambda: (
        pympnode.train,
        dict(
            data=network_data(),
            loss="mse",
            callbacks=[pympnode.callbacks.EarlyStopping()],
            config=pympnode.TrainConfig(updates=2, matching=0.0),
            model=pympnode.ModelSpec(messages="emitted", hidden=3),
            kernel="eager",
            progress=False,
        ),
    ),
    "train a module": lambda: (
        pympnode.train,
        dict(data=network_data(), model=own_module(), **_RUN),
    ),
    "train a message": lambda: (
        pympnode.train,
        dict(
            data=network_data(),
            message=torch.nn.Sequential(torch.nn.Linear(6, 2)),
            update=None,
            hidden=3,
            **_RUN,
        ),
    ),
    "train particles": lambda: (
        pympnode.train,
        dict(loss="huber", data=particle_data(), updates=1, kernel="eager", progress=False),
    ),
    "finetune": lambda: (
        pympnode.finetune,
        dict(start=network_result(), data=network_data(), **_RUN),
    ),
    "sweep": lambda: (
        pympnode.sweep,
        dict(grid={"hidden": [4]}, data=network_data(), halving=2, rungs=1, **_RUN),
    ),
    "evaluate networks": lambda: (
        pympnode.evaluate,
        dict(model=network_result(), data=network_data()),
    ),
    "evaluate particles": lambda: (
        pympnode.evaluate,
        dict(model=particle_result(), data=particle_data(), horizons=[1]),
    ),
    "load": lambda: (pympnode.load, dict(path="no such file")),
    "identify": lambda: (pympnode.identify, dict(model=pair_model(), data=path_data(), samples=10)),
    "pretrained": lambda: (pympnode.pretrained, dict(name="kuramoto")),
    "from_arrays": lambda: (pympnode.from_arrays, dict(x=_ARRAY, dt=0.1, edges=[(0, 1)])),
    "from_frame": lambda: (
        pympnode.from_frame,
        dict(frame=table(), features="x", edges=[("a", "b")]),
    ),
    "from_particles": lambda: (
        pympnode.from_particles,
        dict(position=_PATHS, velocity=_PATHS * 0, mass=1.0, dt=0.1),
    ),
    "couple": lambda: (pympnode.couple, dict(nodes=["coupled_pendulum"] * 3, topology="path")),
    "read_graph": lambda: (pympnode.read_graph, dict(source=[(0, 1), (1, 2)])),
    "train chunks": lambda: (
        pympnode.train,
        dict(data=network_data(), chunks_in_memory=3, **_RUN),
    ),
    "train chunks of particles": lambda: (
        pympnode.train,
        dict(data=particle_data(), chunks_in_memory=3, **_RUN),
    ),
    "save_dataset": lambda: (
        pympnode.save_dataset,
        dict(ds=network_data(), path="fuzzed.nc", chunk=2),
    ),
    "read_jld2": lambda: (pympnode.read_jld2, dict(path="no such file")),
    "subgraph": lambda: (pympnode.subgraph, dict(ds=network_data(), nodes=[0, 1])),
    "interval": lambda: (
        pympnode.interval,
        dict(
            prediction=calibrated().rollout(network_data()),
            level=0.9,
            readings=False,
            variable="state",
        ),
    ),
    "calibrate": lambda: (network_result().model.calibrate, dict(data=network_data())),
    "module": lambda: (
        network_result().model.module().edges,
        dict(graph="ring", nodes=3),
    ),
    "from_module": lambda: (
        pympnode.Model.from_module,
        dict(module=network_result().model.module()),
    ),
    "early stopping": lambda: (
        pympnode.callbacks.EarlyStopping,
        dict(patience=2, metric="loss", least_change=0.0, after=1),
    ),
    "huber": lambda: (pympnode.losses.Huber, dict(delta=1.0, weight={"x": 1.0})),
    "infer": lambda: (coded_result().model.infer, dict(prefix=network_data(), updates=2)),
    "rollout of codes": lambda: (
        coded_result().model.rollout,
        dict(initial=network_data(), node_code=np.zeros((3, 1))),
    ),
    "with_velocities": lambda: (
        pympnode.with_velocities,
        dict(ds=smooth_data(), features="phase_1"),
    ),
    "nodes_of_type": lambda: (pympnode.nodes_of_type, dict(ds=typed_data(), name="pump")),
    "from_arrays of types": lambda: (
        pympnode.from_arrays,
        dict(x={"tank": _ARRAY, "pump": _ARRAY[..., :1]}, dt=0.1, topology="ring"),
    ),
    "subgraph of types": lambda: (pympnode.subgraph, dict(ds=typed_data(), nodes=[0, 3])),
    "train on types": lambda: (pympnode.train, dict(data=typed_data(), **_RUN)),
    "rollout of types": lambda: (
        typed_result().model.rollout,
        dict(initial={"tank": np.zeros((2, 2, 1)), "pump": np.zeros((2, 1, 2))}, topology="ring"),
    ),
    "own_system": lambda: (
        pympnode.own_system,
        dict(name="fuzzed", field=_field, features=["x"]),
    ),
    "register": lambda: (pympnode.register, dict(system="kuramoto")),
    "systems.get": lambda: (systems.get, dict(system="kuramoto")),
    "TrainConfig": lambda: (pympnode.TrainConfig, {}),
    "ModelSpec": lambda: (pympnode.ModelSpec, {}),
    "ParticleSpec": lambda: (pympnode.ParticleSpec, {}),
    "Graph.from_edges": lambda: (pympnode.Graph.from_edges, dict(edges=[(0, 1)], nodes=2)),
    "Graph.from_adjacency": lambda: (
        pympnode.Graph.from_adjacency,
        dict(adjacency=np.array([[0, 1], [1, 0]])),
    ),
    "resolve": lambda: (resolve, dict(topology="ring", nodes=3)),
    "hierarchy": lambda: (
        particles.graphs.hierarchy,
        dict(position=torch.rand(20, 2, generator=torch.Generator().manual_seed(0)), box=1.0),
    ),
    "model.rollout": lambda: (
        network_result().model.rollout,
        dict(initial=np.zeros((2, 3, 3)), topology="ring", steps=2),
    ),
    "rollout of parts": lambda: (
        network_result().model.rollout,
        dict(initial=network_data(), partition="blocks", steps=2),
    ),
    "model.vector_field": lambda: (
        network_result().model.vector_field,
        dict(x=np.zeros((2, 3, 3)), graph="ring"),
    ),
    "model.initial_message": lambda: (
        network_result().model.initial_message,
        dict(x=np.zeros((2, 3, 3))),
    ),
    "model.member": lambda: (network_result().model.member, dict(number=0)),
    "model.to_engine": lambda: (network_result().model.to_engine, dict(name="torch")),
    "pairwise ModelSpec": lambda: (
        pympnode.ModelSpec,
        dict(messages="pairwise", channels=2, relative=(0,), invariant=(0,)),
    ),
    "model.save": lambda: (network_result().model.save, dict(path="model.nc")),
    "particle model.rollout": lambda: (
        particle_result().model.rollout,
        dict(initial=particle_data(), steps=2, partition=None),
    ),
    "couple.rollout": lambda: (
        pympnode.couple(["coupled_pendulum"] * 3, "path").rollout,
        dict(initial=np.zeros((1, 3, 2)), steps=2, dt=0.1, solver="rk4"),
    ),
    "validate networks": lambda: (networks.schema.validate, dict(ds=network_data())),
    "prediction": lambda: (
        plotting.prediction,
        dict(truth=network_data(), predicted=predicted()),
    ),
    "parity": lambda: (plotting.parity, dict(truth=network_data(), predicted=predicted())),
    "phase_portrait": lambda: (plotting.phase_portrait, dict(predicted=network_data())),
    "message_norms": lambda: (plotting.message_norms, dict(rollout=predicted())),
    "training_curves": lambda: (
        plotting.training_curves,
        dict(history=network_result().history),
    ),
    "error_over_time": lambda: (plotting.error_over_time, dict(evaluation=scores())),
    "error_by_type": lambda: (
        plotting.error_by_type,
        dict(evaluation=pympnode.evaluate(typed_result(), typed_data())),
    ),
    "observables": lambda: (plotting.observables, dict(evaluation=scores())),
    "graph_state": lambda: (plotting.graph_state, dict(ds=network_data())),
    "particle_trajectories": lambda: (
        plotting.particle_trajectories,
        dict(predicted=particle_data()),
    ),
    "conservation": lambda: (plotting.conservation, dict(predicted=particle_data())),
    "particle_error_over_time": lambda: (
        plotting.particle_error_over_time,
        dict(evaluation=particle_scores()),
    ),
    "hierarchy_of": lambda: (plotting.hierarchy_of, dict(ds=particle_data())),
    "experiment": lambda: (
        pympnode.experiments.experiment,
        dict(name="nbody_levels", settings={"train.updates": 1}),
    ),
}


def keywords_of(name: str) -> list[str]:
    """The keywords of a call that are replaced."""
    function, given = CALLS[name]()
    known = inspect.signature(function).parameters
    names = [n for n, p in known.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    # A user may stop or not see a run by these; both are no subject here. Processes have no limits.
    left_out = ("self", "cls", *(["workers", "report"] if name == "sweep" else []))
    return [n for n in dict.fromkeys([*names, *given]) if n not in left_out]


# Numbers that say how long something computes, which a user may well mean: small ones, and those that
# no computer has the memory for.
LENGTHS = frozenset(
    "epochs updates time_budget substeps steps trajectories nodes particles graphs members "
    "batch_size hidden depth levels".split()
)
NO_LONG_RUN = frozenset({"substeps", "time_budget", "workers", "dt"})


def _generator() -> Any:
    yield from (1, 2)


_MAKE: list[Callable[[], Any]] = [
    lambda: None, lambda: True, lambda: False, lambda: -1, lambda: 0, lambda: 1, lambda: 2,
    lambda: 3, lambda: 10**10, lambda: 10**30, lambda: -(10**30), lambda: 0.5, lambda: 1.5,
    lambda: float("nan"), lambda: float("inf"), lambda: -float("inf"), lambda: 1e-300,
    lambda: 1e300, lambda: 1j, lambda: Decimal("0.5"), lambda: Fraction(1, 2),
    lambda: "", lambda: "x", lambda: "ring", lambda: "kuramoto", lambda: "gravity",
    lambda: "a" * 300, lambda: "\0", lambda: "é€😀", lambda: "../x", lambda: b"x", lambda: "0.1",
    lambda: [], lambda: (), lambda: [1], lambda: [1, 2, 3], lambda: ["a", "b"], lambda: [None],
    lambda: [[0, 1], [1]], lambda: [(0, 1)], lambda: [("a", "b")], lambda: [(0, 99)],
    lambda: [float("nan")], lambda: {}, lambda: {"a": 1}, lambda: {1: 2}, lambda: {"k": [1]},
    lambda: {1, 2}, lambda: range(3), _generator, lambda: iter([1]), lambda: object(),
    lambda: (lambda *a: None), lambda: int, lambda: Exception("x"),
    lambda: np.array([]), lambda: np.array(3), lambda: np.zeros((2, 2)), lambda: np.array(["a"]),
    lambda: np.array([1, 2]), lambda: np.float32(2.0), lambda: np.int8(2), lambda: np.bool_(True),
    lambda: np.full((2, 3, 3), np.nan), lambda: np.zeros((0, 3, 3)), lambda: np.zeros((2, 3, 3, 1)),
    lambda: np.ones((4, 4, 3, 3)), lambda: np.zeros((2, 2), dtype=complex), lambda: np.float64("inf"),
    lambda: np.datetime64("2020"), lambda: np.timedelta64(1, "s"), lambda: np.array([None, 1]),
    lambda: datetime.datetime(2020, 1, 1), lambda: datetime.timedelta(seconds=1),
    lambda: pd.Timestamp("2020"), lambda: pd.Series([1, 2]), lambda: pd.DataFrame(),
    lambda: pd.DataFrame({"a": [1, 2], "b": ["x", None]}), lambda: pd.NA, lambda: xr.Dataset(),
    lambda: xr.DataArray(np.zeros((2, 2))), lambda: torch.zeros(2, 2), lambda: torch.tensor(2),
    lambda: torch.tensor([]), lambda: pathlib.Path("."), lambda: pathlib.Path("no/such/file"),
    network_data, particle_data, lambda: network_result().model, particle_result, table,
    lambda: pympnode.ModelSpec(), lambda: slice(None), lambda: ..., lambda: NotImplemented,
]  # fmt: skip
VALUES = len(_MAKE)


def value(number: int, keyword: str) -> Any:
    """Hostile value ``number`` for ``keyword``."""
    made = _MAKE[number % VALUES]()
    # Without a length a run has that of its preset, which takes minutes.
    if keyword in ("updates", "epochs") and made is None:
        return 1
    # What would compute for hours is no fault.
    if keyword in NO_LONG_RUN and isinstance(made, int | float) and abs(made) > 10:
        return 2
    return made
