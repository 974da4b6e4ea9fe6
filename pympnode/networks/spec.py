"""ModelSpec: the choices that define a networked model, independent of the engine that runs it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..config import flag, listing, number, one_of, text, whole
from ..errors import InvalidOption, unknown_name

Family = Literal["mpnode", "l2s", "node", "own"]
Messages = Literal["state", "zero", "self", "emitted", "pairwise"]
Coupling = Literal["mixed", "superposed"]
Aggregation = Literal["mean", "sum", "max"]
FirstMessage = Literal["zero", "linear", "mlp"]
Solver = Literal["rk4", "tsit5", "euler"]


@dataclass(frozen=True)
class ModelSpec:
    """A networked model: node k has a state x_k of d = ``channels`` components, a message p = ``message``.

    ``family="mpnode"`` (Gupta, Vemprala, Kapoor 2022) is one neural ODE per node with shared
    weights. With u_k the ``controls`` and b_k the node ``attributes``, a_k the aggregate of what
    the neighbours j of k send (over edges j -> k) and z = [x; m]:

    ============  ==========================================================  =================
    messages      what node j sends                                           ODE state
    ============  ==========================================================  =================
    "state"       m_j, p more ODE states of the node (as published)            z = [x; m]
    "zero"        nothing: a_k = 0, a neural ODE for each node                 z = [x; m]
    "self"        nothing: a_k = m_k, an augmented neural ODE for each node    z = [x; m]
    "emitted"     g(x_j, u_j, b_j), evaluated at every stage                   z = x
    "pairwise"    e(x_k, b_k, x_j, u_j, b_j, c_jk), evaluated at every stage   z = x
                  for every edge j -> k with its ``edge_attributes`` c_jk
    ============  ==========================================================  =================

    ``coupling="mixed"`` (as published):  dz_k/dt = MLP([x_k; u_k; b_k; a_k]).
    ``coupling="superposed"``:  dz_k/dt = F + G a_k with [F, G] = MLP([x_k; u_k; b_k]), linear in the
    received messages, F the slope of a node that receives none: with emitted messages every sum over pairs whose terms are p
    products of a function of the receiver and one of the sender (exact for sines of differences and
    products of states; not for a general function of a difference). Pairwise messages have as many
    components as the state then, and dz_k/dt = F + a_k: every sum over pairs.

    The weight w_jk of an edge multiplies its message, of every kind. ``aggregation="sum"`` divides the
    sum of w m by ``divisor``, one constant that is stored with the model (the mean degree of the
    training graphs), never by the degree of the graph at hand; ``"mean"`` divides by the number of
    edges that come in (of weights that vary in time: that are on, their weight not 0), never by the sum
    of the weights; ``"max"`` is the largest w m of each
    component. A node without neighbours receives zero.

    e has two tanh layers of width ``hidden`` and a linear output. Two options hold symmetries exactly.
    ``relative`` numbers channels that enter e as the difference x_j - x_k only, and ``invariant``
    channels that enter no other part of the model either: the field is the same when one number is
    added to such a channel of all nodes. Emitted messages have ``invariant`` too: such channels then enter
    nothing at all. ``antisymmetric``: the message is e(k, j) - e(j, k), so that
    over edges in both directions with equal weights the messages of all nodes add up to zero.

    ``first_message`` gives m(0) for the messages that are ODE states: zero, or a learned function of
    [x(0); b], linear or with one tanh layer.

    The MLP has ``depth`` tanh layers of width ``hidden`` and a linear output; g one tanh layer. g takes
    the sender's controls u_j where ``sender_controls`` (models of version 0.1 do not).

    ``linear``: a linear path, L times the inputs of the MLP, is added to the slope (superposed: to F), L
    one more weight without a bias. What is linear in state and controls, as dx/dt = v, needs no hidden
    layer then, and training starts from the best linear field (`linear_path`).

    ``learned_edges`` weights of edges, w = exp(s), are learned with the rest: one for each edge of the
    training graphs.

    ``codes`` numbers for each of the ``coded_nodes`` nodes of the training graphs are learned with the
    rest. They enter the MLP as attributes of the node besides b_k, and no message.

    ``family="l2s"``: code = tanh(E [x; u; b]); ``depth`` times h <- h + tanh(U sum_j tanh(M h_j));
    dx = D (h + code). ``family="node"``: one neural ODE for all ``bodies`` nodes at once.
    ``family="own"``: a module of the user, registered as ``module`` and made of ``module_arguments`` (JSON);
    see `networks.own_module`. Fields that describe the networks of the other families have no effect.

    ``solver`` names the Runge-Kutta method of one interval, split into ``substeps`` equal steps.
    ``stride`` > 1 takes one rk4 step over that many intervals, the times in between by its
    continuous extension of order 3: cheaper, for smooth systems without controls only (it is wrong
    by 4e-2 for a Lorenz system at the published step).

    ``delay``: the message over an edge j -> k at time s is computed from x_j at s - delay, in the unit of
    time of the model (`Model.time_scale`); emitted and pairwise messages only. Delays of a graph's edges
    replace it. ``learned_delays``: delays that are among the weights while a model trains, 1 for all
    edges or one for each, from one step to ``longest_delay`` steps.

    ``circular`` numbers the channels that are angles in radians: their sine and cosine are the inputs
    in place of x wherever x is one above, and the loss is of the shorter way around the circle.

    ``node_types`` names types of nodes, two or more, of which a graph has the number of each node
    (`Graph.node_type`). Type t has d_t = ``type_channels[t]`` of the ``channels`` of x, the first ones,
    and so ``type_controls[t]`` and ``type_attributes[t]``; the largest are ``channels``, ``controls`` and
    ``attributes``. Channels beyond d_t have no weights, and a slope of exactly 0. Every type has its
    own networks, and all have messages of the same p components. With r the type of the receiver k and
    s that of the sender j:

    dz_k/dt = MLP_r([x_k; u_k; b_k; a_k]), and superposed F_r + G_r a_k with [F_r, G_r] =
    MLP_r([x_k; u_k; b_k]);
    emitted: g_s([x_j; u_j; b_j]); state messages: m_k is integrated and m_k(0) made by networks of r;
    pairwise: e = W3_r tanh(W2_r tanh(R_r [x_k; b_k] + S_s [x_j; u_j; b_j] + C_r c_jk + b1_r) + b2_r) + b3_r.

    Superposed pairwise messages have d_r components, which add to the slope of the d_r channels of the
    receiver. The type of the sender decides S_s alone.
    """

    family: Family = "mpnode"
    channels: int = 1
    controls: int = 0
    attributes: int = 0
    message: int = 3
    hidden: int = 32
    depth: int = 2
    aggregation: Aggregation = "mean"
    divisor: float = 1.0
    messages: Messages = "state"
    coupling: Coupling = "mixed"
    first_message: FirstMessage = "zero"
    solver: Solver = "rk4"
    substeps: int = 1
    bodies: int = 1
    stride: int = 1
    circular: tuple[int, ...] = ()
    sender_controls: bool = False
    edge_attributes: int = 0
    relative: tuple[int, ...] = ()
    invariant: tuple[int, ...] = ()
    antisymmetric: bool = False
    learned_edges: int = 0
    node_types: tuple[str, ...] = ()
    type_channels: tuple[int, ...] = ()
    type_controls: tuple[int, ...] = ()
    type_attributes: tuple[int, ...] = ()
    codes: int = 0
    coded_nodes: int = 0
    delay: float = 0.0
    learned_delays: int = 0
    longest_delay: int = 0
    linear: bool = False
    module: str = ""
    module_arguments: str = ""

    def __post_init__(self) -> None:
        for name, allowed in _NAMES.items():
            one_of(name, getattr(self, name), allowed)
        for name in ("channels", "hidden", "substeps", "bodies", "stride"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        # Each layer has an entry in the layout, which is made before its memory is known.
        object.__setattr__(self, "depth", whole("depth", self.depth, 1, 10_000))
        for name in (
            "controls", "attributes", "message", "edge_attributes", "learned_edges", "codes",
            "coded_nodes", "learned_delays", "longest_delay",
        ):  # fmt: skip
            object.__setattr__(self, name, whole(name, getattr(self, name), 0))
        for name in ("sender_controls", "antisymmetric", "linear"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        for name in ("circular", "relative", "invariant"):
            object.__setattr__(self, name, _channels(name, getattr(self, name)))
            if any(not 0 <= channel < self.channels for channel in getattr(self, name)):
                raise InvalidOption(
                    f"{name} numbers channels",
                    got=getattr(self, name),
                    allowed=f"0 to {self.channels - 1}",
                    fix=f'{name}=("phase",) of train names features',
                )
        object.__setattr__(self, "divisor", number("divisor", self.divisor))
        object.__setattr__(self, "delay", number("delay", self.delay))
        for name in ("module", "module_arguments"):
            given = getattr(self, name)
            if not isinstance(given, str) or given:
                text(name, given)
        if bool(self.module) != (self.family == "own") or (
            self.module_arguments and not self.module
        ):
            raise InvalidOption(
                "a module of the user is a family of its own",
                got=f"family={self.family!r}, module={self.module!r}",
                allowed='family="own" with the name of a registered module',
                fix="train(model=module) takes the module itself",
            )
        self._check_pairwise()
        self._check_types()
        self._check_delays()
        if self.codes and not self.evaluated:
            raise InvalidOption(
                "codes of nodes are learned with messages that are evaluated",
                got=f"node_codes={self.codes} with model={self.family!r}, messages={self.messages!r}",
                allowed='messages="emitted" or "pairwise"',
                fix="leave node_codes out, or messages",
            )
        if not (self.divisor > 0):
            raise InvalidOption(
                "the divisor of a summed message must be positive",
                got=self.divisor,
                allowed="> 0",
                fix="leave it to training, which stores the mean degree of the training graphs",
            )
        if self.linear and self.family != "mpnode":
            raise InvalidOption(
                "a linear path is an option of MP-NODE models",
                got=f"linear_path=True with model={self.family!r}",
                allowed='model="mpnode"',
                fix="leave linear_path out, or model",
            )
        if self.stride > 1 and (self.solver != "rk4" or self.substeps > 1 or self.controls):
            raise InvalidOption(
                "a step over several intervals needs one rk4 step and nothing that changes within",
                got=f"stride={self.stride} with solver={self.solver!r}, "
                f"substeps={self.substeps}, controls={self.controls}",
                allowed='solver="rk4", substeps=1, controls=0 (or stride=1)',
                fix="give stride=1",
            )
        if self.family == "mpnode" and self.message == 0 and self.messages != "zero":
            raise InvalidOption(
                "messages of no components cannot be sent",
                got=f"message_size=0 with messages={self.messages!r}",
                allowed="message_size >= 1",
                fix='give message_size=3, or messages="zero" for a model without messages',
            )

    def _check_pairwise(self) -> None:
        pairwise = self.family == "mpnode" and self.messages == "pairwise"
        wanted = {
            "edge_attributes": self.edge_attributes,
            "relative": self.relative,
            "invariant": self.invariant,
            "antisymmetric": self.antisymmetric,
        }
        if self.family == "own":
            del wanted["edge_attributes"]
        if self.family == "mpnode" and self.messages == "emitted":
            del wanted["invariant"]
            object.__setattr__(self, "invariant", tuple(sorted(set(self.invariant))))
        for name, value in wanted.items():
            if value and not pairwise:
                raise InvalidOption(
                    f"{name} is an option of pairwise messages",
                    got=f"{name}={value!r} with messages={self.messages!r}",
                    allowed='messages="pairwise"'
                    + (' or "emitted"' if name == "invariant" else ""),
                    fix=f'give messages="pairwise", or leave {name} out',
                )
        if not pairwise:
            return
        # A channel that only differences of may enter does not enter the messages by itself.
        both = tuple(sorted({*self.relative, *self.invariant}))
        object.__setattr__(self, "relative", both)
        object.__setattr__(self, "invariant", tuple(sorted(set(self.invariant))))
        if self.coupling == "superposed" and self.message != self.channels:
            raise InvalidOption(
                "pairwise messages that are superposed have the components of the state",
                got=f"message={self.message} with channels={self.channels}",
                allowed=f"message={self.channels}",
                fix='leave message_size out, or give coupling="mixed"',
            )
        if self.antisymmetric and (self.coupling != "superposed" or self.aggregation != "sum"):
            raise InvalidOption(
                "antisymmetric messages cancel only where they are added to the slope as they are",
                got=f"coupling={self.coupling!r}, aggregation={self.aggregation!r}",
                allowed='coupling="superposed", aggregation="sum"',
                fix="leave both out, or antisymmetric",
            )

    def _check_types(self) -> None:
        names = tuple(
            text("a name of node_types", n) for n in listing("node_types", self.node_types)
        )
        object.__setattr__(self, "node_types", names)
        for name in ("channels", "controls", "attributes"):
            field = f"type_{name}"
            widths = tuple(
                whole(f"an entry of {field}", each, 1 if name == "channels" else 0)
                for each in listing(field, getattr(self, field))
            )
            object.__setattr__(self, field, widths)
            if len(widths) != len(names) or (names and max(widths) != getattr(self, name)):
                raise InvalidOption(
                    f"{field} has the number of {name} of each type of nodes",
                    got=f"{field}={widths} with {len(names)} types, {name}={getattr(self, name)}",
                    allowed=f"{len(names)} numbers, the largest of them {getattr(self, name)}",
                    fix=f"{name} is the largest entry of {field}",
                )
        if not names:
            return
        wrong = [name for name in names if not TYPE_NAME.fullmatch(name)]
        if wrong or len(names) < 2 or len(set(names)) < len(names):
            raise InvalidOption(
                "types of nodes have different names of letters, digits and _",
                got=", ".join(map(repr, wrong or names)),
                allowed='two or more, as in ("generator", "load")',
                fix="leave node_types out for nodes of one type",
            )
        options = {
            "family": "" if self.family == "mpnode" else self.family,
            **{n: getattr(self, n) for n in ("circular", "relative", "invariant")},
            **{n: getattr(self, n) for n in ("antisymmetric", "learned_edges", "codes")},
            **{n: getattr(self, n) for n in ("delay", "learned_delays")},
        }
        for name, value in options.items():
            if value:
                raise InvalidOption(
                    f"models with several types of nodes have no {name}",
                    got=f"{name}={value!r} with the types {', '.join(names)}",
                    allowed='family="mpnode" without circular, relative, invariant, antisymmetric, '
                    "learned weights and delays",
                    fix=f"leave {name} out",
                )

    def of_type(self, number: int) -> ModelSpec:
        """The specification of nodes of one type, as a model of nodes of one type with its sizes."""
        channels = self.type_channels[number]
        added = self.pairwise and self.coupling == "superposed"
        return self.replace(
            channels=channels,
            controls=self.type_controls[number],
            attributes=self.type_attributes[number],
            message=channels if added else self.message,
            **_NO_TYPES,
        )

    @property
    def of_one_type(self) -> ModelSpec:
        """The specification with the same sizes whose nodes all have one type."""
        return self.replace(**_NO_TYPES) if self.node_types else self

    def _check_delays(self) -> None:
        if self.delay < 0 or not np.isfinite(self.delay):
            raise InvalidOption(
                "a delay is a time from sender to receiver",
                got=f"delay={self.delay:g}",
                allowed=">= 0",
                fix="leave delay out for messages without delay",
            )
        if self.learned_delays and self.longest_delay < 2:
            raise InvalidOption(
                "delays are learned between one step and the longest delay",
                got=f"longest_delay={self.longest_delay}",
                allowed=">= 2 steps",
                fix="give longer trajectories",
            )
        if self.delay or self.learned_delays:
            reason = self.refuses_delays
            if reason is not None:
                raise InvalidOption(
                    "this model takes no delays",
                    got=reason,
                    allowed='messages="emitted" or "pairwise", stride=1, not antisymmetric',
                    fix="leave delay out, or this option",
                )

    @property
    def refuses_delays(self) -> str | None:
        """None, or why messages of this model cannot be delayed."""
        if not self.evaluated:
            return f"model={self.family!r}, messages={self.messages!r}: no messages of the senders' states"
        if self.node_types:
            return f"several types of nodes: {', '.join(self.node_types)}"
        if self.codes:
            return f"codes of nodes, codes={self.codes}: they are inferred without a past"
        if self.antisymmetric:
            return "antisymmetric=True: both ends of an edge are taken at different times"
        if self.stride > 1:
            return f"stride={self.stride}: the past is known at the ends of steps"
        if self.controls and (self.pairwise or self.sender_controls):
            return f"messages={self.messages!r} with controls of the sender, which are not delayed"
        return None

    @property
    def evaluated(self) -> bool:
        """Whether messages are evaluated at every stage, not ODE states of a node."""
        return self.family == "mpnode" and self.messages in ("emitted", "pairwise")

    @property
    def pairwise(self) -> bool:
        """Whether messages are functions of both ends of an edge."""
        return self.family == "mpnode" and self.messages == "pairwise"

    @property
    def gain(self) -> bool:
        """Whether the slope is F + G a, with G an output of the MLP."""
        return self.family == "mpnode" and self.coupling == "superposed" and not self.pairwise

    @property
    def carried(self) -> int:
        """Number of message components that are ODE states of a node (0 when evaluated)."""
        return self.message if self.family == "mpnode" and not self.evaluated else 0

    @property
    def states(self) -> int:
        """D, the number of ODE states of a node: channels and carried messages."""
        return self.channels + self.carried

    @property
    def state_inputs(self) -> int:
        """Width of x as an input: two for each angle."""
        return self.channels + len(self.circular)

    def inputs_of(self, channels: tuple[int, ...]) -> int:
        """Width of some channels as inputs: two for each angle."""
        return len(channels) + len(set(channels) & set(self.circular))

    @property
    def own_inputs(self) -> int:
        """Width of [x; u; b], without the channels that are ``invariant``."""
        width = self.state_inputs - self.inputs_of(self.invariant)
        return width + self.controls + self.attributes + self.codes

    @property
    def first_inputs(self) -> int:
        """Width of [x; b], the inputs of the first message."""
        return self.state_inputs + self.attributes + self.codes

    @property
    def not_sent(self) -> tuple[int, ...]:
        """Channels whose values enter no message: e takes their differences at most."""
        return self.relative if self.pairwise else self.invariant

    @property
    def receiver_inputs(self) -> int:
        """Width of [x_k; b_k], the receiver's inputs of e, without the channels ``relative``."""
        return self.state_inputs - self.inputs_of(self.not_sent) + self.attributes + self.codes

    @property
    def sender_inputs(self) -> int:
        """Width of [x_j; u_j; b_j], the sender's inputs of g or e."""
        controls = self.controls if self.pairwise or self.sender_controls else 0
        return self.receiver_inputs + controls

    @property
    def pair_inputs(self) -> int:
        """Width of [x_j - x_k; c_jk], the inputs of e that belong to an edge."""
        return self.inputs_of(self.relative) + self.edge_attributes

    @property
    def inputs(self) -> int:
        """Width of what enters the MLP."""
        if self.family != "mpnode":
            return self.own_inputs
        # Pairwise messages that are superposed are added to the slope, and enter nothing.
        return self.own_inputs + (self.message if self.coupling == "mixed" else 0)

    @property
    def outputs(self) -> int:
        """Width of what leaves the MLP: D, or D (1 + p) for F and G."""
        return self.states * (1 + self.message) if self.gain else self.states

    @property
    def with_given_codes(self) -> ModelSpec:
        """The same equations with the codes as the last attributes, not learned."""
        return self.replace(attributes=self.attributes + self.codes, codes=0, coded_nodes=0)

    def replace(self, **changes: object) -> ModelSpec:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, object]:
        """Fields as plain values, for files."""
        values = dataclasses.asdict(self)
        # Files and run folders of models without these options stay as in version 0.1.
        later = {name: values.pop(name) for name in LATER}
        given = {name: value for name, value in later.items() if value}
        return {**values, **{n: list(v) if isinstance(v, tuple) else v for n, v in given.items()}}

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> ModelSpec:
        """The inverse of `as_dict`; unknown fields are refused."""
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise unknown_name("model option", name, sorted(known))
        return cls(**values)  # type: ignore[arg-type]


# Fields that version 0.1 did not have; their defaults are what it did.
LATER = (
    "circular",
    "sender_controls",
    "edge_attributes",
    "relative",
    "invariant",
    "antisymmetric",
    "learned_edges",
    "node_types",
    "type_channels",
    "type_controls",
    "type_attributes",
    "codes",
    "coded_nodes",
    "delay",
    "learned_delays",
    "longest_delay",
    "linear",
    "module",
    "module_arguments",
)

_NO_TYPES: dict[str, tuple[()]] = {
    name: () for name in ("node_types", "type_channels", "type_controls", "type_attributes")
}

# Prefixes of weights, and so part of names of variables in files.
TYPE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

_NAMES: dict[str, tuple[str, ...]] = {
    "family": get_args(Family),
    "messages": get_args(Messages),
    "coupling": get_args(Coupling),
    "aggregation": get_args(Aggregation),
    "first_message": get_args(FirstMessage),
    "solver": get_args(Solver),
}


def _channels(name: str, channels: object) -> tuple[int, ...]:
    """The numbers of channels of an option. Raises `InvalidOption`."""
    return tuple(whole(f"a channel of {name}", each, 0) for each in listing(name, channels))
