"""``Operations``: the calls of the worker, and the conversion of arrays between Python and Julia.

A C-ordered NumPy array (trajectory, time, node, feature) is the same memory as a Julia array
(feature, node, time, trajectory), so it is passed as its transpose without a copy. Numbers of nodes,
graphs, trajectories and times are zero-based in Python and one-based in Julia.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_julia(array: NDArray | None) -> NDArray | None:
    """The same memory with its axes reversed."""
    return None if array is None else np.ascontiguousarray(array).T


def to_numpy(value: Any) -> NDArray:
    """A Julia array with its axes reversed, C-ordered; NumPy arrays (of a stand-in) likewise."""
    array = value.to_numpy(copy=False) if hasattr(value, "to_numpy") else np.asarray(value)
    return np.ascontiguousarray(array.T)


def one_based(numbers: NDArray) -> NDArray:
    """Zero-based numbers as one-based ones."""
    return np.asarray(numbers, dtype=np.int64) + 1


def edges(graph: dict[str, NDArray]) -> tuple[NDArray, NDArray, NDArray]:
    """One-based senders and receivers, and node counts, of a union of graphs."""
    nodes = np.asarray(graph["nodes"], dtype=np.int64)
    return one_based(graph["sender"]), one_based(graph["receiver"]), nodes


class Operations:
    """The operations that a client may call, with plain values and arrays.

    ``bridge``: the Julia module ``MessagePassingNODE.Bridge``.
    """

    def __init__(self, bridge: Any) -> None:
        self._bridge = bridge
        self._programs: dict[int, Any] = {}
        self._next = 1

    def watch(self, address: int) -> None:
        """Let Julia read the two numbers of `protocol.Control` at ``address``."""
        self._bridge.watch(address)

    def ping(self) -> dict[str, Any]:
        """An empty answer."""
        return {}

    def versions(self) -> dict[str, Any]:
        """Versions of Julia and of packages, number of threads."""
        found = self._bridge.versions()
        values = {str(name): found[name] for name in found}
        return {n: v if isinstance(v, int) else str(v) for n, v in values.items()}

    def cpu_seconds(self) -> float:
        """CPU seconds of all threads of this process so far."""
        import time

        return time.process_time()

    def environment(self, names: list[str]) -> dict[str, Any]:
        """Environment variables of this process, and the modules that it has loaded."""
        import os
        import sys

        return {
            "variables": {name: os.environ.get(name) for name in names},
            "modules": sorted(name for name in sys.modules if "." not in name),
            "pid": os.getpid(),
        }

    def simulate(
        self,
        system: str,
        x0: NDArray,
        time: NDArray,
        graph: dict[str, NDArray],
        parameters: dict[str, Any],
        tolerance: float,
        u: NDArray | None = None,
        max_steps: int = 100_000,
    ) -> dict[str, Any]:
        """Trajectories (trajectory, time, node, feature) and their return codes."""
        values = {
            name: to_julia(value) if isinstance(value, np.ndarray) else float(value)
            for name, value in parameters.items()
        }
        solved = self._bridge.simulate(
            system, to_julia(x0), time, *edges(graph), u=to_julia(u), tolerance=tolerance,
            maxiters=max_steps, **values,
        )  # fmt: skip
        codes = str(solved["retcode"]).split(",")
        counts = {name: int(solved[name]) for name in ("evaluations", "accepted", "rejected")}
        return {"x": to_numpy(solved["x"]), "retcode": codes, **counts}

    def program(self, options: dict[str, Any]) -> int:
        """Make a program; returns its number."""
        number, self._next = self._next, self._next + 1
        self._programs[number] = self._bridge.program(**options)
        return number

    def release(self, program: int) -> None:
        """Free a program."""
        self._programs.pop(program, None)

    def bind(
        self,
        program: int,
        x: NDArray,
        time: NDArray,
        graph: dict[str, NDArray],
        graph_of: NDArray,
        u: NDArray | None = None,
        attribute: NDArray | None = None,
        mask: NDArray | None = None,
    ) -> None:
        """Bind a dataset; ``attribute`` (node, attribute), ``mask`` like ``x``."""
        self._bridge.bind(
            self._programs[program], to_julia(x), time, *edges(graph), one_based(graph_of),
            u=to_julia(u), attribute=to_julia(attribute), mask=to_julia(mask),
        )  # fmt: skip

    def loss_and_gradient(
        self, program: int, theta: NDArray, trajectory: NDArray, start: NDArray, horizon: int
    ) -> dict[str, Any]:
        """Loss and gradient (size,)."""
        found = self._bridge.loss_and_gradient(
            self._programs[program], theta, one_based(trajectory), one_based(start), horizon
        )
        return {"loss": float(found["loss"]), "gradient": to_numpy(found["gradient"])}

    def loss(
        self, program: int, theta: NDArray, trajectory: NDArray, start: NDArray, horizon: int
    ) -> float:
        """The loss."""
        return float(
            self._bridge.loss(
                self._programs[program], theta, one_based(trajectory), one_based(start), horizon
            )
        )

    def rollout(
        self,
        program: int,
        theta: NDArray,
        x0: NDArray,
        time: NDArray,
        graph: dict[str, NDArray],
        graph_of: NDArray,
        u: NDArray | None = None,
        attribute: NDArray | None = None,
    ) -> NDArray:
        """States over messages (trajectory, time, node, D)."""
        return to_numpy(
            self._bridge.rollout(
                self._programs[program],
                theta,
                to_julia(x0),
                time,
                *edges(graph),
                one_based(graph_of),
                u=to_julia(u),
                attribute=to_julia(attribute),
            )
        )

    def field(
        self,
        program: int,
        theta: NDArray,
        z: NDArray,
        graph: dict[str, NDArray],
        graph_of: NDArray,
        u: NDArray | None = None,
        attribute: NDArray | None = None,
    ) -> NDArray:
        """dz/dt (trajectory, node, D)."""
        return to_numpy(
            self._bridge.field(
                self._programs[program],
                theta,
                to_julia(z),
                *edges(graph),
                one_based(graph_of),
                u=to_julia(u),
                attribute=to_julia(attribute),
            )
        )
