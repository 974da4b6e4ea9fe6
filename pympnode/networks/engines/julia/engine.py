"""The Julia engine: the same models and systems, run by a SciML package in a worker process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....errors import EngineUnavailable, InvalidOption, unknown_name
from ....graph import Graph
from ...spec import ModelSpec
from .client import JuliaClient, shared
from .systems import reason_for_python, solve

if TYPE_CHECKING:
    from ...arrays import Arrays
    from ...integrate import Solution
    from .program import JuliaProgram

logger = logging.getLogger("pympnode.networks.engines.julia")

ADJOINTS = ("discrete", "interpolating", "backsolve", "gauss")
DTYPES = ("float32", "float64")


class JuliaEngine:
    """All network models, through Julia (see `engines.base.Engine`).

    ``client``: of the worker to call, by default the one that this Python process shares.
    """

    name = "julia"

    def __init__(self, client: JuliaClient | None = None) -> None:
        self._client = client

    @property
    def client(self) -> JuliaClient:
        """The client of the worker, which is started by the first call."""
        return self._client or shared()

    def supports(self, spec: ModelSpec) -> str | None:
        """None, or why this engine cannot run ``spec``."""
        if spec.stride > 1:
            return f"stride={spec.stride}: the Julia engine takes at least one step per interval"
        newer = {
            "a module of your own": spec.family == "own",
            'messages="pairwise"': spec.pairwise,
            'aggregation="max"': spec.aggregation == "max",
            "learned weights of edges": bool(spec.learned_edges),
            "learned codes of nodes": bool(spec.codes),
            "delays": bool(spec.delay or spec.learned_delays),
            "emitted messages with the sender's controls": spec.sender_controls,
            "channels that emitted messages leave out (invariant)": bool(spec.invariant),
            "several types of nodes": bool(spec.node_types),
            "a linear path (linear_path)": spec.linear,
        }
        for what, wanted in newer.items():
            if wanted:
                return f"{what}: of the torch engine only"
        if spec.circular:
            return "circular features run with the eager kernel of the torch engine only"
        return None

    def integrate(
        self,
        system: Any,
        x0: NDArray[np.float64],
        graph: Graph,
        parameters: dict[str, Any],
        times: NDArray[np.float64],
        tolerance: float,
        *,
        controls: NDArray[np.float64] | None = None,
        check: bool = True,
    ) -> Solution:
        """Solve a system of the package by Tsit5, each trajectory with its own steps.

        x0 (trajectory, node, feature), times (time,), controls (trajectory, time, node, control) or
        None. A system that the Julia package does not have is integrated in Python, which is logged.
        Raises `IntegrationFailed`; with ``check=False`` see `Solution.status` instead.
        """
        parameters = system.resolve_parameters(parameters, graph)
        reason = reason_for_python(system)
        if reason is not None:
            from ...integrate import integrate

            logger.info("integrated in Python: %s", reason)
            return integrate(
                system.bind(graph, parameters), x0, times, controls=controls, rtol=tolerance,
                atol=tolerance, check=check,
            )  # fmt: skip
        solution = solve(self.client, system, x0, graph, parameters, times, tolerance, controls)
        return solution.check() if check else solution

    def bind(
        self,
        spec: ModelSpec,
        arrays: list[Arrays] | None = None,
        *,
        dtype: str = "float32",
        device: str = "auto",
        kernel: str = "auto",
        adjoint: str | None = None,
        tolerance: float = 1e-6,
        horizon: bool = False,
    ) -> JuliaProgram:
        """A Program.

        ``adjoint`` (or ``kernel``, whose "auto" is "discrete"): "discrete", steps of fixed size and
        their hand-written adjoint; "interpolating", "backsolve" or "gauss", adaptive Tsit5 at
        ``tolerance`` with that adjoint of SciMLSensitivity, restarted at every interval or, with
        ``horizon``, solved once over the whole window. Raises `UnknownName`, `EngineUnavailable`,
        `InvalidOption`.
        """
        from .program import JuliaProgram

        if dtype not in DTYPES:
            raise unknown_name("dtype", dtype, DTYPES)
        reason = self.supports(spec)
        if reason is not None:
            raise EngineUnavailable(
                "the Julia engine cannot run this model",
                got=reason,
                allowed="models with stride=1 and without circular features",
                fix='engine="torch"',
            )
        if device not in ("auto", "cpu"):
            raise EngineUnavailable(
                "the Julia engine computes on the CPU",
                got=f"device={device!r}",
                allowed='device="auto" or "cpu"',
                fix='engine="torch" computes on a GPU',
            )
        name = adjoint or ("discrete" if kernel == "auto" else kernel)
        if name not in ADJOINTS:
            raise unknown_name("kernel of the Julia engine", name, ("auto", *ADJOINTS))
        if horizon and name == "discrete":
            raise InvalidOption(
                "one solve over the horizon is adaptive",
                got='adjoint="discrete", horizon=True',
                allowed=", ".join(ADJOINTS[1:]),
                fix='give adjoint="interpolating"',
            )
        return JuliaProgram(
            self.client, spec, arrays, dtype=dtype, adjoint=name, tolerance=float(tolerance),
            horizon=bool(horizon),
        )  # fmt: skip
