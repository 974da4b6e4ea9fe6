"""What training on a graph that is divided among processes does differently (``train(partition=)``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import TrainConfig
from ..datasets.names import SPLIT, TRAJECTORY
from ..errors import InvalidData, InvalidOption
from ..losses import Huber
from ..training.diagnosis import Reference
from ..training.group import ALONE, Group, gathered
from ..training.processes import current
from .arrays import Arrays
from .classes import no_inputs
from .engines.base import Batch
from .options import NetworkTraining
from .partition import Part
from .partition_data import divide
from .ranges import TrainingRange
from .recordings import LONG
from .reference import reference_of


def of_partition(
    options: NetworkTraining, config: TrainConfig
) -> tuple[NetworkTraining, TrainConfig]:
    """Options and configuration with what a divided graph asks for: the torch kernel, no gradient
    matching. Raises `InvalidOption`."""
    if no_inputs(options):
        raise InvalidOption(
            "features that are no inputs are scaled by their change, which is not divided",
            got=f"invariant={options.invariant!r} with emitted messages",
            allowed="messages of pairs",
            fix="leave partition out, or invariant",
        )
    if config.loss != Huber():  # of a TrainConfig
        raise InvalidOption(
            "another loss than the Huber loss is not divided among processes",
            got=f"loss={config.loss!r}",
            allowed='loss="huber"',
            fix="leave partition out, or loss",
        )
    return replace(options, engine="torch", kernel="torch"), config.replace(matching=0.0)


def divided(datasets: Sequence[xr.Dataset], choice: Any) -> tuple[list[xr.Dataset], Part]:
    """This process's part of the one dataset. Raises `InvalidData`, `InvalidOption`."""
    if len(datasets) != 1:
        raise InvalidData(
            "one dataset is divided among processes",
            got=f"{len(datasets)} datasets",
            allowed="one dataset with one graph",
            fix="leave partition out",
        )
    if datasets[0].sizes.get(TRAJECTORY) == 1 and SPLIT not in datasets[0]:
        raise InvalidData(
            "where one recording is split in time follows from all of its nodes",
            got="one trajectory without a label",
            allowed="several trajectories, or one with a label",
            fix='ds["split"] = ("trajectory", ["train"]), or cut it into two trajectories',
        )
    ds, part = divide(datasets[0], choice, current() or ALONE)
    return [ds], part


def require_windows(arrays: Sequence[Arrays], options: NetworkTraining) -> None:
    """Raise `InvalidOption` where the length of the windows would be chosen by the data, of which each
    process has others."""
    steps = min(each.steps for each in arrays)
    given = options.window is not None or options.max_window is not None
    if not given and steps > LONG:
        raise InvalidOption(
            "the length of the windows of a long recording follows from all of its nodes",
            got=f"{steps} intervals, and partition=",
            allowed="window= or max_window=, in the unit of time of the data",
            fix="give max_window=, such as 20 times the time step",
        )


def in_words(part: Part) -> str:
    """Nodes, edges and halo of all processes, for the log and the history."""
    edges = part.group.sum(np.array([float(len(part.edges))]))[0]
    return (
        f"{part.nodes:,} nodes and {int(edges):,} edges in {part.group.size} parts; the halo is at most "
        f"{100 * part.halo_share:.3g} % of the nodes of a part"
    )


def in_degrees(arrays: Sequence[Arrays]) -> NDArray:
    """The number of edges into each node of all graphs, those of other processes included."""
    part = arrays[0].part
    if part is not None:
        return part.of_all(arrays[0].graph.in_degree[: len(part.own)])
    return np.concatenate([each.graph.in_degree for each in arrays])


def range_of_all(trained: TrainingRange, arrays: Arrays) -> TrainingRange:
    """The range of the data of all processes, from that of a part; parameters by node or edge are left out."""
    part = arrays.part
    assert part is not None
    degree = in_degrees([arrays])

    def over_all(pairs: Any) -> Any:
        if not len(pairs):
            return pairs
        low, high = part.span(*np.array(pairs, float).T)
        return tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))

    low, high = part.span(np.array(trained.low), np.array(trained.high))
    weight, parameters = trained.weight, trained.parameters
    if weight:
        smallest, largest = part.span(np.array(weight[:1]), np.array(weight[1:]))
        weight = (float(smallest[0]), float(largest[0]))
    return replace(
        trained,
        nodes=(part.nodes, part.nodes),
        degree=(int(degree.min()), int(degree.max())),
        mean_degree=float(degree.mean()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        control=over_all(trained.control),
        attribute=over_all(trained.attribute),
        edge_attribute=over_all(trained.edge_attribute),
        weight=weight,
        parameters={name: value for name, value in parameters.items() if np.ndim(value) == 0},
    )


def reference_of_all(
    arrays: Sequence[Arrays], train: NDArray[np.int64], batches: Sequence[Batch], group: Group
) -> Reference:
    """`reference_of` the whole graph: the mean over the nodes of all processes, without a noise floor."""
    own = [each.of_own_nodes for each in arrays]
    losses = reference_of(own, train, batches).losses
    nodes = float(own[0].x.shape[2])
    every = gathered(group, np.array([nodes, *losses.values()]))
    mean = (every[:, 1:] * every[:, :1]).sum(axis=0) / every[:, 0].sum()
    return Reference(dict(zip(losses, mean.tolist(), strict=True)))


def rounded(values: Any) -> Any:
    """Numbers to ten digits: sums over processes differ in the last ones with the number of processes."""
    if isinstance(values, dict):
        return {name: rounded(value) for name, value in values.items()}
    if isinstance(values, list):
        return [rounded(value) for value in values]
    return float(f"{values:.10g}") if isinstance(values, float) else values
