"""Result: what a training run returns."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic

import xarray as xr

from ..datasets.reading import as_dataset
from ..display import html_table
from ..errors import InvalidOption, PympnodeError, shown_value
from ..half import Half, M
from .ranges import warn_user

# Far from the seeds that people type, and another one for each run.
_TEST_SEED = 1_000_003
_RENAMED = {
    "why": "engine_reason",
    "departures": "deviations_from_paper",
    "loaded": "restored_tensors",
}


@dataclass(frozen=True, eq=False, repr=False)
class Result(Generic[M]):
    """A trained model and the record of its training.

    model: the trained model.
    history: dataset over epoch of loss, validation_loss, gradient_norm, learning_rate, seconds (since
        the start), horizon (intervals in a window), updates. Where classes of models competed first,
        its attributes ``race_updates`` and ``race_seconds`` say what all of them took; ``updates`` and
        the rows of the history are of the run that followed, ``seconds`` of both.
    status, reason: "completed", "interrupted" or "diverged", and why, in words.
    best_loss, best_epoch: the validation loss of the kept weights, and its epoch.
    updates, seconds: the length of the run.
    engine, engine_reason, kernel, device: what ran, and why that engine.
    restored_tensors: names of the tensors taken from the start model.
    deviations_from_paper: where the preset differs from its source.
    simulation: the keywords that made the data, empty for given data.
    held_out, held_out_label: test trajectories of given data, and what they are: "test", "validation",
        or "train" where there are no others.
    diagnosis: sentences, with numbers and a likely cause, about what the model did not learn; empty
        where nothing was found.
    baselines: the validation loss of simple predictors (persistence, the mean of each node and an
        AR(1) of each node, of networks; free flight, of particles).
    noise_floor: the loss that the measurement noise of the data leaves, estimated from time differences
        of high order; None where no noise is visible, or it is not known.
    save_error: why the run folder does not hold this result (a full disk, a removed folder); None where
        it does, or where there is none. `save` writes the model elsewhere.
    """

    model: M
    history: xr.Dataset
    status: str
    reason: str
    best_loss: float
    best_epoch: int
    updates: int
    seconds: float
    engine: str
    engine_reason: str
    kernel: str
    device: str
    half: Half
    restored_tensors: tuple[str, ...] = ()
    deviations_from_paper: tuple[str, ...] = ()
    simulation: Mapping[str, Any] = field(default_factory=dict)
    held_out: xr.Dataset | None = None
    held_out_label: str = ""
    diagnosis: tuple[str, ...] = ()
    baselines: Mapping[str, float] = field(default_factory=dict)
    noise_floor: float | None = None
    save_error: PympnodeError | None = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file, as ``result.model.save``; `pympnode.load` reads it.

        Raises `NotEnoughDisk`, `CannotWrite`, and `InvalidOption` for a folder.
        """
        self.model.save(path)

    def test_set(self, trajectories: int | None = None, seed: int | None = None) -> xr.Dataset:
        """Fresh trajectories (100 by default) of the training system and graphs, from a seed derived
        from the run's, without measurement noise.

        For given data: the trajectories marked "test", or "validation" where there are none; they
        are what they are, so that ``trajectories`` and ``seed`` raise `InvalidOption`. Of one
        recording that was split in time: its last block. Warns where there are no others than
        training trajectories.
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
            if self.held_out_label == "train":
                warn_user(
                    "no trajectories were held out: test_set() is the training data, on which errors "
                    'are smaller than on new data; give more, or label some "test" in ds["split"]'
                )
            return self.held_out
        return self.half.test_set(
            self.simulation,
            100 if trajectories is None else trajectories,
            _TEST_SEED + int(self.simulation["seed"]) if seed is None else seed,
        )

    def evaluate(
        self,
        data: xr.Dataset | str | os.PathLike[str] | int | None = None,
        trajectories: int | None = None,
        seed: int | None = None,
    ) -> xr.Dataset:
        """Errors on ``data``, a dataset or the path of one; by default on `test_set`.

        ``trajectories`` and ``seed`` are those of `test_set`; a number alone is ``trajectories``.
        See `pympnode.evaluate`, which takes more keywords. Raises `InvalidOption` for data beside
        ``trajectories`` or ``seed``.
        """
        if isinstance(data, int) and not isinstance(data, bool) and trajectories is None:
            data, trajectories = None, data
        if data is not None:
            for name, value in (("trajectories", trajectories), ("seed", seed)):
                if value is not None:
                    raise InvalidOption(
                        f"{name} says what to simulate, and the data are given",
                        got=f"{name}={value!r} beside data",
                        allowed="evaluate(ds), or evaluate(trajectories=..., seed=...)",
                        fix=f"leave {name} out, or select: ds.isel(trajectory=...)",
                    )
            ds = as_dataset(data)
            if not isinstance(ds, xr.Dataset):
                raise InvalidOption(
                    "evaluate takes a dataset",
                    got=shown_value(data, 80),
                    allowed="an xarray.Dataset, the path of one, or a number of trajectories",
                )
            return self.half.evaluate(self.model, ds, self.half.Evaluation())
        options = self.half.Evaluation.for_simulation(self.simulation)
        return self.half.evaluate(self.model, self.test_set(trajectories, seed), options)

    def lines(self) -> dict[str, str]:
        """Label and text of every line of the repr."""
        lines = {
            "Result": f"{self.model.system or 'given data'}, {self.status}: {self.reason}",
            "graph": self.model.graph_summary(),
            "model": self.model.summary(),
            "validation": (
                "none yet: the first epoch was not finished"
                if self.best_epoch < 0
                else f"best loss {self.best_loss:.4g} in epoch {self.best_epoch} "
                f"of {self.history.sizes['epoch']}"
            ),
            **self._comparison(),
            "engine": (
                f"{self.engine} ({self.engine_reason}), kernel {self.kernel}, device {self.device}"
            ),
            "seconds": f"{self.seconds:.1f} ({self.updates} updates{self._raced()})",
        }
        if self.restored_tensors:
            lines["started from"] = self._restored()
        if self.deviations_from_paper:
            lines["deviations"] = "; ".join(self.deviations_from_paper)
        return lines

    def _comparison(self) -> dict[str, str]:
        """Lines about the baselines, the noise floor and what was decided about windows."""
        lines = {}
        if self.baselines:
            losses = [f"{name} {loss:.4g}" for name, loss in self.baselines.items()]
            noise = "unknown" if self.noise_floor is None else f"{self.noise_floor:.4g}"
            lines["compare"] = f"{', '.join(losses)}; noise floor {noise}"
        for number, sentence in enumerate(self.diagnosis, start=1):
            lines["diagnosis" + (f" {number}" if number > 1 else "")] = sentence
        for name in ("classes", "split", "windows", "starts"):
            if name in self.history.attrs:
                lines[name] = str(self.history.attrs[name])
        return lines

    def _raced(self) -> str:
        before = self.history.attrs.get("race_updates")
        return "" if before is None else f" after {int(before)} in which classes competed"

    def _restored(self) -> str:
        fresh = [name for name in self.model.weights if name not in self.restored_tensors]
        if not fresh:
            return f"all {len(self.restored_tensors)} tensors of the start"
        return f"{len(self.restored_tensors)} tensors of the start; fresh: {', '.join(fresh)}"

    def __getattr__(self, name: str) -> Any:
        if name not in _RENAMED:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        warnings.warn(
            f"Result.{name} is now Result.{_RENAMED[name]}", DeprecationWarning, stacklevel=2
        )
        return getattr(self, _RENAMED[name])

    def __repr__(self) -> str:
        return "\n".join(f"{name:<12} {text}" for name, text in self.lines().items())

    def _repr_html_(self) -> str:
        return html_table("pympnode.Result", self.lines())
