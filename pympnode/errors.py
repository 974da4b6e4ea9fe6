"""Every error and warning that pympnode raises.

An error says what it got, what is allowed and how to fix it; the exception has all three as
attributes too. Each child is also the built-in error that Python users would catch in its place.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def one_line(value: object, length: int = 240) -> str:
    """``str(value)`` as one line of at most ``length`` characters: datasets and arrays print many."""
    try:
        text = str(value)
    except Exception as error:  # an object whose own text fails must not hide what is wrong with it
        text = f"{type(value).__name__} ({type(error).__name__} in its text)"
    first, *rest = [line.strip() for line in text.strip().splitlines()] or [""]
    if rest and any(rest):
        first = f"{first} ..."
    return first if len(first) <= length else f"{first[: length - 4]} ..."


# Characters of a value that an error shows.
SHOWN = 400


def shown_value(value: object, length: int = SHOWN) -> str:
    """``repr(value)`` as one line, cut; never raises."""
    try:
        return one_line(repr(value), length)
    except Exception as error:
        return f"{type(value).__name__} ({type(error).__name__} in its repr)"


class PympnodeError(Exception):
    """Base of all errors of this package.

    Parameters: ``message`` one line of what is wrong; ``got`` the value found; ``allowed`` what
    would have been accepted; ``fix`` what to do about it.
    """

    def __init__(
        self, message: str, *, got: object = None, allowed: object = None, fix: str | None = None
    ) -> None:
        self.message = message
        self.got = got
        self.allowed = allowed
        self.fix = fix
        lines = [one_line(message, 2 * SHOWN) if len(message) > 2 * SHOWN else message]
        if got is not None:
            lines.append(f"  got:     {one_line(got, SHOWN)}")
        if allowed is not None:
            lines.append(f"  allowed: {allowed}")
        if fix is not None:
            lines.append(f"  fix:     {fix}")
        super().__init__("\n".join(lines))


class UnknownName(PympnodeError, ValueError):
    """A name (system, topology, option, preset) that does not exist."""


class InvalidOption(PympnodeError, ValueError):
    """An option whose value lies outside what is allowed."""


class InvalidGraph(PympnodeError, ValueError):
    """A graph that cannot be built or does not fit its data."""


class InvalidData(PympnodeError, ValueError):
    """A dataset with wrong dims, shapes or values."""


class InvalidModel(PympnodeError, ValueError):
    """A model that does not fit the call."""


class FileDamaged(PympnodeError, ValueError):
    """A file that is cut short, has a wrong checksum, or is of another kind."""


class MissingFile(PympnodeError, FileNotFoundError):
    """A file or folder that is not there."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else self.message


class RunLocked(PympnodeError, RuntimeError):
    """A run folder that another process is writing to."""


class EngineUnavailable(PympnodeError, RuntimeError):
    """An engine, kernel or device that cannot be used here."""


class JuliaRuntimeError(PympnodeError, RuntimeError):
    """A call that failed in Julia, or a Julia process that died.

    ``trace``: the whole output of Julia; ``log``: the file that has it too.
    """

    def __init__(self, message: str, *, trace: str = "", log: str = "", **advice: object) -> None:
        super().__init__(message, **advice)  # type: ignore[arg-type]
        self.trace = trace
        self.log = log


class ProcessLost(PympnodeError, RuntimeError):
    """A run of several processes that cannot go on: one ended, does not answer, or failed."""


class IntegrationFailed(PympnodeError, RuntimeError):
    """A solve that met non-finite values or ran out of steps."""


class NotEnoughMemory(PympnodeError, MemoryError):
    """Refused before allocating; the message has the bytes."""


class NotEnoughDisk(PympnodeError, RuntimeError, OSError):
    """No space, no quota, or a file that may not grow; the message has the folder and the bytes.

    ``folder``, ``needed`` and ``free`` (bytes, None where not known) are attributes too.
    """

    folder: str | None = None
    needed: int | None = None
    free: int | None = None

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else self.message


class CannotWrite(PympnodeError, OSError):
    """A file or folder that cannot be written: no permission, read-only, removed, not answering.

    ``folder``, ``needed`` and ``free`` (bytes, None where not known) are attributes too.
    """

    folder: str | None = None
    needed: int | None = None
    free: int | None = None

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else self.message


class PympnodeWarning(UserWarning):
    """Base of all warnings of this package."""


class OutsideTrainingRange(PympnodeWarning):
    """Data that lies outside what a model was trained on."""


class CheckpointDamaged(PympnodeWarning):
    """A checkpoint could not be read: the one before is taken, or the run starts over."""


class RunNotSaved(PympnodeWarning):
    """A run folder was removed or cannot be written any more; the training goes on in memory."""


# Names that other libraries use -> ours, the first of which that is allowed is suggested.
ALIASES: dict[str, tuple[str, ...]] = {
    "adj": ("topology",), "adjacency": ("topology",), "behavior": ("behaviour",),
    "aggr": ("aggregation",), "batch": ("batch_size",), "batchsize": ("batch_size",),
    "bs": ("batch_size",), "budget": ("time_budget",), "checkpoint": ("run",),
    "checkpoint_dir": ("run",),
    "dataset": ("data",), "delta_t": ("dt",), "ds": ("data",), "edge_index": ("edges", "topology"),
    "edges": ("topology",), "ensemble": ("members",), "ensemble_size": ("members",),
    "epoch": ("epochs",), "gpu": ("cuda", "device"), "graph": ("topology",),
    "h": ("dt",), "hidden_channels": ("hidden", "edge_width"), "hidden_dim": ("hidden", "edge_width"),
    "hidden_size": ("hidden", "edge_width"), "hidden_width": ("hidden", "edge_width"),
    "iterations": ("updates",), "k": ("neighbours",), "layers": ("depth",),
    "logdir": ("run",), "lr": ("learning_rate",), "max_epochs": ("epochs",),
    "max_steps": ("updates", "steps"), "max_time": ("time_budget",), "message_dim": ("message_size",),
    "method": ("solver", "integrator"), "n": ("nodes", "particles"), "n_bodies": ("particles",),
    "n_epochs": ("epochs",), "n_graphs": ("graphs",),
    "n_layers": ("depth",), "n_nodes": ("nodes",),
    "n_particles": ("particles",), "n_steps": ("steps",), "n_trajectories": ("trajectories",),
    "neighbors": ("neighbours",), "normalization": ("normalisation",), "num_epochs": ("epochs",),
    "num_layers": ("depth",), "num_nodes": ("nodes",), "num_particles": ("particles",),
    "num_steps": ("steps",), "num_trajectories": ("trajectories",), "ode_solver": ("solver",),
    "callback": ("callbacks",), "early_stopping": ("callbacks",), "patience": ("callbacks",),
    "logger": ("callbacks",), "n_members": ("members",), "criterion": ("loss",), "loss_fn": ("loss",),
    "loss_function": ("loss",), "optim": ("optimiser",), "optimizer": ("optimiser",), "output_dir": ("run",),
    "params": ("parameters",), "random_seed": ("seed",), "random_state": ("seed",),
    "resume": ("run",), "rng": ("seed",), "save_dir": ("run",), "step_size": ("dt",),
    "time_step": ("dt",), "timestep": ("dt",), "training_data": ("data",), "verbose": ("progress",),
    "width": ("hidden", "edge_width"),
}  # fmt: skip


def alias(got: object, allowed: Iterable[str]) -> str | None:
    """The allowed name of what other libraries call ``got``; None where there is none.

    >>> alias("lr", ["learning_rate", "seed"]), alias("n-epochs", ["epochs"]), alias("x", ["y"])
    ('learning_rate', 'epochs', None)
    """
    if not isinstance(got, str):
        return None
    names = set(allowed)
    return next((n for n in ALIASES.get(got.lower().replace("-", "_"), ()) if n in names), None)


def unknown_name(
    kind: str, got: object, allowed: Iterable[str], fix: str | None = None
) -> UnknownName:
    """The error for ``got`` not among the ``allowed`` names of a ``kind``, closest name first."""
    names = [str(name) for name in allowed]
    known = alias(got, names)
    close = (
        [known]
        if known
        else difflib.get_close_matches(
            str(got) if isinstance(got, str) else shown_value(got), names, n=1, cutoff=0.5
        )
    )
    if fix is None:
        fix = f"did you mean {close[0]!r}?" if close else "use one of the allowed names"
    shown = shown_value(got)
    return UnknownName(f"unknown {kind} {shown}", got=shown, allowed=", ".join(names), fix=fix)
