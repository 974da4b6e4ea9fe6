"""Presets of networked models: the published configuration, and the best measured."""

from __future__ import annotations

import math

from ..config import Preset, one_of

PRESETS: dict[str, Preset] = {
    "paper": Preset(
        model={
            "message": 3,
            "hidden": 32,
            "depth": 2,
            "aggregation": "mean",
            "messages": "state",
            "coupling": "mixed",
            "first_message": "zero",
        },
        run={
            "epochs": 4000,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "schedule": "plateau",
            "patience": 500,
            "rate_floor": 1e-6,
            "clip": 500.0,
            "training_noise": 1e-4,
            "curriculum": ((0, 1.0),),
        },
        deviations=(
            "RK4 with one step an interval instead of adaptive Tsit5 at 1e-4",
            "messages run along the system's own graph instead of the complete graph with self loops",
        ),
    ),
    "fast": Preset(
        model={
            "message": 6,
            "hidden": 32,
            "depth": 2,
            # "sum" where the degrees of the training graphs differ, "mean" where they are all equal.
            "aggregation": "auto",
            "messages": "emitted",
            "coupling": "superposed",
            "first_message": "mlp",
        },
        run={
            # The number of updates follows the model and the data, see `sized_updates`.
            "batch_size": 32,
            "optimiser": "soap",
            "matching": 0.8,
            # Classes of messages and coupling compete for this share of the updates.
            "race": 0.3,
            "learning_rate": 1e-2,
            "schedule": "cosine",
            "warmup": 0.03,
            "final_rate": 0.01,
            "clip": 1.0,
            # The mean of late weights has after a quarter of a run a loss that the last ones reach near
            # its end, which is what a competition and a short budget see.
            "average": 0.99,
            # Rollouts are judged from the first state, at which one window in fifty begins otherwise.
            "from_start": 0.25,
            "curriculum": ((5, 0.4), (10, 0.3), (25, 0.15), (0, 0.15)),
        },
        # As a fresh run at a third of its rate: derivatives of few trajectories hold more than their
        # rollouts, at updates that take less time (benchmarks/finetune.py).
        finetune={"learning_rate": 3e-3, "keep_start": True, "margin": 1.65, "race": 0.0},
        rates={"adam": (5e-3, 5e-4)},
        # In few updates steps must be long: those of "learning_rate" learn less than Adam's.
        short_rate=2e-2,
    ),
}


# Updates of a fresh run of a model of so many parameters.
_UPDATES, _PARAMETERS = 6000, 2000
_LEAST, _MOST = 3000, 30_000
_VALUES = 10  # values of training data for each parameter; with fewer a run is half as long


def sized_updates(parameters: int, values: int, *, pairwise: bool = False) -> int:
    """Updates of a run whose length is not given: with the root of the number of parameters, 3000 to
    30,000, half of it where there are fewer than 10 training values a parameter, and a third of it for
    pairwise messages, whose updates take several times as long and gain more.

    Early standstill of the validation loss ends a run before (`TrainConfig.standstill`).
    """
    wanted = _UPDATES * math.sqrt(parameters / _PARAMETERS)
    if values < _VALUES * parameters:
        wanted /= 2
    number = min(max(round(wanted, -2), _LEAST), _MOST)
    return int(number // 3 if pairwise else number)


def preset(name: str) -> Preset:
    """The preset of that name."""
    one_of("preset", name, PRESETS)
    return PRESETS[name]
