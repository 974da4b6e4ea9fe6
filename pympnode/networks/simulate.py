"""Datasets of networks, simulated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import path as path_of
from ..config import positive, whole
from ..datasets.chunks import CHUNK_BYTES, bytes_of, joined
from ..datasets.continued import Piece, continued, is_complete
from ..datasets.names import NODE, TIME, TRAJECTORY
from ..datasets.reading import as_dataset, numbers
from ..datasets.record import with_record
from ..datasets.saving import refuse_existing
from ..datasets.split import split_trajectories
from ..errors import InvalidData, InvalidOption
from ..files.netcdf import checksum
from ..systems.registry import get
from ..version import __version__
from . import engines, schema
from .delays import with_drawn_delays
from .generate import BLOCK, Generated, generate
from .generate_tasks import generate_over, joined_pieces
from .graphs.drawn_weights import weights_in_time, with_drawn_weights
from .graphs.topology import names_in, resolve
from .system_types import arrays_by_type, one_noise
from .unit_norm import with_unit_norm

_LABELS = np.array(["train", "validation"])
_TRAJECTORIES, _TOLERANCE = 1000, 1e-8


def simulate_network(
    system: Any,
    *,
    nodes: int | None,
    topology: Any,
    edge_weight: Any = None,
    delay: Any = None,
    graphs: int,
    graph_seed: int,
    parameters: Mapping[str, Any] | None,
    trajectories: int | None,
    steps: int | None,
    dt: float | None,
    seed: int,
    noise: float,
    split: float | None,
    control: Any,
    initial: Any = None,
    tolerance: float | None,
    engine: str,
    client: Any = None,
    path: Any = None,
) -> xr.Dataset:
    """See `pympnode.simulate`."""
    target = None if path is None else _store(path)
    system = get(system)
    topology = system.default_topology if topology is None else topology
    named = isinstance(topology, str | tuple)
    count = nodes if nodes is not None else (system.default_nodes if named else None)
    seed = whole("seed", seed, 0)
    if trajectories is not None:
        trajectories = whole("trajectories", trajectories)
    graph = resolve(topology, count, graphs=graphs, graph_seed=graph_seed, system=system)
    in_time = weights_in_time(graph, edge_weight, graph_seed)
    if in_time is None:
        graph = with_drawn_weights(graph, edge_weight, graph_seed)
    step = system.dt if dt is None else positive("dt", dt)
    graph = with_drawn_delays(graph, delay, graph_seed, step)
    weighted = graph.weight is not None or in_time is not None or graph.delay is not None
    chosen, why = engines.choose(engine, weighted=weighted)
    solve, solver = engines.solver_for(chosen, system)
    if in_time is not None:
        solve, solver = None, "the solver in Python: weights of edges vary in time"
    if initial is not None:
        initial = numbers("initial", initial)
        if initial.ndim != 3 or not len(initial):
            raise InvalidData(
                "initial states have the wrong shape",
                got=initial.shape,
                allowed=f"(trajectory, node, {system.features}): (trajectory, node, feature)",
                fix="one trajectory is initial[None]",
            )
        if trajectories not in (None, len(initial)):
            raise InvalidOption(
                "the number of initial states is that of the trajectories",
                got=f"trajectories={trajectories}, {len(initial)} initial states",
                allowed=f"trajectories={len(initial)}",
                fix="leave trajectories out",
            )
        trajectories = len(initial)
    trajectories = _TRAJECTORIES if trajectories is None else trajectories
    delayed = graph.delay is not None and bool(np.any(graph.delay > 0))
    if tolerance is not None and (system.simulates_itself or delayed):
        of = f"{system.name} simulates itself" if system.simulates_itself else "edges with delays"
        raise InvalidOption(
            "tolerance is of the adaptive integrator, which does not solve this",
            got=f"tolerance={tolerance:g}: {of}",
            allowed="without tolerance",
            fix="leave tolerance out",
        )
    tolerance = _TOLERANCE if tolerance is None else tolerance
    # Noise is added to the features of each type, not to those that they are computed from.
    of_types = one_noise(noise) if system.node_types else None
    words: dict[str, Any] = dict(
        steps=steps, dt=dt, controls=control, initial=initial,
        noise=noise if of_types is None else 0.0, tolerance=tolerance, solve=solve,
        edge_weight=in_time,
    )  # fmt: skip

    @cache
    def labels() -> NDArray[np.str_] | None:
        # After the first trajectories: `generate` refuses what does not fit in memory, and a label takes a
        # generator of random numbers each.
        return None if split is None else _LABELS[split_trajectories(trajectories, split, seed)]

    def make(first: int, count: int) -> Generated:
        some = dict(words)
        if first or count < trajectories:
            rows = slice(first, first + count)
            some["initial"] = None if initial is None else initial[rows]
            if np.ndim(control) == 4 and len(control) == trajectories:
                some["controls"] = control[rows]
        if client is None:
            return generate(system, graph, parameters, count, None, seed, first=first, **some)
        return generate_over(client, system, graph, parameters, count, seed, first=first, **some)

    about = {
        "topology": list(graph.source),
        "graph_seed": graph_seed,
        "noise": np.asarray(noise, np.float64).tolist(),
        "engine": chosen,
        "engine_why": f"{why}; {solver}",
    }

    def pack(made: Generated, first: int = 0) -> xr.Dataset:
        rows = slice(first, first + len(made.x))
        label = labels()
        ds = _dataset(system, made, about, None if label is None else label[rows], of_types, first)
        names = names_in(topology) if of_types is None else None
        return ds if names is None else ds.assign_coords({NODE: names})

    if target is None:
        return pack(make(0, trajectories))
    call = {
        "system": system.name,
        "trajectories": str(trajectories),
        "seed": str(seed),
        "split": str(split),
        "noise": str(about["noise"]),
        "tolerance": str(tolerance),
        "solver": about["engine_why"],
        "initial": _checksum(initial),
        "control": _checksum(control),
    }
    together = 1 if client is None else _threads(client)
    return _stored(target, trajectories, make, pack, together, call)


def _store(path: Any) -> Path:
    """Where a store goes. Raises `InvalidOption`."""
    target = path_of("path", path)
    if target.suffix.lower() != ".zarr":
        raise InvalidOption(
            "datasets of networks are simulated into a Zarr store",
            got=f"path={str(target)!r}",
            allowed="NAME.zarr",
            fix='path="data.zarr"; save_dataset writes folders of parts too',
        )
    if target.exists() and not target.is_dir():
        refuse_existing(target)
    return target


def _threads(client: Any) -> int:
    return sum(client.nthreads().values()) or 1


def _checksum(values: Any) -> str:
    return "None" if values is None else checksum(np.asarray(values))


def _stored(
    target: Path,
    trajectories: int,
    make: Callable[[int, int], Generated],
    pack: Callable[..., xr.Dataset],
    together: int,
    call: dict[str, str],
) -> xr.Dataset:
    """A dataset that is written while it is made, ``together`` chunks at a time in memory. ``call``: what
    decides its values beside the first block, which is made anew and compared: the equations, parameters and
    graph decide it."""
    made = make(0, min(BLOCK, trajectories))
    one = pack(made)
    # Times and constants say more of the call than a difference of values would.
    call |= {"times": checksum(made.time), "graph, parameters or equations": _values_of(one)}
    if is_complete(target, call):
        return as_dataset(target)
    each = max(1, CHUNK_BYTES * len(one[TRAJECTORY]) // max(1, bytes_of(one)))
    # Whole blocks: a block is integrated together.
    rows = min(-(-each // BLOCK) * BLOCK, trajectories)
    like = _without_values(made)
    with continued(target, one, rows, trajectories, call) as (writer, pieces, folder):
        small = one.drop_vars(writer.large)
        varied = [str(n) for n, v in small.variables.items() if TRAJECTORY in v.dims]
        for first in range(sum(p.count for p in pieces), trajectories, rows * together):
            made = make(first, min(rows * together, trajectories - first))
            ds = pack(made, first)
            values = {name: ds[name].variable for name in writer.large}
            writer.write((first, first + len(made.x)), (0, ds.sizes[TIME]), values)
            facts = {"evaluations": int(made.evaluations), "draws": made.draws}
            piece = Piece(first, len(made.x), facts, {name: ds[name].values for name in varied})
            piece.save(folder)
            pieces.append(piece)
        whole_run = joined_pieces([_of_piece(like, piece) for piece in pieces])
        rest = joined([piece.dataset(small) for piece in pieces])
        writer.rest = with_record(rest, **_solved(whole_run))
    return as_dataset(target)


def _values_of(ds: xr.Dataset) -> str:
    """SHA-256 of all values of a dataset."""
    found = hashlib.sha256()
    for name in sorted(map(str, ds.variables)):
        found.update(name.encode() + checksum(ds[name].values).encode())
    return found.hexdigest()


def _without_values(made: Generated) -> Generated:
    return replace(made, x=made.x[:, :0].copy(), u=None, attribute=None, of_trajectory={})


def _of_piece(like: Generated, piece: Piece) -> Generated:
    """A piece without its values, for what is counted over all."""
    return replace(
        like,
        x=np.zeros((piece.count, *like.x.shape[1:])),
        graph_of=np.zeros(piece.count, np.int64),
        evaluations=piece.facts["evaluations"],
        draws=piece.facts["draws"],
    )


def _dataset(
    system: Any,
    made: Generated,
    about: dict[str, Any],
    label: NDArray | None,
    of_types: float | None,
    first: int,
) -> xr.Dataset:
    """What was simulated as a dataset; ``first``: the number of its first trajectory."""
    scalars = {n: v for n, v in made.parameters.items() if np.ndim(v) == 0}
    shaped = {
        name: (system.parameter_dims(name, value, made.graph), value)
        for name, value in made.parameters.items()
        if np.ndim(value)
    }
    arrays = schema.Arrays(
        made.x, made.time, made.graph, made.graph_of, made.u, made.attribute,
        edge_weight=made.edge_weight,
    )  # fmt: skip
    names_and_units: dict[str, Any] = dict(
        features=system.feature_names,
        units=[v.unit for v in system.state for _ in range(v.components)],
        controls=system.control_names or None,
        attributes=made.attribute_names or None,
    )
    if of_types is not None:
        arrays, names_and_units = arrays_by_type(system, arrays, of_types, made.seed, first)
    ds = schema.unpack(
        arrays,
        **names_and_units,
        split=label,
        parameters=shaped,
        about={
            "kind": "simulation",
            "system": system.name,
            "parameters": scalars,
            "seed": made.seed,
            "solver": made.method,
            **_solved(made),
            **about,
            "version": __version__,
        },
    )
    if first:
        ds = ds.assign_coords({TRAJECTORY: np.arange(first, first + len(made.x))})
    if system.unit_norm:
        ds = with_unit_norm(ds, *system.unit_norm)
    for variable in system.of_trajectory:
        attrs = {} if variable.unit == "1" else {"units": variable.unit}
        ds[variable.name] = (TRAJECTORY, made.of_trajectory[variable.name], attrs)
    return ds


def _solved(made: Generated) -> dict[str, Any]:
    """What the record says of the solver, or of the draws of a system that simulates itself."""
    if made.draws is not None:
        return {"draws": made.draws}
    return {"tolerance": made.tolerance, "evaluations": made.evaluations}
