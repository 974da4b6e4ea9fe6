"""The contract between training and an engine: Engine, Program and what passes between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...graph import Graph
from ...layout import Layout
from ..spec import ModelSpec

if TYPE_CHECKING:
    from ..arrays import Arrays


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows of bound trajectories: indices and numbers, no data.

    ``trajectory`` (batch,) indices into the bound data; ``start`` (batch,) first time index of each
    window; ``horizon`` intervals in a window. Where the time grid is uneven, all starts are equal.
    """

    trajectory: NDArray[np.int64]
    start: NDArray[np.int64]
    horizon: int


@dataclass(frozen=True, eq=False)
class Rollout:
    """What a model predicts.

    ``state`` (trajectory, time, node, feature) and ``message`` (trajectory, time, node, message; no
    components when nothing is carried), initial values included; ``finite`` (trajectory,): False
    where a value overflowed.
    """

    state: NDArray
    message: NDArray
    finite: NDArray[np.bool_]


class Program(Protocol):
    """A specification bound to an engine, and to data when it is to be trained."""

    spec: ModelSpec
    layout: Layout
    dtype: np.dtype
    kernel: str

    def loss_and_gradient(self, theta: NDArray, batch: Batch) -> tuple[float, NDArray]:
        """Huber loss (delta 1), summed over features and times 1.., mean over nodes and
        trajectories, and its gradient (size,) with respect to ``theta`` (size,)."""

    def loss(self, theta: NDArray, batch: Batch) -> float:
        """The loss alone."""

    def rollout_vjp(
        self, theta: NDArray, batch: Batch, output_gradient: NDArray
    ) -> tuple[NDArray, NDArray]:
        """Rollout of the windows of ``batch``, and its vector-Jacobian product.

        ``output_gradient`` (batch, time, node, feature): the gradient of a loss with respect to the
        states, at horizon + 1 times. Returns the states, of the same shape and in z units, without
        messages, and the gradient (size,) of sum(output_gradient * states) with respect to ``theta``.
        It makes any differentiable function of a rollout trainable, by one forward and one reverse
        sweep. Missing values of the data play no part: give 0 where a loss leaves them out. Nodes
        that a smaller graph does not have are NaN in the states, and not read in ``output_gradient``.
        Raises `InvalidModel` where the shape differs, `EngineUnavailable` where the engine has none.
        """

    def initial_message(
        self,
        theta: NDArray,
        x: NDArray,
        attribute: NDArray | None = None,
        node_type: NDArray[np.int64] | None = None,
    ) -> NDArray:
        """m(0) (trajectory, node, message), a function of each node's x, attributes and type.

        ``x`` (trajectory, node, feature) in z units, ``attribute`` (node, attribute) or (trajectory,
        node, attribute), ``node_type`` (node,) as in `Graph`; no components where messages are not ODE
        states.
        """

    def rollout(
        self,
        theta: NDArray,
        x0: NDArray,
        graph: Graph,
        times: NDArray[np.float64],
        *,
        graph_of: NDArray[np.int64] | None = None,
        u: NDArray | None = None,
        attribute: NDArray | None = None,
        edge_weight: NDArray | None = None,
        history: NDArray | None = None,
    ) -> Rollout:
        """Integrate from x0 (trajectory, node, feature) over ``times`` (steps + 1,), controls u
        (trajectory, time, node, control) held over each interval, and so ``edge_weight`` (time, edge)
        or (trajectory, time, edge), the weights of a ``graph`` without weights of its own.

        ``history`` (trajectory, time, node, feature): where messages are delayed, states at the grid
        times before ``times[0]``, the last of them one step before, as many as `prefix` says or more.

        Raises `EngineUnavailable` where the engine or its kernel takes no weights that vary in time.
        """

    def prefix(self, graph: Graph, dt: float) -> int:
        """Intervals of the past that a rollout on ``graph`` with steps of ``dt`` takes; 0 without delays."""

    def field(
        self,
        theta: NDArray,
        z: NDArray,
        graph: Graph,
        *,
        graph_of: NDArray[np.int64] | None = None,
        u: NDArray | None = None,
        attribute: NDArray | None = None,
    ) -> NDArray:
        """dz/dt of z (trajectory, node, D), u (trajectory, node, control) held.

        The torch engine evaluates it with the eager kernel, also where the program trains with another one.
        """


class Rebindable(Program, Protocol):
    """A program whose data can be replaced, as those that are larger than memory are."""

    def rebound(self, arrays: list[Arrays]) -> Program:
        """This program on other trajectories of the first dataset's graphs."""


class Engine(Protocol):
    """``name`` is "torch" or "julia"."""

    name: str

    def supports(self, spec: ModelSpec) -> str | None:
        """None, or why this engine cannot run ``spec``."""

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
    ) -> Any:
        """Solve a system on one graph from x0 (trajectory, node, feature) on a time grid; with
        ``check`` a trajectory that fails is an error."""

    def bind(
        self,
        spec: ModelSpec,
        arrays: list[Arrays] | None = None,
        *,
        dtype: str = "float32",
        device: str = "auto",
        kernel: str = "auto",
    ) -> Program:
        """Bind data (z units) once."""
