"""The training task of networks: windows of trajectories and their loss (see `training.task`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidData
from ..training.diagnosis import Reference
from ..training.group import ALONE, Group, share
from ..training.schedule import MATCHING
from .arrays import Arrays
from .engines.base import Batch, Program
from .matching import Matching, PairBatch
from .memory import require_batch
from .partition import Part
from .partition_training import reference_of_all
from .reference import reference_of

# An epoch of windows out of long trajectories: few data are drawn from more than once, and of many an
# epoch takes a part, so that the time of a run grows with the recording no faster than it must.
_LEAST_UPDATES, _ENOUGH_UPDATES, _PASS_IN_EPOCHS = 8, 12, 16
_ENOUGH_UPDATES_UNEVEN = 100  # with batches of one window a trajectory
# Long windows come in smaller batches, of the same work as a batch of windows of this length.
_FULL_BATCH, _LEAST_BATCH = 25, 8
_UPDATES_OF_PAIRS = 50  # in an epoch of gradient matching, after which it is validated
_VALIDATION_WINDOWS = 32  # out of long trajectories
_VALIDATION_BATCH = 512  # bounds the memory of a validation
_GROUPS = 64  # of windows, whose losses a start and its tuned weights are compared by


@dataclass(frozen=True, eq=False)
class Source:
    """Trajectories in memory that windows are cut from, bound to a program.

    ``lengths`` (trajectory,): intervals behind the past that delays take, through all ``arrays``;
    ``starts``: for every trajectory whether a window begins at each of its times, None where it may at
    all; ``even``: whether all time grids are.
    """

    program: Program
    arrays: list[Arrays]
    lengths: NDArray[np.int64]
    starts: list[NDArray[np.bool_]] | None
    even: bool

    @classmethod
    def of(
        cls,
        program: Program,
        arrays: list[Arrays],
        prefix: int,
        starts: list[NDArray[np.bool_]] | None = None,
    ) -> Source:
        """``prefix``: intervals of the past; ``starts``: at all times of the arrays."""
        known = _known_starts(arrays) if starts is None else starts
        # Starts and lengths count from the end of the past, which a `Batch` counts too.
        lengths = [np.full(a.trajectories, a.steps - prefix) for a in arrays]
        return cls(
            program,
            arrays,
            np.concatenate(lengths),
            None if known is None else [each[prefix:] for each in known],
            all(a.even for a in arrays),
        )

    def draw_starts(
        self,
        chosen: NDArray[np.int64],
        horizon: int,
        rng: np.random.Generator,
        from_start: float = 0.0,
    ) -> NDArray[np.int64]:
        """Random first times (batch,) of the windows of ``chosen`` trajectories, of which a share
        ``from_start`` begins at the first."""
        latest = self.lengths[chosen] - horizon
        # Drawn for every window also where one draw serves all: the stream of random numbers does not
        # depend on the time grid.
        share = rng.random(len(chosen))
        if from_start:
            share = np.maximum(share - from_start, 0.0) / (1 - from_start)
        if not self.even:
            share[:] = share[0]
            latest[:] = latest.min()
        start = np.floor(share * (latest + 1)).astype(np.int64)
        if self.starts is None:
            return start
        if not self.even:
            known = np.logical_and.reduce([self.starts[i][: latest[0] + 1] for i in chosen])
            first = _or_first(np.flatnonzero(known))
            return np.full(len(chosen), first[int(share[0] * len(first))])
        for row, index in enumerate(chosen):
            known_starts = _or_first(np.flatnonzero(self.starts[index][: latest[row] + 1]))
            start[row] = known_starts[int(share[row] * len(known_starts))]
        return start


class TrajectoryTask:
    """Windows of trajectories; the loss is the Huber loss of a rollout from a window's first state.

    ``program`` is bound to ``arrays``; ``train`` and ``validation`` are trajectory numbers that count
    through all of ``arrays`` in order. A window starts at a random time at which the state is known
    (see `_known_starts`). On an uneven time grid all windows of a batch start at the same time, because
    a program integrates a batch with one sequence of step sizes.

    ``longest``: intervals of the longest window; None for whole trajectories. With it a batch holds
    several windows of a trajectory, and fewer of them where they are longer than 25 intervals; an
    epoch has at least 8 batches, and at most 12 (100 on an uneven grid) or a sixteenth of a pass; and
    the validation loss is that of about 32 windows of the longest length, at even distances.

    ``from_start``: see `TrainConfig`. ``matching`` makes the batches of windows of no interval: pairs
        of states and derivatives.

    ``features``, ``time_scale``, ``numbers``: names of features, the unit of the arrays' times and the
    numbers of their trajectories in the data, for messages.

    Raises `InvalidData` where there is nothing to learn from or nothing to judge by.
    """

    features: tuple[str, ...] = ()
    time_scale: float = 1.0
    numbers: Sequence[NDArray[np.int64]] = ()
    # The loss of arrays, where it is not the Huber loss: see `reference_of`.
    measure: Callable[[NDArray, NDArray], float] | None = None

    def __init__(
        self,
        program: Program,
        arrays: list[Arrays],
        train: NDArray[np.int64],
        validation: NDArray[np.int64],
        batch_size: int,
        longest: int | None = None,
        starts: list[NDArray[np.bool_]] | None = None,
        matching: Matching | None = None,
        from_start: float = 0.0,
    ) -> None:
        if not len(train):
            raise InvalidData(
                "there are no trajectories to train on",
                got=f"{sum(a.trajectories for a in arrays)} trajectories, none of them for training",
                allowed="at least one",
                fix="give more trajectories, or a larger split=",
            )
        _require_known(arrays, train, "training")
        _require_known(arrays, validation, "validation")
        self.program = program
        self.matching = matching
        self.from_start = from_start
        self.arrays = arrays
        self.layout = program.layout
        self.size = program.layout.size
        self.dtype = program.dtype
        # Windows start where enough of the past is known for the longest delay.
        self.prefix = max(_prefix(program, a) for a in arrays)
        self.steps = min(a.steps for a in arrays) - self.prefix
        if self.steps < 1:
            raise InvalidData(
                "no window fits behind the past that the delays take",
                got=f"{self.steps + self.prefix} intervals, of which {self.prefix} are the past",
                allowed=f"at least {self.prefix + 1} intervals: the longest delay, 4 at least, and one",
                fix="give longer trajectories, or a shorter delay",
            )
        self.whole = longest is None
        if longest is not None:
            self.steps = min(self.steps, longest)
        self.train = train
        self.validation = validation
        self.source = Source.of(program, arrays, self.prefix, starts)
        # Windows of a batch start together on an uneven grid: those of one trajectory would be equal.
        several = not self.whole and self.source.even
        self.batch_size = batch_size if several else min(batch_size, len(train))

    @property
    def part_of_graph(self) -> Part | None:
        """The part of this process where the nodes of a graph are divided; losses are those of the whole."""
        return self.arrays[0].part

    @property
    def validates_on_training(self) -> bool:
        """Whether the validation loss is that of training trajectories, for want of others."""
        return not len(self.validation)

    def require_memory(self) -> None:
        """Raise `NotEnoughMemory`, with the bytes, where a batch of the longest windows does not fit."""
        program = self.program
        if program.kernel not in ("eager", "torch", "numba"):
            return  # Julia has memory of its own
        require_batch(
            program.spec,
            program.kernel,
            self.arrays,
            windows=self._batch(self.steps),
            steps=self.steps,
            itemsize=self.dtype.itemsize,
            device=getattr(program, "device", "cpu"),
        )

    def count(self, horizon: int) -> int:
        """See `Task`."""
        if horizon == MATCHING:
            return self._pairs().count(_UPDATES_OF_PAIRS)
        batches = -(-int(self._windows(horizon).sum()) // self._batch(horizon))
        if self.whole:
            return batches
        enough = _ENOUGH_UPDATES if self.source.even else _ENOUGH_UPDATES_UNEVEN
        most = max(enough, batches // _PASS_IN_EPOCHS)
        return min(max(batches, _LEAST_UPDATES), most)

    def _batch(self, horizon: int) -> int:
        """Windows in a batch."""
        if self.whole or horizon <= _FULL_BATCH:
            return self.batch_size
        same_work = round(self.batch_size * _FULL_BATCH / horizon)
        return min(self.batch_size, max(same_work, _LEAST_BATCH))

    def _windows(self, horizon: int) -> NDArray[np.int64]:
        """Windows of one pass over every training trajectory."""
        length = (
            np.full(len(self.train), self.steps) if self.whole else self.source.lengths[self.train]
        )
        return np.maximum(1, length // horizon)

    def batches(self, horizon: int, rng: np.random.Generator) -> Iterator[Batch]:
        """See `Task`."""
        if horizon == MATCHING:
            yield from self._pairs().batches(_UPDATES_OF_PAIRS, rng)
            return
        size = self._batch(horizon)
        if self.whole:
            order = rng.permutation(np.tile(self.train, max(1, self.steps // horizon)))
        else:
            windows = np.repeat(self.train, self._windows(horizon))
            wanted = self.count(horizon) * size
            order = rng.permutation(np.tile(windows, -(-wanted // len(windows))))[:wanted]
        for at in range(0, len(order), size):
            chosen = order[at : at + size]
            yield Batch(chosen, self._draw(self.source, chosen, horizon, rng), horizon)

    def _draw(
        self, source: Source, chosen: NDArray[np.int64], horizon: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """First times (batch,) of windows, for a `Batch`."""
        from_start = self.from_start if self.whole else 0.0
        return source.draw_starts(chosen, horizon, rng, from_start) + self.prefix

    def kinds(self, horizon: int, rng: np.random.Generator) -> list[tuple[float, Batch]]:
        """See `Task`: a whole batch, and the last one of an epoch where it is shorter."""
        batches = list(self.batches(horizon, rng))
        first, last, share = batches[0], batches[-1], 1 / len(batches)
        if len(last.trajectory) == len(first.trajectory):
            return [(1.0, first)]
        return [(1.0 - share, first), (share, last)]

    def loss(self, theta: NDArray, batch: Batch) -> tuple[float, NDArray]:
        """See `Task`."""
        return self._program(batch).loss_and_gradient(theta, batch)

    def losses(
        self, thetas: NDArray, batches: Sequence[Batch]
    ) -> tuple[NDArray[np.float64], NDArray]:
        """See `Task`; in one call where the program supports several members."""
        of_members = getattr(self._program(batches[0]), "loss_and_gradient_members", None)
        if of_members is not None and len(thetas) > 1:
            results = of_members(thetas, batches)
        else:
            results = [self.loss(theta, batch) for theta, batch in zip(thetas, batches)]
        return np.array([value for value, _ in results]), np.stack([g for _, g in results])

    def _program(self, batch: Batch) -> Program:
        return self._held(batch).program

    def _held(self, batch: Batch) -> Source | Matching:
        """The program, and the arrays, that a batch is of."""
        return self._pairs() if isinstance(batch, PairBatch) else self.source

    def _number(self, batch: Batch, dataset: int, trajectory: int) -> int:
        """The number in the data of a trajectory of the arrays of a batch."""
        return int(self.numbers[dataset][trajectory]) if self.numbers else trajectory

    def _pairs(self) -> Matching:
        assert self.matching is not None, "a plan with this stage needs the data of it"
        return self.matching

    def part(self, batch: Batch, rank: int, size: int) -> tuple[Batch | None, float]:
        """See `Task`: some of the windows; their weight is their share of the nodes."""
        chosen = share(len(batch.trajectory), rank, size)
        trajectory = batch.trajectory[chosen]
        if not len(trajectory):
            return None, 0.0
        part = replace(batch, trajectory=trajectory, start=batch.start[chosen])
        nodes = _nodes_of(self._held(batch).arrays)[batch.trajectory]
        return part, float(nodes[chosen].sum() / nodes.sum())

    def validate(self, theta: NDArray, group: Group = ALONE) -> dict[str, float]:
        """The loss over the whole horizon of the validation trajectories, or over windows of them
        where the task has a longest window.

        Of the training trajectories where there are none for validation.
        """
        total, weight = 0.0, 0
        group = group if self.part_of_graph is None else ALONE
        for batch in self.validation_batches:
            part, share_of_batch = self.part(batch, group.rank, group.size)
            if part is not None:
                total += self.program.loss(theta, part) * share_of_batch * len(batch.trajectory)
            weight += len(batch.trajectory)
        return {"validation_loss": float(group.sum(np.array([total]))[0]) / weight}

    def validation_each(self, theta: NDArray) -> NDArray[np.float64]:
        """Validation losses of single windows, or of groups of them (at most `_GROUPS` a batch)."""
        out = []
        for batch in self.validation_batches:
            whole = len(batch.trajectory)
            for chosen in np.array_split(np.arange(whole), min(whole, _GROUPS)):
                part = replace(
                    batch, trajectory=batch.trajectory[chosen], start=batch.start[chosen]
                )
                out.append(self.program.loss(theta, part))
        return np.array(out)

    def worst(self, theta: NDArray, batch: Batch) -> str:
        """Trajectory, node, feature and time of the largest error of a rollout of ``batch``, in words;
        of errors that are not finite the first."""
        if self.part_of_graph is not None:
            return ""  # of its own nodes each process would find another
        found: list[tuple[float, int, str]] = []
        first = 0
        pairs = isinstance(batch, PairBatch)
        # Pairs are a state and one step along its derivative, two for each time of the data.
        held = self._held(batch).arrays
        for number, arrays in enumerate(held):
            here = (batch.trajectory >= first) & (batch.trajectory < first + arrays.trajectories)
            chosen, start = batch.trajectory[here] - first, batch.start[here]
            first += arrays.trajectories
            if not chosen.size:
                continue
            rows = chosen[:, None], start[:, None] + np.arange(batch.horizon + 1)
            truth = arrays.x[rows]
            with np.errstate(all="ignore"):
                state = self._program(batch).rollout(
                    theta, truth[:, 0], arrays.graph, arrays.time[rows[1][0]],
                    graph_of=arrays.graph_of[chosen],
                    u=None if arrays.u is None else np.nan_to_num(arrays.u[rows]),
                    attribute=arrays.select(chosen).attribute,
                    **self._past(arrays, chosen, start),
                ).state  # fmt: skip
                error = np.abs(state.astype(np.float64) - truth)
            known = np.ones(error.shape, bool) if arrays.mask is None else arrays.mask[rows]
            error = np.where(known, np.where(np.isfinite(error), error, np.inf), 0.0)
            # argmax takes the first of equal ones, and time comes first here.
            at, i, node, channel = np.unravel_index(
                np.argmax(error.transpose(1, 0, 2, 3)), error.transpose(1, 0, 2, 3).shape
            )
            row = start[i] // 2 if pairs else start[i] + at
            time = self.arrays[number].time[row] * self.time_scale
            name = self._feature(arrays, int(node), int(channel))
            which = f"dataset {number}, " if len(self.arrays) > 1 else ""
            of = self._number(batch, number, int(chosen[i]))
            text = f"{which}trajectory {of}, node {node}, feature {name}, time {time:.6g}"
            found.append((float(error[i, at, node, channel]), -int(at), text))
        return max(found)[2] if found else ""

    def _feature(self, arrays: Arrays, node: int, channel: int) -> str:
        """The name of a feature of a node."""
        if not self.features:
            return f"number {channel}"
        if arrays.types is not None and arrays.node_type is not None:
            channel += sum(arrays.types.channels[: int(arrays.node_type[node])])
        return self.features[channel]

    def _past(
        self, arrays: Arrays, chosen: NDArray[np.int64], start: NDArray[np.int64]
    ) -> dict[str, NDArray]:
        if not self.prefix:
            return {}
        before = start[:, None] + np.arange(-self.prefix, 0)
        return {"history": arrays.x[chosen[:, None], before]}

    def reference(self) -> Reference:
        """See `Task`."""
        part = self.part_of_graph
        if part is not None:
            return reference_of_all(self.arrays, self.train, self.validation_batches, part.group)
        return reference_of(self.arrays, self.train, self.validation_batches, self.measure)

    @cached_property
    def validation_batches(self) -> list[Batch]:
        """The windows that the validation loss is the mean over."""
        index = self.train if self.validates_on_training else self.validation
        if self.whole:
            starts = [(index, np.zeros(len(index), np.int64))]
        else:
            starts = self._even_starts(index)
        return [
            Batch(
                chosen[at : at + _VALIDATION_BATCH],
                start[at : at + _VALIDATION_BATCH] + self.prefix,
                self.steps,
            )
            for chosen, start in starts
            for at in range(0, len(chosen), _VALIDATION_BATCH)
        ]

    def _even_starts(
        self, index: NDArray[np.int64]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Trajectories and first times of windows at even distances; those of a pair may be of one
        batch."""
        fit = np.maximum(1, self.source.lengths[index] // self.steps)
        each = np.maximum(1, np.minimum(fit, -(-_VALIDATION_WINDOWS // len(index))))
        trajectory, start = [], []
        for number, windows in zip(index.tolist(), each.tolist()):
            first = np.linspace(0, self.source.lengths[number] - self.steps, windows).astype(
                np.int64
            )
            if self.source.starts is not None:
                known = np.flatnonzero(
                    self.source.starts[number][: self.source.lengths[number] - self.steps + 1]
                )
                if known.size:
                    at = np.searchsorted(known, first).clip(max=len(known) - 1)
                    first = np.unique(known[at])
            trajectory.append(np.full(len(first), number))
            start.append(first)
        trajectories, starts = np.concatenate(trajectory), np.concatenate(start)
        if self.source.even:
            return [(trajectories, starts)]
        together = [np.flatnonzero(starts == first) for first in np.unique(starts)]
        return [(trajectories[here], starts[here]) for here in together]


def _prefix(program: Program, arrays: Arrays) -> int:
    of_graph = getattr(program, "prefix", None)  # programs of tests and of Julia have none
    return 0 if of_graph is None else of_graph(arrays.graph, float(np.diff(arrays.time)[0]))


def _nodes_of(arrays: Sequence[Arrays]) -> NDArray[np.int64]:
    """Number of nodes of each trajectory of all ``arrays``."""
    return np.concatenate([np.asarray(a.graph.nodes)[a.graph_of] for a in arrays])


def _or_first(starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Starts of windows, or the first time, whose state is known or filled, where there are none."""
    return starts if len(starts) else np.zeros(1, np.int64)


def _require_known(arrays: list[Arrays], index: NDArray[np.int64], part: str) -> None:
    """Raise `InvalidData` where the trajectories ``index`` hold no known value after their start."""
    if not len(index):
        return
    known, first = False, 0
    for each in arrays:
        here = index[(index >= first) & (index < first + each.trajectories)] - first
        known = known or bool(len(here) if each.mask is None else each.mask[here, 1:].any())
        first += each.trajectories
    if not known:
        raise InvalidData(
            f"nothing is known of the {part} trajectories after their first state",
            got=f"{len(index)} {part} trajectories, all values after the start missing",
            allowed=f"at least one known value after the start in {part}",
            fix='label trajectories with known values: ds["split"] = ("trajectory", ["train", ...]), '
            "or leave the unknown ones out",
        )


def _known_starts(arrays: list[Arrays]) -> list[NDArray[np.bool_]] | None:
    """(time,) for every trajectory: whether windows start there; None where nothing is missing.

    Windows start at the first time and where the whole state is known; in trajectories in which that
    is so at less than a tenth of the times, where at least as much is known as at half of them.
    """
    if all(a.mask is None for a in arrays):
        return None
    starts: list[NDArray[np.bool_]] = []
    for each in arrays:
        if each.mask is None:
            starts.extend(np.ones(each.x.shape[:2], bool))
            continue
        whole = each.mask.all(axis=(2, 3))
        # What is missing at a start is interpolated, so that trajectories whose nodes are hardly ever
        # all known at once have windows too: from the times at which most is known.
        count = each.mask.sum(axis=(2, 3))
        most = count >= np.median(count, axis=1, keepdims=True)
        known = np.where(whole.mean(axis=1, keepdims=True) >= 0.1, whole, most)
        known[:, 0] = True
        starts.extend(known)
    return starts
