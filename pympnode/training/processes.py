"""Training in several processes: data-parallel, over torch.distributed.

Every process draws the same batches and computes its part of each; one sum over the flat vector per
update makes the loss and the gradient of the whole batch, so that every engine and kernel takes part
unchanged. The first process makes the optimiser's step, sends the weights, and is the only one that
writes files. Vectors are in host memory and travel by gloo, also where models compute on a GPU.
Nothing is pickled: arrays travel as tensors, words as the bytes of JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import errors
from ..errors import InvalidData, InvalidOption, ProcessLost, PympnodeError, one_line
from .checkpoint import HISTORY, Run, State
from .group import Group
from .optimiser import Optimiser, OptimiserState
from .task import Batch, Task

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others; one that died is noticed at once."""

_SETTLE = 3.0  # seconds in which the processes that are left say so


class ProcessGroup:
    """Several processes, by a gloo group of torch.distributed.

    Every method is a collective: all processes call it, in the same order. Raises `ProcessLost` where
    another process died or does not answer.
    """

    def __init__(self) -> None:
        import torch
        import torch.distributed as dist

        self._torch, self._dist = torch, dist
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        # A user's own group may be NCCL's, which takes no arrays in host memory.
        own = dist.get_backend() == "gloo"
        self._group = dist.group.WORLD if own else dist.new_group(backend="gloo", timeout=TIMEOUT)

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Group`."""
        tensor = self._torch.from_numpy(np.array(values, dtype=np.float64))
        with self._watched():
            self._dist.all_reduce(tensor, group=self._group)
        return tensor.numpy()

    def of_first(self, values: NDArray) -> NDArray:
        """The array of the first process, of the same shape and dtype in all."""
        tensor = self._torch.from_numpy(np.array(values))
        with self._watched():
            self._dist.broadcast(tensor, 0, group=self._group)
        return tensor.numpy()

    def exchange(self, sent: Mapping[int, NDArray], received: Mapping[int, NDArray]) -> None:
        """See `Group`; empty arrays are not sent."""
        dist, tensor = self._dist, self._torch.from_numpy
        with self._watched():
            work = [
                call(tensor(array), rank, group=self._group)
                for call, arrays in ((dist.irecv, received), (dist.isend, sent))
                for rank, array in arrays.items()
                if array.size
            ]
            for each in work:
                each.wait()

    def bytes_of_first(self, content: bytes) -> bytes:
        """The bytes of the first process; those given by the others are ignored."""
        length = int(self.of_first(np.array([len(content)], np.int64))[0])
        held = np.frombuffer(content, np.uint8) if self.rank == 0 else np.zeros(length, np.uint8)
        return self.of_first(held).tobytes()

    def number_of_first(self, value: float) -> float:
        """The number of the first process."""
        return float(self.of_first(np.array([value], np.float64))[0])

    def clock(self) -> float:
        """Seconds, by the clock of the first process."""
        return self.number_of_first(time.perf_counter())

    def on_first(self, call: Callable[[], T]) -> T | None:
        """What ``call`` returns in the first process, None in the others; its error in all."""
        result, problem, text = None, None, b""
        if self.rank == 0:
            try:
                result = call()
            except Exception as error:
                problem = error
                text = _described(error)
        text = self.bytes_of_first(text)
        if problem is not None:
            raise problem
        if text:
            raise _error(text)
        return result

    def require_same(self, facts: dict[str, str]) -> None:
        """Raise `InvalidData` where processes differ in one of some texts, with the ranks that do."""
        digests = np.zeros((self.size, len(facts), 32))
        for column, text in enumerate(facts.values()):
            digest = hashlib.sha256(text.encode()).digest()
            digests[self.rank, column] = np.frombuffer(digest, np.uint8)
        digests = self.sum(digests)
        for column, name in enumerate(facts):
            others = (digests[:, column] != digests[0, column]).any(axis=1)
            if others.any():
                raise InvalidData(
                    f"the processes of this run differ in {name}",
                    got=f"ranks {np.flatnonzero(others).tolist()} differ from rank 0",
                    allowed=f"the same {name} in all {self.size} processes",
                    fix="call train with the same arguments and the same data in every process, from "
                    "the same version of pympnode; give a seed to what draws numbers",
                )

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self._lost(error) from error

    def _lost(self, error: RuntimeError) -> ProcessLost:
        """Which processes are gone: those that do not write to the store, which is not theirs."""
        dist = self._dist
        text = "one of them"
        try:
            store = dist.distributed_c10d._get_default_store()
            store.set(f"pympnode_left_{self.rank}", "1")
            time.sleep(_SETTLE)
            gone = [rank for rank in range(self.size) if not store.check([f"pympnode_left_{rank}"])]
            if gone:
                text = f"rank {gone[0]}" if len(gone) == 1 else f"ranks {gone}"
        except RuntimeError:  # the store was that of a process that died
            text = "rank 0" if self.rank else text
        return ProcessLost(
            f"a process of this run ended or does not answer: {text}",
            got=one_line(error),
            allowed=f"all {self.size} processes until the run ends",
            fix="look at the messages of that process; the same command goes on from the last checkpoint "
            "of run=, also with another number of processes",
        )


def current() -> ProcessGroup | None:
    """The group of this process: the one that is initialised, or that of torchrun's environment
    variables; None in a process of its own. Raises `InvalidOption` where the variables are incomplete.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    ranked = "RANK" in os.environ and size != "1"
    import sys

    if not ranked and "torch.distributed" not in sys.modules:
        return None
    import torch.distributed as dist

    if not dist.is_available():
        return None
    if not dist.is_initialized():
        if not ranked:
            return None
        missing = [n for n in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(n)]
        if missing or not size.isdigit() or not os.environ["RANK"].isdigit():
            raise InvalidOption(
                "the environment names several processes and not how they meet",
                got=f"RANK={os.environ['RANK']}, WORLD_SIZE={size}, without {', '.join(missing)}"
                if missing
                else f"RANK={os.environ['RANK']}, WORLD_SIZE={size}",
                allowed="RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun sets them",
                fix="start with torchrun --standalone --nproc-per-node=2 script.py; for a single "
                "process unset RANK and WORLD_SIZE",
            )
        try:
            dist.init_process_group("gloo", timeout=TIMEOUT)
        except (RuntimeError, ValueError) as error:
            raise ProcessLost(
                "the processes of this run did not meet",
                got=one_line(error),
                allowed=f"{size} processes that reach "
                f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}",
                fix="start as many processes as WORLD_SIZE says, with the same MASTER_ADDR and "
                "MASTER_PORT, or let torchrun start them",
            ) from error
    return ProcessGroup() if dist.get_world_size() > 1 else None


def is_first() -> bool:
    """Whether this process writes results: the first one, or the only one."""
    group = current()
    return group is None or group.rank == 0


class SharedTask:
    """A `Task` whose batches are computed in parts, one part in each process.

    The members of an ensemble of at least as many members as processes are divided instead, and nothing
    is divided where each process holds a part of the graph (`networks.partition`).
    ``asked``: whether this process was asked to stop; `stop` is set in all at the same update when one
    was.
    """

    def __init__(self, task: Task, group: ProcessGroup, asked: Callable[[], bool]) -> None:
        self._task, self._group, self._asked = task, group, asked
        self.stop = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def losses(
        self, thetas: NDArray, batches: Sequence[Batch]
    ) -> tuple[NDArray[np.float64], NDArray]:
        """See `Task`: losses and gradients of the whole batches."""
        group, members = self._group, len(thetas)
        if getattr(self._task, "part_of_graph", None) is not None:
            # Every process computes its nodes of the whole batch, and the program adds them up.
            found = self._task.losses(thetas, batches)
            self.stop = bool(group.sum(np.array([float(self._asked())]))[0])
            return found
        sums = np.zeros(members * (1 + thetas.shape[1]) + 1)
        values, gradients = sums[:members], sums[members:-1].reshape(thetas.shape)
        if members >= group.size:
            mine = list(range(group.rank, members, group.size))
            values[mine], gradients[mine] = self._task.losses(
                thetas[mine], [batches[member] for member in mine]
            )
        else:
            for member, batch in enumerate(batches):
                part, weight = self._task.part(batch, group.rank, group.size)
                if part is not None:
                    value, gradient = self._task.loss(thetas[member], part)
                    values[member] = weight * value
                    gradients[member] = weight * gradient.astype(np.float64)
        sums[-1] = self._asked()
        sums = group.sum(sums)
        self.stop = bool(sums[-1])
        gradient = sums[members:-1].reshape(thetas.shape).astype(self._task.dtype)
        return sums[:members], gradient

    def loss(self, theta: NDArray, batch: Batch) -> tuple[float, NDArray]:
        """See `Task`."""
        values, gradients = self.losses(theta[None], (batch,))
        return float(values[0]), gradients[0]

    def validate(self, theta: NDArray, group: Group | None = None) -> dict[str, float]:
        """See `Task`."""
        return self._task.validate(theta, self._group)


class SharedOptimiser:
    """An `Optimiser` whose step the first process makes; the others take its weights, and have no
    numbers of their own."""

    def __init__(self, optimiser: Optimiser, group: ProcessGroup) -> None:
        self._optimiser, self._group = optimiser, group

    def start(self, theta: NDArray) -> OptimiserState:
        """See `Optimiser`."""
        return self._optimiser.start(theta)

    def update(
        self,
        theta: NDArray,
        gradient: NDArray,
        rate: NDArray[np.float64],
        state: OptimiserState,
        count: int,
    ) -> NDArray:
        """See `Optimiser`."""
        if self._group.rank == 0:
            theta = self._optimiser.update(theta, gradient, rate, state, count)
        return self._group.of_first(theta)


class SharedRun:
    """A `Run` that the first process holds; the others take its state and write nothing."""

    def __init__(self, run: Run | None, group: ProcessGroup) -> None:
        self._run, self._group = run, group

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], config: dict[str, Any], group: ProcessGroup
    ) -> SharedRun:
        """The run folder of all processes. Raises in all what `Run` raises in the first."""
        return cls(group.on_first(lambda: Run(folder, config)), group)

    @property
    def written(self) -> Run | None:
        """The folder, in the process that writes to it."""
        return self._run

    def within(self, name: str, config: dict[str, Any]) -> SharedRun:
        """See `Run.within`."""
        run = self._run
        return SharedRun(
            self._group.on_first(lambda: run.within(name, config) if run else None), self._group
        )

    def require_space(self, theta: NDArray) -> None:
        """See `Run`."""
        run = self._run
        self._group.on_first(lambda: run.require_space(theta) if run else None)

    def load(
        self, like: NDArray | None = None, optimiser: OptimiserState | None = None
    ) -> State | None:
        """See `Run`: the state of the first process, in all."""
        run = self._run
        state = self._group.on_first(lambda: run.load(like, optimiser) if run else None)
        words = b"" if state is None else json.dumps(_words(state)).encode()
        words = self._group.bytes_of_first(words)
        if not words:
            return None
        assert like is not None and optimiser is not None
        return _sent(state, json.loads(words), like, optimiser, self._group)

    def save(self, state: State) -> None:
        """See `Run`; no collective, so that only the first process looks at its clock."""
        if self._run is not None:
            self._run.save(state)

    def close(self) -> None:
        """See `Run`."""
        if self._run is not None:
            self._run.close()


_VECTORS = ("theta", "mean", "best", "best_loss", "best_epoch", "since_best", "rate_factor")


def _words(state: State) -> dict[str, Any]:
    """What is no array of a state, and its history, as plain values."""
    plain = {
        f.name: getattr(state, f.name)
        for f in fields(State)
        if f.name not in (*_VECTORS, "history", "optimiser")
    }
    history = {name: [np.asarray(row).tolist() for row in state.history[name]] for name in HISTORY}
    return {"plain": plain, "history": history}


def _sent(
    state: State | None,
    words: dict[str, Any],
    like: NDArray,
    optimiser: OptimiserState,
    group: ProcessGroup,
) -> State:
    """The state of the first process; ``optimiser``: a first state, whose arrays the others keep."""
    made = State.start(np.array(like)) if state is None else state
    for name in _VECTORS:
        setattr(made, name, group.of_first(getattr(made, name)))
    if state is None:
        for name, value in words["plain"].items():
            setattr(made, name, value)
        for name, rows in words["history"].items():
            dtype = np.int64 if name in ("horizon", "updates") else np.float64
            made.history[name] = [np.asarray(row, dtype=dtype)[()] for row in rows]
        made.optimiser = dict(optimiser)
    return made


def _described(error: Exception) -> bytes:
    name = type(error).__name__
    message = getattr(error, "message", None) or one_line(error, 400) or name
    parts = {part: getattr(error, part, None) for part in ("got", "allowed", "fix")}
    words = {n: None if v is None else one_line(v, 400) for n, v in parts.items()}
    return json.dumps({"type": name, "message": message, **words}).encode()


def _error(text: bytes) -> PympnodeError:
    words = json.loads(text)
    kind = getattr(errors, words.pop("type"), None)
    if not (isinstance(kind, type) and issubclass(kind, PympnodeError)):
        kind = ProcessLost
    return kind(words.pop("message"), **words)
