"""Presets of particle models: what they set of the model and of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .errors import unknown_name


@dataclass(frozen=True)
class ParticlePreset:
    """``model``: fields of `ParticleSpec`; ``run``: fields of `TrainConfig`."""

    model: dict[str, Any]
    run: dict[str, Any]
    departures: tuple[str, ...] = field(default=())


def particle_preset(name: str, family: str, particles: int) -> ParticlePreset:
    """The preset of that name for a model family and a number of particles.

    "paper": Adam at 3e-4, a tenth of it every 200,000 updates, batches of 100 states, 500,000
    updates, the last weights, the published widths and inputs; in ``behaviour="corrected"`` unless
    asked otherwise. "fast": scaled inputs, width 64, the velocity change alone in the loss, batches of
    about 400 particles at a high rate that falls to 2 % of it, the mean of the latest weights, and a
    total momentum that stands still, as it does in gravity and Coulomb.
    Hamiltonian models keep the published inputs and loss in "fast" too.
    """
    if name == "paper":
        return ParticlePreset(
            model={"inputs": "plain"},
            run={
                "updates": 500_000,
                "batch_size": 100,
                "learning_rate": 3e-4,
                "schedule": "steps",
                "clip": 1e6,
                "keep": "last",
            },
            departures=(
                'corrected behaviour; the published mistakes are behaviour="published"',
                "epochs of 250 updates, states drawn at random",
            ),
        )
    if name != "fast":
        raise unknown_name("preset", name, ("fast", "paper"))
    batch = min(16, max(1, 400 // particles))
    delta = family == "deltagn"
    return ParticlePreset(
        model={"inputs": "scaled" if delta else "plain", "edge_width": 64, "node_width": 64}
        | ({"conserve_momentum": True} if delta else {"global_width": 64}),
        run={
            "updates": 20_000,
            "batch_size": batch,
            "learning_rate": (1e-2 if batch == 16 else 6e-3) if delta else 1e-3,
            "schedule": "cosine",
            "warmup": 0.03,
            "final_rate": 0.02,
            "clip": 1.0,
            "average": 0.99,
        },
    )
