"""ModelSpec: the choices that define a networked model, independent of the engine that runs it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

from ..config import listing, number, one_of, whole
from ..errors import InvalidOption, unknown_name

Family = Literal["mpnode", "l2s", "node"]
Messages = Literal["state", "zero", "self", "emitted"]
Coupling = Literal["mixed", "superposed"]
Aggregation = Literal["mean", "sum"]
FirstMessage = Literal["zero", "linear", "mlp"]
Solver = Literal["rk4", "tsit5"]


@dataclass(frozen=True)
class ModelSpec:
    """A networked model: x_k has d = ``channels`` components a node, m_k has p = ``message``.

    ``family="mpnode"`` (Gupta, Vemprala, Kapoor 2022) is one neural ODE per node with shared
    weights. With u_k the ``controls`` and b_k the node ``attributes``, a_k the aggregate of what
    the neighbours j of k send (over edges j -> k) and z = [x; m]:

    ============  ==========================================================  =================
    messages      what node j sends                                           ODE state
    ============  ==========================================================  =================
    "state"       m_j, p more ODE states of the node (as published)            z = [x; m]
    "zero"        nothing: a_k = 0, a neural ODE for each node                 z = [x; m]
    "self"        nothing: a_k = m_k, an augmented neural ODE for each node    z = [x; m]
    "emitted"     g(x_j, b_j), evaluated at every stage, nothing is carried    z = x
    ============  ==========================================================  =================

    ``coupling="mixed"`` (as published):  dz_k/dt = MLP([x_k; u_k; b_k; a_k]).
    ``coupling="superposed"``:  dz_k/dt = F + G a_k with [F, G] = MLP([x_k; u_k; b_k]), linear in what
    comes in: the exact class of every pairwise-additive system, F the node's own motion.

    ``aggregation="mean"`` divides by the number of neighbours; ``"sum"`` divides by ``divisor``, one
    constant that is stored with the model (the mean degree of the training graphs), never by the
    degree of the graph at hand. A node without neighbours receives zero.

    ``first_message`` gives m(0) for the messages that are ODE states: zero, or a learned function of
    [x(0); b], linear or with one tanh layer.

    The MLP has ``depth`` tanh layers of width ``hidden`` and a linear output; g one tanh layer.

    ``family="l2s"``: code = tanh(E [x; u; b]); ``depth`` times h <- h + tanh(U sum_j tanh(M h_j));
    dx = D (h + code). ``family="node"``: one neural ODE for all ``bodies`` nodes at once.

    ``solver`` names the Runge-Kutta method of one interval, split into ``substeps`` equal steps.
    ``stride`` > 1 takes one rk4 step over that many intervals, the times in between by its
    continuous extension of order 3: cheaper, for smooth systems without controls only (it is wrong
    by 4e-2 for a Lorenz system at the published step).

    ``circular`` numbers the channels that are angles in radians: their sine and cosine are the inputs
    in place of x wherever x is one above, and the loss is of the shorter way around the circle.
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

    def __post_init__(self) -> None:
        for name, allowed in _NAMES.items():
            one_of(name, getattr(self, name), allowed)
        for name in ("channels", "hidden", "substeps", "bodies", "stride"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        # Each layer has an entry in the layout, which is made before its memory is known.
        object.__setattr__(self, "depth", whole("depth", self.depth, 1, 10_000))
        for name in ("controls", "attributes", "message"):
            object.__setattr__(self, name, whole(name, getattr(self, name), 0))
        object.__setattr__(self, "circular", _channels(self.circular))
        if any(not 0 <= channel < self.channels for channel in self.circular):
            raise InvalidOption(
                "circular numbers channels",
                got=self.circular,
                allowed=f"0 to {self.channels - 1}",
                fix='circular=("phase",) of train names features',
            )
        object.__setattr__(self, "divisor", number("divisor", self.divisor))
        if not (self.divisor > 0):
            raise InvalidOption(
                "the divisor of a summed message must be positive",
                got=self.divisor,
                allowed="> 0",
                fix="leave it to training, which stores the mean degree of the training graphs",
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

    @property
    def carried(self) -> int:
        """Number of message components that are ODE states of a node (0 when emitted)."""
        return self.message if self.family == "mpnode" and self.messages != "emitted" else 0

    @property
    def states(self) -> int:
        """D, the number of ODE states of a node: channels and carried messages."""
        return self.channels + self.carried

    @property
    def state_inputs(self) -> int:
        """Width of x as an input: two for each angle."""
        return self.channels + len(self.circular)

    @property
    def own_inputs(self) -> int:
        """Width of [x; u; b]."""
        return self.state_inputs + self.controls + self.attributes

    @property
    def inputs(self) -> int:
        """Width of what enters the MLP."""
        if self.family != "mpnode":
            return self.own_inputs
        return self.own_inputs + (self.message if self.coupling == "mixed" else 0)

    @property
    def outputs(self) -> int:
        """Width of what leaves the MLP: D, or D (1 + p) when the coupling is superposed."""
        superposed = self.family == "mpnode" and self.coupling == "superposed"
        return self.states * (1 + self.message) if superposed else self.states

    def replace(self, **changes: object) -> ModelSpec:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, object]:
        """Fields as plain values, for files."""
        values = dataclasses.asdict(self)
        # Files and run folders of models without angles stay as in version 0.1.
        circular = list(values.pop("circular"))
        return {**values, "circular": circular} if circular else values

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> ModelSpec:
        """The inverse of `as_dict`; unknown fields are refused."""
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise unknown_name("model option", name, sorted(known))
        return cls(**values)  # type: ignore[arg-type]


_NAMES: dict[str, tuple[str, ...]] = {
    "family": get_args(Family),
    "messages": get_args(Messages),
    "coupling": get_args(Coupling),
    "aggregation": get_args(Aggregation),
    "first_message": get_args(FirstMessage),
    "solver": get_args(Solver),
}


def _channels(circular: object) -> tuple[int, ...]:
    """The numbers of circular channels. Raises `InvalidOption`."""
    return tuple(whole("a channel of circular", each, 0) for each in listing("circular", circular))
