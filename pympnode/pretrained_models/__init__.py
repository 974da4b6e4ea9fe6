"""Trained models that come with the package, and their cards.

A model is a file NAME.nc, as `Model.save` writes it, and a card NAME.toml: the data, the errors beside
those of baselines, the limits, and how the model was made. `benchmarks/pretrained.py` makes both.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import unknown_name

if TYPE_CHECKING:
    from ..half import TrainedModel

__all__ = ["card", "names", "pretrained"]

FOLDER = Path(__file__).resolve().parent


def names() -> tuple[str, ...]:
    """The names of the models that come with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.nc")))


def pretrained(name: str) -> TrainedModel:
    """A trained model that comes with the package, such as ``"kuramoto"``.

    Returns what `pympnode.load` returns: a `Model` for networks, a `ParticleModel` for particles. It is
    taken by `rollout`, `evaluate` and `finetune` as any other. `card` says what it was trained on, its
    errors and its limits.

    Raises `UnknownName` for a name that is not among `names`.
    """
    from .._api import load

    return load(_file(name, ".nc"))


def card(name: str) -> dict[str, Any]:
    """The card of a model: ``data`` (the keywords of `pympnode.simulate`), ``errors`` (of the model and of
    baselines on fresh trajectories, see ``errors["of"]``), ``limits``, ``training``, ``commit``.

    Raises `UnknownName` for a name that is not among `names`.
    """
    return tomllib.loads(_file(name, ".toml").read_text(encoding="utf-8"))


def _file(name: str, ending: str) -> Path:
    if name not in names():
        raise unknown_name("pretrained model", name, names())
    return FOLDER / f"{name}{ending}"
