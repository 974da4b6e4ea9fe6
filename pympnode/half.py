"""The contract between the shared core and the two halves, networks and particles.

The core trains, keeps and reports on models of either half through these protocols and imports
neither. `pympnode.halves` is the one module that imports both and chooses between them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import xarray as xr
from numpy.typing import NDArray

from .config import TrainConfig
from .datasets.split import HeldOut
from .training.task import Task


class TrainedModel(Protocol):
    """What results, evaluation, files and reprs need of a model.

    ``theta`` (size,) the weights as one vector, or (member, size) of an ensemble; ``system`` the
    name of the system it was trained on, "" where it has none; ``about`` provenance.
    """

    KIND: ClassVar[str]

    @property
    def spec(self) -> Any: ...

    @property
    def theta(self) -> NDArray: ...

    @property
    def system(self) -> str: ...

    @property
    def about(self) -> Mapping[str, Any]: ...

    @property
    def weights(self) -> dict[str, NDArray]: ...

    @property
    def members(self) -> int:
        """Number of members of an ensemble; 1 for a single model."""
        ...

    def member(self, number: int) -> TrainedModel:
        """One member of an ensemble as a model of its own."""
        ...

    def rollout(
        self, initial: Any, *, steps: int | None = None, check: bool = True
    ) -> xr.Dataset: ...

    def save(self, path: str | os.PathLike[str]) -> None: ...

    def to_dataset(self) -> xr.Dataset: ...

    def summary(self) -> str:
        """The model in one line."""
        ...

    def graph_summary(self) -> str:
        """The graphs that it was trained on, in one line."""
        ...

    def lines(self) -> dict[str, str]:
        """Label and text of every line of the repr."""
        ...


M = TypeVar("M", bound=TrainedModel)


@dataclass(frozen=True)
class EngineFacts:
    """Which engine, kernel and device a run uses, and why that engine."""

    engine: str
    reason: str
    kernel: str
    device: str


def _as_it_is(model: Any) -> Any:
    return model


@dataclass(frozen=True, eq=False)
class Candidate(Generic[M]):
    """A class of models: its name, the cost of an update in any unit, and what makes it ready.

    ``rate``: the factor of its learning rate in the comparison, whose runs are short.
    """

    name: str
    cost: float
    make: Callable[[], Prepared[M]]
    rate: float = 2.0


@dataclass(frozen=True, eq=False)
class Prepared(Generic[M]):
    """Everything that a fit needs, passed from a half to the core.

    ``model`` has its settings but not its trained weights; ``theta`` (member, size) the first
    weights. ``fingerprint``: plain values that decide the numbers of the run, compared when a run
    folder is continued. ``simulation``: the keywords that made the data, empty for given data;
    ``held_out``: trajectories to test on, for given data. ``about`` goes into the model's record,
    ``history_attributes`` into the attributes of the history. ``threads`` makes a context in which
    the training runs. ``finished`` makes the final model of one with its trained weights,
    ``calibrated`` adds how large its errors are.
    ``only_in_memory``: why a run folder cannot hold the run, or "".
    ``candidates``: classes of models that compete first (`training.race`); this is the first of them.
    """

    half: Half
    model: M
    theta: NDArray
    task: Task
    config: TrainConfig
    fingerprint: dict[str, Any]
    engine: EngineFacts
    restored_tensors: tuple[str, ...] = ()
    deviations_from_paper: tuple[str, ...] = ()
    simulation: Mapping[str, Any] = field(default_factory=dict)
    held_out: HeldOut | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    history_attributes: Mapping[str, Any] = field(default_factory=dict)
    threads: Callable[[], AbstractContextManager[Any]] = nullcontext
    finished: Callable[[M], M] = _as_it_is
    calibrated: Callable[[M], M] = _as_it_is
    only_in_memory: str = ""
    candidates: tuple[Candidate[M], ...] = ()


class Half(Protocol):
    """One half of the package: ``networks.half.NETWORKS`` or ``particles.half.PARTICLES``.

    The option classes are frozen dataclasses: their fields are the keywords of `pympnode.simulate`,
    `train` and `evaluate` for this half, with the defaults.
    """

    # "networks" or "particles", and the same for one of the things that move: "node", "particle".
    @property
    def name(self) -> str: ...

    @property
    def body(self) -> str: ...

    @property
    def model_kind(self) -> str:
        """``kind`` in the record of a model file."""
        ...

    @property
    def has_horizons(self) -> bool:
        """Whether `evaluate` reports over numbers of steps."""
        ...

    @property
    def shared_keywords(self) -> tuple[str, ...]:
        """Keywords of both `simulate` and `train` that mean different things in the two."""
        ...

    @property
    def rollout_options(self) -> tuple[str, ...]:
        """Keywords of ``model.rollout`` other than the start."""
        ...

    @property
    def example(self) -> str:
        """Keywords of this half, for error messages."""
        ...

    @property
    def Simulation(self) -> type[Any]: ...

    @property
    def Training(self) -> type[Any]: ...

    @property
    def Evaluation(self) -> type[Any]: ...

    def owns(self, ds: xr.Dataset) -> bool:
        """Whether a dataset belongs to this half."""
        ...

    def system_of(self, ds: xr.Dataset) -> str:
        """The system that a dataset names; "" where it names none."""
        ...

    def kind_of(self, model: Any) -> str:
        """The value of ``model=`` that makes such a model."""
        ...

    def load(self, ds: xr.Dataset, source: str) -> TrainedModel:
        """The model in a dataset that `TrainedModel.to_dataset` made."""
        ...

    def simulate(self, system: Any, options: Any) -> xr.Dataset:
        """Simulate ``system`` with the keywords in ``options``."""
        ...

    def prepare(
        self, system: Any, datasets: list[xr.Dataset] | None, options: Any, start: Any
    ) -> Prepared[Any]:
        """Make data, model and task ready; data are simulated where there are none."""
        ...

    def evaluate(self, model: Any, ds: xr.Dataset, options: Any) -> xr.Dataset:
        """Errors of a model's rollouts on a dataset."""
        ...

    def test_set(self, simulation: Mapping[str, Any], trajectories: int, seed: int) -> xr.Dataset:
        """Fresh trajectories of the system that ``simulation`` made the training data of."""
        ...

    def like_training_data(self, model: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """``keywords`` of `simulate`, completed by those of the data that ``model`` was trained
        on."""
        ...

    def must_agree(self, system: Any) -> dict[str, Any]:
        """Keywords of `simulate`, with their defaults, that a model and its data share."""
        ...

    def check_simulation(self, system: Any, keywords: Mapping[str, Any]) -> None:
        """Raise what `simulate` would raise for these keywords, without simulating."""
        ...

    def check_training(
        self, system: str, data: Mapping[str, Any], keywords: Mapping[str, Any]
    ) -> TrainConfig:
        """Raise what training on such data would raise for these keywords, without training."""
        ...
