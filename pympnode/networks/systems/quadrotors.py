"""Quadrotors that carry one load on cables through a doorway.

Physics, parameters and task: Jackson, Howell, Shah, Schwager, Manchester, "Scalable cooperative transport
of cable-suspended loads with UAVs using distributed trajectory optimization", IEEE RA-L 5(2), 2020, and
its code, TrajectoryOptimization.jl, branch ``distributed_team_lift``, commit d3d11964, examples/RA-L
("the code" below). The data of MP-NODE for this system are not public, nor are their sampling, length
and cables: those here are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...datasets.names import FEATURE, STATE, TRAJECTORY
from ...errors import IntegrationFailed, InvalidData, InvalidGraph, InvalidOption, unknown_name
from ...graph import Graph
from ...systems.base import (
    Observable,
    Parameter,
    SimulatedTrajectory,
    StateError,
    System,
    Variable,
)

if TYPE_CHECKING:
    from ..compiled.flight import Craft

_CODE = "Jackson et al. (2020), code"
_OURS = "ours"

# Longest step of the integrator in s: cable lengths then hold to 1e-15 m with the projection, the
# balance of energy to 1e-7 J of 40.
_STEP = 0.01
# Steps in a period of the stiffest vibration of elastic cables, divided by 2 pi.
_STEPS_PER_RADIAN = 4.0
_DRAWS = 100
# Columns of the state.
_POSITION, _QUATERNION, _VELOCITY = slice(0, 3), slice(3, 7), slice(7, 10)
_RATES, _CABLE, _CABLE_VELOCITY = slice(10, 13), slice(13, 16), slice(16, 19)
# A door is two rows of these cylinders (the code's); bodies keep 1.25 radii from them.
CYLINDER_RADIUS, CYLINDERS_AT, _CLEARANCE = 0.5, (-0.5, 0.0, 0.5), 1.25
DOOR, FLAG = "door", "flag"  # variables of a dataset
# A flight has failed to follow its plan where the load is further than this from it, in m.
_OFF_COURSE = 0.5
# Share of rotor thrusts at a limit above which a flight counts as saturated.
_SATURATED = 0.05

FLAGS = ("slack", "door", "near", "height", "saturated", "tracking")
"""Why a flight is drawn anew: a cable under no tension; a body within 1.25 radii of the door; two
quadrotors closer than two radii; a body below the floor or above the ceiling; more than 5 % of rotor
thrusts at a limit; the load more than 0.5 m from its plan, or a state that is not finite."""


def load_of(x: NDArray) -> NDArray:
    """Position and velocity of the load (..., 6), from states (..., node, 19): the mean over nodes."""
    position = (x[..., _POSITION] - x[..., _CABLE]).mean(axis=-2)
    velocity = (x[..., _VELOCITY] - x[..., _CABLE_VELOCITY]).mean(axis=-2)
    return np.concatenate([position, velocity], axis=-1)


def with_load(x: NDArray, load: NDArray) -> NDArray:
    """States (..., node, 19) of quadrotors (..., node, 13) and a load (..., 6)."""
    return np.concatenate(
        [
            x,
            x[..., _POSITION] - load[..., None, :3],
            x[..., _VELOCITY] - load[..., None, 3:],
        ],
        axis=-1,
    )


def thrust_axis(quaternion: NDArray) -> NDArray:
    """The direction of the thrust (..., 3) at unit quaternions (..., 4), w first."""
    w, a, b, c = np.moveaxis(quaternion, -1, 0)
    return np.stack([2 * (a * c + w * b), 2 * (b * c - w * a), 1 - 2 * (a * a + b * b)], axis=-1)


def tensions(x: NDArray, u: NDArray, parameters: Mapping[str, Any]) -> NDArray:
    """Tensions of the cables (..., node) in N; negative where a rigid cable would have to push.

    x (..., node, 19), u (..., node, 4) in N; ``parameters`` as `resolve_parameters` returns them.
    """
    p = parameters
    cable, relative = x[..., _CABLE], x[..., _CABLE_VELOCITY]
    length = np.linalg.norm(cable, axis=-1)
    normal = cable / length[..., None]
    speed = (normal * relative).sum(axis=-1)
    if p["stiffness"] > 0:
        stretch = length - p["cable_length"]
        pull = p["stiffness"] * stretch + _damping(p, x.shape[-2]) * speed
        return np.where(stretch > 0, np.maximum(pull, 0.0), 0.0)
    unit = x[..., _QUATERNION]
    unit = unit / np.linalg.norm(unit, axis=-1, keepdims=True)
    along = (normal * thrust_axis(unit)).sum(axis=-1) * u.sum(axis=-1) / p["mass"]
    matrix = normal @ np.swapaxes(normal, -1, -2) / p["load_mass"]
    matrix = matrix + np.eye(x.shape[-2]) / p["mass"]
    turning = ((relative**2).sum(axis=-1) - speed**2) / length
    return np.linalg.solve(matrix, (along + turning)[..., None])[..., 0]


def energy(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """Kinetic and potential energy of quadrotors and load in J, potential energy 0 at height 0."""
    p, load = parameters, load_of(x)
    inertia = np.array([p["inertia_x"], p["inertia_y"], p["inertia_z"]])
    each = 0.5 * p["mass"] * (x[..., _VELOCITY] ** 2).sum(axis=-1)
    each = each + 0.5 * (inertia * x[..., _RATES] ** 2).sum(axis=-1)
    each = each + p["mass"] * p["gravity"] * x[..., 2]
    of_load = 0.5 * (load[..., 3:] ** 2).sum(axis=-1) + p["gravity"] * load[..., 2]
    return each.sum(axis=-1) + p["load_mass"] * of_load


def cable_error(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """The largest difference of a cable's length from ``cable_length`` in m: 0 for rigid cables."""
    length = np.linalg.norm(x[..., _CABLE], axis=-1)
    return np.abs(length - parameters["cable_length"]).max(axis=-1)


def _load_axis(axis: int) -> Callable[[np.ndarray, Graph, Mapping[str, Any]], np.ndarray]:
    def observable(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
        return load_of(x)[..., axis]

    return observable


# ---- symmetries -----------------------------------------------------------------------------------


def rotated(ds: xr.Dataset, angle: Any) -> xr.Dataset:
    """Flights turned about the vertical through the origin: flights of the same controls.

    ds: a dataset of quadrotors, with the load as features or as a node.
    angle: in rad, one number, or one for each trajectory.
    Returns: a dataset whose positions, velocities, cables and attitudes are rotated; body rates and
        rotor thrusts stay. The variable ``door`` is left out, because a door is a place on the y axis.
    Raises: `InvalidData` for other data.
    """
    angles = np.atleast_1d(np.asarray(angle, np.float64))
    dims = {str(name): v.dims for name, v in ds.data_vars.items() if str(name).startswith(STATE)}
    out = ds.drop_vars(DOOR, errors="ignore")
    known = False
    for name, of_state in dims.items():
        feature = f"{FEATURE}{name.removeprefix(STATE)}"
        if feature not in of_state or TRAJECTORY not in of_state or feature not in ds.coords:
            continue
        features = [str(f) for f in ds[feature].values]
        known |= "quaternion_w" in features
        if len(angles) not in (1, ds.sizes[TRAJECTORY]):
            raise InvalidData(
                "flights are turned by one angle, or by one each",
                got=f"{len(angles)} angles",
                allowed=f"1 or {ds.sizes[TRAJECTORY]}",
            )
        variable = ds[name].transpose(TRAJECTORY, ..., feature)
        turn = angles.reshape(-1, *[1] * (variable.ndim - 2))
        values = _turned(variable.values, features, turn)
        out[name] = variable.copy(data=values).transpose(*of_state)
    if not known:
        raise InvalidData(
            "no states of quadrotors to turn",
            got=", ".join(map(str, ds.data_vars)),
            allowed="a dataset of simulate('quadrotors')",
        )
    return out


def augmented(ds: xr.Dataset, copies: int = 1, seed: int = 0) -> xr.Dataset:
    """``ds`` and ``copies`` of each of its flights, turned about the vertical by random angles (see `rotated`).

    seed: of the angles, uniform over the circle. Trajectories are numbered anew; the first ones are those of
    ``ds``, and a copy has the mark of its flight in ``split``. Raises `InvalidData`.
    """
    from ...config import whole

    copies, count = whole("copies", copies, 1), ds.sizes[TRAJECTORY]
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, (copies, count))
    angles = np.concatenate([np.zeros((1, count)), angles]).ravel()
    each = ds.isel({TRAJECTORY: np.tile(np.arange(count), copies + 1)})
    out = rotated(each.assign_coords({TRAJECTORY: np.arange(count * (copies + 1))}), angles)
    for name in (str(n) for n in out.data_vars if str(n).startswith(STATE)):
        if TRAJECTORY in out[name].dims:  # a turn by 0 rounds
            first = {TRAJECTORY: slice(0, count)}
            out[name][first] = ds[name].transpose(*out[name].dims).values
    return out


def _turned(x: NDArray, features: Sequence[str], angle: NDArray) -> NDArray:
    """States x (..., feature) turned by ``angle`` (...), which has one axis less."""
    out, cosine, sine = np.array(x), np.cos(angle), np.sin(angle)
    for name in ("position", "velocity", "cable", "cable_velocity"):
        if f"{name}_x" in features:
            first, second = features.index(f"{name}_x"), features.index(f"{name}_y")
            out[..., first] = cosine * x[..., first] - sine * x[..., second]
            out[..., second] = sine * x[..., first] + cosine * x[..., second]
    if "quaternion_w" in features:
        columns = [features.index(f"quaternion_{axis}") for axis in "wxyz"]
        w, a, b, c = (x[..., column] for column in columns)
        h, k = np.cos(angle / 2), np.sin(angle / 2)
        turned = (h * w - k * c, h * a - k * b, h * b + k * a, h * c + k * w)
        for column, values in zip(columns, turned):
            out[..., column] = values
    return out


# ---- errors -----------------------------------------------------------------------------------------


def _distance(columns: slice) -> Callable[[NDArray, NDArray, Mapping[str, Any]], NDArray]:
    def error(predicted: NDArray, true: NDArray, parameters: Mapping[str, Any]) -> NDArray:
        return np.linalg.norm(predicted[..., columns] - true[..., columns], axis=-1)

    return error


def attitude_angle(first: NDArray, second: NDArray) -> NDArray:
    """The angle 2 acos|<q, p>| in rad (...) of the rotation between unit quaternions (..., 4)."""
    # The arc cosine has an error of 3e-8 at equal quaternions; the arc sine of their distance has none.
    distance = [np.linalg.norm(first - sign * second, axis=-1) for sign in (1, -1)]
    return 4 * np.arcsin(np.clip(np.minimum(*distance) / 2, 0, math.sqrt(0.5)))


def _attitude(predicted: NDArray, true: NDArray, parameters: Mapping[str, Any]) -> NDArray:
    first, second = (_unit(x[..., _QUATERNION]) for x in (predicted, true))
    return attitude_angle(first, second)


def _unit(quaternion: NDArray) -> NDArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)


def _load_distance(predicted: NDArray, true: NDArray, parameters: Mapping[str, Any]) -> NDArray:
    return np.linalg.norm(load_of(predicted)[..., :3] - load_of(true)[..., :3], axis=-1)


def _cable_violation(predicted: NDArray, true: NDArray, parameters: Mapping[str, Any]) -> NDArray:
    return np.linalg.norm(predicted[..., _CABLE], axis=-1) - parameters["cable_length"]


def _load_mass(graph: Graph) -> float:
    return 0.3 * int(graph.nodes[0])


def _damping(p: Mapping[str, Any], nodes: int) -> float:
    """Damping of elastic cables in N s/m, from their damping ratio."""
    reduced = 1.0 / (1.0 / p["mass"] + nodes / p["load_mass"])
    return float(2.0 * p["damping_ratio"] * math.sqrt(p["stiffness"] * reduced))


def _craft(p: Mapping[str, Any], nodes: int) -> Craft:
    from ..compiled.flight import Craft

    names = "mass inertia_x inertia_y inertia_z arm max_thrust load_mass gravity stiffness".split()
    return Craft(
        **{name: float(p[name]) for name in names},
        torque=float(p["torque_ratio"]),
        cable=float(p["cable_length"]),
        damping=_damping(p, nodes),
    )


def _vector(name: str, unit: str, low: float, high: float) -> tuple[Variable, ...]:
    return tuple(Variable(f"{name}_{axis}", unit, start=(low, high)) for axis in "xyz")


class Quadrotors(System):
    """Quadrotors that carry a point load on cables: a formation that narrows, passes a door, and widens.

    Quadrotor i has position p, unit quaternion q (w first, its sign continuous in time), velocity v and
    body rates w; the load has position r and velocity s. With n = (p - r) / d, the direction of its cable
    of length d,

    p' = v,  v' = g + F / m - T n / m,  q' = q (0, w) / 2,  w' = J^-1 (tau - w x J w),
    r' = s,  s' = g + sum over quadrotors of T n / M,

    with thrust F = R(q) (0, 0, f1 + f2 + f3 + f4) and torque tau = (a (f2 - f4), a (f3 - f1),
    k (f1 - f2 + f3 - f4)) of the rotor thrusts f. Cables are massless, attached at the centres of mass,
    and rigid: their tensions T solve (I / m + N N^T / M) T = n F / m + |(v - s) across n|^2 / d, the rows
    of N being n. So each depends on all quadrotors: the sum over neighbours is inside an inverse. In the
    code the tensions are controls of an optimisation; the force law is ours.
    With ``stiffness`` > 0 cables are one-sided springs, T = max(0, k (|p - r| - d) + c d|p - r|/dt).

    State: 19 features per quadrotor. 13 are its own; ``cable_x, _y, _z`` are p - r and
    ``cable_velocity_x, _y, _z`` are v - s, without which no quadrotor could compute its cable
    (``load="features"``, the form of published data as far as it is known). `load_of` computes the load
    from them. Controls: the four rotor thrusts, recorded, each held from t_i to t_(i+1).
    ``load="node"``: the load is a node of its own type. Datasets have nodes of type "quadrotor" with the 13
    features and the controls, then one of type "load" with position and velocity, on the complete graph of
    all; ``nodes`` counts the quadrotors. Flights are the same; ``initial=`` takes the 19 features.

    Flights are closed-loop. The plan: the circular formation becomes a fan in the plane of x and z, the
    load moves to the door in its middle and on to the goal, the formation becomes a circle again, on
    quintic blends of `duration`. A controller follows it (`networks.compiled.flight.control`, ours: the
    code has none, its controls are open-loop optima). Random for each flight: y of the load at the
    start and of the door, directions of cables and velocities at the start, noise of the rotors. Starts
    are at the tilt of equilibrium. Flights with a flag (`FLAGS`) are drawn anew;
    ``Quadrotors(redraw=False)`` keeps them. The record has under "draws" the share that was drawn anew,
    and that of each flag; the dataset has ``door`` (trajectory,), y of the door in m, and ``flag``
    (trajectory,), names joined by "+" or "none". Given controls (``control=``) are flown open-loop,
    given initial states closed-loop without the draws of a start; neither is drawn anew.

    Integrator: classical Runge-Kutta of at most 10 ms, after each step a projection of positions and
    velocities onto the cables, weighted by mass; ``tolerance`` has no effect. The coupling is that of
    all with all: the graph is complete.

    Sampling (0.05 s, 12 s), the load of 0.3 kg for each quadrotor (the code: 0.9 kg for any number), and
    cables, circle, goal and ceiling that admit up to six quadrotors, are ours, so that one model can fly
    three and six. The code's task is for three: ``parameters={"cable_length": 1.55, "circle_radius": 1.2,
    "goal": 6, "ceiling": 2.1}``.

    load: "features" or "node". redraw: whether flights with a flag are drawn anew.
    Raises InvalidOption, InvalidGraph (fewer than two quadrotors, not complete), IntegrationFailed (no flight
    without a flag in 100 draws).
    """

    name = "quadrotors"
    title = "quadrotors with a cable-suspended load"
    source = "Jackson et al., IEEE RA-L 5(2) (2020), and their code; MP-NODE paper, Figures 7 and 9"
    state = (
        *_vector("position", "m", -20.0, 20.0),
        *(Variable(f"quaternion_{axis}", "1") for axis in "wxyz"),
        *_vector("velocity", "m/s", -5.0, 5.0),
        *_vector("rate", "rad/s", -10.0, 10.0),
        *_vector("cable", "m", -10.0, 10.0),
        *_vector("cable_velocity", "m/s", -5.0, 5.0),
    )
    controls = tuple(Variable(f"thrust_{rotor}", "N") for rotor in range(1, 5))
    of_trajectory = (Variable(DOOR, "m"), Variable(FLAG))
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "mass": Parameter(1.0, (), "kg", _CODE),
        "inertia_x": Parameter(0.0023, (), "kg m^2", _CODE),
        "inertia_y": Parameter(0.0023, (), "kg m^2", _CODE),
        "inertia_z": Parameter(0.004, (), "kg m^2", _CODE),
        "arm": Parameter(0.175, (), "m", f"{_CODE} (motor_dist)"),
        "torque_ratio": Parameter(0.0245, (), "m", f"{_CODE} (km, torque for each N of thrust)"),
        "max_thrust": Parameter(
            (0.9 + 1.0) * 9.81 / 4, (), "N",
            f"{_CODE} (four rotors lift one quadrotor and a load of 0.9 kg)",
        ),
        "gravity": Parameter(9.81, (), "m/s^2", _CODE),
        "load_mass": Parameter(
            _load_mass, (), "kg", f"{_OURS}: 0.3 kg a quadrotor, so the code's 0.9 kg for three"
        ),
        "cable_length": Parameter(2.2, (), "m", f"{_OURS}; the code's 1.55 m is for three"),
        "circle_radius": Parameter(1.7, (), "m", f"{_OURS}; the code's 1.2 m is for three"),
        "fan_angle": Parameter(math.radians(50.0), (), "rad", _CODE),
        "quadrotor_radius": Parameter(0.275, (), "m", _CODE),
        "load_radius": Parameter(0.2, (), "m", _CODE),
        "load_height": Parameter(0.25, (), "m", _CODE),
        "goal": Parameter(8.0, (), "m", f"{_OURS}; the code's 6 m is for three; the door is halfway"),
        "door_width": Parameter(
            1.0, (), "m", f"{_CODE} (cylinders of radius 0.5 m at y = -1 and 1 and three x 0.5 m apart)"
        ),
        "ceiling": Parameter(3.0, (), "m", f"{_OURS}; the code's 2.1 m is for its cables"),
        "duration": Parameter(10.0, (), "s", f"{_CODE} (51 knots, 0.2 s apart)"),
        "start_spread": Parameter(0.8, (), "m", f"{_OURS}: y of the load at the start, uniform, +-"),
        "door_spread": Parameter(0.6, (), "m", f"{_OURS}: y of the door, uniform, +-"),
        "start_noise": Parameter(
            0.05, (), "m", f"{_OURS}: standard deviation of the start, also in m/s and rad"
        ),
        "rotor_noise": Parameter(0.03, (), "N", f"{_OURS}: standard deviation, anew at each time"),
        "stiffness": Parameter(0.0, (), "N/m", f"{_OURS}: of cables; 0 for rigid ones, as the code's"),
        "damping_ratio": Parameter(0.1, (), "1", f"{_OURS}: of cables that are not rigid"),
    }  # fmt: skip
    observables: ClassVar[Mapping[str, Observable]] = {
        "load_x": Observable(_load_axis(0), "m", "load, x"),
        "load_y": Observable(_load_axis(1), "m", "load, y"),
        "load_z": Observable(_load_axis(2), "m", "load, z"),
        "cable_error": Observable(cable_error, "m", "largest error of a cable's length"),
        "energy": Observable(energy, "J", "energy"),
    }
    errors: ClassVar[Mapping[str, StateError]] = {
        "position": StateError(_distance(_POSITION), "m", "position of quadrotors"),
        "velocity": StateError(_distance(_VELOCITY), "m/s", "velocity of quadrotors"),
        "attitude": StateError(_attitude, "rad", "attitude of quadrotors"),
        "load_position": StateError(_load_distance, "m", "position of the load"),
        "cable_length": StateError(_cable_violation, "m", "length of cables"),
    }
    unit_norm = (tuple(f"quaternion_{axis}" for axis in "wxyz"),)
    rates: ClassVar[Mapping[str, str]] = {
        f"{name}_{axis}": f"{rate}_{axis}"
        for name, rate in (("position", "velocity"), ("cable", "cable_velocity"))
        for axis in "xyz"
    }
    default_nodes = 3
    # A loop at each node: sums over all quadrotors, the node itself included, do not depend on their number.
    default_topology = "full"
    model_options: Mapping[str, Any] = {
        "messages": "emitted",
        "coupling": "mixed",
        "message_size": 13,
        "hidden": 64,
        # Positions and cables change by velocities, attitudes nearly by body rates, rates by thrusts.
        "linear_path": True,
        "invariant": ("position_x", "position_y", "position_z"),
        "max_window": 1.5,
    }
    dt = 0.05
    steps = 240

    def __init__(self, *, load: str = "features", redraw: bool = True) -> None:
        if load not in ("features", "node"):
            raise unknown_name("load", load, ("features", "node"))
        self.load = load
        if load == "node":
            self.model_options = {k: v for k, v in self.model_options.items() if k != "invariant"}
            self.node_types = {
                "quadrotor": (self.state[:13], self.controls),
                "load": ((*self.state[_POSITION], *self.state[_VELOCITY]), ()),
            }
        self.redraw = bool(redraw)

    # ---- the load as a node -------------------------------------------------------------------

    def split_types(self, x: NDArray) -> dict[str, NDArray]:
        """See `System.split_types`."""
        return {"quadrotor": x[..., :13], "load": load_of(x)[..., None, :]}

    def join_types(self, x: Mapping[str, NDArray]) -> NDArray:
        """See `System.join_types`."""
        return with_load(x["quadrotor"], x["load"][..., 0, :])

    def of_types(self, names: tuple[str, ...]) -> System | None:
        """See `System.of_types`."""
        return (
            Quadrotors(load="node").of_types(names)
            if not self.node_types
            else super().of_types(names)
        )

    # ---- checks -------------------------------------------------------------------------------

    def check_graph(self, graph: Graph) -> None:
        nodes = int(graph.nodes[0])
        if nodes < 2:
            raise InvalidGraph(
                "one quadrotor cannot carry the load through the door",
                got=f"{nodes} quadrotor",
                allowed="two or more",
                fix="simulate('quadrotors', nodes=3)",
            )
        # No edge stands twice. With an edge from each node to itself a model's sum has a term of its own.
        looped = bool(np.any(graph.sender == graph.receiver))
        complete = bool(np.all(graph.in_degree == (nodes if looped else nodes - 1)))
        if not complete or graph.weight is not None:
            raise InvalidGraph(
                "all quadrotors pull at one load: their graph is complete",
                got=f"{graph.edges} edges" + (" with weights" if graph.weight is not None else ""),
                allowed=f"{graph.graphs * nodes * (nodes - 1)} edges without weights; also with all self loops",
                fix="leave topology= and edge_weight= out",
            )

    def resolve_parameters(
        self, overrides: Mapping[str, Any] | None, graph: Graph
    ) -> dict[str, float | np.ndarray]:
        p = super().resolve_parameters(overrides, graph)
        _check({name: float(value) for name, value in p.items()}, int(graph.nodes[0]))
        return p

    # ---- dynamics -----------------------------------------------------------------------------

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        p, nodes = parameters, x.shape[-2]
        u = np.zeros((*x.shape[:-1], 4)) if u is None else u
        unit = x[..., _QUATERNION] / np.linalg.norm(x[..., _QUATERNION], axis=-1, keepdims=True)
        rates = x[..., _RATES]
        inertia = np.array([p["inertia_x"], p["inertia_y"], p["inertia_z"]])
        torque = np.stack(
            [
                p["arm"] * (u[..., 1] - u[..., 3]),
                p["arm"] * (u[..., 2] - u[..., 0]),
                p["torque_ratio"] * (u[..., 0] - u[..., 1] + u[..., 2] - u[..., 3]),
            ],
            axis=-1,
        )
        gravity = np.array([0.0, 0.0, -p["gravity"]])
        force = thrust_axis(unit) * u.sum(axis=-1, keepdims=True)
        of_load = np.broadcast_to(gravity, (*x.shape[:-2], 3))
        if graph.edges or nodes == 1:
            load = load_of(x)
            both = with_load(x[..., :13], load)
            cable = both[..., _CABLE]
            pull = tensions(both, u, p)[..., None] * cable
            pull = pull / np.linalg.norm(cable, axis=-1, keepdims=True)
            force = force - pull
            of_load = of_load + pull.sum(axis=-2) / p["load_mass"]
            relative = both[..., _CABLE_VELOCITY]
        else:
            relative = x[..., _CABLE_VELOCITY]
        w, vector = unit[..., :1], unit[..., 1:]
        out = np.empty(x.shape)
        out[..., _POSITION] = x[..., _VELOCITY]
        out[..., 3] = -0.5 * (vector * rates).sum(axis=-1)
        out[..., 4:7] = 0.5 * (w * rates + np.cross(vector, rates))
        out[..., _VELOCITY] = gravity + force / p["mass"]
        out[..., _RATES] = (torque - np.cross(rates, inertia * rates)) / inertia
        out[..., _CABLE] = relative
        out[..., _CABLE_VELOCITY] = out[..., _VELOCITY] - of_load[..., None, :]
        return out

    # ---- flights ------------------------------------------------------------------------------

    def initial(self, rng: np.random.Generator, nodes: int) -> np.ndarray:
        """A start (node, 19) of a flight with the default parameters."""
        empty = np.zeros(0, dtype=np.int64)
        p = self.resolve_parameters(None, Graph.single(empty, empty, nodes))
        return _draw_start(rng, nodes, p)[0]

    def simulate_trajectory(
        self,
        rng: np.random.Generator,
        time: NDArray[np.float64],
        graph: Graph,
        parameters: Mapping[str, Any],
        *,
        initial: NDArray | None = None,
        controls: NDArray | None = None,
    ) -> SimulatedTrajectory:
        """One flight; see the class and `System.simulate_trajectory`."""
        nodes = graph.total_nodes
        if initial is not None:
            _check_start(initial, parameters)
        given = initial is not None or controls is not None
        counts = dict.fromkeys(FLAGS, 0)
        for drawn in range(1, _DRAWS + 1):
            x0, start, door = _draw_start(rng, nodes, parameters)
            noise = parameters["rotor_noise"] * rng.standard_normal((time.size, nodes, 4))
            x0 = x0 if initial is None else initial
            x, u, flags = _fly(x0, time, noise, controls, parameters, start, door)
            for flag in flags:
                counts[flag] += 1
            if not flags or given or not self.redraw:
                of_trajectory: dict[str, float | str] = {
                    "door": door,
                    "flag": "+".join(flags) or "none",
                }
                return SimulatedTrajectory(x, u, of_trajectory, drawn, counts)
        reasons = ", ".join(f"{flag} {count}" for flag, count in counts.items() if count)
        raise IntegrationFailed(
            f"no flight without a flag in {_DRAWS} draws",
            got=reasons,
            allowed="flights without slack cables and touched doors that follow their plan",
            fix="longer cables for more quadrotors (with circle_radius in proportion and a higher ceiling), a "
            "longer duration, or keep flights with flags: simulate("
            "pympnode.networks.systems.quadrotors.Quadrotors(redraw=False))",
        )


def _check(p: Mapping[str, float], nodes: int) -> None:
    """Raise InvalidOption for parameters with which no flight is possible."""
    positive = (
        "mass inertia_x inertia_y inertia_z arm torque_ratio max_thrust gravity load_mass cable_length "
        "circle_radius fan_angle quadrotor_radius load_radius door_width duration"
    ).split()
    not_negative = (
        "start_spread door_spread start_noise rotor_noise stiffness damping_ratio".split()
    )
    for name in (*positive, *not_negative):
        if p[name] < 0 or (p[name] == 0 and name in positive):
            allowed = "> 0" if name in positive else ">= 0"
            raise InvalidOption(f"{name} of quadrotors", got=f"{p[name]:g}", allowed=allowed)
    if nodes < 2:
        return  # `check_graph` refuses it where it matters; a field of one is defined
    lift = nodes * (4 * p["max_thrust"] / p["gravity"] - p["mass"])
    if p["load_mass"] >= lift:
        raise InvalidOption(
            f"{nodes} quadrotors cannot lift the load",
            got=f"load_mass={p['load_mass']:g} kg",
            allowed=f"< {max(lift, 0):.4g} kg: 4 max_thrust nodes / gravity - mass nodes",
            fix="make load_mass smaller, or max_thrust or nodes larger",
        )
    if p["circle_radius"] >= p["cable_length"] or p["fan_angle"] >= math.pi / 2:
        raise InvalidOption(
            "cables must point up",
            got=f"circle_radius={p['circle_radius']:g} m with cables of {p['cable_length']:g} m, "
            f"fan_angle={p['fan_angle']:g} rad",
            allowed="circle_radius < cable_length, fan_angle < pi / 2",
        )
    reach = {
        "fan": math.sin(p["fan_angle"] / (nodes - 1)),
        "circle": p["circle_radius"] / p["cable_length"] * math.sin(math.pi / nodes),
    }
    least = p["quadrotor_radius"] / min(reach.values())
    for formation, share in reach.items():
        apart = 2 * p["cable_length"] * share
        if apart < 2 * p["quadrotor_radius"]:
            raise InvalidOption(
                f"quadrotors in the {formation} are closer than two radii",
                got=f"{nodes} quadrotors {apart:.3g} m apart on cables of {p['cable_length']:g} m",
                allowed=f">= {2 * p['quadrotor_radius']:g} m",
                fix=f"parameters={{'cable_length': {math.ceil(least * 100) / 100:g}}} with a circle_radius "
                "in proportion and a higher ceiling, or fewer quadrotors",
            )
    if p["door_width"] < 2 * p["quadrotor_radius"]:
        raise InvalidOption(
            "the door is narrower than a quadrotor",
            got=f"door_width={p['door_width']:g} m",
            allowed=f">= {2 * p['quadrotor_radius']:g} m",
            fix="make door_width larger; bodies keep 1.25 radii from the door",
        )


def _check_start(x: NDArray, p: Mapping[str, Any]) -> None:
    """Raise InvalidData for given states whose load or cables contradict each other."""
    load, length = x[:, :3] - x[:, _CABLE], np.linalg.norm(x[:, _CABLE], axis=-1)
    speed = x[:, _VELOCITY] - x[:, _CABLE_VELOCITY]
    apart = max(np.ptp(load, axis=0).max(), np.ptp(speed, axis=0).max())
    if apart > 1e-6:
        raise InvalidData(
            "the quadrotors of an initial state place the load differently",
            got=f"up to {apart:.3g} m or m/s apart",
            allowed="position - cable and velocity - cable_velocity equal for all nodes",
            fix="compute the last six features with networks.systems.quadrotors.with_load",
        )
    error = np.abs(length - p["cable_length"]).max()
    if p["stiffness"] == 0 and error > 1e-6:
        raise InvalidData(
            "an initial state stretches the rigid cables",
            got=f"a length that is off by {error:.3g} m",
            allowed=f"cables of {p['cable_length']:g} m",
            fix="give cable_length in parameters=, or take states of a simulation",
        )


def _draw_start(
    rng: np.random.Generator, nodes: int, p: Mapping[str, Any]
) -> tuple[NDArray, float, float]:
    """A state (node, 19) near equilibrium in the circular formation, y of the load, y of the door."""
    start = float(rng.uniform(-p["start_spread"], p["start_spread"]))
    door = float(rng.uniform(-p["door_spread"], p["door_spread"]))
    angle = 2 * np.pi * np.arange(nodes) / nodes
    sine = p["circle_radius"] / p["cable_length"]
    up = np.full(nodes, math.sqrt(1 - sine**2))
    normal = np.stack([sine * np.cos(angle), sine * np.sin(angle), up], axis=-1)
    normal += p["start_noise"] * rng.standard_normal((nodes, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    load = np.array([0.0, start, p["load_height"], 0.0, 0.0, 0.0])
    load[:3] += p["start_noise"] * rng.standard_normal(3)
    x = np.zeros((nodes, 13))
    x[:, _VELOCITY] = p["start_noise"] * rng.standard_normal((nodes, 3))
    # Tilted so that thrusts hold quadrotors and load still; level starts make cables slack.
    weight = np.array([0.0, 0.0, p["load_mass"] * p["gravity"]])
    pull = np.linalg.lstsq(normal.T, weight, rcond=None)[0]
    force = pull[:, None] * normal + np.array([0.0, 0.0, p["mass"] * p["gravity"]])
    axis = force / np.linalg.norm(force, axis=-1, keepdims=True)
    x[:, 3] = np.sqrt((1 + axis[:, 2]) / 2)
    x[:, 4], x[:, 5] = -axis[:, 1] / (2 * x[:, 3]), axis[:, 0] / (2 * x[:, 3])
    length = np.full(nodes, p["cable_length"])
    if p["stiffness"] > 0:
        length += pull / p["stiffness"]
    x[:, _POSITION] = load[:3] + length[:, None] * normal
    # Velocities without a part along the cables, changed the least in the norm of the kinetic energy.
    matrix = normal @ normal.T / p["load_mass"] + np.eye(nodes) / p["mass"]
    impulse = np.linalg.solve(matrix, (normal * x[:, _VELOCITY]).sum(axis=-1))
    x[:, _VELOCITY] -= impulse[:, None] * normal / p["mass"]
    load[3:] += impulse @ normal / p["load_mass"]
    return with_load(x, load), start, door


def fan_angles(nodes: int, widest: float) -> NDArray:
    """Angles (node,) in the fan, in the order of x in the circle, so that paths do not cross."""
    angle = 2 * np.pi * np.arange(nodes) / nodes
    order = np.argsort(np.cos(angle) + 1e-3 * np.sin(angle), kind="stable")
    out = np.empty(nodes)
    out[order] = np.linspace(-widest, widest, nodes)
    return out


def _fly(
    x0: NDArray, time: NDArray, noise: NDArray, controls: NDArray | None, p: Mapping[str, Any],
    start: float, door: float,
) -> tuple[NDArray, NDArray, tuple[str, ...]]:  # fmt: skip
    """States (time, node, 19), controls (time, node, 4) and flags of one flight."""
    flown = fly_from(x0, time, noise, controls, p, start, door)
    x, u = with_load(flown["x"], flown["load"]), flown["u"]
    # The first row as it is given or drawn, not through the rounding of two differences.
    x[0] = x0
    return x, u, _flags(flown, p, door)


def fly_from(
    x0: NDArray, time: NDArray, noise: NDArray, controls: NDArray | None, p: Mapping[str, Any],
    start: float, door: float,
) -> dict[str, NDArray]:  # fmt: skip
    """One flight from a state (node, 19), open-loop where ``controls`` (time, node, 4) are given.

    Returns x (time, node, 13), load (time, 6), u (time, node, 4), tension (time, node), planned (time, 3)
    and work (time,); see `networks.compiled.flight.fly`.
    """
    from ..compiled.flight import Mission, fly

    nodes, points = x0.shape[0], time.size
    craft = _craft(p, nodes)
    mission = Mission(
        circle=math.asin(p["circle_radius"] / p["cable_length"]),
        goal=float(p["goal"]),
        height=float(p["load_height"]),
        duration=float(p["duration"]),
        start=float(start),
        door=float(door),
    )
    step = _STEP
    if craft.stiffness > 0:
        softness = 1 / craft.mass + nodes / craft.load_mass
        fastest = max(math.sqrt(craft.stiffness * softness), craft.damping * softness)
        step = min(step, 1 / (_STEPS_PER_RADIAN * fastest))
    out = {
        "x": np.empty((points, nodes, 13)), "load": np.empty((points, 6)),
        "u": np.empty((points, nodes, 4)), "tension": np.empty((points, nodes)),
        "planned": np.empty((points, 3)), "work": np.empty(points),
    }  # fmt: skip
    out["x"][0], out["load"][0] = x0[:, :13], load_of(x0)
    if controls is not None:
        out["u"][...] = controls
    # Copies: numba would compile a second version for arrays that are not contiguous or not writable.
    fly(
        np.array(time, dtype=np.float64), np.array(noise, order="C"), controls is None,
        step, fan_angles(nodes, p["fan_angle"]), craft, mission, *out.values(),
    )  # fmt: skip
    return out


def _flags(flown: Mapping[str, NDArray], p: Mapping[str, Any], door: float) -> tuple[str, ...]:
    """Those of `FLAGS` that a flight has, at its recorded times."""
    x, load, u = flown["x"], flown["load"], flown["u"][:-1]
    if not (np.isfinite(x).all() and np.isfinite(load).all()):
        return ("tracking",)
    nodes = x.shape[1]
    bodies = np.concatenate([x[..., :3], load[:, None, :3]], axis=1)
    radius = np.append(np.full(nodes, p["quadrotor_radius"]), p["load_radius"])
    touched = False
    for along in CYLINDERS_AT:
        for side in (-1, 1):
            axis_y = door + side * (p["door_width"] / 2 + CYLINDER_RADIUS)
            away = np.hypot(bodies[..., 0] - p["goal"] / 2 - along, bodies[..., 1] - axis_y)
            touched |= bool(np.any(away < CYLINDER_RADIUS + _CLEARANCE * radius))
    first, second = np.triu_indices(nodes, 1)
    apart = np.linalg.norm(x[:, first, :3] - x[:, second, :3], axis=-1)
    at_limit = (u <= 0) | (u >= p["max_thrust"])
    found = {
        "slack": np.any(flown["tension"][:-1] <= 0),
        "door": touched,
        "near": np.any(apart < 2 * p["quadrotor_radius"]),
        "height": bool(np.any(bodies[..., 2] < 0) or np.any(bodies[..., 2] > p["ceiling"])),
        "saturated": at_limit.mean() > _SATURATED,
        "tracking": np.any(np.linalg.norm(load[:, :3] - flown["planned"], axis=-1) > _OFF_COURSE),
    }
    return tuple(flag for flag in FLAGS if found[flag])
