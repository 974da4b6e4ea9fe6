"""StepTask: the training task of particles, single steps of trajectories with graphs built on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..config import whole
from ..errors import InvalidData
from ..layout import Layout
from ..training.diagnosis import Reference
from ..training.group import ALONE, Group, share
from .bodies import body_spreads
from .memory import Counts, fixed_bytes, state_bytes
from .scales import VALIDATION_PARTICLES
from .schema import ParticleArrays

if TYPE_CHECKING:
    from .engine.batch import ParticleBatch
    from .engine.program import ParticleProgram, Target

SYMMETRIES = 8  # of a square: quarter turns with and without a mirror
CUBE_SYMMETRIES = 48  # of a cube: its axes in any order, mirrored or not
_VALIDATION_BATCH = 16  # validation states per batch where they are small
# Bytes that a validation batch may always take: below it a smaller batch would save nothing that
# matters, and cost calls.
_VALIDATION_BYTES = 16 << 20


@dataclass(frozen=True, eq=False)
class Steps:
    """A batch: steps of one dataset, and the symmetry that is applied to each state.

    trajectory, time: (batch,) indices of the first states. rotation: (batch,) index of a symmetry,
    see `apply_symmetry`; 0 leaves a state as it is. ``extra_levels``: levels of cells beyond those of
    the program.
    """

    dataset: int
    trajectory: NDArray[np.int64]
    time: NDArray[np.int64]
    rotation: NDArray[np.int64]
    extra_levels: int = 0

    def subset(self, chosen: slice) -> Steps:
        """Some of the steps."""
        return replace(
            self,
            trajectory=self.trajectory[chosen],
            time=self.time[chosen],
            rotation=self.rotation[chosen],
        )


class StepTask:
    """Particles: the loss of single steps, drawn from all trajectories and times.

    ``arrays``: one dataset for each particle count; a batch is of one dataset, drawn in proportion to
    the number of batches that its steps fill. ``train``, ``validation``: trajectory numbers of each
    dataset. ``batch_size`` states make an update; gradients are summed over micro-batches of
    ``micro_batch`` states (the same gradient, less memory). ``per_epoch``: updates per epoch, at most
    as many as the steps fill. ``augment``: a random symmetry of the square or of the cube is applied to
    every state. Models that multiply by masses have a loss relative to the motion of each body
    (`body_spreads`; ``spreads`` of each dataset, relative to the usual change, in place of theirs).
    ``mixed_levels``: hierarchies have one level more with probability 1/2 per batch.
    Satisfies `Task`. Raises InvalidData, InvalidOption.
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
        spreads: Sequence[NDArray] | None = None,
    ) -> None:
        # Pairs of successive states, of each dataset.
        self._spreads: Sequence[NDArray] | None = spreads
        if program.spec.weighted and spreads is None:
            # The changes of the fastest body, over all, would decide a loss with one unit for all.
            usual = program.scales.change * program.units.velocity
            self._spreads = [body_spreads(a, t) / usual for a, t in zip(arrays, train)]
        self._pairs = np.array([len(t) * (len(a.time) - 1) for a, t in zip(arrays, train)])
        if not self._pairs.sum():
            raise InvalidData(
                "there are no trajectories to train on",
                got="none in the training part",
                allowed="at least one",
                fix="give more trajectories, or a larger split=",
            )
        self.program, self.arrays = program, list(arrays)
        self.layout: Layout = program.layout
        self.size, self.dtype = program.layout.size, program.dtype
        self.train, self.validation = list(train), list(validation)
        self.micro_batch = batch_size if micro_batch is None else whole("micro_batch", micro_batch)
        self.augment, self.mixed_levels = augment, mixed_levels
        self.batch_size = min(batch_size, int(self._pairs.max()))
        states = np.minimum(self.batch_size, self._pairs)
        self._filled = self._pairs // np.maximum(states, 1)  # batches, by dataset
        self._updates = min(per_epoch, int(self._filled.sum()))
        # Training states are validated only where no dataset holds any others: beside held-out states
        # they would hide that a model fits what it has seen and nothing else.
        chosen = self.train if self.validates_on_training else self.validation
        validated = [self._validation_steps(i, numbers) for i, numbers in enumerate(chosen)]
        self._validated = [steps for steps in validated if len(steps.time)]

    def count(self, horizon: int) -> int:
        """See `Task`."""
        return self._updates

    def batches(self, horizon: int, rng: np.random.Generator) -> Iterator[Steps]:
        """See `Task`: no step comes twice in an epoch."""
        drawn = rng.choice(self._filled.sum(), self._updates, replace=False)
        dataset_of = np.searchsorted(np.cumsum(self._filled), drawn, side="right")
        picks = []
        per_dataset = np.bincount(dataset_of, minlength=len(self.arrays))
        for pairs, batches in zip(self._pairs, per_dataset):
            states = min(self.batch_size, pairs)
            chosen = (
                rng.choice(pairs, batches * states, replace=False) if batches else dataset_of[:0]
            )
            picks.append(iter(chosen.reshape(-1, max(states, 1))))
        for dataset in dataset_of:
            extra_levels = int(rng.integers(2)) if self.mixed_levels else 0
            yield self._steps(int(dataset), next(picks[dataset]), extra_levels, rng)

    def kinds(self, horizon: int, rng: np.random.Generator) -> list[tuple[float, Steps]]:
        """See `Task`: a batch of every dataset, with each number of levels."""
        found = []
        levels = range(1 + int(self.mixed_levels))
        for dataset in np.flatnonzero(self._filled):
            pairs = self._pairs[dataset]
            for extra_levels in levels:
                picked = rng.choice(pairs, min(self.batch_size, pairs), replace=False)
                share = float(self._filled[dataset] / self._filled.sum()) / len(levels)
                found.append((share, self._steps(int(dataset), picked, extra_levels, rng)))
        return found

    def _steps(
        self, dataset: int, picked: NDArray[np.int64], extra_levels: int, rng: np.random.Generator
    ) -> Steps:
        number, time = np.divmod(picked, len(self.arrays[dataset].time) - 1)
        rotation = self._rotation(len(picked), self.arrays[dataset].dims, rng)
        return Steps(dataset, self.train[dataset][number], time, rotation, extra_levels)

    def _rotation(self, states: int, dims: int, rng: np.random.Generator) -> NDArray[np.int64]:
        if not self.augment:
            return np.zeros(states, np.int64)
        return rng.integers(SYMMETRIES if dims == 2 else CUBE_SYMMETRIES, size=states)

    def states(self, batch: Steps) -> tuple[ParticleBatch, Target]:
        """The states of a batch and those one step later, on the device of the program."""
        from .engine.program import Target

        data, spreads = self._held(batch)
        i, t = batch.trajectory, batch.time
        mass = data.mass[i]
        charge = None if data.charge is None else data.charge[i]

        def at(times: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
            return tuple(
                apply_symmetry(values[i, times], batch.rotation)
                if self.augment
                else values[i, times]
                for values in (data.position, data.velocity)
            )  # type: ignore[return-value]

        (x, v), (x1, v1) = at(t), at(t + 1)
        now = self.program.batch(
            x, v, mass, charge, data.box,
            kinds=None if data.type is None else data.type[i],
            fixed=None if data.fixed is None else data.fixed[i],
        )  # fmt: skip
        # The small change of large velocities would lose its digits if they were rounded first.
        flat, units = self.program.flat_tensor, self.program.units
        change = flat(v1.astype(np.float64) - v, units.velocity)
        spread = None
        if spreads is not None:
            spread = flat(spreads[i])
        target = Target(flat(x1, units.length), flat(v1, units.velocity), change, spread)
        return now, target

    def _held(self, batch: Steps) -> tuple[ParticleArrays, NDArray | None]:
        """What the numbers of a batch refer to: the arrays, and the spreads of their bodies."""
        spreads = None if self._spreads is None else self._spreads[batch.dataset]
        return self.arrays[batch.dataset], spreads

    def _where(self, batch: Steps) -> tuple[int, float]:
        """Number in the data and time of the first state of a batch."""
        return int(batch.trajectory[0]), float(self.arrays[batch.dataset].time[batch.time[0]])

    def loss(self, theta: NDArray, batch: Steps) -> tuple[float, NDArray]:
        """See `Task`; the mean over the batch, for any size of the micro-batch."""
        total, gradient = 0.0, np.zeros(self.size, self.dtype)
        states = len(batch.time)
        for at in range(0, states, self.micro_batch):
            micro = batch.subset(slice(at, at + self.micro_batch))
            value, grad = self.program.loss_and_gradient(
                theta, *self.states(micro), extra_levels=batch.extra_levels
            )
            share = len(micro.time) / states
            total += value * share
            gradient += (grad * share).astype(self.dtype)
        return total, gradient

    def losses(
        self, thetas: NDArray, batches: Sequence[Steps]
    ) -> tuple[NDArray[np.float64], NDArray]:
        """See `Task`."""
        results = [self.loss(theta, batch) for theta, batch in zip(thetas, batches)]
        return np.array([value for value, _ in results]), np.stack([g for _, g in results])

    def worst(self, theta: NDArray, batch: Steps) -> str:
        """Trajectory, particle, axis and time of the largest error of a step of ``batch``, in words."""
        import torch

        program = self.program
        found: list[tuple[float, str]] = []
        for at in range(len(batch.time)):
            one = batch.subset(slice(at, at + 1))
            now, target = self.states(one)
            graph = program.graph(now, extra_levels=batch.extra_levels)
            with torch.no_grad():
                _, velocity = program.next_state(program.weights(theta), now, graph, training=False)
                error = (velocity - target.velocity).abs().double().cpu().numpy()
            error = np.where(np.isfinite(error), error, np.inf)
            particle, axis = np.unravel_index(np.argmax(error), error.shape)
            trajectory, time = self._where(one)
            which = f"dataset {batch.dataset}, " if len(self.arrays) > 1 else ""
            text = (
                f"{which}trajectory {trajectory}, particle {particle}, "
                f"velocity {'xyz'[axis]}, time {time:.6g}"
            )
            found.append((float(error[particle, axis]), text))
        return max(found, key=lambda pair: pair[0])[1]

    def part(self, batch: Steps, rank: int, size: int) -> tuple[Steps | None, float]:
        """See `Task`: some of the states."""
        states = len(batch.time)
        chosen = share(states, rank, size)
        length = chosen.stop - chosen.start
        return (batch.subset(chosen), length / states) if length else (None, 0.0)

    def validate(self, theta: NDArray, group: Group = ALONE) -> dict[str, float]:
        """See `Task`: the loss on a fixed choice of states, the mean over datasets."""
        values = []
        for steps in self._validated:
            total = 0.0
            size = self._validation_batches[steps.dataset]
            mine = share(len(steps.time), group.rank, group.size)
            for at in range(mine.start, mine.stop, size):
                batch = steps.subset(slice(at, min(at + size, mine.stop)))
                total += self.program.loss(theta, *self.states(batch)) * len(batch.time)
            values.append(total / len(steps.time))
        return {"validation_loss": float(np.mean(group.sum(np.array(values))))}

    @property
    def validates_on_training(self) -> bool:
        """See `Task`: whether no dataset holds validation states, so that training states serve."""
        return not any(len(numbers) for numbers in self.validation)

    def reference(self) -> Reference:
        """See `Task`: free flight; the noise of velocities is not looked for."""
        from .engine.free_flight import FreeFlight

        flight = copy(self)
        flight.program = FreeFlight.like(self.program)
        value = flight.validate(np.zeros(self.size, self.dtype))["validation_loss"]
        return Reference({"free flight": value})

    @property
    def operations(self) -> float:
        """Floating point operations of a micro-batch, an estimate: a backward pass takes twice those
        of the forward pass."""
        each = min(self.micro_batch, self.batch_size)
        counts = [a.position.shape[2] for a in self.arrays]
        return 3 * max(self.program.operations((n,) * each) for n in counts)

    def require_memory(self) -> None:
        """Raise NotEnoughMemory, with the bytes and the micro-batch that fits, before a run begins.

        Validation is not counted: its batches take no more memory than an update
        (`_validation_batches`).
        """
        from ..memory import available_bytes, format_bytes, need

        program = self.program
        each = min(self.micro_batch, self.batch_size)
        fixed = fixed_bytes(program)
        for number, counts in enumerate(self._counts):
            if not counts.nodes:
                continue
            one = state_bytes(program, counts, training=self._pairs[number] > 0)
            states = each if self._pairs[number] else 1
            less = state_bytes(program, counts, training=True, recompute=True)
            free = available_bytes(program.device)
            fits = states if free is None else (free - fixed) // one
            ways = []
            if fits >= 1:
                ways.append(f"micro_batch={fits} fits (the same updates, a part at a time)")
            option = "recompute=True"
            if program.kernel == "eager":  # which keeps all layers
                option = 'kernel="auto" with recompute=True'
            if program.spec.family == "deltagn" and less < 0.8 * one:
                ways.append(f"{option} takes {format_bytes(fixed + less * states)}")
            need(
                fixed + one * states,
                f"a batch of {states} states with {counts.edges:,} edges each",
                fix=f"{' or '.join(ways) or 'a smaller model, or fewer particles'}; one state takes "
                f"{format_bytes(one)} beside {format_bytes(fixed)} for any number",
                device=program.device,
            )

    @cached_property
    def _counts(self) -> list[Counts]:
        """Edges and nodes of each dataset: the largest counts in a sample of its states."""
        program, found = self.program, []
        for number, data in enumerate(self.arrays):
            several = min(8, max(2, 100_000 // data.position.shape[2]))
            if program.spec.join != "hierarchy":
                several = 1  # every state has the same number of edges
            trajectories = self.train[number] if self._pairs[number] else self.validation[number]
            steps = self._even_steps(number, trajectories, several)
            most = Counts(0, 0, 0)
            for at in range(len(steps.time)):
                state, _ = self.states(steps.subset(slice(at, at + 1)))
                for extra_levels in range(1 + int(self.mixed_levels)):
                    graph = program.graph(state, extra_levels=extra_levels)
                    most = most.union(Counts.of(graph, radial=program.spec.radial))
            found.append(most)
        return found

    @cached_property
    def _validation_batches(self) -> list[int]:
        """States per validation batch, of each dataset: no more memory than an update takes, or
        than `_VALIDATION_BYTES`."""
        program, most = self.program, max(self.micro_batch, _VALIDATION_BATCH)
        trained = [
            state_bytes(program, counts, training=True) * min(self.micro_batch, self.batch_size)
            for counts, pairs in zip(self._counts, self._pairs)
            if pairs
        ]
        allowed = max(_VALIDATION_BYTES, *trained)
        each = [state_bytes(program, counts, training=False) for counts in self._counts]
        return [min(most, max(1, allowed // max(one, 1))) for one in each]

    def _validation_steps(self, dataset: int, trajectories: NDArray[np.int64]) -> Steps:
        count = self.arrays[dataset].position.shape[2]
        return self._even_steps(dataset, trajectories, max(4, VALIDATION_PARTICLES // count))

    def _even_steps(self, dataset: int, trajectories: NDArray[np.int64], states: int) -> Steps:
        """At most ``states`` steps, at even distances over trajectories and times."""
        intervals = len(self.arrays[dataset].time) - 1
        pairs = len(trajectories) * intervals
        picked = np.linspace(0, pairs - 1, min(pairs, states)).astype(np.int64)
        number, time = np.divmod(picked, max(intervals, 1))
        return Steps(dataset, trajectories[number], time, np.zeros_like(number))


def apply_symmetry(values: NDArray, rotation: NDArray[np.int64]) -> NDArray:
    """Vectors (state, particle, axis) with a symmetry of the square or cube applied to each state.

    rotation (state,). Two axes, 0 to 7: ``rotation % 4`` quarter turns counterclockwise, after a mirror
    of the first axis where it is at least 4. Three axes, 0 to 47: the axes in the order number
    ``rotation // 8`` of their permutations, then mirrored where bits of ``rotation % 8`` are set. 0
    changes nothing. Forces between pairs and periodic squares and cubes have these symmetries.
    """
    if values.shape[-1] == 3:
        order = np.array(list(permutations(range(3))))[rotation // 8]
        signs = 1 - 2 * ((rotation[:, None] >> np.arange(3)) & 1)
        return np.take_along_axis(values, order[:, None, :], axis=-1) * signs[:, None, :].astype(
            values.dtype
        )
    out = np.array(values)
    mirrored = rotation >= 4
    out[mirrored, :, 0] *= -1
    for quarters in (1, 2, 3):
        here = rotation % 4 == quarters
        x, y = out[here, :, 0].copy(), out[here, :, 1].copy()
        out[here, :, 0], out[here, :, 1] = ((-y, x), (-x, -y), (y, -x))[quarters - 1]
    return out
