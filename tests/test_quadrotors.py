"""Quadrotors with a cable-suspended load: mechanics, symmetries, flights, errors."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.datasets.record import record
from pympnode.errors import IntegrationFailed, InvalidData, InvalidGraph, InvalidOption, UnknownName
from pympnode.graph import Graph
from pympnode.networks.compiled import flight
from pympnode.networks.generate import generate
from pympnode.networks.graphs.topology import resolve
from pympnode.networks.schema import pack
from pympnode.networks.systems import quadrotors
from pympnode.networks.systems.quadrotors import Quadrotors, fly_from, load_of, tensions, with_load
from pympnode.systems.base import System, Variable

PUBLISHED = {"cable_length": 1.55, "circle_radius": 1.2, "goal": 6.0, "ceiling": 2.1}
QUIET = {"start_noise": 0.0, "rotor_noise": 0.0, "start_spread": 0.0, "door_spread": 0.0}


def setting(nodes: int = 3, **parameters: float) -> tuple[Graph, dict]:
    graph = resolve("complete", nodes)
    return graph, Quadrotors().resolve_parameters(parameters, graph)


def start_of(nodes: int, p: dict, seed: int = 0) -> np.ndarray:
    return quadrotors._draw_start(np.random.default_rng(seed), nodes, p)[0]


def moving(nodes: int, p: dict, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A state far from equilibrium that satisfies the constraints, and controls."""
    rng = np.random.default_rng(seed)
    x = start_of(nodes, p, seed)
    x[:, 3:7] += 0.3 * rng.standard_normal((nodes, 4))
    x[:, 3:7] /= np.linalg.norm(x[:, 3:7], axis=-1, keepdims=True)
    x[:, 10:13] = rng.standard_normal((nodes, 3))
    load = load_of(x)
    load[3:] += 1.0
    normal = x[:, 13:16] / np.linalg.norm(x[:, 13:16], axis=-1, keepdims=True)
    across = rng.standard_normal((nodes, 3))
    across -= (across * normal).sum(axis=-1, keepdims=True) * normal
    x[:, 7:10] = load[3:] + across
    return with_load(x[:, :13], load), rng.uniform(1, 4, (nodes, 4))


def loops(x: np.ndarray, u: np.ndarray, p: dict) -> tuple[np.ndarray, np.ndarray]:
    """The derivative (node, 19) and the tensions by loops over quadrotors, from the equations of the
    docstring; the constraint is solved as one large system of accelerations and tensions."""
    nodes = len(x)
    gravity = np.array([0, 0, -p["gravity"]])
    J = np.diag([p["inertia_x"], p["inertia_y"], p["inertia_z"]])
    r, s = x[0, :3] - x[0, 13:16], x[0, 7:10] - x[0, 16:19]
    size = 3 * nodes + 3 + nodes
    A, b, out = np.zeros((size, size)), np.zeros(size), np.zeros((nodes, 19))
    load = slice(3 * nodes, 3 * nodes + 3)
    A[load, load] = p["load_mass"] * np.eye(3)
    b[load] = p["load_mass"] * gravity
    for i in range(nodes):
        q, w = x[i, 3:7], x[i, 10:13]
        cross = np.array([[0, -q[3], q[2]], [q[3], 0, -q[1]], [-q[2], q[1], 0]])
        R = np.eye(3) + 2 * q[0] * cross + 2 * cross @ cross
        f1, f2, f3, f4 = u[i]
        tau = np.array([p["arm"] * (f2 - f4), p["arm"] * (f3 - f1), p["torque_ratio"] * (f1 - f2 + f3 - f4)])  # fmt: skip
        n = (x[i, :3] - r) / np.linalg.norm(x[i, :3] - r)
        own, row = slice(3 * i, 3 * i + 3), 3 * nodes + 3 + i
        A[own, own] = p["mass"] * np.eye(3)
        A[own, row] = n
        A[load, row] = -n
        b[own] = p["mass"] * gravity + R @ np.array([0, 0, f1 + f2 + f3 + f4])
        # (p - r).(p'' - r'') + |v - s|^2 = 0
        A[row, own], A[row, load] = x[i, :3] - r, r - x[i, :3]
        b[row] = -np.sum((x[i, 7:10] - s) ** 2)
        out[i, :3] = x[i, 7:10]
        out[i, 3] = -0.5 * q[1:] @ w
        out[i, 4:7] = 0.5 * (q[0] * w + np.cross(q[1:], w))
        out[i, 10:13] = np.linalg.inv(J) @ (tau - np.cross(w, J @ w))
        out[i, 13:16] = x[i, 7:10] - s
    solved = np.linalg.solve(A, b)
    out[:, 7:10] = solved[: 3 * nodes].reshape(nodes, 3)
    out[:, 16:19] = out[:, 7:10] - solved[load]
    return out, solved[3 * nodes + 3 :]


def in_code(x: np.ndarray, u: np.ndarray, p: dict) -> tuple[np.ndarray, np.ndarray]:
    """The same from the compiled function."""
    nodes = len(x)
    dx, dy, tension = np.empty((nodes, 13)), np.empty(6), np.empty(nodes)
    memory = np.empty((nodes, 3)), np.empty(nodes), np.empty(nodes), np.empty((nodes, nodes))
    craft = quadrotors._craft(p, nodes)
    flight.derivative(x[:, :13].copy(), load_of(x), u, craft, dx, dy, tension, *memory)
    return with_load(dx, dy), tension


@pytest.mark.parametrize("nodes", [2, 3, 6])
def test_field_and_compiled_code_are_the_equations(nodes: int) -> None:
    graph, p = setting(nodes)
    for seed in range(5):
        x, u = moving(nodes, p, seed)
        expected, tension = loops(x, u, p)
        np.testing.assert_allclose(Quadrotors().field(0, x, u, graph, p), expected, atol=1e-9)
        np.testing.assert_allclose(tensions(x, u, p), tension, atol=1e-10)
        assert np.abs(tension).max() > 0.5
        derivative, compiled = in_code(x, u, p)
        np.testing.assert_allclose(compiled, tension, atol=1e-10)
        np.testing.assert_allclose(derivative[:, :13], expected[:, :13], atol=1e-9)
        np.testing.assert_allclose(derivative[:, 16:], expected[:, 16:], atol=1e-9)


def test_off_the_constraints_both_fields_agree() -> None:
    _, p = setting(3)
    x, u = moving(3, p)
    load = load_of(x)
    x[:, 7:10] += 0.5 * x[:, 13:16]  # along the cables
    x = with_load(x[:, :13], load)
    np.testing.assert_allclose(tensions(x, u, p), in_code(x, u, p)[1], atol=1e-10)


def test_the_projection_keeps_momentum_and_centre_of_mass() -> None:
    _, p = setting(3)
    craft = quadrotors._craft(p, 3)
    x, load = moving(3, p)[0], load_of(moving(3, p)[0])
    rng = np.random.default_rng(0)
    near = x[:, :13].copy()
    near[:, :3] += 1e-4 * rng.standard_normal((3, 3))
    near[:, 7:10] += 1e-4 * rng.standard_normal((3, 3))
    moved, of_load = near.copy(), load.copy()
    memory = np.empty(3), np.empty((3, 3)), np.empty(3), np.empty(3), np.empty((3, 3))
    flight.project(moved, of_load, craft, *memory)
    after = with_load(moved, of_load)
    length = np.linalg.norm(after[:, 13:16], axis=-1)
    assert np.abs(length - 2.2).max() < 1e-8  # one step of Newton: the square of 1e-4
    assert np.abs((after[:, 13:16] * after[:, 16:19]).sum(axis=-1)).max() < 1e-12
    for position, of in ((slice(0, 3), slice(0, 3)), (slice(7, 10), slice(3, 6))):
        before = near[:, position].sum(axis=0) + 0.9 * load[of]
        np.testing.assert_allclose(
            moved[:, position].sum(axis=0) + 0.9 * of_load[of], before, atol=1e-12
        )
        assert np.abs(moved[:, position] - near[:, position]).max() > 1e-5


def test_springs_are_the_same_in_numpy_and_in_code() -> None:
    graph, p = setting(3, stiffness=1e3, damping_ratio=0.3)
    x, u = moving(3, p)
    x[0, :3] += 0.01 * x[0, 13:16]
    x[1, :3] -= 0.01 * x[1, 13:16]  # slack
    x = with_load(x[:, :13], load_of(x) * 1.0)
    derivative, compiled = in_code(x, u, p)
    np.testing.assert_allclose(tensions(x, u, p), compiled, atol=1e-9)
    field = Quadrotors().field(0, x, u, graph, p)
    np.testing.assert_allclose(field[:, 7:10], derivative[:, 7:10], atol=1e-9)
    assert compiled[1] == 0 and compiled[0] > 1


@pytest.mark.parametrize("nodes", [3, 6])
def test_cables_keep_their_length_and_power_is_the_change_of_energy(nodes: int) -> None:
    graph, p = setting(nodes)
    x0, times = start_of(nodes, p, 3), 0.05 * np.arange(241)
    noise = 0.03 * np.random.default_rng(1).standard_normal((241, nodes, 4))
    flown = fly_from(x0, times, noise, None, p, 0.3, -0.4)
    x = with_load(flown["x"], flown["load"])
    assert quadrotors.cable_error(x, graph, p).max() < 1e-9
    energy = quadrotors.energy(x, graph, p)
    assert np.abs(energy - energy[0] - flown["work"]).max() < 1e-6
    assert np.ptp(energy) > 1  # the balance is of numbers that change
    speed = (x[..., 13:16] * x[..., 16:19]).sum(axis=-1)
    assert np.abs(speed).max() < 1e-9
    assert np.abs(np.linalg.norm(x[..., 3:7], axis=-1) - 1).max() < 1e-12


def test_hover_is_an_equilibrium_with_the_published_tension() -> None:
    graph, p = setting(3, **PUBLISHED, **QUIET)
    x = start_of(3, p)
    alpha = np.arcsin(1.2 / 1.55)
    tension = 0.9 * 9.81 / (3 * np.cos(alpha))
    lift = np.hypot(9.81 + tension * np.cos(alpha), tension * np.sin(alpha))
    u = np.full((3, 4), lift / 4)
    np.testing.assert_allclose(tensions(x, u, p), tension, rtol=1e-12)
    assert tension == pytest.approx(4.64966, abs=1e-5)  # of the published code
    assert lift / 4 == pytest.approx(3.32, abs=0.01)
    # The code's first two attitudes, at 0 and 120 degrees: trimmed, 0.5 degrees from equilibrium.
    np.testing.assert_allclose(x[0, 3:7], [0.99115, 0, 0.132909, 0], atol=5e-3)
    np.testing.assert_allclose(x[1, 3:7], [0.99115, -0.115103, -0.0664547, 0], atol=5e-3)
    assert np.abs(Quadrotors().field(0, x, u, graph, p)).max() < 1e-12
    held = np.broadcast_to(u, (21, 3, 4))
    still = fly_from(x, 0.05 * np.arange(21), held, held, p, 0, 0)
    assert np.abs(still["x"] - x[:, :13]).max() < 1e-10


def test_without_thrust_everything_falls_freely() -> None:
    _, p = setting(3, **QUIET)
    x, times = start_of(3, p), 0.05 * np.arange(11)
    none = np.zeros((11, 3, 4))
    flown = fly_from(x, times, none, none, p, 0, 0)
    fall = -0.5 * 9.81 * times**2
    np.testing.assert_allclose(flown["x"][..., 2], x[:, 2] + fall[:, None], atol=1e-12)
    np.testing.assert_allclose(flown["load"][:, 2], 0.25 + fall, atol=1e-12)
    assert np.abs(flown["tension"]).max() < 1e-12
    assert flown["work"][-1] == 0


def test_rotation_about_the_vertical_shifts_and_labels_are_symmetries() -> None:
    _, p = setting(4)
    (x, u), times = moving(4, p, 2), 0.05 * np.arange(11)
    u = np.broadcast_to(u, (11, 4, 4)) * (1 + 0.02 * np.arange(11)[:, None, None])
    flown = fly_from(x, times, u, u, p, 0, 0)
    angle, shift = 0.7, np.array([2.0, -1.0, 0.5])
    c, s = np.cos(angle), np.sin(angle)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    h = np.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)])

    def turned(x: np.ndarray) -> np.ndarray:
        out = x.copy()
        w, a, b, k = np.moveaxis(x[..., 3:7], -1, 0)
        out[..., 3:7] = np.stack(
            [h[0] * w - h[3] * k, h[0] * a - h[3] * b, h[0] * b + h[3] * a, h[0] * k + h[3] * w], -1
        )
        out[..., :3] = x[..., :3] @ R.T + shift
        out[..., 7:10] = x[..., 7:10] @ R.T
        return out

    load = load_of(x)
    of_load = np.concatenate([R @ load[:3] + shift, R @ load[3:]])
    again = fly_from(with_load(turned(x[:, :13]), of_load), times, u, u, p, 0, 0)
    np.testing.assert_allclose(again["x"], turned(flown["x"]), atol=1e-9)
    np.testing.assert_allclose(again["tension"], flown["tension"], atol=1e-8)
    order = np.array([2, 0, 3, 1])
    relabelled = fly_from(x[order], times, u[:, order], u[:, order], p, 0, 0)
    np.testing.assert_allclose(relabelled["x"], flown["x"][:, order], atol=1e-9)


def test_springs_approach_rigid_cables_at_first_order() -> None:
    times = 0.05 * np.arange(11)
    _, rigid = setting(3, **QUIET)
    x = start_of(3, rigid)
    u = np.full((11, 3, 4), 3.3)
    u[:, 0] *= 1.1
    truth = fly_from(x, times, u, u, rigid, 0, 0)["x"][-1, :, :3]
    errors = []
    for stiffness in (1e3, 1e4, 1e5):
        _, p = setting(3, **QUIET, stiffness=stiffness)
        end = fly_from(start_of(3, p), times, u, u, p, 0, 0)["x"][-1, :, :3]
        errors.append(np.abs(end - truth).max())
    assert errors[0] < 1e-2
    for coarse, fine in pairwise(errors):
        assert 7 < coarse / fine < 14, errors


def test_flights_on_springs_fly_the_task() -> None:
    ds = pympnode.simulate("quadrotors", trajectories=3, parameters={"stiffness": 2000.0})
    length = np.linalg.norm(ds.state.values[..., 13:16], axis=-1)
    stretch = length - 2.2
    assert 0 < stretch.min() and stretch.max() < 0.01
    np.testing.assert_allclose(load_of(ds.state.values)[:, -1, 0], 8, atol=0.3)


@pytest.fixture(scope="module")
def flights() -> xr.Dataset:
    return pympnode.simulate("quadrotors", trajectories=40, seed=3)


def test_flights_pass_the_door_and_reach_the_goal(flights: xr.Dataset) -> None:
    assert flights.state.shape == (40, 241, 3, 19) and flights.control.shape == (40, 241, 3, 4)
    x, door = flights.state.values, flights.door.values
    load = load_of(x)
    np.testing.assert_allclose(load[:, -1, :3], np.tile([8, 0, 0.25], (40, 1)), atol=0.3)
    # 1.25 radii from six cylinders of radius 0.5 m, on both sides of the gap of 1 m.
    for along, side in np.stack(np.meshgrid([3.5, 4, 4.5], [-1, 1]), -1).reshape(-1, 2):
        axis = np.stack([np.full(40, along), door + side], axis=-1)[:, None, None]
        assert np.linalg.norm(x[..., :2] - axis, axis=-1).min() >= 0.5 + 1.25 * 0.275
        assert np.linalg.norm(load[..., :2] - axis[:, 0], axis=-1).min() >= 0.5 + 1.25 * 0.2
    beside = np.abs(x[..., 1] - door[:, None, None])
    assert np.all(beside[np.abs(x[..., 0] - 4) < 0.05] < 0.17)
    assert np.ptp(door) > 0.5
    assert flights.door.dims == ("trajectory",) and flights.door.attrs["units"] == "m"
    assert set(flights.flag.values) == {"none"}
    u = flights.control.values
    assert u.min() >= 0 and u.max() <= (1.9 * 9.81) / 4
    assert np.abs(np.diff(x[..., 3:7], axis=1)).max() < 0.2  # the sign does not jump
    assert flights.unit.values.tolist()[:4] == ["m", "m", "m", "1"]
    draws = record(flights)["draws"]
    assert draws["drawn"] >= 40 and draws["redrawn_share"] == 1 - 40 / draws["drawn"]
    assert set(draws["flag_share"]) == set(quadrotors.FLAGS)


def test_controls_are_recorded_and_held(flights: xr.Dataset) -> None:
    few = flights.isel(trajectory=slice(3))
    start, u = few.state.values[:, 0], few.control.values
    again = pympnode.simulate("quadrotors", initial=start, control=u)
    np.testing.assert_allclose(again.state.values, few.state.values, atol=1e-8)
    # The field between projections is that of `field`, from an adaptive solver.
    graph, p = setting(3)
    solved = generate(_AsField(), graph, p, 3, initial=start, steps=20, dt=0.05, controls=u[:, :21])
    np.testing.assert_allclose(solved.x, few.state.values[:, :21], atol=1e-6)
    late = np.roll(u, 1, axis=1)
    other = pympnode.simulate("quadrotors", initial=start, control=late)
    assert np.abs(other.state.values - few.state.values).max() > 1e-3


class _AsField(Quadrotors):
    """The same system, solved from its field."""

    simulate_trajectory = System.simulate_trajectory


def test_a_flight_depends_on_its_number_alone(flights: xr.Dataset) -> None:
    graph, _ = setting(3)
    for first, count in ((0, 1), (7, 5)):
        part = generate("quadrotors", graph, None, count, seed=3, first=first)
        assert np.array_equal(part.x, flights.state.values[first : first + count])
        assert np.array_equal(part.u, flights.control.values[first : first + count])
        assert np.array_equal(
            part.of_trajectory["door"], flights.door.values[first : first + count]
        )


def test_plain_python_computes_the_same() -> None:
    code = (
        "import numpy as np, sys, pympnode.networks.generate as g\n"
        "from pympnode.networks.graphs.topology import resolve\n"
        "made = g.generate('quadrotors', resolve('complete', 3), None, 1, steps=4)\n"
        "sys.stdout.write(repr(made.x.ravel().tolist()))\n"
    )
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    root = Path(pympnode.__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=root, capture_output=True, text=True, check=True
    )
    plain = np.array([float(each) for each in run.stdout.strip("[]").split(",")])
    compiled = generate("quadrotors", setting(3)[0], None, 1, steps=4).x.ravel()
    np.testing.assert_allclose(plain, compiled, atol=1e-12)


def test_a_thousand_flights_take_seconds() -> None:
    graph, _ = setting(3)
    generate("quadrotors", graph, None, 1)  # compiled or read from the cache
    before = time.process_time()
    generate("quadrotors", graph, None, 50)
    assert time.process_time() - before < 1.0  # 20 s for 1,000
    still = np.broadcast_to(3.0, (3, 2, 4))  # memory that cannot be written compiles nothing anew
    _, p = setting(2)
    fly_from(start_of(2, p), np.array([0.0, 0.1, 0.2]), still, still, p, 0, 0)
    assert len(flight.fly.signatures) == 1


def test_flags_are_drawn_anew_or_kept() -> None:
    narrow = {"door_width": 0.9}
    kept = pympnode.simulate(Quadrotors(redraw=False), trajectories=30, parameters=narrow)
    flagged = kept.flag.values != "none"
    draws = record(kept)["draws"]
    assert draws["drawn"] == 30 and draws["redrawn_share"] == 0
    assert 0.1 < flagged.mean() < 1
    share = np.mean(["door" in flag for flag in kept.flag.values])
    assert draws["flag_share"]["door"] == share > 0
    anew = pympnode.simulate("quadrotors", trajectories=30, parameters=narrow)
    assert set(anew.flag.values) == {"none"} and record(anew)["draws"]["redrawn_share"] > 0.1
    same = ~flagged
    assert np.array_equal(anew.state.values[same], kept.state.values[same])


@pytest.mark.parametrize(
    ("parameters", "flag"),
    [
        ({"ceiling": 2.0}, "height"),
        ({"quadrotor_radius": 0.49}, "door"),
        ({"rotor_noise": 8.0}, "saturated"),
        ({"duration": 2.5}, "tracking"),
        ({"duration": 2.5}, "slack"),
        ({"cable_length": 1.0, "circle_radius": 0.4, "fan_angle": 0.6}, "near"),
    ],
)
def test_each_flag_is_found(parameters: dict, flag: str) -> None:
    system = Quadrotors(redraw=False)
    ds = pympnode.simulate(system, trajectories=6, parameters=parameters)
    assert any(flag in each.split("+") for each in ds.flag.values), set(ds.flag.values)


def test_no_flight_without_a_flag_is_an_error() -> None:
    with pytest.raises(IntegrationFailed, match="height 100") as caught:
        pympnode.simulate("quadrotors", trajectories=1, parameters={"ceiling": 2.0})
    assert "redraw=False" in str(caught.value)


@pytest.mark.parametrize(
    ("nodes", "parameters", "words"),
    [
        (3, {"load_mass": 2.8}, "cannot lift"),
        (6, PUBLISHED, "fan are closer"),
        (3, {"door_width": 0.5}, "narrower than a quadrotor"),
        (3, {"cable_length": 1.6}, "cables must point up"),
        (3, {"circle_radius": 0.2}, "circle are closer"),
        (3, {"mass": 0.0}, "mass of quadrotors"),
        (3, {"rotor_noise": -1.0}, "rotor_noise of quadrotors"),
    ],
)
def test_impossible_tasks_are_refused(nodes: int, parameters: dict, words: str) -> None:
    with pytest.raises(InvalidOption, match=words) as caught:
        pympnode.simulate("quadrotors", nodes=nodes, trajectories=1, parameters=parameters)
    assert caught.value.got and caught.value.allowed
    with pytest.raises(InvalidOption, match=words):
        pympnode.train("quadrotors", nodes=nodes, trajectories=2, parameters=parameters)


def test_the_lightest_load_that_is_refused() -> None:
    _, p = setting(3)
    limit = 4 * p["max_thrust"] * 3 / 9.81 - 3
    setting(3, load_mass=0.99 * limit)
    with pytest.raises(InvalidOption, match="cannot lift"):
        setting(3, load_mass=1.01 * limit)


def test_graphs_are_complete_and_have_two_nodes() -> None:
    with pytest.raises(InvalidGraph, match="one quadrotor"):
        pympnode.simulate("quadrotors", nodes=1, trajectories=1)
    for topology in ("ring", "none"):
        with pytest.raises(InvalidGraph, match="complete"):
            pympnode.simulate("quadrotors", nodes=4, topology=topology, trajectories=1)
    with pytest.raises(InvalidGraph, match="with weights"):
        pympnode.simulate("quadrotors", edge_weight=(0.5, 1.0), trajectories=1)


def test_self_loops_are_all_or_none() -> None:
    full = np.ones((3, 3))
    looped = Graph.from_adjacency(full, self_loops=True)
    ds = pympnode.simulate("quadrotors", topology=looped, trajectories=1, steps=3)
    plain = pympnode.simulate("quadrotors", trajectories=1, steps=3)
    assert ds.sizes["edge"] == 9 and np.array_equal(ds.state, plain.state)
    full[0, 0] = full[1, 2] = 0
    with pytest.raises(InvalidGraph, match="complete"):
        graph = Graph.from_adjacency(full, self_loops=True)
        pympnode.simulate("quadrotors", topology=graph, trajectories=1, steps=3)


def test_the_load_as_a_node_is_the_same_flight() -> None:
    system = Quadrotors(load="node")
    plain = pympnode.simulate("quadrotors", trajectories=2, steps=20, seed=3)
    ds = pympnode.simulate(system, trajectories=2, steps=20, seed=3)
    np.testing.assert_array_equal(ds.state_quadrotor, plain.state[..., :13])
    np.testing.assert_array_equal(ds.state_load.values[:, :, 0], load_of(plain.state.values))
    np.testing.assert_array_equal(ds.control_quadrotor, plain.control)
    assert ds.feature_load.values.tolist()[::3] == ["position_x", "velocity_x"]
    assert ds.unit_load.values.tolist() == ["m"] * 3 + ["m/s"] * 3
    arrays = pack(ds)
    np.testing.assert_array_equal(arrays.node_type, [0, 0, 0, 1])
    np.testing.assert_array_equal(arrays.graph.adjacency(), 1 - np.eye(4))
    back = system.join_types({n: ds[f"state_{n}"].values for n in system.node_types})
    np.testing.assert_allclose(back, plain.state, atol=1e-12)
    noisy = pympnode.simulate(system, trajectories=2, steps=20, seed=3, noise=0.1)
    for name in system.node_types:
        added = (noisy[f"state_{name}"] - ds[f"state_{name}"]).values
        assert 0.07 < added.std() < 0.13
    with pytest.raises(InvalidOption, match="one number"):
        pympnode.simulate(system, trajectories=1, steps=2, noise=[0.1] * 19)
    with pytest.raises(UnknownName, match="feature"):
        Quadrotors(load="feature")


def test_a_model_of_quadrotors_and_load_has_their_observables() -> None:
    """`evaluate` compares the load, whose type is another, as it does with the load in the state."""
    system = Quadrotors(load="node")
    ds = pympnode.simulate(system, trajectories=4, steps=12, seed=3)
    options = dict(updates=2, messages="emitted", hidden=8, kernel="torch", progress=False)
    model = pympnode.train(data=ds, **options).model
    errors = pympnode.evaluate(model, ds)
    for axis, name in enumerate(("load_x", "load_y", "load_z")):
        true = ds.state_load.values[:, :, 0, axis]
        np.testing.assert_allclose(errors.observable_true.sel(observable=name), true, atol=1e-12)
        found = errors.predicted_load.values[:, :, 0, axis]
        np.testing.assert_allclose(
            errors.observable_predicted.sel(observable=name), found, atol=1e-4
        )
        rmse = errors.rmse.sel(predictor="model", feature=f"load.position_{'xyz'[axis]}")
        seen = errors.observable_rmse.sel(predictor="model", observable=name)
        np.testing.assert_allclose(seen, rmse, rtol=1e-3)
    pytest.importorskip("matplotlib").use("Agg")
    ax = pympnode.plotting.quadrotor_paths(errors, ds)
    np.testing.assert_allclose(ax.lines[0].get_data_3d()[0], ds.state_load.values[0, :, 0, 0])


def test_starts_that_contradict_themselves_are_refused(flights: xr.Dataset) -> None:
    start = flights.state.values[:1, 0].copy()
    with pytest.raises(InvalidData, match="stretches"):
        pympnode.simulate("quadrotors", initial=start, parameters={"cable_length": 2.3})
    start[0, 0, 13] += 0.1
    with pytest.raises(InvalidData, match="place the load differently"):
        pympnode.simulate("quadrotors", initial=start)


def test_a_model_trains_and_is_evaluated_beside_the_baselines(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # `door` and `flag` are not taken for variables of the user
        result = pympnode.train(
            "quadrotors", trajectories=10, steps=20, epochs=1, kernel="eager", progress=False
        )
        scores = result.evaluate(trajectories=3)
    assert set(scores.predictor.values) >= {"model", "persistence", "uncoupled"}
    observables = scores.observable_rmse
    assert {"load_x", "cable_error"} <= set(observables.observable.values)
    assert np.isfinite(observables.sel(predictor="uncoupled")).all()
    ds = pympnode.simulate("quadrotors", trajectories=2, steps=3)
    ds.to_netcdf(tmp_path / "flights.nc")
    with xr.open_dataset(tmp_path / "flights.nc") as again:
        assert record(again)["draws"] == record(ds)["draws"]
        assert pympnode.evaluate(result.model, again).rmse_z.size == 4


def test_a_system_that_simulates_itself_returns_the_right_shapes() -> None:
    class Wrong(System):
        name = "wrong"
        state = (Variable("a"),)

        def simulate_trajectory(self, rng, time, graph, parameters, *, initial, controls):  # type: ignore[no-untyped-def]
            from pympnode.systems.base import SimulatedTrajectory

            return SimulatedTrajectory(np.full((time.size, self.width, 1), self.value), None)

        width, value = 4, 0.0

    system = Wrong()
    with pytest.raises(InvalidData, match="another shape"):
        pympnode.simulate(system, nodes=3, trajectories=1)
    system.width, system.value = 3, np.nan
    with pytest.raises(IntegrationFailed, match="not finite"):
        pympnode.simulate(system, nodes=3, trajectories=1)
    system.value = 1.0
    assert (pympnode.simulate(system, nodes=3, trajectories=2).state == 1).all()


def test_paths_are_drawn_with_cables_and_door(flights: xr.Dataset) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    guess = flights.assign(state=flights.state + 0.1)
    ax = guess.pympnode.plot.quadrotor_paths(truth=flights, trajectory=2, times=[0.0, 5.0])
    x = flights.state.values[2]
    named = {line.get_label(): np.array(line.get_data_3d()).T for line in ax.lines}
    np.testing.assert_allclose(named["quadrotor 1"], x[:, 1, :3])
    np.testing.assert_allclose(named["load"], load_of(x)[:, :3])
    assert sum(line.get_linestyle() == "--" for line in ax.lines) == 4
    cables = [np.array(line.get_data_3d()) for line in ax.lines if len(line.get_data_3d()[0]) == 2]
    assert len(cables) == 6  # of three quadrotors at two times
    lengths = [np.linalg.norm(cable[:, 1] - cable[:, 0]) for cable in cables]
    np.testing.assert_allclose(lengths, 2.2)
    surfaces = [each for each in ax.collections if isinstance(each, Poly3DCollection)]
    assert len(surfaces) == 6
    ax.figure.canvas.draw()
    without = pympnode.plotting.quadrotor_paths(flights.drop_vars("door"))
    assert not [each for each in without.collections if isinstance(each, Poly3DCollection)]
    with pytest.raises(InvalidData, match="paths of quadrotors"):
        pympnode.plotting.quadrotor_paths(pympnode.simulate("heat", trajectories=1, steps=2))
    plt.close("all")


def test_a_system_that_simulates_itself_has_no_delays_that_it_does_not_use() -> None:
    with pytest.raises(InvalidOption, match="simulated without delays"):
        pympnode.simulate("quadrotors", nodes=3, trajectories=1, steps=2, delay=0.1)
