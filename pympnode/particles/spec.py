"""ParticleSpec: the architecture of a particle model; ParticleScales: the units of its inputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ..config import flag, listing, names_of, number, one_of, positive, whole
from ..errors import InvalidOption, unknown_name
from .constants import SOFTENING

Family = Literal["deltagn", "hogn"]
Join = Literal["complete", "nearest", "hierarchy"]
Behaviour = Literal["corrected", "published"]
Inputs = Literal["scaled", "plain"]
Integrator = Literal["rk4", "euler"]
Update = Literal["direct", "leapfrog"]
Messages = Literal["directed", "antisymmetric", "symmetric", "radial"]
MassCoupling = Literal["input", "product", "reduced"]
CellUnits = Literal["finest", "side"]

# The public names of models: (family, edges between particles).
MODELS: dict[str, tuple[Family, Join]] = {
    "deltagn": ("deltagn", "complete"),
    "hogn": ("hogn", "complete"),
    "nearest_deltagn": ("deltagn", "nearest"),
    "hierarchical_deltagn": ("deltagn", "hierarchy"),
    "hierarchical_hogn": ("hogn", "hierarchy"),
}
GEOMETRY_LENGTHS = 3  # lengths c of the features c / (r + c)
# Bits of the mantissa of 1 + (d / near)^2 that count the cells of a table: 8 in an octave.
RADIAL_SPLIT = 3
RADIAL_POWERS = 4  # terms of radial messages that fall with the power 0, 1, ... of the distance


@dataclass(frozen=True)
class ParticleSpec:
    """The architecture of a learned time step of particles.

    Source: Martinkus, Lucchi, Perraudin, "Scalable graph networks for particle simulations" (AAAI
    2021). What is not in that paper (scaled inputs, leapfrog updates, antisymmetric and symmetric
    messages) is marked below. Positions are in units of length of the data, the step in its units of
    time, masses and charges in its units of mass and charge.

    family: ``"deltagn"`` predicts the change of the state over one step. ``"hogn"`` predicts a
        Hamiltonian, whose equations of motion are integrated over the step by ``integrator``
        (``"rk4"`` or ``"euler"``; plain inputs only).
    join: the edges between particles. ``"complete"``: all pairs. ``"nearest"``: from each particle's
        ``neighbours`` nearest others. ``"hierarchy"``: near pairs directly, all others through
        cells on ``levels`` levels (None: round(log4 N), in three dimensions round(log8 N)).
    dims: 2 or 3. charged: whether particles have charges.
    edge_width, node_width, global_width: numbers of units per layer. Edge networks have two layers and
        node networks three; messages from particles and cells up to their cells have ``node_width``
        too. ``global_width`` is that of the network that turns the sums of a HOGN with plain inputs
        into H.
    behaviour: ``"corrected"``, or ``"published"``, which repeats the faults of the published code: the
        sets of a batch share one H (hierarchical HOGN); cells keep their positions within a step, and
        the positions of the upper levels pass no gradient; a cell with a particle across the border is
        averaged across the box; the complete graph sums messages at the sender; a rollout uses the mean
        charge of a cell in place of its total charge.
    inputs: ``"plain"``, as published: mass, (charge,) velocity, displacements and the length of the
        step, in the units of the data. ``"scaled"`` (ours): features are in the units of
        `ParticleScales`. Displacements enter through several bounded functions of the distance, with
        charges also times the product of both charges. The network predicts the velocity change in
        units of ``scales.change``; positions move by the mean of the old and the new velocity. Cells of
        each level have units of their own: lengths are divided by the side of a cell; masses, charges
        and messages from below by the number of finest cells in it. In a plane a force that falls with
        the square of the distance then looks the same on all levels (its potential up to one factor
        per level), so that a model can be used with more levels than it was trained on.
    update: of models with scaled inputs. ``"direct"``: the network takes the state at the start of the
        step. ``"leapfrog"`` (drift, kick, drift; ours): the velocity change depends on the positions
        half a step later only, so that every step preserves volume in phase space and can be run
        backwards. A HOGN with scaled inputs has H = sum p^2 / 2m + V(x), with V a sum of one output per
        particle; its leapfrog step is symplectic.
    messages: ``"directed"``, as published. ``"antisymmetric"`` (DeltaGN, scaled inputs; ours): the
        momenta that two particles give each other are equal and opposite. With all pairs these are the
        only terms, and momentum is conserved to rounding; in a hierarchy the node network adds the
        effect of the cells. ``"symmetric"`` (HOGN, scaled inputs; ours): the potential energy of two
        particles is the sum of the two messages between them. With all pairs V is the sum of these
        energies; in a hierarchy the node network adds the effect of the cells. ``"radial"`` (DeltaGN,
        scaled inputs, leapfrog; ours): central forces alone, a learned function of the distance along
        the difference, the same one for pairs and for far cells, which act from a few points each
        (`engine.radial`). Equivariant under rotation and reflection; with all pairs momentum is
        conserved to rounding, otherwise with ``conserve_momentum``. It has one network (``edge_width``)
        and no node network, and serves any number of particles.
    conserve_momentum: (DeltaGN) subtract the mean velocity change, weighted by mass, in every step.
    mass_coupling: of models with scaled inputs, where masses differ (ours). ``"input"``, the form of
        version 0.1: masses (and charges) are inputs of the networks, and an antisymmetric impulse is
        divided by the mass, which diverges with the mass ratio. ``"product"``: no network takes a mass;
        what particle j does to i is multiplied by m_i m_j, so that a_i = sum_j m_j e_ij with
        e_ij = -e_ji: bounded for any mass ratio, and independent of m_i as in gravity (equivalence
        principle). With charges it is multiplied by c_i c_j instead: a_i = c_i / m_i sum_j c_j e_ij.
        ``"reduced"``, where the law is unknown: multiplied by the reduced mass, so that
        a_i = sum_j m_j / (m_i + m_j) e_ij, with masses and charges as inputs. Messages up to cells are
        means weighted by mass, and messages between cells are multiplied by the sending cell's mass.
    kicks: of radial messages of all pairs: leapfrog steps of equal length within a time step (ours).
        Twice as many cost twice as much, and have a quarter of the error that one leapfrog step makes
        where particles come close, whatever its forces are.
    cell_units: of hierarchies with scaled inputs (ours): ``"finest"``, as above. ``"side"``: lengths are
        divided by the side of a cell, in mean spacings of the training data, on the finest level too,
        and masses, charges and messages from below by its square (cube): cells of any size have inputs
        of the same range, which other numbers of particles do not leave.
    learned_masses: number of particles whose masses are weights of the model (ours), the same ones in
        all sets; 0: masses are those of the data. All but the mass of the particle ``fixed_mass``,
        which is the unit of the others, are learned. With radial messages of all pairs whose forces
        are products of masses.
    types: labels of the kinds of particles, of which networks with scaled inputs take the one that a
        particle is of (one-hot; a cell takes the shares of its particles).

    Raises UnknownName for a name that is not listed, and InvalidOption for numbers out of range and for
    options that exclude each other.
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
    mass_coupling: MassCoupling = "input"
    types: tuple[str, ...] = ()
    kicks: int = 1
    cell_units: CellUnits = "finest"
    learned_masses: int = 0
    fixed_mass: int = 0

    def __post_init__(self) -> None:
        for name, allowed in _NAMES.items():
            one_of(name, getattr(self, name), allowed)
        object.__setattr__(self, "dims", whole("dims", self.dims, 2, 3))
        for name in ("charged", "conserve_momentum"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
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
        """Raise InvalidOption for options that do not go with the inputs or with the family."""
        object.__setattr__(self, "types", tuple(names_of("types", self.types)))
        scaled = self.inputs == "scaled"
        if self.types and not scaled:
            raise InvalidOption(
                "plain inputs have no types of particles",
                got=f"types {', '.join(self.types)}",
                allowed='inputs="scaled"',
                fix='ds.drop_vars("type")',
            )
        for name, usual in (
            ("update", "direct"),
            ("messages", "directed"),
            ("mass_coupling", "input"),
            ("cell_units", "finest"),
        ):
            value = getattr(self, name)
            if value != usual and not scaled:
                raise InvalidOption(
                    f'{name}="{value}" predicts a velocity change alone',
                    got=f'inputs="{self.inputs}"',
                    allowed='inputs="scaled"',
                )
        if scaled and self.behaviour == "published":
            raise InvalidOption(
                "the published code has no scaled inputs",
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
                "antisymmetric messages need DeltaGN and edges in both directions",
                got=self.name,
                allowed="deltagn, hierarchical_deltagn",
                fix="a HOGN conserves momentum by itself; conserve_momentum=True serves all DeltaGN",
            )
        if self.messages == "radial" and (self.family == "hogn" or self.update == "direct"):
            raise InvalidOption(
                "radial messages are momenta that depend on positions only",
                got=f'{self.name}, update="{self.update}"',
                allowed='deltagn, nearest_deltagn, hierarchical_deltagn with update="leapfrog"',
                fix='model="deltagn" with messages="radial" has a potential already, the sum over '
                "pairs of the integral of its function of the distance",
            )
        object.__setattr__(self, "kicks", whole("kicks", self.kicks))
        if self.kicks > 1 and not (self.radial and self.join == "complete"):
            raise InvalidOption(
                "several leapfrog steps within a time step are those of radial messages of all pairs",
                got=f'kicks={self.kicks} for {self.name}, messages="{self.messages}"',
                allowed='deltagn with messages="radial"',
                fix="leave kicks out",
            )
        self._check_learned_masses()
        if self.messages == "symmetric" and self.family != "hogn":
            raise InvalidOption(
                "symmetric messages are energies of pairs, which a Hamiltonian network adds up",
                got=self.name,
                allowed="hogn, hierarchical_hogn",
                fix='messages="antisymmetric" are momenta, which DeltaGN adds up',
            )

    def _check_learned_masses(self) -> None:
        """Raise InvalidOption for learned masses of a model that has no masses as factors."""
        count = whole("learned_masses", self.learned_masses, 0)
        object.__setattr__(self, "learned_masses", count)
        last = max(count - 1, 0)
        object.__setattr__(self, "fixed_mass", whole("fixed_mass", self.fixed_mass, 0, last))
        factors = self.radial and self.mass_coupling == "product" and not self.charged
        if count and not (factors and self.join == "complete"):
            charged = ", charges" if self.charged else ""
            raise InvalidOption(
                "masses are learned as factors of the forces between all pairs",
                got=f'{self.name}, messages="{self.messages}", '
                f'mass_coupling="{self.mass_coupling}"{charged}',
                allowed='deltagn with messages="radial" and mass_coupling="product", of particles '
                "without charges",
                fix='leave the other options out: mass="learned" brings them',
            )

    @property
    def name(self) -> str:
        """The name of the model, as in `MODELS`."""
        pair = (self.family, self.join)
        names = [name for name, value in MODELS.items() if value == pair]
        return names[0] if names else f"{self.join}_{self.family}"

    @property
    def hierarchical(self) -> bool:
        """Whether far particles act through cells."""
        return self.join == "hierarchy"

    @property
    def base(self) -> int:
        """Number of inputs per node beside its position: mass, (charge,) (velocity)."""
        velocity = 0 if self.update == "leapfrog" else self.dims
        if self.mass_coupling == "product":
            return velocity + len(self.types)
        return 1 + int(self.charged) + velocity + len(self.types)

    @property
    def n_edge_features(self) -> int:
        """Number of features per edge, functions of its displacement (and charges)."""
        if self.inputs == "plain":
            return self.dims
        if self.radial:
            pairs = self.base * (self.base + 1) // 2
            return 1 + GEOMETRY_LENGTHS + self.base + pairs
        return (
            2 * self.dims
            + 1
            + GEOMETRY_LENGTHS
            + self.strength_is_input * (self.dims + GEOMETRY_LENGTHS)
        )

    @property
    def strength_is_input(self) -> bool:
        """Whether edges have features with the product of the charges at both ends."""
        return self.charged and self.inputs == "scaled" and self.mass_coupling != "product"

    @property
    def weighted(self) -> bool:
        """Whether messages are multiplied by masses or charges."""
        return self.mass_coupling != "input"

    @property
    def radial(self) -> bool:
        """Whether messages are central forces (`engine.radial`)."""
        return self.messages == "radial"

    @property
    def pairwise(self) -> bool:
        """Whether velocity changes or energies are sums over pairs, with no node network."""
        return self.radial or (self.messages != "directed" and self.join == "complete")

    @property
    def transfers(self) -> bool:
        """Whether the model serves other numbers of particles than it was trained on: through cells,
        or as a sum of the potentials or of the central forces of pairs (docs/measured/particles.md)."""
        if self.learned_masses:
            return False
        return self.hierarchical or self.radial or (self.pairwise and self.family == "hogn")

    def cell_unit(self, coarser: int) -> float:
        """Side of a cell ``coarser`` levels above the finest, in sides of a finest cell; 1 for plain
        inputs."""
        return 2.0**coarser if self.inputs == "scaled" else 1.0

    @property
    def separable(self) -> bool:
        """Whether the Hamiltonian is kinetic energy plus a potential that is a sum over particles."""
        return self.family == "hogn" and self.inputs == "scaled"

    @property
    def step_is_input(self) -> bool:
        """Whether the length of the step is an input of edge and node networks."""
        return self.family == "deltagn" and self.inputs == "plain"

    @property
    def outputs(self) -> int:
        """Width of the last layer: a Hamiltonian, a state change, or a velocity change."""
        if self.family == "hogn":
            return 1
        return self.dims * (2 if self.inputs == "plain" else 1)

    def refuse_unused(self, given: Mapping[str, object]) -> None:
        """Raise `InvalidOption` for a keyword of `pympnode.train` that has no effect on this model.

        given: keywords and their values; None and False count as not given.
        """
        plain_hogn = self.family == "hogn" and not self.separable
        usual = self.hierarchical and self.levels is None and not self.radial
        for name, used, where in (
            ("integrator", plain_hogn, 'hogn and hierarchical_hogn with inputs="plain"'),
            ("global_width", plain_hogn, 'hogn and hierarchical_hogn with inputs="plain"'),
            ("node_width", not self.radial, 'messages other than "radial"'),
            ("neighbours", self.join == "nearest", "nearest_deltagn"),
            ("levels", self.hierarchical, "hierarchical_deltagn, hierarchical_hogn"),
            (
                "mixed_levels",
                usual,
                "hierarchical_deltagn, hierarchical_hogn without levels= and radial messages",
            ),
        ):
            value = given.get(name)
            if value is None or value is False or used:
                continue
            levels = f", levels={self.levels}" if self.levels is not None else ""
            raise InvalidOption(
                f"{name} changes nothing in this model",
                got=f'{name}={value!r} for {self.name}, inputs="{self.inputs}"{levels}',
                allowed=f"with {where}",
                fix=f"leave {name} out",
            )

    def replace(self, **changes: object) -> ParticleSpec:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, object]:
        """Fields as plain values, for files."""
        values = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        if not self.weighted:
            # Files and run folders of version 0.1 lack the field, and stay what they were.
            del values["mass_coupling"]
        if self.kicks == 1:
            del values["kicks"]
        if self.cell_units == "finest":
            del values["cell_units"]
        if not self.learned_masses:
            del values["learned_masses"], values["fixed_mass"]
        if self.types:
            values["types"] = list(self.types)
        else:
            del values["types"]
        return values

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
        one_of("particle model", name, MODELS)
        family, join = MODELS[name]
        return cls.from_dict({"family": family, "join": join, **options})


@dataclass(frozen=True)
class ParticleScales:
    """Units of scaled inputs, each in the units of the data; fitted on the training trajectories.

    length, near: the mean spacing of particles and the softening length of the force. They soften the
        features d / (r + length), d / (r + near) and log(r + near) of a displacement d of length r.
    lengths: three lengths c of the features c / (r + c).
    mass: the mean mass. charge, velocity: root mean squares of charges and of velocity components.
    change: the root mean square of a component of the velocity change over one step.
    reach: of radial messages, the largest distance in the training data, beyond which forces are
        continued (`engine.radial`); None: nowhere.

    Raises InvalidOption for a scale that is not positive.
    """

    length: float = 1.0
    near: float = SOFTENING
    lengths: tuple[float, float, float] = (0.3, 1.0, 3.0)
    mass: float = 1.0
    charge: float = 1.0
    velocity: float = 1.0
    change: float = 1.0
    reach: float | None = None

    def __post_init__(self) -> None:
        if self.reach is not None:
            object.__setattr__(self, "reach", positive("the scale reach", self.reach))
        lengths = tuple(number("lengths", c) for c in listing("lengths", self.lengths))
        object.__setattr__(self, "lengths", lengths)
        for name in ("length", "near", "mass", "charge", "velocity", "change"):
            value = positive(f"the scale {name}", getattr(self, name))
            object.__setattr__(self, name, value)

    def as_dict(self) -> dict[str, object]:
        """Plain values, for files."""
        values = dataclasses.asdict(self) | {"lengths": list(self.lengths)}
        if self.reach is None:
            del values["reach"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> ParticleScales:
        """The inverse of `as_dict`."""
        return cls(**values)  # type: ignore[arg-type]

    def at_step(self, times: float) -> ParticleScales:
        """The scales of a step that is ``times`` times as long.

        A velocity change is the acceleration times the step, to first order.
        """
        return dataclasses.replace(self, change=self.change * times)

    @classmethod
    def of_lengths(
        cls, softening: float, spacing: float, *, least: float | None = None
    ) -> ParticleScales:
        """Lengths from the physics: the softening length and the mean spacing of particles.

        A softening below ``least`` and 1 % of the spacing (None: below the latter) is the smaller of
        the two instead.

        ``lengths`` are 1.5 softening lengths (below which a softened force has its maximum), 0.87
        spacings (beyond which many particles contribute), and their geometric mean: 0.3, 0.95 and 3 in
        the published data.
        """
        floor = 0.01 * spacing
        near = max(softening, floor if least is None else min(floor, least))
        low, high = 1.5 * near, max(0.866 * spacing, 3 * near)
        return cls(length=spacing, near=near, lengths=(low, (low * high) ** 0.5, high))


@dataclass(frozen=True)
class Units:
    """Units in which a program computes, each in the units of the data.

    Powers of two, so that no digit changes by them. 1 for data whose scales lie within `_PLAIN` of 1;
    others (kg, m, s of planets or of atoms) would leave the range of float32.
    """

    length: float = 1.0
    velocity: float = 1.0
    mass: float = 1.0
    charge: float = 1.0

    @classmethod
    def of(cls, spec: ParticleSpec, scales: ParticleScales) -> Units:
        """The units of a model. Plain inputs take the numbers of the data as they are."""
        names = [field.name for field in dataclasses.fields(cls)]
        sizes = {name: float(getattr(scales, name)) for name in names}
        if spec.inputs == "plain" or all(1 / _PLAIN < size < _PLAIN for size in sizes.values()):
            return cls()
        return cls(**{name: 2.0 ** round(math.log2(size)) for name, size in sizes.items()})

    @property
    def time(self) -> float:
        return self.length / self.velocity

    def scales(self, scales: ParticleScales) -> ParticleScales:
        """Scales in these units."""
        return ParticleScales(
            scales.length / self.length,
            scales.near / self.length,
            tuple(c / self.length for c in scales.lengths),  # type: ignore[arg-type]
            mass=scales.mass / self.mass,
            charge=scales.charge / self.charge,
            velocity=scales.velocity / self.velocity,
            change=scales.change / self.velocity,
            reach=None if scales.reach is None else scales.reach / self.length,
        )


_PLAIN = 2.0**16  # far from the ends of float32, also for products of a few of such numbers

_NAMES: dict[str, tuple[str, ...]] = {
    "family": get_args(Family),
    "join": get_args(Join),
    "behaviour": get_args(Behaviour),
    "inputs": get_args(Inputs),
    "integrator": get_args(Integrator),
    "update": get_args(Update),
    "messages": get_args(Messages),
    "mass_coupling": get_args(MassCoupling),
    "cell_units": get_args(CellUnits),
}
