"""Result: what a training run hands back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from ..errors import InvalidOption
from ..networks.model import Model


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """A trained model and the story of its training.

    ``history``: dataset over epoch of loss, validation_loss, gradient_norm, learning_rate, seconds
    (since the start), horizon (intervals in a window), updates. ``status``: "completed",
    "interrupted" or "diverged", with the ``reason`` in words. ``best_loss``, ``best_epoch``: the
    validation loss of the kept weights. ``engine``, ``why``, ``kernel``, ``device``: what ran.
    ``loaded``: tensors taken from the start model; ``departures``: where the preset differs from its
    source. ``simulation``: the keywords that made the data, empty for given data.
    """

    model: Model
    history: xr.Dataset
    status: str
    reason: str
    best_loss: float
    best_epoch: int
    updates: int
    seconds: float
    engine: str
    why: str
    kernel: str
    device: str
    loaded: tuple[str, ...] = ()
    departures: tuple[str, ...] = ()
    simulation: Mapping[str, Any] = field(default_factory=dict)
    held_out: xr.Dataset | None = None

    def test_set(self, trajectories: int | None = None, seed: int | None = None) -> xr.Dataset:
        """Fresh trajectories (100 by default) of the training system and graphs, from a seed derived
        of the run's.

        For given data: the trajectories marked "test", or "validation" where there are none; how many
        and which seed are then no question. Raises `InvalidOption`.
        """
        if not self.simulation:
            for name, value in (("trajectories", trajectories), ("seed", seed)):
                if value is not None:
                    raise InvalidOption(
                        f"{name} says what to simulate, and the data were given",
                        got=f"{name}={value!r}",
                        allowed="test_set(): the trajectories that were held out",
                        fix=f"leave {name} out, or select: result.test_set().isel(trajectory=...)",
                    )
            assert self.held_out is not None
            return self.held_out
        from ..networks.simulate import simulate_network

        wanted = dict(self.simulation)
        wanted["trajectories"] = 100 if trajectories is None else trajectories
        # Far from the seeds people type, and another one for each run.
        wanted["seed"] = 1_000_003 + int(self.simulation["seed"]) if seed is None else seed
        if "particles" in wanted:
            from ..particles.simulate import simulate_particles

            return simulate_particles(**wanted)
        wanted["noise"] = 0.0
        return simulate_network(**wanted)

    def evaluate(self, trajectories: int | None = None, seed: int | None = None) -> xr.Dataset:
        """Errors on `test_set` (see `pympnode.evaluate`)."""
        from ..networks.evaluate import evaluate_model
        from ..particles.evaluate import evaluate_particles

        if not isinstance(self.model, Model):
            return evaluate_particles(self.model, self.test_set(trajectories, seed))
        return evaluate_model(
            self.model, self.test_set(trajectories, seed), system=self.simulation.get("system")
        )

    def __repr__(self) -> str:
        from ..display import result_lines

        return "\n".join(f"{name:<12} {text}" for name, text in result_lines(self).items())

    def _repr_html_(self) -> str:
        from ..display import html_table, result_lines

        return html_table("pympnode.Result", result_lines(self))
