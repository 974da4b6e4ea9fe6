"""One large graph over processes: nodes divided, halos exchanged, the same numbers as in one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from process_groups import Groups

import pympnode
from pympnode.errors import EngineUnavailable, InvalidData, InvalidOption, UnknownName
from pympnode.networks.partition import blocks_of, halo_share, owners, part_of, partition_nodes
from pympnode.networks.partition_data import divide, fingerprint_of_parts
from pympnode.training.group import ALONE

# The first part is much smaller: a stage of it takes less memory, and both must cut at the same steps.
UNEVEN = [0] * 3 + [1] * 12 + [0]
MODELS: dict[str, dict[str, Any]] = {
    "emitted": dict(messages="emitted"),
    "emitted of blocks": dict(messages="emitted", partition="blocks"),
    "pairs": dict(messages="pairwise", coupling="mixed", message_size=2, solver="tsit5"),
    "largest of pairs": dict(messages="pairwise", aggregation="max"),
    "antisymmetric": dict(messages="pairwise", coupling="superposed", aggregation="sum",
                          antisymmetric=True, relative="a"),
    "carried": dict(messages="state", members=2),
}  # fmt: skip
TRAINING: dict[str, Any] = dict(
    updates=4, optimiser="adam", dtype="float64", device="cpu", hidden=6, batch_size=2, progress=False,
    partition=UNEVEN, split=0.75,
)  # fmt: skip

SCRIPT = """
import json, os, sys
import numpy as np
import pympnode
from pympnode.networks.engines.torch.kernel_torch import run

run.STORE_BYTES = 25_000  # several segments, of other lengths where a process had its own
folder, calls, training = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
rank = int(os.environ.get("RANK", 0))
for name, keywords in calls.items():
    result = pympnode.train(data=folder + "/data.nc", **{**training, **keywords})
    out = result.model.rollout(folder + "/data.nc", steps=9, partition="auto")
    np.savez(
        f"{folder}/{name}-{rank}.npz", theta=result.model.theta, loss=result.history.loss.values,
        best=result.best_loss, baselines=list(result.baselines.values()), state=out.state.values,
        number=out.node_number.values, finite=out.finite.values, node=out.node.values,
        trained=json.dumps(result.model.trained.as_dict()), said=result.history.attrs["partition"],
    )
    if name == "emitted":
        pympnode.train(
            data=folder + "/data.nc", run=folder + "/run", **{**training, **keywords}
        )
for name in json.loads(sys.argv[4]):
    model = pympnode.load(folder + f"/{name}.nc")
    out = model.rollout(folder + f"/{name}-data.nc", steps=5, partition="curve")
    np.savez(
        f"{folder}/{name}-{rank}.npz", position=out.position.values, velocity=out.velocity.values,
        number=out.particle_number.values, finite=out.finite.values, mass=out.mass.values,
    )
"""

# Cells with layers of their own; forces of cells by moments, with charges of both signs; fixed particles.
PARTICLES: dict[str, dict[str, Any]] = {
    "gravity": dict(messages="directed", node_width=6),
    "coulomb": dict(messages="radial", mass_coupling="product"),
}


def dataset() -> xr.Dataset:
    """A directed graph with weights, attributes, controls and a node that nothing comes into."""
    rng = np.random.default_rng(0)
    nodes = len(UNEVEN)
    pairs = [(i, j) for i in range(nodes) for j in range(1, nodes) if i != j and rng.random() < 0.2]
    edges = np.column_stack([pairs, rng.uniform(0.5, 1.5, len(pairs))])
    x = np.cumsum(rng.normal(size=(4, 8, nodes, 2)), axis=1)
    return pympnode.from_arrays(
        x, dt=0.1, edges=edges, directed=True, control=rng.normal(size=(4, 8, nodes, 1)),
        node_attribute=rng.integers(0, 3, (nodes, 1)) / 2, features=["a", "b"],
        nodes=[f"n{i}" for i in range(nodes)],
    )  # fmt: skip


def particles(system: str, keywords: dict[str, Any]) -> tuple[Any, xr.Dataset]:
    """A model, and particles that cross a tenth of the box in a step: they leave the blocks of their homes."""
    small = pympnode.simulate(system, particles=30, trajectories=2, steps=2)
    model = pympnode.train(
        data=small, model="hierarchical_deltagn", updates=3, edge_width=6, dtype="float64",
        device="cpu", progress=False, **keywords,
    ).model  # fmt: skip
    ds = pympnode.simulate(system, particles=250, trajectories=1, steps=1)
    side = json.loads(ds.attrs["pympnode"])["parameters"]["side"]
    rng = np.random.default_rng(0)
    ds["velocity"] = ds.velocity.dims, 0.1 * side / model.dt * rng.normal(size=ds.velocity.shape)
    if system == "gravity":
        ds["fixed"] = ds.mass.dims, rng.random(ds.mass.shape) < 0.1
    return model, ds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes found, each model in files of its own."""
    folder = tmp_path_factory.mktemp("parts")
    dataset().to_netcdf(folder / "data.nc")
    for system, keywords in PARTICLES.items():
        model, ds = particles(system, keywords)
        model.save(folder / f"{system}.nc")
        ds.to_netcdf(folder / f"{system}-data.nc")
    given = (str(folder), json.dumps(MODELS), json.dumps(TRAINING), json.dumps([*PARTICLES]))
    with Groups() as groups:
        found = groups.run(2, SCRIPT, *given)
    for code, text in found:
        assert code == 0, text
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_find_what_one_finds(folder: Path, name: str) -> None:
    keywords = {**TRAINING, **MODELS[name], "kernel": "torch"}
    del keywords["partition"]
    ds = dataset()
    one = pympnode.train(data=ds, **keywords)
    state = one.model.rollout(ds, steps=9, check=False).state.values
    parts = [np.load(folder / f"{name}-{rank}.npz") for rank in range(2)]
    numbers = np.concatenate([part["number"] for part in parts])
    assert sorted(numbers) == list(range(len(UNEVEN)))
    for part in parts:
        np.testing.assert_allclose(part["theta"], one.model.theta, rtol=0, atol=1e-9)
        np.testing.assert_allclose(part["loss"], one.history.loss.values, rtol=1e-9)
        np.testing.assert_allclose(part["best"], one.best_loss, rtol=1e-9)
        np.testing.assert_allclose(part["baselines"], [*one.baselines.values()], rtol=1e-9)
        np.testing.assert_allclose(
            part["state"], np.take(state, part["number"], axis=-2), rtol=0, atol=1e-6
        )
        assert part["finite"].all()
        assert part["node"].tolist() == [f"n{i}" for i in part["number"]]
        trained = json.loads(str(part["trained"]))
        wanted = json.loads(json.dumps(one.model.trained.as_dict()))
        assert trained.keys() == wanted.keys()
        for key in ("nodes", "degree", "low", "high", "control", "attribute", "weight"):
            np.testing.assert_allclose(trained[key], wanted[key], err_msg=key)
    assert np.array_equal(parts[0]["theta"], parts[1]["theta"])


@pytest.mark.parametrize("name", PARTICLES)
def test_two_processes_move_particles_as_one_does(folder: Path, name: str) -> None:
    model, ds = (
        pympnode.load(folder / f"{name}.nc"),
        pympnode.open_dataset(folder / f"{name}-data.nc"),
    )
    one = model.rollout(ds, steps=5, check=False)
    parts = [np.load(folder / f"{name}-{rank}.npz") for rank in range(2)]
    assert sorted(np.concatenate([part["number"] for part in parts])) == list(range(250))
    for part in parts:
        assert 50 < len(part["number"]) < 200 and part["finite"].all()
        here = one.isel(particle=part["number"])
        np.testing.assert_allclose(part["mass"], here.mass)
        np.testing.assert_allclose(part["position"], here.position, rtol=0, atol=1e-9)
        # The forces are small beside the velocities.
        found, wanted = (v - v[:, :1] for v in (part["velocity"], here.velocity.values))
        assert np.abs(wanted).max() > 0
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())


def test_particles_that_are_not_divided_are_refused(folder: Path) -> None:
    model = pympnode.load(folder / "gravity.nc")
    ds = pympnode.open_dataset(folder / "gravity-data.nc")
    with pytest.raises(UnknownName, match="metis"):
        model.rollout(ds, partition="metis")
    with pytest.raises(InvalidData, match="one trajectory"):
        model.rollout(xr.concat([ds, ds], "trajectory"), partition="curve")
    with pytest.raises(EngineUnavailable, match="2 levels"):
        model.rollout(ds.isel(particle=slice(12)), partition="curve")


def test_one_process_goes_on_with_the_run_of_two(folder: Path) -> None:
    """The data have the same fingerprint, however they are divided."""
    result = pympnode.train(
        data=folder / "data.nc", run=folder / "run", extend=1,
        **{**TRAINING, **MODELS["emitted"], "partition": "blocks"},
    )  # fmt: skip
    assert result.status == "completed" and result.updates > TRAINING["updates"]


def test_another_edge_or_value_has_another_fingerprint() -> None:
    def found(ds: xr.Dataset) -> str:
        part, where = divide(ds, "blocks", ALONE)
        return str(fingerprint_of_parts(part, where, 0.7, 0)["sha256"])

    ds = dataset()
    changed = ds.copy(deep=True)
    changed.state[1, 2, 3, 0] += 1e-12
    moved = ds.copy(deep=True)
    moved.sender[0], moved.sender[1] = moved.sender[1].item(), moved.sender[0].item()
    order = ds.isel(edge=np.random.default_rng(1).permutation(ds.sizes["edge"]))
    assert found(ds) == found(order)
    assert len({found(ds), found(changed), found(moved)}) == 3


def grid(side: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A square grid with numbers in no order."""
    number = np.random.default_rng(0).permutation(side * side).reshape(side, side)
    pairs = [(number[1:], number[:-1]), (number[:, 1:], number[:, :-1])]
    first, second = (np.concatenate([p[i].ravel() for p in pairs]) for i in (0, 1))
    return np.concatenate([first, second]), np.concatenate([second, first]), side * side


def test_metis_finds_a_small_halo() -> None:
    pytest.importorskip("pymetis")
    sender, receiver, nodes = grid(24)
    owner = partition_nodes((sender, receiver, nodes), 4)
    assert np.bincount(owner).max() <= 1.1 * nodes / 4
    assert halo_share(owner, sender, receiver, 4) < 0.3
    assert halo_share(blocks_of(nodes, 4), sender, receiver, 4) > 0.9


def test_blocks_are_kept_where_their_halo_is_small() -> None:
    line = np.arange(200)
    owner = partition_nodes((line[:-1], line[1:], 200), 4)
    assert np.array_equal(owner, np.repeat(np.arange(4), 50))


def test_the_halo_of_a_part_is_counted_once_for_each_node() -> None:
    sender, receiver = np.array([0, 0, 1, 3]), np.array([2, 3, 3, 1])
    assert halo_share(np.array([0, 0, 1, 1]), sender, receiver, 2) == 1.0
    owner = owners("blocks", 4, iter([(sender, receiver)]), ALONE)
    part = part_of(owner, iter([(sender, receiver)]), ALONE)
    assert len(part.halo) == 0 and part.halo_share == 0.0 and part.most == 4


def test_what_does_not_go_with_a_partition_is_refused() -> None:
    ds = dataset()
    keywords = {**TRAINING, "updates": 1, "partition": "blocks"}
    for wrong in (dict(messages="emitted", kernel="numba"), dict(matching=0.5), dict(node_codes=1)):
        with pytest.raises(InvalidOption, match="divided among processes"):
            pympnode.train(data=ds, **{**keywords, **wrong})
    with pytest.raises(UnknownName, match="metis"):
        pympnode.train(data=ds, **{**keywords, "partition": "mets"})
    with pytest.raises(InvalidOption, match="does not fit the graph"):
        pympnode.train(data=ds, **{**keywords, "partition": [0, 1]})
    with pytest.raises(InvalidData, match="several graphs"):
        several = pympnode.simulate("heat", nodes=4, graphs=2, trajectories=4, steps=4)
        pympnode.train(data=several, **keywords)
    with pytest.raises(InvalidData, match="selected or sorted"):
        pympnode.train(data=ds.isel(node=slice(None, None, -1)), **keywords)
    with pytest.raises(InvalidOption, match="every process needs a node"):
        partition_nodes(([], [], 2), 3)
    model = pympnode.train(data=ds, **keywords, messages="emitted").model
    with pytest.raises(InvalidOption, match="topology"):
        model.rollout(ds, partition="blocks", topology="ring")
    with pytest.raises(InvalidData, match="a dataset, or the path"):
        model.rollout(np.zeros((16, 2)), partition="blocks")
    eager = pympnode.train(
        data=ds, **{**keywords, "partition": None}, circular={"a": 1.0}, max_window=0.2
    ).model
    with pytest.raises(EngineUnavailable, match="circular"):
        eager.rollout(ds, partition="blocks")
