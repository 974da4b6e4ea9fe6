"""Diagnosis: whether a trained model learned something, in sentences with numbers and a likely cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

# A model that learned something has less than these shares of the baselines' losses.
_SHARE = {"persistence": 0.5, "free flight": 0.5}
_SHARE_OTHER = 0.9  # of a fitted baseline: the data mean, AR(1)
_APART = 3.0  # a member's loss over the median of the others
_NOISE = 3.0  # the loss over the noise floor
_FEW = 500  # updates; fewer are the first suspicion


@dataclass(frozen=True)
class Reference:
    """What the validation loss of a task is compared with.

    ``losses``: the same loss of simple baselines by name, on the same data. ``noise``: the loss that
    measurement noise alone leaves; None where no noise is visible, or where it was not looked for.
    """

    losses: Mapping[str, float] = field(default_factory=dict)
    noise: float | None = None


@dataclass(frozen=True)
class Diagnosis:
    """``sentences``: what is wrong with a trained model, the worst first, empty where nothing was
    found; ``short``: the first without its cause; ``left_out``: numbers of members that got stuck."""

    sentences: tuple[str, ...] = ()
    short: str = ""
    left_out: tuple[int, ...] = ()


_STILL = "the validation data do not change: nothing can be learned from them"


def diagnose(
    losses: NDArray[np.float64],
    reference: Reference,
    history: xr.Dataset,
    updates: int,
    *,
    validates_on_training: bool = False,
) -> Diagnosis:
    """Compare the validation losses (member,) of the kept weights with the baselines, with each other
    and with the noise floor. ``history`` and ``updates`` serve to name the likely cause."""
    finite = losses[np.isfinite(losses)]
    if not finite.size:
        return Diagnosis()
    best = float(finite.min())
    found: list[tuple[str, str]] = []
    cause = _cause(best, reference, history, updates, validates_on_training)
    verdict = _against_baselines(best, reference.losses)
    if verdict:
        found.append((verdict, "" if verdict == _STILL else cause))
    stuck = stuck_members(losses)
    found += _stuck_in_words(losses, stuck)
    noise = reference.noise
    if noise is not None and best > _NOISE * noise:
        text = (
            f"the fit stays at {best / noise:.3g} times the noise floor "
            f"(validation loss {best:.3g}, {noise:.3g} from measurement noise alone)"
        )
        # Beside a baseline its cause is the same.
        found.append((text, "" if verdict else f"{cause}, or noise in the first state grows"))
    if validates_on_training:
        found.append(
            ("the validation loss is that of training data", "new data will give larger errors")
        )
    sentences = tuple(f"{text}; {why}" if why else text for text, why in found)
    left_out = stuck if len(losses) - len(stuck) >= 2 else ()
    return Diagnosis(sentences, found[0][0] if found else "", left_out)


def _against_baselines(best: float, losses: Mapping[str, float]) -> str:
    """How a loss compares with those of baselines; "" where it is below its share of each."""
    known = {name: loss for name, loss in losses.items() if np.isfinite(loss)}
    if not known:
        return ""
    ratio = {name: best / loss if loss > 0 else np.inf for name, loss in known.items()}
    excess = {name: ratio[name] / _SHARE.get(name, _SHARE_OTHER) for name in known}
    worst = max(excess, key=excess.__getitem__)
    if best == 0 and not any(known.values()):
        return _STILL
    if excess[worst] <= 1 or best == 0:
        return ""
    numbers = ", ".join(f"{name} {loss:.3g}" for name, loss in known.items())
    if known[worst] == 0:
        return f"the validation data do not change, and the model does (loss {best:.3g})"
    words = "worse than" if ratio[worst] > 1 else "no better than"
    if ratio[worst] <= _SHARE_OTHER:
        words = "hardly better than"
    return f"the model is {words} {worst} (validation loss {best:.3g}; {numbers})"


def _cause(
    best: float,
    reference: Reference,
    history: xr.Dataset,
    updates: int,
    validates_on_training: bool,
) -> str:
    """The likely cause of a large loss."""
    if reference.noise is not None and best < _NOISE * reference.noise:
        return "likely cause: measurement noise, which is most of this loss"
    if updates < _FEW:
        return f"likely cause: {updates} updates are few; train longer with epochs= or updates="
    last = history.isel(epoch=-1) if history.sizes.get("epoch") else None
    same_window = last is not None and int(last.horizon) == int(history.horizon.max())
    if last is not None and same_window and not validates_on_training:
        trained = float(np.min(last.loss))
        if trained < 0.5 * best:
            return (
                f"likely cause: the loss on training data is {trained:.3g}: too few data for this "
                "model, or validation data of another kind"
            )
    return (
        "likely cause: state, graph and inputs do not determine what comes next; compare the edges, "
        "the units and the time step, or look for inputs that the data lack"
    )


def stuck_members(losses: NDArray[np.float64]) -> tuple[int, ...]:
    """Numbers of the members of an ensemble whose validation losses (member,) are not finite, or more than
    3 times the median of the others."""
    found = []
    for number, loss in enumerate(losses.tolist() if len(losses) > 1 else []):
        others = np.delete(losses, number)
        others = others[np.isfinite(others)]
        if others.size and not loss <= _APART * float(np.median(others)):
            found.append(number)
    return tuple(found)


def _stuck_in_words(losses: NDArray[np.float64], stuck: tuple[int, ...]) -> list[tuple[str, str]]:
    found = []
    remaining = len(losses) - len(stuck)
    for number in stuck:
        others = np.delete(losses, number)
        others = others[np.isfinite(others)]
        span = f"{others.min():.3g}" + (f" to {others.max():.3g}" if others.size > 1 else "")
        cause = "likely cause: it is stuck in a poor minimum; "
        if remaining >= 2:
            cause += "rollouts and evaluations leave it out"
        else:
            cause += (
                "fewer than two members would be left, so that it stays; train with another seed"
            )
        found.append(
            (
                f"member {number} is apart from the others: validation loss {losses[number]:.3g}, "
                f"the others {span}",
                cause,
            )
        )
    return found
