"""Explicit Runge-Kutta tableaux for steps of fixed size.

``rk4``: the classical method, order 4 (Kutta 1901). ``tsit5``: Tsitouras 2011, "Runge-Kutta pairs of
order 5(4) satisfying only the first column simplifying assumption", its fifth-order solution.
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
    _lower(
        [
            [],
            [0.161],
            [-0.008480655492356989, 0.335480655492357],
            [2.8971530571054935, -6.359448489975075, 4.3622954328695815],
            [
                5.325864828439257,
                -11.748883564062828,
                7.4955393428898365,
                -0.09249506636175525,
            ],
            [
                5.86145544294642,
                -12.92096931784711,
                8.159367898576159,
                -0.071584973281401,
                -0.028269050394068383,
            ],
        ]
    ),
    np.array(
        [
            0.09646076681806523,
            0.01,
            0.4798896504144996,
            1.379008574103742,
            -3.290069515436081,
            2.324710524099774,
        ]
    ),
)

TABLEAUX = {"rk4": RK4, "tsit5": TSIT5}
