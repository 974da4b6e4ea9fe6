"""CPU time and accuracy of data generation against SciPy and diffrax.

    python benchmarks/data_generation.py [--repeats 5] [--trajectories 64]

The peer is ``scipy.integrate.solve_ivp(method="DOP853")`` at the same tolerance (1e-8, relative and
absolute) on the same initial states and output times. Its field is written twice: "plain", the
equation as it reads in NumPy (the wanted ratios are against this one), and "short", the least work
that we could think of (for Lorenz: everything linear in one matrix). Where jax and diffrax are
installed, their row is Dopri8 with a PID controller at the same tolerance in float64, compiled and
vectorised over all trajectories; its compilation is not counted. "NumPy" is our solver without machine
code. Ours draw the initial states within their time; the peers get them. All are timed in turns in one
process on one thread, by CPU time; errors are against SciPy's solution at 1e-12.
"""

from __future__ import annotations

import os

# Before anything loads a thread pool.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["XLA_FLAGS"] = (
    "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1 "
    + os.environ.get("XLA_FLAGS", "")
)

import argparse
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy
from scipy.integrate import solve_ivp
from smoke import parse

from pympnode.networks.generate import generate
from pympnode.networks.graphs.topology import resolve
from pympnode.systems.registry import get

Field = Callable[[float, np.ndarray], np.ndarray]
TOLERANCE = 1e-8
CASES = {
    "Kuramoto10 BA": ("kuramoto", "BA", 10),
    "Lorenz10": ("lorenz", "complete", 10),
    "gene64 BA": ("gene", "BA", 64),
}
# How many times the CPU time of diffrax ours is to take at most.
WANTED = {"Kuramoto10 BA": 10, "Lorenz10": 5, "gene64 BA": 3}
MISSING = [name for name in ("jax", "diffrax") if not importlib.util.find_spec(name)]


def flat_fields(system: str, graph, parameters) -> dict[str, Field]:
    """The field of one flat state: as the equations read, and as short as NumPy allows."""
    adjacency = graph.adjacency().T.astype(float)
    n = graph.total_nodes
    if system == "kuramoto":
        frequency, strength = parameters["frequency"], parameters["coupling"]
        tiled = np.tile(frequency, n)

        def plain(t, y):
            phase = y.reshape(n, 3)
            sine, cosine = np.sin(phase), np.cos(phase)
            pulled = cosine * (adjacency @ sine) - sine * (adjacency @ cosine)
            return (frequency + strength * pulled).ravel()

        def short(t, y):
            sine, cosine = np.sin(y), np.cos(y)
            pulled = cosine * (adjacency @ sine.reshape(n, 3)).ravel()
            pulled -= sine * (adjacency @ cosine.reshape(n, 3)).ravel()
            return tiled + strength * pulled

    elif system == "gene":

        def plain(t, y):
            return -y + adjacency @ (y**2 / (1 + y**2))

        def short(t, y):
            square = y * y
            return adjacency @ (square / (1 + square)) - y

    else:
        coupling = parameters["coupling"].reshape(3 * n, 3 * n)
        own = np.array([[-10.0, 10.0, 0.0], [28.0, -1.0, 0.0], [0.0, 0.0, -8.0 / 3.0]])
        matrix = coupling + np.kron(np.eye(n), own)

        def plain(t, y):
            a, b, c = y.reshape(n, 3).T
            own = np.stack([10.0 * (b - a), a * (28.0 - c) - b, a * b - 8.0 / 3.0 * c], axis=1)
            return own.ravel() + coupling @ y

        def short(t, y):
            rate = matrix @ y
            x = y[::3]
            rate[1::3] -= x * y[2::3]
            rate[2::3] += x * y[1::3]
            return rate

    return {"plain": plain, "short": short}


def one_by_one(field, x0: np.ndarray, times: np.ndarray, tolerance: float) -> np.ndarray:
    out = np.empty((x0.shape[0], times.size, x0[0].size))
    for i, start in enumerate(x0):
        span = (times[0], times[-1])
        solved = solve_ivp(
            field, span, start.ravel(), "DOP853", times, rtol=tolerance, atol=tolerance
        )
        out[i] = solved.y.T
    return out.reshape(x0.shape[0], times.size, *x0.shape[1:])


def diffrax_solver(
    system: str, graph, parameters, times: np.ndarray, tolerance: float
) -> Callable[[np.ndarray], np.ndarray]:
    """``solve(x0)`` -> (trajectory, time, node, feature) by diffrax, for all trajectories at once."""
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    n = graph.total_nodes
    adjacency = jnp.asarray(graph.adjacency().T.astype(float))
    if system == "kuramoto":
        frequency, strength = jnp.asarray(parameters["frequency"]), parameters["coupling"]

        def field(t, y, _):
            sine, cosine = jnp.sin(y), jnp.cos(y)
            pulled = cosine * (adjacency @ sine) - sine * (adjacency @ cosine)
            return frequency + strength * pulled

    elif system == "gene":

        def field(t, y, _):
            square = y * y
            return adjacency @ (square / (1 + square)) - y

    else:
        own = np.array([[-10.0, 10.0, 0.0], [28.0, -1.0, 0.0], [0.0, 0.0, -8.0 / 3.0]])
        matrix = parameters["coupling"].reshape(3 * n, 3 * n) + np.kron(np.eye(n), own)
        matrix = jnp.asarray(matrix)

        def field(t, y, _):
            rate, x = (matrix @ y.ravel()).reshape(n, 3), y[:, 0]
            return rate.at[:, 1].add(-x * y[:, 2]).at[:, 2].add(x * y[:, 1])

    def one(start):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field), diffrax.Dopri8(), times[0], times[-1], None, start,
            saveat=diffrax.SaveAt(ts=jnp.asarray(times)), max_steps=100_000,
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        ).ys  # fmt: skip

    run = jax.jit(jax.vmap(one))
    return lambda x0: np.asarray(jax.block_until_ready(run(x0)))


def measure(name: str, trajectories: int, repeats: int) -> list[dict]:
    """One row for each solver."""
    system, topology, nodes = CASES[name]
    graph = resolve(topology, nodes, system=system)
    made = generate(system, graph, None, trajectories, seed=1)
    x0, times = made.x[:, 0].copy(), made.time
    fields = flat_fields(system, graph, made.parameters)
    state = x0[:1]
    own = get(system).field(0.0, state, None, graph, made.parameters)
    for field in fields.values():
        assert np.allclose(own.ravel(), field(0.0, state.ravel()), rtol=1e-12, atol=1e-12)
    truth = one_by_one(fields["short"], x0, times, 1e-12)

    def ours(compiled: bool) -> np.ndarray:
        return generate(
            system, graph, None, trajectories, seed=1, tolerance=TOLERANCE, compiled=compiled
        ).x

    solvers: dict[str, Callable[[], np.ndarray]] = {
        "pympnode": lambda: ours(True),
        "pympnode, NumPy": lambda: ours(False),
        "SciPy DOP853, plain field": lambda: one_by_one(fields["plain"], x0, times, TOLERANCE),
        "SciPy DOP853, short field": lambda: one_by_one(fields["short"], x0, times, TOLERANCE),
    }
    if not MISSING:
        solve = diffrax_solver(system, graph, made.parameters, times, TOLERANCE)
        solvers["diffrax Dopri8"] = lambda: solve(x0)
    errors = {which: np.abs(run() - truth) for which, run in solvers.items()}
    seconds: dict[str, list[float]] = {which: [] for which in solvers}
    for _ in range(repeats):
        for which, run in solvers.items():
            begin = time.process_time()
            run()
            seconds[which].append((time.process_time() - begin) / trajectories)
    return [
        {
            "case": name,
            "solver": which,
            "ms": 1e3 * statistics.median(taken),
            "ratio": statistics.median(
                theirs / ours for theirs, ours in zip(taken, seconds["pympnode"], strict=True)
            ),
            "wanted": WANTED[name] if which.startswith("diffrax") else None,
            "largest_error": float(errors[which].max()),
            "rms_error": float(np.sqrt(np.mean(errors[which] ** 2))),
        }
        for which, taken in seconds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--trajectories", type=int, default=64)
    given = parse(parser, repeats=1, trajectories=1)
    rows = [row for name in CASES for row in measure(name, given.trajectories, given.repeats)]
    table = (
        "| system | solver | ms a trajectory | times ours | wanted | largest error | rms error |\n"
        "|---|---|---|---|---|---|---|\n"
    ) + "".join(
        "| {case} | {solver} | {ms:.4f} | {ratio:.2f} | {} | {largest_error:.1e} "
        "| {rms_error:.1e} |\n".format(row["wanted"] or "", **row)
        for row in rows
    )
    left_out = f" Not installed: {', '.join(MISSING)}." if MISSING else ""
    text = (
        f"# Data generation: {given.trajectories} trajectories of 51 states at {TOLERANCE:g}, CPU "
        "time a trajectory\n\n"
        f"Median of {given.repeats} turns, one thread; Python {platform.python_version()}, NumPy "
        f"{np.__version__}, SciPy {scipy.__version__}.{left_out} "
        "`python benchmarks/data_generation.py`\n\n"
        f"{table}"
    )
    (given.results / "data_generation.md").write_text(text)
    (given.results / "data_generation.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
