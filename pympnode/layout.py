"""Layout: named weights and where each lies in the one flat parameter vector.

Names and order are part of the file format and of the contract between the engines: a weight is
(outputs, inputs), C order, followed by its bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidModel


@dataclass(frozen=True)
class Layout:
    """Names and shapes of a model's weights, in the order of the flat vector.

    ``elementwise``: names of 2-D tensors that are no linear maps, such as codes of nodes.
    """

    shapes: dict[str, tuple[int, ...]]
    elementwise: frozenset[str] = frozenset()

    @property
    def linear_maps(self) -> tuple[str, ...]:
        """Names of the tensors (outputs, inputs) that are linear maps; optimisers may rotate them."""
        return tuple(
            name
            for name, shape in self.shapes.items()
            if len(shape) == 2 and name not in self.elementwise
        )

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Where each tensor starts in the flat vector."""
        offsets, at = {}, 0
        for name, shape in self.shapes.items():
            offsets[name] = at
            at += math.prod(shape)
        return offsets

    @cached_property
    def size(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def unpack(self, theta: Any) -> dict[str, Any]:
        """Views into ``theta`` (size,), one a weight. Works on NumPy arrays and torch tensors.

        Raises `InvalidModel` for another size: a registered class whose parameters changed.
        """
        if len(theta) != self.size:
            raise InvalidModel(
                "the weights do not belong to this model",
                got=f"{len(theta)} numbers",
                allowed=f"{self.size}: {', '.join(f'{n} {s}' for n, s in self.shapes.items())}",
                fix="use the specification, or the registered class, that they were trained with",
            )
        return {
            name: theta[self.offsets[name] : self.offsets[name] + math.prod(shape)].reshape(shape)
            for name, shape in self.shapes.items()
        }

    def pack(self, weights: dict[str, NDArray], dtype: object = np.float64) -> NDArray:
        """The flat vector (size,) of named ``weights``.

        Raises `InvalidModel` when a name is missing, unknown, or of another shape.
        """
        if weights.keys() != self.shapes.keys():
            missing = sorted(self.shapes.keys() - weights.keys())
            unknown = sorted(weights.keys() - self.shapes.keys())
            raise InvalidModel(
                "the weights do not belong to this model",
                got=f"missing {missing}, unknown {unknown}",
                allowed=", ".join(self.shapes),
                fix="use the specification that the weights were saved with",
            )
        # All shapes first: the size that a file asks for is not allocated before.
        for name, shape in self.shapes.items():
            if np.shape(weights[name]) != shape:
                raise InvalidModel(
                    f"weight {name!r} has another shape than the model",
                    got=np.shape(weights[name]),
                    allowed=shape,
                    fix="use the specification that the weights were saved with",
                )
        theta = np.empty(self.size, dtype=dtype)  # type: ignore[call-overload]
        for name, view in self.unpack(theta).items():
            view[...] = np.asarray(weights[name])
        return theta

    def initial(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """A fresh vector: Glorot-uniform weights, zero biases (the default of the published code), and
        zeros in tensors that are no linear maps."""
        theta = np.zeros(self.size)
        for name, view in self.unpack(theta).items():
            if view.ndim == 2 and name not in self.elementwise:
                bound = math.sqrt(6.0 / sum(view.shape))
                view[...] = rng.uniform(-bound, bound, view.shape)
        return theta


def weight_dtype(weights: dict[str, NDArray]) -> np.dtype:
    """The one dtype of named weights. Raises TypeError unless they are all float32 or all float64."""
    dtypes = {value.dtype for value in weights.values()}
    if len(dtypes) != 1 or not dtypes <= {np.dtype("float32"), np.dtype("float64")}:
        raise TypeError(f"weights of dtype {', '.join(sorted(map(str, dtypes)))}")
    return dtypes.pop()
