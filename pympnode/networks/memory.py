"""Memory that training and rollouts of networks take, from what each kernel keeps of a window.

The numbers of layers were counted in the kernels; constants that stand for what an allocator holds
beside them were fitted to measured peaks (`tests/test_faults_memory.py` compares both).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config import whole
from ..graph import Graph
from ..memory import available_bytes, format_bytes, need
from .arrays import Arrays
from .engines.delays import prefix_for
from .engines.tableaux import TABLEAUX
from .spec import ModelSpec
from .weights import layout_of

# Held by the allocator for each byte that autograd keeps: short-lived results of the same sizes lie
# between the kept ones.
_FRAGMENTS = 1.6
# Bytes of stored stages: of the torch kernel, and of each thread of the compiled one.
_STORED = {"torch": 80_000_000, "numba": 40 << 20}
_STORED_PAIRS = 160 << 20  # of each thread, with messages of pairs
_TILE = 160  # columns of a tile of the compiled kernel
_PANEL = 16  # edge columns of a panel of it, at least
_CHUNK = 8  # panels whose gradients are summed at once
_SCRATCH = 3 << 19  # bytes of a chunk of edges of the torch kernel
_RUN = 2 * 10 * 8  # bytes of a run of edge columns, and of its copy while the table is made
_EVALUATION = 8 * 8  # of an evaluation of a message: its ends, number and factor
_LIBRARIES = 1 << 20


def window_bytes(
    spec: ModelSpec,
    kernel: str,
    *,
    columns: int,
    steps: int,
    itemsize: int,
    masked: bool = False,
    nodes: int = 1,
    edges: int = 0,
    alike: bool = True,
    threads: int = 1,
    past: int = 0,
    senders: int = 0,
) -> int:
    """Bytes of a gradient over windows of ``steps`` intervals.

    columns: nodes of all windows of the batch together; ``nodes``: of one window, which a tile of the
    compiled kernel holds whole; ``edges``: directed ones of one window, which count where messages are
    computed for each; ``alike``: whether all windows are on one graph. ``past``: intervals before a window
    that delayed messages take, 0 without delays, and ``senders``: nodes at their delays that send in one
    window (`delays.Evaluations`).
    """
    if spec.family == "node":  # one larger node, in as many columns as there are windows
        widths = {"channels": spec.channels * spec.bodies, "controls": spec.controls * spec.bodies}
        spec = spec.replace(family="mpnode", messages="zero", message=0, coupling="mixed", bodies=1,
                            attributes=spec.attributes * spec.bodies, circular=(), **widths)  # fmt: skip
        columns, nodes, edges = -(-columns // max(nodes, 1)), 1, 0
    stages = TABLEAUX[spec.solver].stages * spec.substeps * max(1, -(-steps // spec.stride))
    known = 1 + masked
    times = (steps + 1) * columns * itemsize
    # What a batch gathers from the data, in the order of the data and in that of the kernel.
    data = times * (2 * spec.channels * known + 2 * spec.controls)
    # The past with its slopes, gathered and in the order of the kernel.
    data += 4 * past * columns * itemsize * spec.channels
    # What a message keeps of its sender: of each node, or of each node at its delays.
    emitter = spec.sender_inputs + (0 if spec.pairwise else spec.hidden)
    one = columns * itemsize
    windows = -(-columns // max(nodes, 1))
    if kernel == "eager":
        of_edges = _autograd_rows_of_edges(spec) * edges * windows * itemsize
        of_nodes = _autograd_rows(spec) * one
        if past:
            of_edges += (emitter + spec.channels) * senders * windows * itemsize
            of_nodes -= (emitter if spec.messages == "emitted" else 0) * one
        kept = stages * (of_nodes + of_edges)
        return int(
            _LIBRARIES + _FRAGMENTS * kept + data + times * (2 * spec.states + spec.channels)
        )
    rows = _stored_rows(spec)
    if past and spec.messages == "emitted":
        rows -= emitter
    if kernel == "torch":
        slots = min(stages * rows * one, max(_STORED["torch"], stages // steps * rows * one))
        field = one * (spec.depth * spec.hidden + spec.inputs + spec.outputs + 8 * spec.states)
        if _by_edges(spec):
            sides = 2 if spec.antisymmetric else 1
            evaluations = sides * edges * (1 if alike else windows)
            field += one * (5 * spec.hidden if spec.pairwise else 4 * spec.message)
            features = spec.hidden if spec.pairwise else spec.message
            field += min(_SCRATCH, 3 * sides * edges * windows * features * itemsize)
            field += evaluations * (_EVALUATION + itemsize * spec.edge_attributes)
        return int(_LIBRARIES + slots + field + data + times * spec.states)
    most = _STORED_PAIRS if spec.pairwise else _STORED["numba"]
    size = _TILE
    # Each type of nodes has panels of its own, of which the last is partly empty.
    spare = _PANEL * (max(1, len(spec.node_types)) - 1)
    tile = (min(columns, _tile_columns(nodes, size)) + spare) * itemsize
    stored = stages * rows * tile
    if stored > most:  # stages of one step, and the states at all times
        size = 2 * _TILE
        tile = (min(columns, _tile_columns(nodes, size)) + spare) * itemsize
        stored = stages // max(steps, 1) * rows * tile
    states = (steps + 1) * spec.states * tile
    if past:
        # States, slopes and the cotangents of both; what the senders put in, for each stage that is kept.
        states = 4 * (steps + 1 + past) * spec.states * tile
        stored += emitter * stages * tile * senders // max(nodes, 1)
    pairs = tables = 0
    if spec.pairwise:
        # Both ends of edges, their sums and cotangents by node; panels of edges.
        pairs = 6 * (spec.hidden + 1) * tile
        pairs += 4 * _CHUNK * 2 * _PANEL * (spec.hidden + 8) * itemsize
        tables = _tables(spec, edges, windows, max(1, _tile_columns(nodes, size) // nodes))
    return int(_LIBRARIES + threads * (stored + states + pairs) + data + tables)


def _tables(spec: ModelSpec, edges: int, windows: int, width: int) -> int:
    """Bytes of the tables of runs of edge columns, for tiles of ``width`` windows."""
    width = min(width, windows)
    runs = edges * (2 if spec.antisymmetric else 1) * -(-windows // width) * (1 + width / _PANEL)
    return int(runs * _RUN)


def _tile_columns(nodes: int, size: int) -> int:
    """Columns of a tile of about ``size``: whole windows, several also where nodes are many (`plan.cut`)."""
    return nodes * max(1, size // nodes, min(8, 4096 // nodes))


def _by_edges(spec: ModelSpec) -> bool:
    """Whether messages need a number for each edge."""
    if spec.family != "mpnode":
        return False
    if spec.messages in ("state", "emitted"):
        return bool(spec.learned_edges) or spec.aggregation == "max"
    return spec.pairwise


def _autograd_rows(spec: ModelSpec) -> int:
    """Numbers that autograd keeps of one evaluation of the field, per column."""
    turned = spec.state_inputs + 2 * len(spec.circular) if spec.circular else 0
    if spec.family == "own":
        # Each layer keeps about two numbers for each of its outputs.
        return 2 * spec.states + spec.own_inputs + 2 * _own_outputs(spec)
    if spec.family == "l2s":
        return spec.states + turned + spec.own_inputs + spec.hidden * (4 * spec.depth + 2)
    rows = spec.states + turned + spec.inputs + spec.depth * spec.hidden
    if spec.gain:
        rows += spec.outputs + spec.message
    if spec.messages == "emitted":
        rows += spec.hidden + (spec.sender_inputs if spec.sender_inputs > spec.channels else 0)
    if _by_edges(spec) and spec.aggregation == "max":
        rows += spec.message
    return rows


def _own_outputs(spec: ModelSpec) -> int:
    """Outputs of all layers of a module of the user, as the shapes of its weights show them."""
    return sum(shape[0] for shape in layout_of(spec).shapes.values() if len(shape) > 1)


def _autograd_rows_of_edges(spec: ModelSpec) -> int:
    """Numbers that autograd keeps of one evaluation of the field, per edge column."""
    if spec.family == "own":
        return _own_outputs(spec)  # where its layers are of edges; which they are is not known
    if not _by_edges(spec):
        return 0
    rows = 0
    if spec.pairwise:
        rows = spec.receiver_inputs + spec.sender_inputs + spec.pair_inputs + 2 * spec.hidden
        rows += 2 * len({*spec.relative} & {*spec.circular})
        rows *= 2 if spec.antisymmetric else 1
        if spec.node_types:  # both ends are added before the layers of the receiver's type
            rows += spec.hidden
    if spec.learned_edges:
        rows += spec.message
    if spec.aggregation == "max":
        rows += spec.message
    return rows


def _stored_rows(spec: ModelSpec) -> int:
    """Numbers of one evaluation of the field that the other kernels store, per column."""
    rows = spec.inputs + 1 + spec.depth * (spec.hidden + 1)
    if spec.gain:
        rows += spec.outputs + spec.message
    if spec.messages == "emitted":
        rows += spec.sender_inputs + spec.hidden + 2
    if _by_edges(spec) and spec.aggregation == "max":
        rows += spec.message
    elif spec.pairwise:
        rows += spec.hidden + 1
    if spec.learned_edges and not spec.pairwise:
        rows += spec.message
    return rows


def require_batch(
    spec: ModelSpec,
    kernel: str,
    arrays: Sequence[Arrays],
    *,
    windows: int,
    steps: int,
    itemsize: int,
    device: object,
) -> None:
    """Raise NotEnoughMemory where the gradient of a batch of ``windows`` does not fit."""
    nodes = max((int(each.graph.nodes.max()) for each in arrays), default=1)
    masked = any(each.mask is not None for each in arrays)
    edges = max((int(np.diff(each.graph.edge_offset).max()) for each in arrays), default=0)
    alike = all(each.graph.graphs == 1 for each in arrays)
    past = max((prefix_for(spec, each.graph, _step(each)) for each in arrays), default=0)
    senders = max((_delayed_senders(spec, each.graph) for each in arrays), default=0) if past else 0

    def bytes_of(count: int) -> int:
        return window_bytes(
            spec, kernel, columns=count * nodes, steps=steps, itemsize=itemsize,
            masked=masked, nodes=nodes, edges=edges, alike=alike, past=past, senders=senders,
        )  # fmt: skip

    free = available_bytes(device)
    needed = bytes_of(windows)
    if free is None or needed <= free:
        return
    # Nothing in a batch is larger than its share, but for what does not grow with it.
    fits = max(0, int(windows * free / needed))
    while fits and bytes_of(fits) > free:
        fits //= 2
    ways = [f"batch_size={fits} fits"] if fits else []
    if kernel == "eager":
        ways.append('kernel="auto" keeps less')
    ways.append("a smaller hidden=, or a shorter max_window=")
    need(
        needed,
        f"a batch of {windows} windows of {steps} intervals and {nodes} nodes",
        f"{', or '.join(ways)}; one window takes {format_bytes(bytes_of(1))}",
        device=device,
    )


def _step(arrays: Arrays) -> float:
    return float(arrays.time[1] - arrays.time[0])


def _delayed_senders(spec: ModelSpec, graph: Graph) -> int:
    """Most pairs of a node and a delay that send in one graph."""
    if graph.delay is None and spec.learned_delays <= 1:
        return int(graph.nodes.max())
    delay = graph.delay_or_zeros if graph.delay is not None else np.arange(graph.edges)
    each = np.unique(np.stack([graph.edge_graph, graph.sender, delay]), axis=1)[0]
    return int(np.bincount(each.astype(np.int64)).max(initial=0))


def rollout_bytes(
    spec: ModelSpec,
    *,
    trajectories: int,
    times: int,
    nodes: int,
    itemsize: int,
    delayed: bool = False,
) -> int:
    """Bytes of a rollout and of the dataset of it, beside those of its start.

    ``delayed``: of messages, for which states and slopes of all times are kept.
    """
    numbers = trajectories * times * nodes
    # The states in the order of the kernel and of the dataset, in z units and physical ones (float64).
    states = numbers * (2 * spec.states * itemsize + spec.channels * (8 + itemsize))
    if delayed:
        states += numbers * 2 * spec.channels * itemsize
    emits = spec.family == "mpnode" and spec.messages == "emitted"
    message = spec.message * (8 + itemsize) + spec.hidden * itemsize if emits else 0
    return int(states + numbers * (message + 8 * spec.controls))


def require_rollout(
    spec: ModelSpec, trajectories: int, steps: int, nodes: int, *, delayed: bool = False
) -> None:
    """Raise NotEnoughMemory where a rollout and its dataset do not fit. ``steps`` is checked first."""
    steps = whole("steps", steps)
    one = rollout_bytes(
        spec, trajectories=trajectories, times=1, nodes=nodes, itemsize=4, delayed=delayed
    )
    need(
        one * (steps + 1) + 24 * (steps + 1),
        f"a rollout of {trajectories} x {nodes:,} nodes over {steps:,} steps",
        f"roll out fewer steps= and continue from the last; a step takes {format_bytes(one)}",
    )


def require_simulation(
    trajectories: int, times: int, nodes: int, widths: int, working: int = 0
) -> None:
    """Raise NotEnoughMemory where simulated trajectories do not fit.

    widths: features and controls of a node; ``working``: bytes of the solver.
    """
    need(
        8 * times * (nodes * widths * trajectories + 3) + working,
        f"a dataset of {trajectories:,} trajectories of {times - 1:,} steps and {nodes:,} nodes",
        "ask for fewer trajectories= or steps=, or make several datasets: train takes a list of them",
    )
