"""Explicit Runge-Kutta tableaux for steps of fixed size.

``rk4``: the classical method, order 4 (Kutta 1901). ``tsit5``: Tsitouras 2011, "Runge-Kutta pairs of
order 5(4) satisfying only the first column simplifying assumption", its fifth-order solution. ``euler``:
order 1, for the windows of one interval of gradient matching.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Tableau:
    """``a`` (stages, stages) strictly lower triangular, ``b`` (stages,), ``c`` (stages,)."""

    name: str
    order: int
    a: NDArray[np.float64]
    b: NDArray[np.float64]

    @property
    def c(self) -> NDArray[np.float64]:
        """Times of the stages, as fractions of a step."""
        # The row-sum condition, which both tableaux satisfy.
        return self.a.sum(axis=1)

    @property
    def stages(self) -> int:
        """Evaluations of the field in one step."""
        return len(self.b)


def _lower(rows: list[list[float]]) -> NDArray[np.float64]:
    matrix = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows):
        matrix[i, : len(row)] = row
    return matrix


RK4 = Tableau(
    "rk4",
    4,
    _lower([[], [0.5], [0.0, 0.5], [0.0, 0.0, 1.0]]),
    np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]),
)

TSIT5 = Tableau(
    "tsit5",
    5,
    _lower([
        [],
        [0.161],
        [-0.008480655492356989, 0.335480655492357],
        [2.8971530571054935, -6.359448489975075, 4.3622954328695815],
        [5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525],
        [
            5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401,
            -0.028269050394068383,
        ],
    ]),
    np.array([
        0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081,
        2.324710524099774,
    ]),
)  # fmt: skip


def dense(tableau: Tableau, fraction: float) -> NDArray[np.float64]:
    """Weights (stages,) of the slopes at a ``fraction`` of an rk4 step, order 3, b at 1.

    The natural continuous extension of the classical method (Zennaro 1986); it costs no evaluation.
    """
    if tableau.name != "rk4":
        raise ValueError(f"no continuous extension for {tableau.name}")
    s, s2, s3 = fraction, fraction**2, fraction**3
    middle = s2 - 2 / 3 * s3
    return np.array([s - 1.5 * s2 + 2 / 3 * s3, middle, middle, -0.5 * s2 + 2 / 3 * s3])


@dataclass(frozen=True, eq=False)
class Steps:
    """The steps of a window: ``first`` (steps + 1,) grid times where they start and end, ``size``
    (steps,) their lengths, ``inside`` (intervals, stages) size times weights of the slopes at the end
    of each interval, used where that is not the end of a step."""

    first: NDArray[np.int64]
    size: NDArray[np.float64]
    inside: NDArray[np.float64]

    @classmethod
    def over(cls, tableau: Tableau, dt: NDArray[np.float64], stride: int) -> Steps:
        """Steps over ``stride`` intervals each, the last over the remaining ones."""
        count = len(dt)
        first = np.append(np.arange(0, count, stride), count).astype(np.int64)
        time = np.concatenate([[0.0], np.cumsum(np.asarray(dt, dtype=np.float64))])
        # Differences of a running sum would change the last bits of dt, and with them every result.
        size = np.asarray(dt, dtype=np.float64) if stride == 1 else np.diff(time[first])
        inside = np.zeros((count, tableau.stages))
        for step, start in enumerate(first[:-1] if stride > 1 else []):
            for t in range(start + 1, first[step + 1]):
                fraction = (time[t] - time[start]) / size[step]
                # Times the step size, so that kernels scale and add slopes as for the step itself.
                inside[t - 1] = size[step] * dense(tableau, fraction)
        return cls(first, size, inside)


EULER = Tableau("euler", 1, _lower([[]]), np.array([1.0]))

TABLEAUX = {"rk4": RK4, "tsit5": TSIT5, "euler": EULER}
