"""The compiled CPU kernel: loss, exact discrete gradient and rollout of the MP-NODE family.

The batch is cut into tiles of trajectories that fit the cache (`plan`); threads compute tiles, each
with its own buffers and sums, added in the order of the threads: for a given number of threads the
result is the same to the bit. The reverse sweep either reads every stage where the forward sweep left
it or, where that would take more than `STORE_BYTES` per thread, runs each interval again from the
states at the grid times. numba is imported, and compiles, at the first call.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .....errors import EngineUnavailable
from ....spec import ModelSpec
from ....weights import layout_of
from ...delays import RATE, hermite, hermite_slope
from ...tableaux import TABLEAUX, Steps
from ..window import Window, held_factors

logger = logging.getLogger("pympnode.kernel")

STORE_BYTES = 40 * 2**20
"""Stages are stored while a thread's buffers stay below this; beyond, it gains little."""

PAIR_STORE_BYTES = 4 * STORE_BYTES
"""The same for messages of pairs: running a step again evaluates every edge once more."""

TILE_COLUMNS = 320
"""Columns of a tile, about; two hidden layers and their cotangents then fit a core's own cache. Half
of it where stages are stored, so that they fit the shared one."""


def supports(spec: ModelSpec) -> str | None:
    """None, or why this kernel cannot run ``spec``.

    ``family="node"`` is run as the mpnode without messages that it is, on one node.
    """
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed"
    if spec.family in ("l2s", "own"):
        return f"family={spec.family!r} runs through autograd"
    if spec.circular:
        return "circular features run through autograd"
    return None


def refuses_past(spec: ModelSpec, *, weights_in_time: bool, delayed: bool) -> str | None:
    """None, or why this kernel cannot run ``spec`` with delays or weights that vary in time."""
    if spec.node_types and (weights_in_time or delayed):
        return "weights that vary in time of several types of nodes run through autograd"
    if weights_in_time and spec.aggregation == "max" and spec.family == "mpnode":
        return "the largest message of edges whose weights vary in time runs through autograd"
    if delayed and (spec.learned_edges or (spec.aggregation == "max" and not spec.pairwise)):
        return "delays with learned weights or the largest emitted message run through autograd"
    return None


def threads() -> int:
    """Number of threads: at most those of torch and NUMBA_NUM_THREADS.

    Not `numba.get_num_threads`, which starts numba's own threads and with them sets the number of
    OpenMP threads of the whole process, torch's included.
    """
    from numba import config

    limit = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    return max(1, min(torch.get_num_threads(), limit))


def loss_and_gradient(
    spec: ModelSpec, theta: torch.Tensor, window: Window, *, store: bool | None = None
) -> tuple[float, torch.Tensor]:
    """Huber loss of a window and its gradient (size,) in the dtype of the window.

    ``store`` keeps every stage (True) or runs intervals again (False); None decides by memory.
    """
    return loss_and_gradient_members(spec, [theta], [window], store=store)[0]


def loss_and_gradient_members(
    spec: ModelSpec,
    thetas: Iterable[torch.Tensor],
    windows: Iterable[Window],
    *,
    store: bool | None = None,
) -> list[tuple[float, torch.Tensor]]:
    """`loss_and_gradient` of several members, each with its own window, over all threads."""
    n_threads = threads()
    started = []
    for theta, window in zip(thetas, windows):
        run = _Run(spec, theta, window, n_threads, store)
        jobs = [lambda r=run, t=tiles: r.train(t) for tiles in run.shares]
        # The first members run while the windows of the next are still being gathered.
        started.append((run, _started(jobs, n_threads)))
    return [run.collect([result() for result in results]) for run, results in started]


def rollout_vjp(
    spec: ModelSpec,
    theta: torch.Tensor,
    window: Window,
    output_gradient: torch.Tensor,
    *,
    store: bool | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `..kernel_eager.rollout_vjp`; ``store`` as in `loss_and_gradient`."""
    run = _Run(spec, theta, window, threads(), store, output_gradient=output_gradient)
    out = np.empty((window.steps + 1, spec.channels, window.columns.total), dtype=run.dtype)
    flat = out.reshape(-1)
    jobs = [lambda t=tiles: run.train(t, flat) for tiles in run.shares]
    _, gradient = run.collect(_over_threads(jobs, len(jobs)))
    return torch.from_numpy(out), gradient


def loss(spec: ModelSpec, theta: torch.Tensor, window: Window) -> float:
    """The loss alone."""
    run = _Run(spec, theta, window, threads(), False, backward=False)
    empty = run.weights[:0]
    jobs = [lambda t=tiles: run.roll(t, empty) for tiles in run.shares]
    return float(sum(_over_threads(jobs, len(jobs)))) * window.scale


def rollout(spec: ModelSpec, theta: torch.Tensor, window: Window) -> torch.Tensor:
    """States z (T + 1, D, S), messages that are ODE states among them; no gradient."""
    run = _Run(spec, theta, window, threads(), False, backward=False, compare=False)
    out = np.empty((window.steps + 1, spec.states, window.columns.total), dtype=run.dtype)
    flat = out.reshape(-1)
    jobs = [lambda t=tiles: run.roll(t, flat) for tiles in run.shares]
    _over_threads(jobs, len(jobs))
    return torch.from_numpy(out)


@cache
def _modules() -> Any:
    """The compiled modules, imported at the first call because numba takes a second to load."""
    if importlib.util.find_spec("numba") is None:
        raise EngineUnavailable(
            "the compiled kernel needs numba",
            got="numba is not installed",
            allowed='kernel="torch", or an environment with numba',
            fix="pip install numba",
        )
    from . import machine, plan, space, sweep, weights

    return machine, plan, space, sweep, weights


@cache
def _pool() -> Any:
    return _modules()[2].Pool()


@lru_cache(maxsize=4)
def _executor(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="pympnode-kernel")


def _over_threads(jobs: list[Any], workers: int) -> list[Any]:
    if len(jobs) == 1:
        return [jobs[0]()]
    return [result() for result in _started(jobs, workers)]


def _started(jobs: list[Any], workers: int) -> list[Any]:
    """Start the jobs on the threads; returns functions that wait for their results."""
    if workers == 1:
        done = [job() for job in jobs]
        return [lambda value=value: value for value in done]
    return [_executor(workers).submit(job).result for job in jobs]


warmed_up: set[tuple[str, str]] = set()


@contextmanager
def _first_call(operation: str, dtype: np.dtype) -> Iterator[None]:
    """Log that the kernel compiles when the first call of an operation takes more than a second."""
    key = (operation, np.dtype(dtype).name)
    if key in warmed_up:
        yield
        return
    start = time.perf_counter()
    message = "compiling the numba kernel (%s, %s) for this machine; cached for later runs"
    timer = threading.Timer(1.0, lambda: logger.info(message, *key))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    warmed_up.add(key)
    logger.debug("first call of %s in %s: %.1f s", *key, time.perf_counter() - start)


@dataclass(eq=False)
class _Run:
    """One window prepared for compiled code."""

    spec: ModelSpec
    theta: torch.Tensor
    window: Window
    n_threads: int
    store: bool | None
    backward: bool = True
    compare: bool = True
    output_gradient: torch.Tensor | None = None

    def __post_init__(self) -> None:
        machine, plan, space, sweep, weights = _modules()
        spec, window = self.spec, self.window
        self.dtype = np.dtype(str(window.initial.dtype).removeprefix("torch."))
        vector = machine.lanes(self.dtype.itemsize)
        self.packing = weights.packing(spec, machine.panel_width(self.dtype))
        theta = self.theta.detach().cpu().numpy().astype(self.dtype, copy=False)
        self.weights = self.packing.pack(theta)
        steps = Steps.over(TABLEAUX[spec.solver], window.dt, spec.stride)
        self.pullback = self.output_gradient is not None
        target = self.output_gradient if self.pullback else window.target
        factor = 1.0 if self.pullback else window.scale
        self.data = sweep.Data(
            _flat(window.initial, self.dtype),
            _flat(target if self.compare else None, self.dtype),
            _flat(window.control, self.dtype),
            _flat(window.attribute, self.dtype),
            _flat(window.mask if self.compare else None, self.dtype),
            _factors(spec, steps).astype(self.dtype),
            steps.first,
            steps.inside.astype(self.dtype),
            np.array([1.0, 0.5, factor], dtype=self.dtype),
            np.zeros(self._coded * window.columns.total, dtype=self.dtype),
        )
        delayed = window.delays is not None
        kept = self.backward or delayed
        self.states = 1 + (window.steps if kept else min(spec.stride, window.steps))
        self.steps = len(steps.size)
        self.past = self.logit = None
        if spec.learned_delays and delayed:
            self.logit = layout_of(spec).unpack(theta)["delay_logit"].astype(np.float64)
        cut, self.shape, self.late, self.offsets = self._fit(plan, space, vector)
        self.tiles = sweep.Tiles(cut.groups, cut.first, cut.columns, cut.segments)
        self._link(sweep, cut, theta)
        self.shares = _shares(cut.columns, self.n_threads)
        # The table of layers counts from the packed weights and the sums of a tile's block.
        weights_at, sums_at = self.offsets.weights, self.offsets.sums
        self.layers = self.packing.layers + np.array(
            [0, 0, weights_at, weights_at, sums_at, sums_at]
        )

    @property
    def _coded(self) -> int:
        """Number of attributes with a gradient."""
        bar = self.window.attribute_bar
        return 0 if bar is None or not self.backward else len(bar)

    def _link(self, sweep: Any, cut: Any, theta: NDArray) -> None:
        """Edges with their factors, as messages of nodes and of pairs take them."""
        spec, columns = self.spec, self.window.columns
        weight = cut.weight
        in_time = self.window.edge_weight is not None
        if spec.learned_edges:
            logarithm = layout_of(spec).unpack(theta)["edge_log_weight"]
            assert columns.edge is not None
            weight = weight * np.exp(logarithm[columns.edge])
        runs, attribute = cut.runs, np.empty(0, self.dtype)
        self.pairs = None
        if runs is not None:
            if spec.edge_attributes:
                assert columns.attribute is not None
                attribute = np.ascontiguousarray(columns.attribute, dtype=self.dtype).reshape(-1)
            sign = np.array([1, -1], self.dtype)[: runs.sides]
            # Weights that vary in time multiply the lanes instead.
            factor = np.ones_like(weight) if in_time else weight
            self.pairs = sweep.Pairs(
                runs.blocks, runs.runs, runs.panels, runs.tiles,
                (factor[:, None] * sign).reshape(-1), attribute,
            )  # fmt: skip
        elif spec.learned_edges or spec.aggregation == "max" or cut.senders is not None:
            # The same compiled code runs these models: the others do without it.
            no_table, none = np.zeros((0, 0), np.int64), np.zeros(0, np.int64)
            self.pairs = sweep.Pairs(no_table, no_table, none, none, attribute, attribute)
        if cut.senders is not None:
            self._link_senders(sweep, cut, weight)
            return
        # With several types of nodes an edge has an entry in every tile that it lies in.
        of_entries = weight[cut.number] if spec.node_types else weight
        self.links = sweep.Links(cut.pointer, cut.sender, of_entries, cut.number, cut.position)
        self.links_back = sweep.Links(
            cut.back_pointer, cut.back_sender, weight[cut.back_number], cut.back_number,
            cut.back_position,
        )  # fmt: skip

    def _link_senders(self, sweep: Any, cut: Any, weight: NDArray) -> None:
        """Edges from the columns of senders, delays, and weights that vary in time."""
        spec, window, senders = self.spec, self.window, cut.senders
        number = senders.back_number
        self.links = sweep.Links(cut.pointer, senders.of_edge, weight, cut.number, cut.position)
        self.links_back = sweep.Links(
            senders.back_pointer, senders.back_node, weight[number], number, cut.position[number]
        )
        held = np.empty(0, self.dtype)
        if window.edge_weight is not None:
            factors = held_factors(window, spec.aggregation, spec.divisor)
            blocks = [f.numpy().reshape(len(f), -1) for f in factors]
            held = np.ascontiguousarray(np.concatenate(blocks, axis=1), self.dtype).reshape(-1)
        runs, delays = cut.runs, window.delays
        interval, empty = np.empty(0, np.int64), np.empty(0, self.dtype)
        blend = slopes = empty
        if delays is not None:
            if self.logit is not None:
                delays = delays.learned(self.logit)
            dt = float(window.dt[0]) if len(window.dt) else 1.0
            interval, place = delays.places(TABLEAUX[spec.solver], spec.substeps)
            interval = np.where(delays.steps > 0, interval, 1).astype(np.int64).reshape(-1)
            per_step = np.array([1.0, dt, 1.0, dt])
            blend = (hermite(place) * per_step).astype(self.dtype).reshape(-1)
            # The place in an interval falls as the delay grows.
            slopes = (-hermite_slope(place) * per_step).astype(self.dtype).reshape(-1)
        pairs = self.pairs
        if runs is not None:
            assert pairs is not None
            pairs = pairs._replace(blocks=runs.sender_blocks)
        self.past = sweep.Past(
            int(delays is not None), int(window.edge_weight is not None),
            int(self.logit is not None), 0 if delays is None else len(delays.steps),
            0 if delays is None else delays.prefix, senders.groups, senders.columns,
            senders.segments, senders.node, senders.delay, interval, blend, slopes,
            _flat(window.history, self.dtype), _flat(window.history_slopes, self.dtype), held, senders.edge_columns,
            np.empty(0, np.int64) if runs is None else runs.weight, self.late, pairs,
        )  # fmt: skip

    def _fit(self, plan: Any, space: Any, vector: int) -> tuple[Any, Any, Any, Any]:
        """Plan, shape, that of senders, and offsets: stages stored if they fit, else steps run again."""
        spec, window = self.spec, self.window
        delays, in_time = window.delays, window.edge_weight is not None
        evaluations = None if delays is None else delays.evaluations
        # Stored stages are tried first: they save the second forward sweep. The last try needs least memory.
        half = TILE_COLUMNS // 2
        tries = [(True, half), (False, TILE_COLUMNS), (False, half)]
        sides = (2 if spec.antisymmetric else 1) if spec.pairwise else 0
        for stored, size in [t for t in tries if self.store in (None, t[0])]:
            cut = plan.plan_of(
                window.columns, spec.aggregation, spec.divisor, self.dtype, size, vector,
                self.n_threads, sides, spec.hidden + 1 if sides else 0,
                max(1, len(spec.node_types)), in_time, evaluations,
            )  # fmt: skip

            def shape_of(columns: int, numbers: int, stored: bool = stored) -> Any:
                return space.shape_of(
                    spec, self.dtype, columns, self.steps, stored=stored,
                    masked=window.mask is not None and self.compare, total=window.columns.total,
                    backward=self.backward, pullback=self.pullback,
                    edges=len(window.columns.sender), block_numbers=numbers, coded=self._coded,
                )  # fmt: skip

            shape = shape_of(int(cut.columns.max()), cut.runs.block_numbers if cut.runs else 0)
            late, past = shape, {}
            if delays is not None:
                most = int(cut.senders.columns.max())
                late = shape_of(most, cut.runs.sender_numbers if cut.runs else 0)
                past = {"past": late, "prefix": delays.prefix}
                past["delays"] = len(delays.steps) if self.logit is not None else 0
            offsets = space.offsets_of(
                shape, self.states, len(self.packing.source), self.packing.sums, in_time=in_time,
                **past,
            )  # fmt: skip
            limit = PAIR_STORE_BYTES if spec.pairwise else STORE_BYTES
            if offsets.end * self.dtype.itemsize <= limit:
                return cut, shape, late, offsets
        return cut, shape, late, offsets

    def _memory(self) -> tuple[NDArray, NDArray]:
        block, memory = _pool().acquire(self.offsets.end, self.dtype)
        memory[: len(self.weights)] = self.weights
        return block, memory

    def train(
        self, numbers: NDArray[np.int64], out: NDArray | None = None
    ) -> tuple[float, NDArray]:
        """Loss and gradient sums of some tiles; their channels at all times to ``out`` if given."""
        sweep = _modules()[3]
        block, memory = self._memory()
        sums = memory[self.offsets.sums : self.offsets.sums + self.packing.sums]
        sums[:] = 0
        edges = memory[self.offsets.edge_bar : self.offsets.edge_bar + self.shape.learned]
        edges[:] = 0
        count = 0 if self.logit is None else len(self.logit)
        delays = memory[self.offsets.delay_bar : self.offsets.delay_bar + count]
        delays[:] = 0
        with _first_call("gradient", self.dtype):
            value = sweep.run_tiles(
                self.shape, self.layers, memory, self.offsets, self.data, self.links,
                self.links_back, self.pairs, self.past, self.tiles, numbers, self.weights[:0] if out is None else out,
            )  # fmt: skip
        # The block goes back to the pool, where the next run of any thread overwrites it.
        sums = np.concatenate([sums, edges, delays])
        _pool().release(block)
        return value, sums

    def roll(self, numbers: NDArray[np.int64], out: NDArray) -> float:
        """Loss of some tiles, their states to ``out``."""
        sweep = _modules()[3]
        block, memory = self._memory()
        with _first_call("rollout", self.dtype):
            value = sweep.run_tiles(
                self.shape, self.layers, memory, self.offsets, self.data, self.links,
                self.links_back, self.pairs, self.past, self.tiles, numbers, out,
            )  # fmt: skip
        _pool().release(block)
        return float(value)

    def collect(self, results: list[tuple[float, NDArray]]) -> tuple[float, torch.Tensor]:
        """Sum over the threads, in their order."""
        value = float(sum(loss for loss, _ in results)) * self.window.scale
        with np.errstate(over="ignore", invalid="ignore"):  # unused entries of the tiles
            sums = results[0][1]
            for _, more in results[1:]:
                sums = sums + more
            gradient = self.packing.gradient(sums[: self.packing.sums])
        if self.window.attribute_bar is not None and self._coded:
            # Tiles have columns of their own, so that threads add to different ones.
            bar = torch.from_numpy(self.data.attribute_bar).reshape(self._coded, -1)
            self.window.attribute_bar.add_(bar)
        if self.spec.learned_edges:
            edges = layout_of(self.spec).unpack(gradient)["edge_log_weight"]
            assert self.window.columns.edge is not None
            end = self.packing.sums + self.shape.learned
            np.add.at(edges, self.window.columns.edge, sums[self.packing.sums : end])
        if self.logit is not None:
            assert self.window.delays is not None
            longest = self.window.delays.longest
            share = 1.0 / (1.0 + np.exp(-RATE * self.logit))
            slope = RATE * (longest - 1.0) * share * (1.0 - share)
            delays = layout_of(self.spec).unpack(gradient)["delay_logit"]
            delays[...] = sums[len(sums) - len(self.logit) :] * slope
        return value, torch.from_numpy(gradient).to(self.theta.dtype)


def _shares(columns: NDArray[np.int64], n_threads: int) -> list[NDArray[np.int64]]:
    """Tiles of each thread: consecutive, about equal numbers of columns."""
    # By the middle of each tile: shares stay consecutive, and no thread depends on timing, so that
    # sums are added in the same order in every run.
    middle = np.cumsum(columns) - columns / 2
    owner = np.minimum((middle * n_threads / columns.sum()).astype(np.int64), n_threads - 1)
    shares = [np.flatnonzero(owner == thread).astype(np.int64) for thread in range(n_threads)]
    return [share for share in shares if len(share)]


def _flat(values: torch.Tensor | None, dtype: np.dtype) -> NDArray:
    if values is None:
        return np.empty(0, dtype=dtype)
    # One dimension: numba would compile another version for every number of dimensions.
    return values.detach().contiguous().numpy().astype(dtype, copy=False).reshape(-1)


def _factors(spec: ModelSpec, steps: Steps) -> NDArray[np.float64]:
    """dt b and dt a of every step."""
    tableau = TABLEAUX[spec.solver]
    factors = np.concatenate([tableau.b, tableau.a.ravel()])
    return (steps.size / spec.substeps)[:, None] * factors
