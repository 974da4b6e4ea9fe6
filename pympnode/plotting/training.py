"""Training curves: losses over the epochs of a run, or of several runs or members."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from ..config import (
    arguments,
    text,
)
from ..errors import InvalidData
from . import style
from .choosing import axes_of, require
from .logarithmic import logarithmic
from .sizes import sized

EPOCH = "epoch"
_CHARACTER = 0.014  # width of a small character, as a share of the axis
CURVES = (("loss", "training", style.PALETTE[1]), ("validation_loss", "validation", style.MODEL))


@sized
@arguments(ylabel=text, ax=axes_of)
def training_curves(
    history: xr.Dataset,
    *,
    ylabel: str | None = None,
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Any:
    """Training and validation loss over epochs, on a logarithmic axis, with the best epoch marked.

    ``history``: ``result.history``, or several concatenated along another dim ("member"), each drawn
    as a thin line and their median as a thick one. The best epoch is that of ``Result``: of the best
    member, whose weights after it were kept. Dotted lines mark epochs at which the training
    windows become longer: training losses before and after are not comparable. ``ylabel``: by default
    the loss named in ``history.attrs``. ``figsize``: inches. Returns the axes. Raises `InvalidData` for
    a history without epochs.
    """
    loss = require(history, "loss", "a training history", "pass result.history, or RUN/history.nc")
    if EPOCH not in loss.dims or not loss.size:
        raise InvalidData(
            "the history holds no epoch",
            got=f"loss over {dict(loss.sizes)}",
            allowed="at least one epoch",
            fix="train for at least one whole epoch",
        )
    if ax is None:
        ax = style.new_axes(figsize=figsize)
    epochs = history[EPOCH].values
    for name, title, colour in CURVES:
        if name not in history:
            continue
        values = _members(history[name])
        marker = "o" if epochs.size == 1 else None
        if len(values) > 1:
            thin = ax.plot(epochs, values.T, color=colour, linewidth=0.7, alpha=0.4)
            thin[0].set_label(f"{title} of each member")
        middle = np.nanmedian(values, axis=0)
        note = f" (median of {len(values)})" if len(values) > 1 else ""
        ax.plot(epochs, middle, color=colour, linewidth=1.8, marker=marker, label=title + note)
        best = _best(history, values, epochs) if name == "validation_loss" else None
        if best is not None:
            loss_then, epoch = best
            ax.plot(
                epoch, loss_then, marker="o", markersize=6, markerfacecolor="white",
                markeredgecolor=colour, linestyle="none", zorder=3,
                label=f"best: {loss_then:.4g} in epoch {epoch}",
            )  # fmt: skip
    logarithmic(ax, "y")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    # A long name in one line would be cut off at the ends of the axis.
    ax.set_ylabel(textwrap.fill(_name_of_loss(history), 44) if ylabel is None else ylabel)
    style.plain(ax)
    _windows(ax, history, epochs)
    ax.legend(fontsize="small", frameon=False)
    return ax


def _best(history: xr.Dataset, values: np.ndarray, epochs: np.ndarray) -> tuple[float, int] | None:
    """The best loss and its epoch as `Result` has them: of the best of all members.

    The history of a run says the epoch, which is not that of the smallest loss where the last weights
    were kept, nor where the first ones were the best. ``values`` (member, epoch): validation losses.
    """
    loss, epoch = (history.attrs.get(name) for name in ("best_loss", "best_epoch"))
    if isinstance(loss, int | float | np.number) and isinstance(epoch, int | np.integer):
        # Of a part of the history, or of several together, the attributes may be of another one.
        at = np.flatnonzero(epochs == epoch)
        if epoch == 0 or (at.size and np.isclose(values[:, at], float(loss), rtol=1e-6).any()):
            return float(loss), int(epoch)
    if not np.isfinite(values).any():
        return None
    member, index = np.unravel_index(np.nanargmin(values), values.shape)
    return float(values[member, index]), int(epochs[index])


def _name_of_loss(history: xr.Dataset) -> str:
    """The axis label of the loss; histories of version 0.1 do not name it."""
    if "loss" in history.attrs:
        return f"loss ({history.attrs['loss']})"
    steps = "horizon" in history and bool((history["horizon"] == 1).all())
    return "loss" if steps else "loss (Huber, z units)"


def _members(values: xr.DataArray) -> np.ndarray:
    """(member, epoch): every other dim counts as members."""
    others = [dim for dim in values.dims if dim != EPOCH]
    array = values.transpose(*others, EPOCH).values.astype(np.float64)
    return array.reshape(-1, array.shape[-1])


def _windows(ax: Any, history: xr.Dataset, epochs: np.ndarray) -> None:
    """Mark where the number of intervals in a training window changes."""
    if "horizon" not in history:
        return
    horizon = _members(history["horizon"])[0]
    begins = np.flatnonzero(np.diff(horizon)) + 1
    if not begins.size:
        return
    top = ax.get_xaxis_transform()  # x in data units, y from 0 to 1 over the axes
    low, high = ax.get_xlim()
    labels: list[tuple[float, str]] = []  # (begin, text)
    for first in (0, *begins):
        at = epochs[first] if first == 0 else 0.5 * (epochs[first - 1] + epochs[first])
        if first:
            ax.axvline(at, color="0.6", linewidth=0.8, linestyle=":")
        # Window 0 is gradient matching, which compares derivatives without rollouts.
        name = str(int(horizon[first]) or "derivatives")
        # One text for stages whose numbers would run into each other.
        if labels and at - labels[-1][0] < (len(labels[-1][1]) + 2) * _CHARACTER * (high - low):
            labels[-1] = (labels[-1][0], f"{labels[-1][1]}, {name}")
        else:
            labels.append((at, name))
    for at, name in labels:
        # At the right end the text ends at the axis.
        ends = at + (len(name) + 1) * _CHARACTER * (high - low) > high
        ax.text(
            high if ends else at, 1.0, name if ends else f" {name}", transform=top,
            fontsize="x-small", color="0.4", va="bottom", ha="right" if ends else "left",
        )  # fmt: skip
    title = "intervals in a training window:"
    ax.set_title(title, fontsize="x-small", color="0.4", loc="left", y=1.05)
