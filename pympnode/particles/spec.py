"""ParticleSpec: what a particle model is, and ParticleScales: the units its inputs are given in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ..config import whole
from ..errors import InvalidOption, unknown_name

Family = Literal["deltagn", "hogn"]
Join = Literal["complete", "nearest", "hierarchy"]
Behaviour = Literal["corrected", "published"]
Inputs = Literal["scaled", "plain"]
Integrator = Literal["rk4", "euler"]
Update = Literal["direct", "leapfrog"]
Messages = Literal["directed", "antisymmetric", "symmetric"]

# The names under which models are asked for: (family, how particles are joined).
MODELS: dict[str, tuple[Family, Join]] = {
    "deltagn": ("deltagn", "complete"),
    "hogn": ("hogn", "complete"),
    "nearest_deltagn": ("deltagn", "nearest"),
    "hierarchical_deltagn": ("deltagn", "hierarchy"),
    "hierarchical_hogn": ("hogn", "hierarchy"),
}
GEOMETRY_LENGTHS = 3  # lengths c of the features c / (r + c)


@dataclass(frozen=True)
class ParticleSpec:
    """A learned time step of particles (Martinkus, Lucchi, Perraudin, AAAI 2021).

    ``family="deltagn"`` predicts the change of the state over one step; ``"hogn"`` a Hamiltonian,
    whose equations are integrated by ``integrator`` over the step. ``join`` says who talks to whom:
    everyone ("complete"), the ``neighbours`` nearest ("nearest"), or through cells ("hierarchy",
    ``levels`` None: round(log4 N)). Edge networks have two layers, node networks three, of widths
    ``edge_width``, ``node_width`` (also what cells pass upwards), ``global_width`` (HOGN).

    ``inputs="plain"``: mass, (charge,) velocity and raw displacements, and the step as a number, as
    published. ``"scaled"``: displacements in several functions of distance, also times the product
    of the charges where there are any, values in units of their spread (`ParticleScales`); the
    network predicts the velocity change in units of its spread, and positions move by the mean of
    the old and the new velocity. Every level of cells is seen in units of its own: lengths of the
    side of a cell, masses, charges and what comes up of the number of finest cells in it. A field
    that falls with the square of the distance then looks the same on all levels of a plane (its
    potential but for one factor a level), and a model goes on to levels that it has not met.

    ``update`` of scaled inputs. ``"direct"``: the network sees the state at the start of the step.
    ``"leapfrog"`` (drift, kick, drift): it sees the positions half a step on and no velocities, so
    that every step preserves volume in phase space and can be run backwards. HOGN with scaled
    inputs is H = sum p^2 / 2m + V(x), V a sum over particles of what the network makes of each: its
    leapfrog step is symplectic.

    ``messages="antisymmetric"`` (DeltaGN, scaled): what two particles do to each other's momentum
    is equal and opposite. Among all pairs nothing else acts, and momentum is conserved to rounding;
    in a hierarchy the node network adds what comes through the cells. ``"symmetric"`` (HOGN, scaled):
    the potential energy of two particles is a sum of the two messages between them; among all pairs
    V is the sum of these energies, in a hierarchy the node network adds what comes through the cells.

    ``behaviour="published"`` repeats the published code where it is wrong: the samples of a batch
    share one global sum (hierarchical HOGN), cells do not move within a step and pass no gradient
    from the upper levels' positions, a cell whose particle crosses the border is averaged across the
    box, the complete graph sums at the sender, a rollout averages the charges of a cell.

    ``conserve_momentum`` (DeltaGN): the change of the mean momentum is taken out of every step.
    """

    family: Family = "deltagn"
    join: Join = "hierarchy"
    dims: int = 2
    charged: bool = False
    edge_width: int = 150
    node_width: int = 100
    global_width: int = 100
    neighbours: int = 15
    levels: int | None = None
    behaviour: Behaviour = "corrected"
    inputs: Inputs = "plain"
    integrator: Integrator = "rk4"
    conserve_momentum: bool = False
    update: Update = "direct"
    messages: Messages = "directed"

    def __post_init__(self) -> None:
        for name, allowed in _NAMES.items():
            if getattr(self, name) not in allowed:
                raise unknown_name(name, getattr(self, name), allowed)
        if self.dims not in (2, 3):
            raise InvalidOption("particles live in 2 or 3 dimensions", got=self.dims)
        for name in ("edge_width", "node_width", "global_width", "neighbours"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        if self.levels is not None:
            object.__setattr__(self, "levels", whole("levels", self.levels, 2))
        self._check_scaled()
        if self.family == "hogn" and self.conserve_momentum:
            raise InvalidOption(
                "conserve_momentum belongs to DeltaGN", got="a HOGN", fix="leave it out"
            )

    def _check_scaled(self) -> None:
        """What belongs to scaled inputs, and what those of a family ask for."""
        scaled = self.inputs == "scaled"
        for name, usual in (("update", "direct"), ("messages", "directed")):
            fresh = getattr(self, name)
            if fresh != usual and not scaled:
                raise InvalidOption(
                    f'{name}="{fresh}" predicts a velocity change alone',
                    got=f'inputs="{self.inputs}"',
                    allowed='inputs="scaled"',
                )
        if scaled and self.behaviour == "published":
            raise InvalidOption(
                "the published code knows no scaled inputs",
                got='inputs="scaled"',
                allowed='inputs="plain"',
                fix='leave behaviour="corrected"',
            )
        if self.family == "hogn" and scaled and self.update == "direct":
            raise InvalidOption(
                "a Hamiltonian network with scaled inputs takes leapfrog steps",
                got='update="direct"',
                allowed='update="leapfrog", or inputs="plain"',
            )
        if self.messages == "antisymmetric" and (self.family == "hogn" or self.join == "nearest"):
            raise InvalidOption(
                "antisymmetric messages need DeltaGN and edges that run both ways",
                got=self.name,
                allowed="deltagn, hierarchical_deltagn",
                fix="a HOGN conserves momentum by itself; conserve_momentum=True serves all DeltaGN",
            )
        if self.messages == "symmetric" and self.family != "hogn":
            raise InvalidOption(
                "symmetric messages are energies of pairs, which a Hamiltonian network adds up",
                got=self.name,
                allowed="hogn, hierarchical_hogn",
                fix='messages="antisymmetric" are momenta, which DeltaGN adds up',
            )

    @property
    def name(self) -> str:
        """The name of the model, as in `MODELS`."""
        pair = (self.family, self.join)
        names = [name for name, value in MODELS.items() if value == pair]
        return names[0] if names else f"{self.join}_{self.family}"

    @property
    def hierarchical(self) -> bool:
        return self.join == "hierarchy"

    @property
    def base(self) -> int:
        """Width of what is known of a node beside its position: mass, (charge,) (velocity)."""
        return 1 + int(self.charged) + (0 if self.update == "leapfrog" else self.dims)

    @property
    def geometry(self) -> int:
        """Number of functions of a displacement that an edge network takes."""
        if self.inputs == "plain":
            return self.dims
        return 2 * self.dims + 1 + GEOMETRY_LENGTHS + self.charged * (self.dims + GEOMETRY_LENGTHS)

    @property
    def pairwise(self) -> bool:
        """Whether velocity changes or energies are sums over pairs, with no node network."""
        return self.messages != "directed" and self.join == "complete"

    def cell_unit(self, coarser: int) -> float:
        """Unit of length of cells ``coarser`` levels above the finest, in that of the finest."""
        return 2.0**coarser if self.inputs == "scaled" else 1.0

    @property
    def separable(self) -> bool:
        """Whether the Hamiltonian is kinetic energy plus a potential that is a sum over particles."""
        return self.family == "hogn" and self.inputs == "scaled"

    @property
    def tells_step(self) -> bool:
        """Whether the length of the step is an input of edge and node networks."""
        return self.family == "deltagn" and self.inputs == "plain"

    @property
    def outputs(self) -> int:
        """Width of the last layer: a Hamiltonian, a state change, or a velocity change."""
        if self.family == "hogn":
            return 1
        return self.dims * (2 if self.inputs == "plain" else 1)

    def refuse_unused(self, given: Mapping[str, object]) -> None:
        """Raise `InvalidOption` for a keyword of training that is given and changes nothing here."""
        plain_hogn = self.family == "hogn" and not self.separable
        usual = self.hierarchical and self.levels is None
        for name, used, takers in (
            ("integrator", plain_hogn, 'hogn and hierarchical_hogn with inputs="plain"'),
            ("global_width", plain_hogn, 'hogn and hierarchical_hogn with inputs="plain"'),
            ("neighbours", self.join == "nearest", "nearest_deltagn"),
            ("levels", self.hierarchical, "hierarchical_deltagn, hierarchical_hogn"),
            ("mixed_levels", usual, "hierarchical_deltagn, hierarchical_hogn without levels="),
        ):
            value = given.get(name)
            if value is None or value is False or used:
                continue
            levels = f", levels={self.levels}" if self.levels is not None else ""
            raise InvalidOption(
                f"{name} changes nothing in this model",
                got=f'{name}={value!r} for {self.name}, inputs="{self.inputs}"{levels}',
                allowed=f"with {takers}",
                fix=f"leave {name} out",
            )

    def replace(self, **changes: object) -> ParticleSpec:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, object]:
        """Fields as plain values, for files."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> ParticleSpec:
        """The inverse of `as_dict`; unknown fields are refused."""
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise unknown_name("model option", name, sorted(known))
        return cls(**values)  # type: ignore[arg-type]

    @classmethod
    def named(cls, name: str, **options: object) -> ParticleSpec:
        """The model of that name (`MODELS`). Raises UnknownName."""
        if name not in MODELS:
            raise unknown_name("particle model", name, MODELS)
        family, join = MODELS[name]
        return cls.from_dict({"family": family, "join": join, **options})


@dataclass(frozen=True)
class ParticleScales:
    """Units of scaled inputs, in the units of the data; fitted on the training part.

    ``length`` and ``near`` soften d / (r + length) and d / (r + near), ``near`` also log(r + near):
    the mean spacing of particles, and the softening of the force; ``lengths`` c of c / (r + c);
    ``mass``, ``charge``, ``velocity`` typical values; ``change`` the spread of the velocity change
    over one step.
    """

    length: float = 1.0
    near: float = 0.2
    lengths: tuple[float, float, float] = (0.3, 1.0, 3.0)
    mass: float = 1.0
    charge: float = 1.0
    velocity: float = 1.0
    change: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", tuple(float(c) for c in self.lengths))
        for name in ("length", "near", "mass", "charge", "velocity", "change"):
            if not getattr(self, name) > 0:
                raise InvalidOption(f"the scale {name} must be positive", got=getattr(self, name))

    def as_dict(self) -> dict[str, object]:
        """Plain values, for files."""
        return dataclasses.asdict(self) | {"lengths": list(self.lengths)}

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> ParticleScales:
        """The inverse of `as_dict`."""
        return cls(**values)  # type: ignore[arg-type]

    def at_step(self, times: float) -> ParticleScales:
        """The scales of a step that is ``times`` as long.

        A velocity change is the acceleration times the step, to first order.
        """
        return dataclasses.replace(self, change=self.change * times)

    @classmethod
    def geometry(cls, softening: float, spacing: float) -> ParticleScales:
        """Lengths from the physics: softening at the near end, mean spacing at the far end.

        Between 1.5 softening lengths (where a softened force is steepest) and 0.87 spacings (where
        it is spread evenly), and their geometric mean: .3, .95, 3 in the published data.
        """
        near = max(softening, 0.01 * spacing)
        low, high = 1.5 * near, max(0.866 * spacing, 3 * near)
        return cls(length=spacing, near=near, lengths=(low, (low * high) ** 0.5, high))


_NAMES: dict[str, tuple[str, ...]] = {
    "family": get_args(Family),
    "join": get_args(Join),
    "behaviour": get_args(Behaviour),
    "inputs": get_args(Inputs),
    "integrator": get_args(Integrator),
    "update": get_args(Update),
    "messages": get_args(Messages),
}
