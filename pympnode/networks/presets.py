"""Presets of networked models: the published configuration, and the best measured."""

from __future__ import annotations

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
            "epochs": 80,
            "batch_size": 32,
            "learning_rate": 5e-3,
            "schedule": "cosine",
            "warmup": 0.03,
            "final_rate": 0.01,
            "clip": 1.0,
            "curriculum": ((5, 0.4), (10, 0.3), (25, 0.15), (0, 0.15)),
        },
        finetune={"learning_rate": 5e-4, "keep_start": True},
    ),
}


def preset(name: str) -> Preset:
    """The preset of that name."""
    one_of("preset", name, PRESETS)
    return PRESETS[name]
