"""Keywords of `pympnode.simulate`, `train` and `evaluate` for networks, with their defaults."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from ..config import (
    TrainConfig,
    as_float,
    check_fields,
    flag,
    given_fields,
    least,
    mapping,
    names_of,
    one_of,
    positive,
    share_of_updates,
    text,
)
from ..datasets.names import Missing
from ..errors import InvalidOption, shown_value, unknown_name
from ..losses import Huber, Loss, as_loss
from ..systems.registry import get
from ..tasks import check_client
from ..training.options import LENGTHS, RunOptions
from .circular import Circular
from .engines import NAMES, TORCH_KERNELS
from .partition import check_partition
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
    "antisymmetric": "antisymmetric",
    "node_codes": "codes",
    "linear_path": "linear",
}


# Choices of the families of this package, which a module of the user makes itself.
_OF_FAMILIES = (
    "message_size", "hidden", "depth", "aggregation", "messages", "coupling", "first_message",
    "relative", "invariant", "antisymmetric", "node_codes", "delay",
)  # fmt: skip

_DEFAULT_SPEC = ModelSpec()
_OF_TYPES = ("node_types", "type_channels", "type_controls", "type_attributes")

_OF_OTHER_MESSAGES = (
    "messages", "coupling", "first_message", "relative", "invariant", "antisymmetric", "node_codes",
    "delay",
)  # fmt: skip

LEARNED_DELAYS = ("learn", "learn per edge")

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


def _model(name: str, value: Any) -> Any:
    """A name, a specification, or a module of the user. Raises `InvalidOption`."""
    if isinstance(value, str):
        return text(name, value)
    if isinstance(value, ModelSpec):
        return value
    from .own_module import OwnModule  # torch, for which names do not wait

    return value if isinstance(value, OwnModule) else OwnModule.of(value)


def _coupling(name: str, value: Any) -> str:
    """How messages enter the equation. Raises `InvalidOption`, also for a strength of a system."""
    if isinstance(value, Real) and not isinstance(value, bool):
        raise InvalidOption(
            "coupling of train says how messages enter the equation of the receiver",
            got=f"coupling={shown_value(value, 80)}",
            allowed='"mixed", "superposed"',
            fix=f'for the parameter of the system: parameters={{"coupling": {shown_value(value, 80)}}}',
        )
    return text(name, value)


@dataclass(frozen=True)
class NetworkSimulation:
    """Keywords of `pympnode.simulate` for networks; see there."""

    nodes: int | None = None
    topology: Any = None
    edge_weight: Any = None
    delay: Any = None
    graphs: int = 1
    graph_seed: int = 42
    parameters: Mapping[str, Any] | None = None
    trajectories: int | None = None
    steps: int | None = None
    dt: float | None = None
    seed: int = 0
    noise: float = 0.0
    split: float | None = 0.7
    control: Any = None
    initial: Any = None
    tolerance: float | None = None
    engine: str = "auto"
    client: Any = None
    path: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        check_fields(self, _SIMULATION_CHECKS | {"tolerance": positive, "client": check_client})

    def as_keywords(self) -> dict[str, Any]:
        """The fields by name; arrays and graphs as they are."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class NetworkTraining(RunOptions):
    """Keywords of `pympnode.train` for networks; see there."""

    nodes: int | None = None
    topology: Any = None
    edge_weight: Any = None
    delay: Any = None
    graphs: int = 1
    graph_seed: int = 42
    parameters: Mapping[str, Any] | None = None
    trajectories: int | None = None
    steps: int | None = None
    dt: float | None = None
    noise: float = 0.0
    missing: Missing = "error"
    window: float | None = None
    max_window: float | None = None
    model: Any = None
    message_size: int | None = None
    hidden: int | None = None
    depth: int | None = None
    aggregation: str | None = None
    messages: str | None = None
    coupling: str | None = None
    first_message: str | None = None
    solver: str | None = None
    substeps: int | None = None
    normalisation: str | None = None
    members: int | None = None
    engine: str = "auto"
    circular: Circular = None
    ignore_weights: bool = False
    relative: str | Sequence[str] | None = None
    invariant: str | Sequence[str] | None = None
    antisymmetric: bool | None = None
    delay_start: float | None = None
    matching: float | None = None
    node_codes: int | None = None
    chunks_in_memory: int | None = None
    linear_path: bool | None = None
    partition: Any = None
    loss: Any = None
    message: Any = None
    update: Any = None

    REPLACES_LENGTH: ClassVar[bool] = False
    OF_MODELS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "edge_weight": ("learn",),
        "topology": ("learn", "learn each"),
    }
    OF_BOTH: ClassVar[tuple[str, ...]] = ("delay",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(
            self,
            _SIMULATION_CHECKS
            | {
                "members": least(1),
                "node_codes": least(1),
                "chunks_in_memory": least(3),
                **dict.fromkeys(("aggregation", "messages", "first_message", "solver"), text),
                "model": _model,
                "coupling": _coupling,
                "ignore_weights": flag,
                "antisymmetric": flag,
                "linear_path": flag,
                "relative": names_of,
                "invariant": names_of,
                "matching": share_of_updates,
                "delay_start": positive,
                "partition": check_partition,
                "loss": lambda name, value: as_loss(value),
            },
        )
        if self.partition is not None:
            self._require_partitioned()
        if self.delay_start is not None and not self.learns_delay:
            raise InvalidOption(
                "delay_start is where the learning of a delay begins",
                got=f"delay_start={self.delay_start:g} with delay={shown_value(self.delay)}",
                allowed='delay="learn" or "learn per edge"',
                fix="leave delay_start out",
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
        if self.own is not None:
            self._refuse_choices(_OF_FAMILIES, f"a module of your own, {self.own!r}")
        if self.has_own_parts:
            self._refuse_choices(
                ("model", *_OF_OTHER_MESSAGES), "networks of your own for messages and their effect"
            )
        kernels = ("auto", *TORCH_KERNELS)
        for name, allowed in (
            ("missing", ("error", "mask")),
            ("normalisation", ("keep", "refit")),
            ("engine", ("auto", *NAMES)),
        ):
            if getattr(self, name) is not None:
                one_of(name, getattr(self, name), allowed)
        if self.engine != "julia":
            one_of("kernel", self.kernel, kernels)

    def _require_partitioned(self) -> None:
        """Raise `InvalidOption` where the other options do not go with a divided graph."""
        refused = {
            "model": not (
                self.model is None
                or isinstance(self.model, ModelSpec)
                or (isinstance(self.model, str) and self.model in ("auto", "mpnode"))
            ),
            "message": self.message is not None,
            "update": self.update is not None,
            "loss": self.loss is not None and self.loss != Huber(),
            "topology": self.learns_graph,
            "edge_weight": self.learns_weights,
            "delay": self.learns_delay,
            "node_codes": self.node_codes is not None,
            "engine": self.engine == "julia",
            "kernel": self.kernel not in ("auto", "torch"),
            "matching": bool(self.matching),
            "missing": self.missing == "mask",
            "chunks_in_memory": self.chunks_in_memory is not None,
            "graphs": self.graphs > 1,
        }
        given = [name for name, is_given in refused.items() if is_given]
        if given:
            raise InvalidOption(
                "these options do not go with a graph that is divided among processes",
                got=", ".join(f"{name}={shown_value(getattr(self, name), 40)}" for name in given),
                allowed='one graph, model="mpnode", kernel="torch", no gradient matching',
                fix="leave them out, or leave partition out: processes then divide trajectories",
            )

    @property
    def own(self) -> Any:
        """The `own_module.OwnModule` that ``model`` is, or None."""
        chosen = self.model is None or isinstance(self.model, str | ModelSpec)
        return None if chosen else self.model

    @property
    def has_own_parts(self) -> bool:
        """Whether networks of the user for messages, or for their effect, are given."""
        return self.message is not None or self.update is not None

    def with_own_parts(
        self, degree: np.ndarray, *, edge_attributes: int, **widths: Any
    ) -> NetworkTraining:
        """The options with these networks as a module for data of some ``widths``, and those of
        `MessagePassing` for what is not given. ``degree``: see `new_spec`."""
        from .own_module import message_passing

        fields = dict(preset(self.preset).model)
        chosen = {name: getattr(self, name) for name in ("hidden", "depth", "aggregation")}
        chosen["message"] = self.message_size
        fields |= {name: value for name, value in chosen.items() if not left_open(value)}
        # The specification checks the numbers.
        one_of("aggregation", fields["aggregation"], ("auto", "mean", "sum", "max"))
        sizes = ModelSpec(**{name: fields[name] for name in ("hidden", "depth", "message")})
        aggregation = fields["aggregation"]
        if aggregation == "auto":
            aggregation = "mean" if degree.min() == degree.max() else "sum"
        own = message_passing(
            self.message,
            self.update,
            self.seed,
            **widths,
            edge_attributes=edge_attributes,
            message_size=sizes.message,
            hidden=sizes.hidden,
            depth=sizes.depth,
            aggregation=aggregation,
            divisor=max(float(degree.mean()), 1.0) if aggregation == "sum" else 1.0,
        )
        names = ("message", "update", "message_size", "hidden", "depth", "aggregation")
        changes: dict[str, Any] = {**dict.fromkeys(names), "model": own}
        return dataclasses.replace(self, **changes)

    def check_start(self, spec: ModelSpec) -> None:
        """Raise `InvalidOption` for an option that a start of this specification has no use for."""
        if spec.family == "own":
            self._refuse_choices(_OF_FAMILIES, f"a start whose module is your own, {spec.module!r}")

    def _refuse_choices(self, names: Sequence[str], model: str) -> None:
        """Raise `InvalidOption` for a choice that ``model`` makes itself."""
        for name in names:
            if not left_open(value := getattr(self, name)):
                raise InvalidOption(
                    f"{name} is a choice of the models of this package",
                    got=f"{name}={shown_value(value, 80)} with {model}",
                    allowed=f"solver=, substeps= and the options of the run; not {name}",
                    fix=f"leave {name} out",
                )

    @property
    def learns_weights(self) -> bool:
        """Whether a weight for each given edge is learned."""
        return isinstance(self.edge_weight, str) and self.edge_weight == "learn"

    @property
    def learns_graph(self) -> bool:
        """Whether the graph is learned, and one that the data have is not used."""
        return isinstance(self.topology, str) and self.topology in ("learn", "learn each")

    @property
    def learns_each_graph(self) -> bool:
        """Whether a graph of each trajectory is learned."""
        return self.learns_graph and self.topology == "learn each"

    @property
    def learns_delay(self) -> bool:
        """Whether one delay for all edges, or one for each, is learned."""
        return isinstance(self.delay, str) and self.delay in LEARNED_DELAYS

    def simulation(self) -> NetworkSimulation:
        """The keywords that say how to simulate the training data."""
        return NetworkSimulation(
            nodes=self.nodes,
            topology=None if self.learns_graph else self.topology,
            edge_weight=None if self.learns_weights else self.edge_weight,
            delay=None if self.learns_delay else self.delay,
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
            if not left_open(value := getattr(self, keyword))
        }

    def run_config(self, fresh: bool) -> TrainConfig:
        """The configuration of a run from fresh weights, or from those of a start model."""
        run = preset(self.preset).run_fields(fresh, self.optimiser)
        if self.config is not None:
            run = {}
        if self.matching is not None:
            run["matching"] = self.matching
        elif self.epochs is not None:
            # Epochs are passes over windows of trajectories.
            run.pop("matching", None)
        if self.loss is not None:
            run["loss"] = self.loss
            if self.matching is None:
                # Gradient matching has the loss of derivatives, and would take most of the updates.
                run.pop("matching", None)
        if any(getattr(self, length) is not None for length in LENGTHS):
            run.pop("standstill", None)
        return self.configured(run)

    @property
    def asks_for_matching(self) -> bool:
        """Whether gradient matching was asked for, by the keyword or a field of ``config``."""
        of_config = self.config is not None and bool(self.config.matching)
        return of_config if self.matching is None else bool(self.matching)

    def refuse_race(self, why: str) -> None:
        """Raise `InvalidOption` for a ``race`` of ``config`` in which no classes compete."""
        if self.config is not None and self.config.race:
            raise InvalidOption(
                "race is a share of the updates in which classes of models compete, and none do",
                got=f"TrainConfig(race={self.config.race:g}), {why}",
                allowed="race=0, or a fresh model whose messages and coupling are left open",
                fix="leave race out of config",
            )

    def refuse_unused(self, spec: ModelSpec) -> None:
        """Raise `InvalidOption` for a given option that changes nothing in ``spec``."""
        if spec.family == "own":
            return  # what a module makes itself is refused before
        mpnode = spec.family == "mpnode"
        for name, used, where in (
            ("messages", mpnode, 'model="mpnode"'),
            ("coupling", mpnode, 'model="mpnode"'),
            ("message_size", mpnode, 'model="mpnode"'),
            ("aggregation", spec.family != "node", "messages between nodes"),
            ("first_message", spec.carried > 0, 'messages="state", which have a first time'),
        ):
            if not used and not left_open(value := getattr(self, name)):
                raise InvalidOption(
                    f"{name} changes nothing in this model",
                    got=f"{name}={value!r} for model={spec.family!r}"
                    + f", messages={spec.messages!r}" * mpnode,
                    allowed=f"with {where}",
                    fix=f"leave {name} out",
                )

    @property
    def sized(self) -> bool:
        """Whether the number of updates follows the model and the data: neither the call nor the
        preset gives a length."""
        given = any(getattr(self, length) is not None for length in LENGTHS)
        given |= self.config is not None
        return not given and not {*LENGTHS} & preset(self.preset).run.keys()

    def new_spec(
        self,
        degree: np.ndarray,
        *,
        channels: int,
        controls: int,
        attributes: int,
        nodes: int,
        circular: tuple[int, ...] = (),
        edge_attributes: int = 0,
        features: tuple[str, ...] = (),
        delayed: bool = False,
    ) -> ModelSpec:
        """The specification of a fresh model for data of these widths, ``features`` by name.

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
        if isinstance(self.model, ModelSpec):
            return self._like(
                self.model, given, widths | {"edge_attributes": edge_attributes}, nodes, features
            )
        if self.own is not None:
            edges = edge_attributes if "edge_attribute" in self.own.takes else 0
            chosen = {**widths, **given, "family": "own", "message": 0, "messages": "zero"}
            return ModelSpec(
                **chosen,
                edge_attributes=edges,
                module=self.own.name,
                module_arguments=self.own.arguments,
            )
        fields = {**preset(self.preset).model, **widths, **given}
        if fields.get("aggregation") == "auto":
            equal = degree.min() == degree.max() and not fields.get("antisymmetric")
            fields["aggregation"] = "mean" if equal else "sum"
        family = fields.get("family", "mpnode")
        if family == "l2s":
            fields = {"aggregation": "sum", "depth": 1, "hidden": 32, **widths, **given}
        if family == "node":
            fields["bodies"] = nodes
        elif fields.get("aggregation") == "sum" and family != "l2s":
            fields["divisor"] = max(float(degree.mean()), 1.0)
        for name in ("relative", "invariant"):
            if (names := getattr(self, name)) is not None:
                fields[name] = numbers_of(name, names, features)
        messages = fields.get("messages") if family == "mpnode" else None
        if messages == "emitted" and controls and self.engine != "julia" and not delayed:
            fields["sender_controls"] = True
        if messages == "pairwise":
            fields["edge_attributes"] = edge_attributes
            if fields["coupling"] == "superposed" and "message" not in given:
                fields["message"] = channels
        return ModelSpec(**fields)

    def _like(
        self,
        spec: ModelSpec,
        given: dict[str, Any],
        widths: dict[str, Any],
        nodes: int,
        features: tuple[str, ...],
    ) -> ModelSpec:
        """The specification ``model=``, with keywords that were ``given`` and the widths of the data.

        Raises `InvalidOption` where it has other widths, and for what training finds."""
        given.pop("family", None)
        for name in ("relative", "invariant"):
            if (names := getattr(self, name)) is not None:
                given[name] = numbers_of(name, names, features)
        changed = {**{f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)}, **given}
        if changed["family"] == "own":
            raise InvalidOption(
                "a module of your own is given itself",
                got=f"ModelSpec(module={spec.module!r})",
                allowed="model=module",
            )
        pairwise = changed["family"] == "mpnode" and changed["messages"] == "pairwise"
        if not pairwise:
            widths["edge_attributes"] = 0
        widths["bodies"] = nodes if changed["family"] == "node" else 1
        chosen = given_fields(spec)
        found = ("learned_edges", "learned_delays", "longest_delay", "coded_nodes", *_OF_TYPES)
        for name, value in {**dict.fromkeys(found), **widths}.items():
            default = getattr(_DEFAULT_SPEC, name)
            value = default if value is None else value
            if changed[name] != value and (changed[name] != default or name in chosen):
                raise InvalidOption(
                    f"{name} of a specification follows from the data",
                    got=f"ModelSpec({name}={changed[name]!r})",
                    allowed=f"{value!r}, or leave it out",
                    fix='edge_weight="learn" and delay="learn" of train learn those of edges'
                    if name in found
                    else f"leave {name} out, or spec.replace({name}={value!r})",
                )
        if pairwise and changed["coupling"] == "superposed":
            # Such messages are added to the slope: those of the specification have its channels.
            superposed = spec.pairwise and spec.coupling == "superposed"
            if "message" not in given and (superposed or "message" not in chosen):
                changed["message"] = widths["channels"]
        return ModelSpec(**{**changed, **widths})

    def check(self, system: str) -> TrainConfig:
        """Raise what training on ``system`` would raise for these keywords; return the run."""
        names = get(system).feature_names
        spec = self.new_spec(
            np.array([1, 2]), channels=len(names), controls=0, attributes=0, nodes=2,
            features=tuple(names),
        )  # fmt: skip
        self.refuse_unused(spec)
        return self.run_config(fresh=True)


def loss_of(config: TrainConfig) -> Loss:
    """The loss of rollouts: that of ``config``, by default the Huber loss."""
    loss: Loss | None = config.loss
    return Huber() if loss is None else loss


def left_open(value: Any) -> bool:
    """Whether a keyword leaves a choice open: it is None or "auto"."""
    # Only text is compared: an array or a series is "equal" to anything.
    return value is None or (isinstance(value, str) and value == "auto")


def numbers_of(
    option: str, names: str | Sequence[str], features: tuple[str, ...]
) -> tuple[int, ...]:
    """The numbers of the features that an option names. Raises `UnknownName`."""
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in features:
            raise unknown_name(f"feature in {option}", name, features)
    return tuple(features.index(name) for name in names)


def _length_of_time(name: str, value: Any) -> float:
    """A positive number, infinity included. Raises `InvalidOption`."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # an array or a tensor of no axes
    if isinstance(value, bool) or not isinstance(value, Real) or not as_float(value) > 0:
        raise InvalidOption(
            f"{name} is a length of time",
            got=f"{name}={shown_value(value)}",
            allowed="a positive number in the unit of time of the data; inf: whole trajectories",
            fix=f"give {name}=n * dt for windows of n time steps",
        )
    return as_float(value)


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
