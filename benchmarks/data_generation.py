"""CPU time and accuracy of data generation against SciPy, one trajectory at a time.

    python benchmarks/data_generation.py [--repeats 5] [--trajectories 64]

The peer is ``scipy.integrate.solve_ivp(method="DOP853")`` at the same tolerance (1e-8, relative and
absolute) on the same initial states and output times. Its field is written twice: "plain", the
equation as it reads in NumPy (the wanted ratios are against this one), and "short", the least work
that we could think of (for Lorenz: everything linear in one matrix). All are timed in turns in one
process, by CPU time; errors are against the peer's own solution at 1e-12. Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
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
    "Kuramoto10 BA": ("kuramoto", "BA", 10, 8.0),
    "Lorenz10": ("lorenz", "complete", 10, 35.0),
    "gene64 BA": ("gene", "BA", 64, 8.0),
}


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


def measure(name: str, trajectories: int, repeats: int) -> dict:
    system, topology, nodes, target = CASES[name]
    graph = resolve(topology, nodes, system=system)
    made = generate(system, graph, None, trajectories, seed=1)
    x0, times = made.x[:, 0], made.time
    fields = flat_fields(system, graph, made.parameters)
    state = x0[:1]
    own = get(system).field(0.0, state, None, graph, made.parameters)
    for field in fields.values():
        assert np.allclose(own.ravel(), field(0.0, state.ravel()), rtol=1e-12, atol=1e-12)
    truth = one_by_one(fields["short"], x0, times, 1e-12)
    seconds: dict[str, list[float]] = {"pympnode": [], "plain": [], "short": []}
    for _ in range(repeats):
        for which, taken in seconds.items():
            begin = time.process_time()
            if which == "pympnode":
                made = generate(system, graph, None, trajectories, seed=1, tolerance=TOLERANCE)
            else:
                solved = one_by_one(fields[which], x0, times, TOLERANCE)
            taken.append((time.process_time() - begin) / trajectories)

    def ratio(peer: str) -> float:
        turns = zip(seconds[peer], seconds["pympnode"], strict=True)
        return statistics.median(theirs / ours for theirs, ours in turns)

    error, peer_error = np.abs(made.x - truth), np.abs(solved - truth)
    return {
        "case": name,
        "pympnode_ms": 1e3 * statistics.median(seconds["pympnode"]),
        "scipy_plain_ms": 1e3 * statistics.median(seconds["plain"]),
        "scipy_short_ms": 1e3 * statistics.median(seconds["short"]),
        "ratio_plain": ratio("plain"),
        "ratio_short": ratio("short"),
        "wanted_ratio": target,
        "pympnode_error": float(error.max()),
        "scipy_error": float(peer_error.max()),
        "pympnode_rms_error": float(np.sqrt(np.mean(error**2))),
        "scipy_rms_error": float(np.sqrt(np.mean(peer_error**2))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trajectories", type=int, default=64)
    given = parse(parser, repeats=1, trajectories=1)
    rows = [measure(name, given.trajectories, given.repeats) for name in CASES]
    head = (
        "| system | pympnode, ms | SciPy plain, short, ms | ratio to plain | wanted "
        "| ratio to short | largest error | of SciPy | rms error | of SciPy |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n"
    )
    table = head + "".join(
        "| {case} | {pympnode_ms:.3f} | {scipy_plain_ms:.2f}, {scipy_short_ms:.2f} "
        "| {ratio_plain:.1f} | {wanted_ratio:.0f} | {ratio_short:.1f} "
        "| {pympnode_error:.1e} | {scipy_error:.1e} "
        "| {pympnode_rms_error:.1e} | {scipy_rms_error:.1e} |\n".format(**row)
        for row in rows
    )
    text = (
        f"# Data generation: {given.trajectories} trajectories of 51 states at {TOLERANCE:g}, CPU "
        "time a trajectory\n\n"
        f"Median of {given.repeats} turns; Python {platform.python_version()}, NumPy "
        f"{np.__version__}, SciPy {scipy.__version__}. `python benchmarks/data_generation.py`\n\n"
        f"{table}"
    )
    (given.results / "data_generation.md").write_text(text)
    (given.results / "data_generation.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
