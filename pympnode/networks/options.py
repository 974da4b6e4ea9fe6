"""Keywords of `pympnode.simulate`, `train` and `evaluate` for networks, with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from ..config import TrainConfig, check_fields, flag, least, mapping, one_of, positive, text
from ..datasets.names import Missing
from ..errors import InvalidOption, shown_value
from ..systems.registry import get
from ..training.options import RunOptions
from .circular import Circular
from .engines import NAMES, TORCH_KERNELS
from .presets import preset
from .spec import ModelSpec

# Keywords of `train` and the fields of ModelSpec that they set.
_SPEC_FIELDS = {
    "model": "family",
    "message_size": "message",
    "hidden": "hidden",
    "depth": "depth",
    "aggregation": "aggregation",
    "messages": "messages",
    "coupling": "coupling",
    "first_message": "first_message",
    "solver": "solver",
    "substeps": "substeps",
}


_TEXTS = ("model", "aggregation", "messages", "coupling", "first_message", "solver")
_SIMULATION_CHECKS: dict[str, Any] = {
    "nodes": least(1),
    "graphs": least(1),
    "graph_seed": least(0),
    "trajectories": least(1),
    "steps": least(1),
    "seed": least(0),
    "dt": positive,
    "parameters": mapping,
    "engine": lambda name, value: one_of(name, value, ("auto", *NAMES)),
}


@dataclass(frozen=True)
class NetworkSimulation:
    """Keywords of `pympnode.simulate` for networks; see there."""

    nodes: int | None = None
    topology: Any = None
    graphs: int = 1
    graph_seed: int = 42
    parameters: Mapping[str, Any] | None = None
    trajectories: int = 1000
    steps: int | None = None
    dt: float | None = None
    seed: int = 0
    noise: float = 0.0
    split: float | None = 0.7
    control: Any = None
    initial: Any = None
    tolerance: float = 1e-8
    engine: str = "auto"

    def __post_init__(self) -> None:
        check_fields(self, _SIMULATION_CHECKS | {"tolerance": positive})

    def as_keywords(self) -> dict[str, Any]:
        """The fields by name; arrays and graphs as they are."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class NetworkTraining(RunOptions):
    """Keywords of `pympnode.train` for networks; see there."""

    nodes: int | None = None
    topology: Any = None
    graphs: int = 1
    graph_seed: int = 42
    parameters: Mapping[str, Any] | None = None
    trajectories: int = 1000
    steps: int | None = None
    dt: float | None = None
    noise: float = 0.0
    missing: Missing = "error"
    window: float | None = None
    max_window: float | None = None
    model: str | None = None
    message_size: int | None = None
    hidden: int | None = None
    depth: int | None = None
    aggregation: str | None = None
    messages: str | None = None
    coupling: str | None = None
    first_message: str | None = None
    solver: str | None = None
    substeps: int | None = None
    normalisation: str = "keep"
    members: int | None = None
    engine: str = "auto"
    circular: Circular = None
    ignore_weights: bool = False

    REPLACES_LENGTH: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(
            self,
            _SIMULATION_CHECKS
            | {
                "members": least(1),
                **dict.fromkeys(
                    ("model", "aggregation", "messages", "coupling", "first_message", "solver"),
                    text,
                ),
                "ignore_weights": flag,
            },
        )
        for name in ("window", "max_window"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _length_of_time(name, getattr(self, name)))
        if self.window is not None and self.max_window is not None:
            raise InvalidOption(
                "window is the length of all windows, max_window of the longest ones",
                got=f"window={self.window:g}, max_window={self.max_window:g}",
                allowed="one of them",
                fix="leave max_window out, or window to keep a curriculum of shorter windows first",
            )
        kernels = ("auto", *TORCH_KERNELS)
        for name, allowed in (
            ("missing", ("error", "mask")),
            ("normalisation", ("keep", "refit")),
            ("engine", ("auto", *NAMES)),
        ):
            one_of(name, getattr(self, name), allowed)
        if self.engine != "julia":
            one_of("kernel", self.kernel, kernels)

    def simulation(self) -> NetworkSimulation:
        """The keywords that say how to simulate the training data."""
        return NetworkSimulation(
            nodes=self.nodes,
            topology=self.topology,
            graphs=self.graphs,
            graph_seed=self.graph_seed,
            parameters=self.parameters,
            trajectories=self.trajectories,
            steps=self.steps,
            dt=self.dt,
            seed=self.seed,
            noise=self.noise,
            split=self.split,
            engine=self.engine,
        )

    def spec_fields(self) -> dict[str, Any]:
        """The fields of `ModelSpec` that were given."""
        return {
            field: value
            for keyword, field in _SPEC_FIELDS.items()
            if (value := getattr(self, keyword)) is not None
        }

    def run_config(self, fresh: bool) -> TrainConfig:
        """The configuration of a run from fresh weights, or from those of a start model."""
        choice = preset(self.preset)
        return self.config(choice.run if fresh else {**choice.run, **choice.finetune})

    def new_spec(
        self,
        degree: np.ndarray,
        *,
        channels: int,
        controls: int,
        attributes: int,
        nodes: int,
        circular: tuple[int, ...] = (),
    ) -> ModelSpec:
        """The specification of a fresh model for data of these widths.

        ``degree`` (node,) of all training graphs: "auto" aggregation takes the mean where all
        degrees are equal, since there the effect of one message cannot be told from that of the
        degree and a sum would carry over wrongly to other graphs; else the sum.
        """
        widths: dict[str, Any] = {
            "channels": channels,
            "controls": controls,
            "attributes": attributes,
            "circular": circular,
        }
        given = self.spec_fields()
        fields = {**preset(self.preset).model, **widths, **given}
        if fields.get("aggregation") == "auto":
            fields["aggregation"] = "mean" if degree.min() == degree.max() else "sum"
        family = fields.get("family", "mpnode")
        if family == "l2s":
            fields = {"aggregation": "sum", "depth": 1, "hidden": 32, **widths, **given}
        if family == "node":
            fields["bodies"] = nodes
        elif fields.get("aggregation") == "sum" and family != "l2s":
            fields["divisor"] = max(float(degree.mean()), 1.0)
        return ModelSpec(**fields)

    def check(self, system: str) -> TrainConfig:
        """Raise what training on ``system`` would raise for these keywords; return the run."""
        self.new_spec(
            np.array([1, 2]), channels=get(system).features, controls=0, attributes=0, nodes=2
        )
        return self.run_config(fresh=True)


def _length_of_time(name: str, value: Any) -> float:
    """A positive number, infinity included. Raises `InvalidOption`."""
    value = value.item() if getattr(value, "shape", None) == () else value
    if isinstance(value, bool) or not isinstance(value, Real) or not value > 0:
        raise InvalidOption(
            f"{name} is a length of time",
            got=f"{name}={shown_value(value)}",
            allowed="a positive number in the unit of time of the data; inf: whole trajectories",
            fix=f"give {name}=n * dt for windows of n time steps",
        )
    return float(value)


@dataclass(frozen=True)
class NetworkEvaluation:
    """Keywords of `pympnode.evaluate` for networks.

    ``threshold``: error, in z units, that ends the valid prediction time. ``system``: of the
    "uncoupled" baseline and the observables; by default the one that the data name.
    ``ignore_weights``: leave out the weights of edges in the model's rollouts.
    """

    threshold: float = 0.4
    system: Any = None
    ignore_weights: bool = False

    def __post_init__(self) -> None:
        check_fields(self, {"threshold": positive, "ignore_weights": flag})

    @classmethod
    def for_simulation(cls, simulation: Mapping[str, Any]) -> NetworkEvaluation:
        """The keywords for data that ``simulation`` made."""
        return cls(system=simulation.get("system"))
