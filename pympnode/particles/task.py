"""StepTask: particles. Single steps of simulated trajectories, their graphs built when needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..config import whole
from ..errors import InvalidData
from .memory import Counts, fixed_bytes, state_bytes
from .schema import ParticleArrays, mean_spacing

if TYPE_CHECKING:
    from .engine.batch import ParticleBatch
    from .engine.program import ParticleProgram, Target

TURNS = 8  # quarter turns with and without a mirror
_VALIDATED = 6400  # particles in the states that are validated, of each dataset
_AT_ONCE = 16  # states that are validated side by side where they are small
_FREE = 16 << 20  # bytes that nobody is asked for


@dataclass(frozen=True, eq=False)
class Steps:
    """A batch: which steps of which dataset, and how each state is turned.

    trajectory, time, turn: (batch,) indices; turn 0 leaves a state as it is. ``finer``: levels of
    cells beyond the usual ones.
    """

    dataset: int
    trajectory: NDArray[np.int64]
    time: NDArray[np.int64]
    turn: NDArray[np.int64]
    finer: int = 0

    def part(self, here: slice) -> Steps:
        """Some of the steps."""
        return replace(
            self, trajectory=self.trajectory[here], time=self.time[here], turn=self.turn[here]
        )


class StepTask:
    """Particles: the loss of single steps, drawn from all trajectories and times.

    ``arrays``: one dataset for each particle count; a batch is of one dataset, chosen by chance in
    proportion to the batches that its steps fill. ``train``, ``validation``: trajectories of each.
    ``batch_size`` states make an update; ``micro_batch`` of them are worked on at a time (the same
    gradient, less memory). ``per_epoch``: updates in an epoch, at most as many as the steps fill.
    ``augment`` turns and mirrors every state of a batch at random (two dimensions).
    ``mixed_levels``: hierarchies of every second batch, by chance, have one level more. Satisfies
    `Task`. Raises InvalidData, InvalidOption.
    """

    steps = 1  # intervals in a window

    def __init__(
        self,
        program: ParticleProgram,
        arrays: Sequence[ParticleArrays],
        train: Sequence[NDArray[np.int64]],
        validation: Sequence[NDArray[np.int64]],
        batch_size: int,
        *,
        micro_batch: int | None = None,
        per_epoch: int = 250,
        augment: bool = False,
        mixed_levels: bool = False,
    ) -> None:
        self._pairs = np.array([len(t) * (len(a.time) - 1) for a, t in zip(arrays, train)])
        if not self._pairs.sum():
            raise InvalidData(
                "there are no trajectories to train on",
                got="none in the training part",
                allowed="at least one",
                fix="give more trajectories, or a larger split=",
            )
        if augment and any(a.dims != 2 for a in arrays):
            raise InvalidData("augmentation turns particles in the plane", got="three dimensions")
        self.program, self.arrays = program, list(arrays)
        self.size, self.dtype = program.layout.size, program.dtype
        self.train, self.validation = list(train), list(validation)
        self.micro_batch = batch_size if micro_batch is None else whole("micro_batch", micro_batch)
        self.augment, self.mixed_levels = augment, mixed_levels
        self.batch_size = min(batch_size, int(self._pairs.max()))
        states = np.minimum(self.batch_size, self._pairs)
        self._filled = self._pairs // np.maximum(states, 1)  # batches, by dataset
        self._updates = min(per_epoch, int(self._filled.sum()))
        chosen = [v if len(v) else t for v, t in zip(validation, train)]
        checked = [self._validation_steps(i, part) for i, part in enumerate(chosen)]
        self._checked = [steps for steps in checked if len(steps.time)]

    def count(self, horizon: int) -> int:
        """See `Task`."""
        return self._updates

    def batches(self, horizon: int, rng: np.random.Generator) -> Iterator[Steps]:
        """See `Task`: no step comes twice in an epoch."""
        drawn = rng.choice(self._filled.sum(), self._updates, replace=False)
        which = np.searchsorted(np.cumsum(self._filled), drawn, side="right")
        picks = []
        for pairs, batches in zip(self._pairs, np.bincount(which, minlength=len(self.arrays))):
            states = min(self.batch_size, pairs)
            chosen = rng.choice(pairs, batches * states, replace=False) if batches else which[:0]
            picks.append(iter(chosen.reshape(-1, max(states, 1))))
        for dataset in which:
            finer = int(rng.integers(2)) if self.mixed_levels else 0
            yield self._steps(int(dataset), next(picks[dataset]), finer, rng)

    def kinds(self, horizon: int, rng: np.random.Generator) -> list[tuple[float, Steps]]:
        """See `Task`: a batch of every dataset, and with either number of levels."""
        found = []
        levels = range(1 + int(self.mixed_levels))
        for dataset in np.flatnonzero(self._filled):
            pairs = self._pairs[dataset]
            for finer in levels:
                picked = rng.choice(pairs, min(self.batch_size, pairs), replace=False)
                share = float(self._filled[dataset] / self._filled.sum()) / len(levels)
                found.append((share, self._steps(int(dataset), picked, finer, rng)))
        return found

    def _steps(
        self, dataset: int, picked: NDArray[np.int64], finer: int, rng: np.random.Generator
    ) -> Steps:
        row, time = np.divmod(picked, len(self.arrays[dataset].time) - 1)
        turn = rng.integers(TURNS, size=len(picked)) if self.augment else np.zeros_like(row)
        return Steps(dataset, self.train[dataset][row], time, turn, finer)

    def states(self, batch: Steps) -> tuple[ParticleBatch, Target]:
        """The states of a batch and those one step later, on the device of the program."""
        from .engine.program import Target

        data = self.arrays[batch.dataset]
        i, t = batch.trajectory, batch.time
        mass = data.mass[i]
        charge = None if data.charge is None else data.charge[i]

        def at(times: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
            return tuple(
                turned(values[i, times], batch.turn) if self.augment else values[i, times]
                for values in (data.position, data.velocity)
            )  # type: ignore[return-value]

        (x, v), (x1, v1) = at(t), at(t + 1)
        now = self.program.batch(x, v, mass, charge, data.box)
        # A small change of large velocities has few digits once they are rounded.
        change = self.program.rows(v1.astype(np.float64) - v)
        return now, Target(self.program.rows(x1), self.program.rows(v1), change)

    def loss(self, theta: NDArray, batch: Steps) -> tuple[float, NDArray]:
        """See `Task`; the mean over the batch, whatever the micro-batch."""
        total, gradient = 0.0, np.zeros(self.size, self.dtype)
        states = len(batch.time)
        for at in range(0, states, self.micro_batch):
            part = batch.part(slice(at, at + self.micro_batch))
            value, slope = self.program.loss_and_gradient(
                theta, *self.states(part), finer=batch.finer
            )
            share = len(part.time) / states
            total += value * share
            gradient += (slope * share).astype(self.dtype)
        return total, gradient

    def losses(
        self, thetas: NDArray, batches: Sequence[Steps]
    ) -> tuple[NDArray[np.float64], NDArray]:
        """See `Task`."""
        results = [self.loss(theta, batch) for theta, batch in zip(thetas, batches)]
        return np.array([value for value, _ in results]), np.stack([g for _, g in results])

    def validate(self, theta: NDArray) -> dict[str, float]:
        """See `Task`: the loss on a fixed choice of states, the mean over datasets."""
        values = []
        for steps in self._checked:
            total = 0.0
            several = self._at_once[steps.dataset]
            for at in range(0, len(steps.time), several):
                part = steps.part(slice(at, at + several))
                total += self.program.loss(theta, *self.states(part)) * len(part.time)
            values.append(total / len(steps.time))
        return {"validation_loss": float(np.mean(values))}

    @property
    def operations(self) -> float:
        """About how many floating point operations an update takes: forwards, and twice backwards."""
        each = min(self.micro_batch, self.batch_size)
        counts = [a.position.shape[2] for a in self.arrays]
        return 3 * max(self.program.operations((n,) * each) for n in counts)

    def require_memory(self) -> None:
        """Raise NotEnoughMemory, with the bytes and the batch that fits, before a run begins.

        Validation takes no more than an update: as many states at a time as fit into its memory.
        """
        from ..files.memory import available_bytes, in_words, require_bytes

        program = self.program
        each = min(self.micro_batch, self.batch_size)
        fixed = fixed_bytes(program)
        for number, counts in enumerate(self._counts):
            if not counts.nodes:
                continue
            one = state_bytes(program, counts, training=self._pairs[number] > 0)
            states = each if self._pairs[number] else 1
            less = state_bytes(program, counts, training=True, kernel="recompute")
            free = available_bytes(program.device)
            fits = states if free is None else (free - fixed) // one
            ways = []
            if fits >= 1:
                ways.append(f"micro_batch={fits} fits (the same updates, a part at a time)")
            if program.spec.family == "deltagn" and less < 0.8 * one:
                ways.append(f'kernel="recompute" takes {in_words(fixed + less * states)}')
            require_bytes(
                fixed + one * states,
                f"a batch of {states} states with {counts.edges:,} edges each",
                fix=f"{' or '.join(ways) or 'a smaller model, or fewer particles'}; one state takes "
                f"{in_words(one)} beside {in_words(fixed)} for any number",
                device=program.device,
            )

    @cached_property
    def _counts(self) -> list[Counts]:
        """Edges and nodes of the largest of some states, of each dataset."""
        program, found = self.program, []
        for number, data in enumerate(self.arrays):
            several = min(8, max(2, 100_000 // data.position.shape[2]))
            if program.spec.join != "hierarchy":
                several = 1  # as many edges in every state
            part = self.train[number] if self._pairs[number] else self.validation[number]
            steps = self._spread(number, part, several)
            most = Counts(0, 0, 0)
            for at in range(len(steps.time)):
                state, _ = self.states(steps.part(slice(at, at + 1)))
                for finer in range(1 + int(self.mixed_levels)):
                    most = most.union(Counts.of(program.graph(state, finer=finer)))
            found.append(most)
        return found

    @cached_property
    def _at_once(self) -> list[int]:
        """States that are validated at a time, of each dataset: no more memory than an update takes,
        or than is worth a question."""
        program, most = self.program, max(self.micro_batch, _AT_ONCE)
        trained = [
            state_bytes(program, counts, training=True) * min(self.micro_batch, self.batch_size)
            for counts, pairs in zip(self._counts, self._pairs)
            if pairs
        ]
        room = max(_FREE, *trained)
        each = [state_bytes(program, counts, training=False) for counts in self._counts]
        return [min(most, max(1, room // max(one, 1))) for one in each]

    def _validation_steps(self, dataset: int, trajectories: NDArray[np.int64]) -> Steps:
        count = self.arrays[dataset].position.shape[2]
        return self._spread(dataset, trajectories, max(4, _VALIDATED // count))

    def _spread(self, dataset: int, trajectories: NDArray[np.int64], states: int) -> Steps:
        """At most so many states, spread evenly over trajectories and times."""
        intervals = len(self.arrays[dataset].time) - 1
        pairs = len(trajectories) * intervals
        picked = np.linspace(0, pairs - 1, min(pairs, states)).astype(np.int64)
        row, time = np.divmod(picked, max(intervals, 1))
        return Steps(dataset, trajectories[row], time, np.zeros_like(row))


def turned(values: NDArray, turn: NDArray[np.int64]) -> NDArray:
    """Vectors (state, particle, 2), each state turned by turn % 4 quarters, mirrored from 4 on."""
    out = np.array(values)
    mirrored = turn >= 4
    out[mirrored, :, 0] *= -1
    for quarters in (1, 2, 3):
        here = turn % 4 == quarters
        x, y = out[here, :, 0].copy(), out[here, :, 1].copy()
        out[here, :, 0], out[here, :, 1] = ((-y, x), (-x, -y), (y, -x))[quarters - 1]
    return out


def fitted_scales(arrays: Sequence[ParticleArrays], train: Sequence[NDArray[np.int64]]) -> Any:
    """`ParticleScales` of the training part: lengths from the physics, spreads from the data."""
    from .spec import ParticleScales

    spacing: list[float] = []
    mass: list[float] = []
    charge: list[float] = []
    velocity: list[float] = []
    change: list[float] = []
    for data, index in zip(arrays, train):
        if not len(index):
            continue
        spacing.append(max(mean_spacing(data.position[index], data.box), 1e-30))
        mass.append(float(np.mean(data.mass[index])))
        charge.append(1.0 if data.charge is None else float(np.mean(data.charge[index] ** 2)))
        v = data.velocity[index].astype(np.float64)
        velocity.append(float(np.mean(v**2)))
        change.append(float(np.mean(np.diff(v, axis=1) ** 2)))
    softening = float(np.mean([a.parameters.get("softening", 0.2) for a in arrays]))
    base = ParticleScales.geometry(softening, float(np.mean(spacing)))

    def positive(value: float) -> float:
        return value if value > 0 else 1.0

    return ParticleScales(
        base.length,
        base.near,
        base.lengths,
        mass=positive(float(np.mean(mass))),
        charge=positive(float(np.sqrt(np.mean(charge)))),
        velocity=positive(float(np.sqrt(np.mean(velocity)))),
        change=positive(float(np.sqrt(np.mean(change)))),
    )
