"""The graph of data that come without one: ``topology="learn"``, or ``"learn each"`` for a graph of each
trajectory.

A model with emitted, superposed messages is trained on the complete graph, with a weight for every
ordered pair of nodes. Where derivatives of the data can be estimated, rounds alternate between updates
of all weights by gradient matching and the exact solution for the pairs alone: given the functions of
the model, the derivative of each node is linear in the weights of its senders, so that they are the
solution of a non-negative least-squares problem (Lawson and Hanson 1974), in which most weights of
pairs that are not coupled become zero. Elsewhere the weights are trained on short windows of rollouts.
The weakest pairs are then left out (`pruning`), and the graph that remains is that of the model which
is trained afterwards.

With a graph of each trajectory (`graph_of_each`) the functions are those of the training trajectories.
The weights of the others, of the test trajectories too, are the least-squares solution for their
derivatives, given these functions.
"""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import TrainConfig
from ..datasets.names import (
    EDGE,
    EDGE_FEATURE,
    EDGE_GRAPH,
    EDGE_WEIGHT,
    FEATURE,
    GRAPH,
    NODE,
    RECEIVER,
    SENDER,
    SPLIT,
    START_MARK,
    STATE,
    TIME,
    TRAJECTORY,
)
from ..datasets.record import record, with_record
from ..errors import InvalidData, InvalidOption
from ..graph import Graph
from ..layout import Layout
from ..memory import need
from ..training.group import ALONE, Group
from ..training.progress import Progress
from ..training.task import Batch
from ..training.trainer import Trainer
from .arrays import Arrays
from .engines import engine
from .graph_of_each import Samples, fit
from .matching import Matching, Unmatched, refuse_spec, slopes
from .node_types import refuse_types
from .prepare import Prepared, Scales, prepare
from .pruning import (
    Equations,
    equations,
    prune_by_gap,
    prune_by_validation,
    prune_by_valley,
    solved,
)
from .spec import ModelSpec
from .task import TrajectoryTask
from .weights import layout_of

logger = logging.getLogger("pympnode.networks")

LEARN, LEARN_EACH = "learn", "learn each"
_UPDATES, _ROUNDS = 400, 6  # of a round of gradient matching; most rounds
_PROGRESS = 0.05  # fall of the residual, by which a round must be better than the one before
_WINDOWS = 1200  # updates on windows of rollouts, where there are no derivatives
_CURRICULUM = ((3, 0.4), (5, 0.3), (10, 0.3))
# Weights of pairs move by factors: at this many times the rate of the other weights they fall from 1 to
# e^-10 in some hundred updates.
_FASTER = 10.0
_LARGEST_ERROR = (
    1.0  # of derivatives: errors of targets average out, unlike those of rollouts' starts
)
_SPARSITY = 0.01  # weight of the mean root of the pairs' weights in the loss of windows
_FLOOR = 0.01  # of the largest weight, where a round starts: a weight of zero would stay zero
_BYTES = 900  # of a pair: its edge in the tables of graph, batch and kernel, weights and moments


@dataclass(frozen=True, eq=False)
class FoundGraph:
    """The pairs that were kept, with weights of mean 1; ``scores`` (receiver, sender) of all pairs, on
    the same scale; ``about``: what was done, in words.

    With a graph of each trajectory ``graph`` is their union, and ``scores`` (trajectory, receiver, sender).
    """

    graph: Graph
    scores: NDArray[np.float64]
    about: str


def is_unknown(ds: xr.Dataset) -> bool:
    """Whether the data say that their graph is not known."""
    unknown = {LEARN, LEARN_EACH} & {*record(ds).get("topology", ())}
    return bool(unknown) and not ds.sizes.get(EDGE, 0)


def has_graph_of_each(ds: xr.Dataset) -> bool:
    """Whether the data say that each trajectory has an unknown graph of its own."""
    return is_unknown(ds) and LEARN_EACH in record(ds).get("topology", ())


def with_graph(ds: xr.Dataset, graph: Graph, source: str) -> xr.Dataset:
    """The same trajectories on ``graph``: all on one, or each on its own of as many; attributes of
    edges are left out."""
    ds = ds.drop_dims([dim for dim in (EDGE, EDGE_FEATURE) if dim in ds.dims])
    of_edge = np.asarray(graph.edge_graph, np.int64)
    first = np.asarray(graph.node_offset, np.int64)[of_edge]
    trajectories = ds.sizes[TRAJECTORY]
    graph_of = np.arange(trajectories) if graph.graphs > 1 else np.zeros(trajectories, np.int64)
    edges: dict[str, Any] = {
        SENDER: (EDGE, graph.sender - first, {"long_name": "sending node"}),
        RECEIVER: (EDGE, graph.receiver - first, {"long_name": "receiving node"}),
        EDGE_GRAPH: (EDGE, of_edge),
        GRAPH: (TRAJECTORY, graph_of),
    }
    if graph.weight is not None:
        edges[EDGE_WEIGHT] = (EDGE, graph.weight, {"long_name": "weight of the edge"})
    return with_record(ds.assign(edges), topology=[source] * graph.graphs, graphs=graph.graphs)


def on_found_graph(model: Any, ds: xr.Dataset) -> xr.Dataset:
    """Data whose graph is not known on the graph that ``model`` has learned; others as they are.

    Raises `InvalidData` where the model has learned none of as many nodes, or, with a graph of each
    trajectory, none of a trajectory with the same first state.
    """
    if not is_unknown(ds):
        return ds
    graph, nodes = model.graph, ds.sizes[NODE]
    if graph is not None and model.edge_scores is not None and model.edge_scores.ndim == 3:
        return with_graph(ds, _graphs_of_trajectories(model, ds), "learned")
    if graph is None or graph.graphs != 1 or graph.total_nodes != nodes:
        raise InvalidData(
            "the graph of these data is not known, and the model has learned none of these nodes",
            got=f"{nodes} nodes, "
            + ("no model.graph" if graph is None else f"model.graph of {graph.nodes.tolist()}"),
            allowed="a model that was trained on data of the same nodes",
            fix='train(data=ds) learns the graph of data with topology="learn"; or give topology=',
        )
    return with_graph(ds, graph, "learned")


def _graphs_of_trajectories(model: Any, ds: xr.Dataset) -> Graph:
    """The union of the learned graphs of the trajectories of ``ds``, which are found by their first
    states. Raises `InvalidData`."""
    known = {
        mark: number for number, mark in enumerate(model.edge_scores[START_MARK].values.tolist())
    }
    marks = _start_marks(ds)
    unknown = [number for number, mark in enumerate(marks) if mark not in known]
    if unknown or ds.sizes[NODE] != model.edge_scores.sizes[SENDER]:
        raise InvalidData(
            "each trajectory has a graph of its own, and the model has not learned those of these data",
            got=f"{len(unknown)} of {len(marks)} trajectories with other first states",
            allowed="trajectories of the data that the model was trained on, from their first time",
            fix="give the graphs with topology=, or train on data that hold these trajectories too, "
            'marked "test" in `split`: their graphs are then learned, and nothing else from them',
        )
    graphs = [model.graph[known[mark]] for mark in marks]
    return graphs[0] if len(graphs) == 1 else Graph.union(graphs)


def _start_marks(ds: xr.Dataset) -> list[int]:
    """A number for the first state of each trajectory, by which it is found again."""
    first = ds[STATE].transpose(TRAJECTORY, TIME, NODE, ...).values[:, 0].astype(np.float32)
    return [zlib.crc32(np.ascontiguousarray(one).tobytes()) for one in first]


def scores_of(found: FoundGraph, ds: xr.Dataset) -> xr.DataArray:
    """`FoundGraph.scores` with the labels of nodes and trajectories."""
    nodes = found.scores.shape[-1]
    labels = ds[NODE].values if NODE in ds.coords else np.arange(nodes)
    coords: dict[str, Any] = {RECEIVER: labels, SENDER: labels}
    dims: tuple[str, ...] = (RECEIVER, SENDER)
    if found.scores.ndim == 3:
        dims = (TRAJECTORY, *dims)
        if TRAJECTORY in ds.coords:
            coords[TRAJECTORY] = ds[TRAJECTORY].values
        coords[START_MARK] = (TRAJECTORY, _start_marks(ds))
    return xr.DataArray(
        found.scores,
        dims=dims,
        coords=coords,
        name="edge_scores",
        attrs={"long_name": "weight of each pair before pruning", "pruning": found.about},
    )


def find_graph(
    datasets: Sequence[xr.Dataset], options: Any, config: TrainConfig, progress: Progress
) -> FoundGraph:
    """The graph of the data, one for all their trajectories, or one of each (``topology="learn each"``);
    graphs that they have are not used.

    ``options``: `NetworkTraining`. Raises `InvalidOption` for several datasets, `InvalidData` for less
    than two nodes, `NotEnoughMemory`, and KeyboardInterrupt.
    """
    if len(datasets) > 1:
        raise InvalidOption(
            "a graph is learned from one dataset",
            got=f"{len(datasets)} datasets",
            allowed="one dataset",
            fix="join them: xr.concat([a, b], 'trajectory')",
        )
    if options.node_codes:
        raise InvalidOption(
            "codes of nodes and a graph are not learned together",
            got=f"node_codes={options.node_codes} without a graph",
            allowed="one of them",
            fix="learn the graph first, then train on data with topology=model.graph and node_codes=",
        )
    refuse_types(datasets[0], "nodes whose graph is learned")
    ds, nodes = datasets[0], datasets[0].sizes.get(NODE, 0)
    if nodes < 2:
        raise InvalidData(
            "there is no graph to learn", got=f"{nodes} nodes", allowed="at least two nodes"
        )
    each = options.learns_each_graph or has_graph_of_each(ds)
    graphs = ds.sizes[TRAJECTORY] if each else 1
    pairs = nodes * (nodes - 1) * graphs
    # With a graph of each, the equations of all pairs are held at once.
    each_pair = 24 * ds.sizes[TIME] * ds.sizes[FEATURE] if each else _BYTES
    need(
        each_pair * pairs + 8 * ds[STATE].size,
        f"all pairs of {nodes:,} nodes{f' of {graphs:,} trajectories' if each else ''}, of which "
        f"topology={LEARN_EACH if each else LEARN!r} learns the weights,",
        "give the graph, or the pairs that may be coupled: edges= with edge_weight='learn'",
    )
    ds = with_graph(ds, Graph.union([_complete(nodes)] * graphs), "complete")
    data = _prepared(ds, options, config)
    if not each:
        return _Search(data, options, config, progress).run()
    return _find_each(data, ds, options, config, progress)


def _prepared(
    ds: xr.Dataset, options: Any, config: TrainConfig, like: Prepared | None = None
) -> Prepared:
    """``ds`` prepared for the search; in the scales of other data where ``like`` is given."""
    scales, time_scale = None, None
    if like is not None:
        scales = Scales(like.state, like.control, like.attribute, None)
        time_scale = like.time_scale
    with warnings.catch_warnings():
        # What is to be said of the data is said when they are prepared for the model.
        warnings.simplefilter("ignore")
        return prepare(
            [ds],
            split=options.split,
            seed=options.seed,
            missing=options.missing,
            training_noise=config.training_noise,
            dtype=options.dtype,
            scales=scales,
            time_scale=time_scale,
        )


def _complete(nodes: int) -> Graph:
    """All ordered pairs of different nodes."""
    receiver, sender = np.nonzero(~np.eye(nodes, dtype=bool))
    return Graph.single(sender, receiver, nodes, source="complete")


class _Search:
    """One search for the graph of prepared data on the complete graph."""

    def __init__(
        self, data: Prepared, options: Any, config: TrainConfig, progress: Progress
    ) -> None:
        self.data, self.options, self.progress = data, options, progress
        self.arrays = data.scaled[0]
        self.nodes = self.arrays.x.shape[2]
        x, u, b = self.arrays.x, self.arrays.u, self.arrays.attribute
        self.spec = ModelSpec(
            channels=x.shape[-1],
            controls=0 if u is None else u.shape[-1],
            attributes=0 if b is None else b.shape[-1],
            message=6,
            messages="emitted",
            coupling="superposed",
            aggregation="sum",
            divisor=float(self.nodes),
            circular=tuple(int(number) for number in np.flatnonzero(data.periods)),
            sender_controls=u is not None,
            learned_edges=self.arrays.graph.edges,
        )
        self.layout = layout_of(self.spec)
        self.config = config.replace(
            preset="fast", epochs=80, time_budget=None, optimiser="soap", learning_rate=5e-3,
            schedule="cosine", warmup=0.03, final_rate=0.05, clip=1.0, keep="last", standstill=0.0,
            average=0.0, race=0.0, keep_start=False, updates=_UPDATES, curriculum=_CURRICULUM,
        )  # fmt: skip

    def run(self) -> FoundGraph:
        """The graph, pruned."""
        task, matching = self._task()
        theta = self.layout.initial(np.random.default_rng([self.options.seed, 5]))
        theta = theta.astype(self.options.dtype)
        if matching is None:
            return self._by_windows(task, theta)
        train = equations_of(self.data.train, self.data, matching)
        before = np.inf
        for number in range(1, _ROUNDS + 1):
            text = f"learning the graph, round {number} of at most {_ROUNDS}"
            theta = self._train(_Pairs(task, 0.0), theta, _UPDATES, 0.999, text)
            made = self._equations(train, theta)
            weight, residual = solved(made)
            logger.info("%s: mean square residual %.3g", text, residual)
            if not weight.any():
                break
            self._set(theta, weight)
            if not residual < (1 - _PROGRESS) * before:
                break
            before = residual
        index = self.data.validation
        held_out = self._equations(equations_of(index, self.data, matching), theta)
        kept, text = prune_by_validation(weight, made, held_out if len(index) else made)
        return _found(weight, kept, f"{matching.text}; {number} rounds; {text}")

    def _by_windows(self, task: TrajectoryTask, theta: NDArray) -> FoundGraph:
        text = "learning the graph on windows"
        theta = self._train(_Pairs(task, _SPARSITY), theta, _WINDOWS, 0.0, text)
        log_weight = self.layout.unpack(theta)["edge_log_weight"].astype(np.float64)
        graph = self.arrays.graph
        weight = np.zeros((self.nodes, self.nodes))
        weight[graph.receiver, graph.sender] = np.exp(log_weight)
        kept, text = prune_by_gap(weight)
        return _found(weight, kept, f"windows of rollouts; {text}")

    def _task(self) -> tuple[TrajectoryTask, Matching | None]:
        options, data, arrays = self.options, self.data, self.data.scaled

        def bind(spec: ModelSpec, bound: list[Arrays]) -> Any:
            kernel = options.kernel if options.engine != "julia" else "auto"
            return engine("torch").bind(
                spec, bound, kernel=kernel, dtype=options.dtype, device=options.device
            )

        matching, batch = None, self.config.batch_size
        try:
            matching = Matching(
                bind, self.spec, arrays, data.train, batch, "torch", largest=_LARGEST_ERROR
            )
        except Unmatched as unmatched:
            logger.info("the graph is learned from rollouts: %s", unmatched)
        longest = min(_CURRICULUM[-1][0], min(a.steps for a in arrays))
        task = TrajectoryTask(
            bind(self.spec, arrays), arrays, data.train, data.validation, batch, longest, None,
            matching,
        )  # fmt: skip
        task.require_memory()
        return task, matching

    def _train(
        self, task: _Pairs, theta: NDArray, updates: int, matching: float, title: str
    ) -> NDArray:
        config = self.config.replace(updates=updates, matching=matching)
        trainer = Trainer(task, config, None, self.progress, title=title)  # type: ignore[arg-type]
        outcome = trainer.fit(task.slow(theta[None]))
        if outcome.status == "interrupted":
            raise KeyboardInterrupt
        return task.fast(outcome.theta)[0]

    def _equations(self, states: _States, theta: NDArray) -> Equations:
        named = self.layout.unpack(theta.astype(np.float64))
        return equations(self.spec, named, *states)

    def _set(self, theta: NDArray, weight: NDArray[np.float64]) -> None:
        graph = self.arrays.graph
        values = np.maximum(weight[graph.receiver, graph.sender], _FLOOR * weight.max())
        self.layout.unpack(theta)["edge_log_weight"][...] = np.log(values)


def _find_each(
    data: Prepared, ds: xr.Dataset, options: Any, config: TrainConfig, progress: Progress
) -> FoundGraph:
    """A graph of each trajectory of ``ds``, with functions of the training trajectories of ``data``."""
    spec = ModelSpec(
        channels=data.scaled[0].x.shape[-1],
        circular=tuple(int(number) for number in np.flatnonzero(data.periods)),
        messages="emitted",
        coupling="superposed",
        controls=0 if data.scaled[0].u is None else data.scaled[0].u.shape[-1],
    )
    train, text = _samples(data, data.train, spec)
    rng = np.random.default_rng([options.seed, 5])
    functions, theta, residual = fit(train, rng, progress)
    # Test trajectories have graphs too, which only their own derivatives are used for.
    every = ds.assign({SPLIT: (TRAJECTORY, ["train"] * ds.sizes[TRAJECTORY])})
    data = _prepared(every, options, config.replace(training_noise=0.0), data)
    samples, _ = _samples(data, data.train, spec)
    weight = functions.loss(theta, samples)[2]
    kept, how = prune_by_valley(weight)
    return _found(
        weight,
        kept,
        f"a graph of each trajectory; {text}; mean square residual {residual:.2g}; {how}",
    )


def _samples(data: Prepared, index: NDArray[np.int64], spec: ModelSpec) -> tuple[Samples, str]:
    """The trajectories ``index`` of prepared data, and how their derivatives were estimated. Raises
    `InvalidData` where these cannot be."""
    arrays = data.scaled[0]
    try:
        refuse_spec(spec, [arrays], "torch")
        states, slope, error, text = slopes(arrays, index, spec.circular)
    except Unmatched as unmatched:
        raise InvalidData(
            "a graph of each trajectory is learned from derivatives, which these data do not give",
            got=str(unmatched),
            allowed="states on an even time grid, without controls, with noise below the derivatives",
            fix='topology="learn" learns one graph for all trajectories, from rollouts',
        ) from unmatched
    inputs = states
    if spec.circular:
        plain = [c for c in range(states.shape[-1]) if c not in spec.circular]
        angle = states[..., list(spec.circular)]
        inputs = np.concatenate([states[..., plain], np.sin(angle), np.cos(angle)], axis=-1)
    b = arrays.attribute
    if b is not None:
        wide = b[:, None] if b.ndim == 3 else b
        inputs = np.concatenate(
            [inputs, np.broadcast_to(wide, (*states.shape[:-1], b.shape[-1]))], axis=-1
        )
    return Samples(inputs, slope, error).of(index), text


def _found(weight: NDArray[np.float64], kept: NDArray[np.bool_], about: str) -> FoundGraph:
    """The kept pairs of ``weight`` (receiver, sender), or (trajectory, receiver, sender)."""
    nodes = weight.shape[-1]
    scale = weight[kept].mean() if kept.any() else 1.0
    graphs = []
    for here, values in zip(kept.reshape(-1, nodes, nodes), weight.reshape(-1, nodes, nodes)):
        receiver, sender = np.nonzero(here)
        learned = values[here] / scale if kept.any() else None
        graphs.append(Graph.single(sender, receiver, nodes, weight=learned, source="learned"))
    graph = graphs[0] if len(graphs) == 1 else Graph.union(graphs)
    logger.info("learned %d graphs of %d edges: %s", graph.graphs, graph.edges, about)
    return FoundGraph(graph, weight / scale, about)


_States = tuple[NDArray[np.int64], NDArray, NDArray, NDArray | None]


def equations_of(index: NDArray[np.int64], data: Prepared, matching: Matching) -> _States:
    """Trajectories, states and derivatives of the trajectories ``index``, and their attributes."""
    trajectory, x, slope = matching.derivatives(index)
    b = data.scaled[0].attribute
    return trajectory, x, slope, b[trajectory] if b is not None and b.ndim == 3 else b


class _Pairs:
    """A task in which the logarithms of the weights of pairs change faster than the other weights.

    The optimiser sees them divided by `_FASTER`. ``sparsity``: factor of mean(sqrt(w / mean(w))) in the
    loss, which is smallest where few weights are large and does not depend on their scale.
    """

    def __init__(self, task: TrajectoryTask, sparsity: float) -> None:
        self._task, self._sparsity = task, sparsity
        layout: Layout = task.layout
        first = layout.offsets["edge_log_weight"]
        self._pairs = slice(first, first + layout.shapes["edge_log_weight"][0])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def fast(self, theta: NDArray) -> NDArray:
        """The weights (member, size) of the model from those of the optimiser."""
        theta = theta.copy()
        theta[..., self._pairs] *= _FASTER
        return theta

    def slow(self, theta: NDArray) -> NDArray:
        """The inverse of `fast`."""
        theta = theta.copy()
        theta[..., self._pairs] /= _FASTER
        return theta

    def loss(self, theta: NDArray, batch: Batch) -> tuple[float, NDArray]:
        """See `Task`."""
        values, gradients = self.losses(theta[None], [batch])
        return float(values[0]), gradients[0]

    def losses(
        self, thetas: NDArray, batches: Sequence[Batch]
    ) -> tuple[NDArray[np.float64], NDArray]:
        """See `Task`."""
        of_model = self.fast(thetas)
        values, gradients = self._task.losses(of_model, batches)
        gradients = gradients.copy()
        if self._sparsity:
            value, slope = _root_mean(of_model[:, self._pairs].astype(np.float64))
            values = values + self._sparsity * value
            gradients[:, self._pairs] += (self._sparsity * slope).astype(gradients.dtype)
        gradients[:, self._pairs] *= _FASTER
        return values, gradients

    def validate(self, theta: NDArray, group: Group = ALONE) -> dict[str, float]:
        """See `Task`."""
        return self._task.validate(self.fast(theta), group)

    def worst(self, theta: NDArray, batch: Batch) -> str:
        """See `Task`."""
        return self._task.worst(self.fast(theta), batch)


def _root_mean(logarithm: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """mean(sqrt(w / mean(w))) of w = exp(logarithm) (member, pairs), and its gradient."""
    weight = np.exp(logarithm - logarithm.max(axis=1, keepdims=True))
    share = weight / weight.mean(axis=1, keepdims=True)
    root = np.sqrt(share)
    mean = root.mean(axis=1, keepdims=True)
    count = logarithm.shape[1]
    return mean[:, 0], (root - mean * share) / (2 * count)
