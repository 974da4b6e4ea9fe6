"""Layout of particle models: named weights and the place of each in the flat vector.

Weights are (outputs, inputs). The input columns of a first edge layer are: sender's values, receiver's
values, edge features, (length of the step); of a first node layer: node values, summed messages,
(length of the step). "impulse" maps antisymmetric messages to momentum, "energy" symmetric ones to
potential energy; models in which only pairs act have no node and output layers. "strength" maps the
layers of a radial model, which take edge features alone, to momentum along the difference. "log_mass"
(particle,) are the natural logarithms, divided by `MASS_GAIN`, of learned masses in units of that of
the one particle whose mass is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..layout import Layout
from .spec import RADIAL_POWERS, ParticleSpec

LOG_MASS = "log_mass"
# Masses are exp(MASS_GAIN * log_mass): an optimiser moves every weight by about the same amount, and
# masses have decades to go while a network moves by a few hundredths.
MASS_GAIN = 10.0
# Deep networks of a potential: with weights as published a signal has 0.4 of its size after each layer
# of softplus. The messages of cells then hardly reach the particles, and a run stayed for thousands of
# updates at the error of a model without them.
_KEEPS_SIZE = math.sqrt(6.0)  # He et al. 2015, in units of the published bound


@dataclass(frozen=True)
class ParticleLayout(Layout):
    """A `Layout` whose initial weights are drawn as in the published code, and multiplied by
    ``gains`` where they name the tensor."""

    gains: Mapping[str, float] = field(default_factory=dict)

    def initial(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """A flat vector (size,): weights and biases uniform in +-1 / sqrt(inputs of the layer), times
        their gain.

        The default of ``torch.nn.Linear``, which the published code uses.
        """
        theta = np.zeros(self.size)
        bound = 1.0
        for name, view in self.unpack(theta).items():
            if view.ndim == 2:  # a bias has the bound of the weight before it
                bound = 1 / math.sqrt(view.shape[1])
            view[...] = rng.uniform(-bound, bound, view.shape)
            view *= self.gains.get(name, 1.0)
        return theta


@lru_cache(maxsize=64)
def particle_layout_of(spec: ParticleSpec) -> ParticleLayout:
    """The layout of a particle model. The names are part of the file format and do not change."""
    shapes: dict[str, tuple[int, ...]] = {}
    step = int(spec.step_is_input)
    base, edge, node = spec.base, spec.edge_width, spec.node_width
    cell = base + node  # values of a cell: its base values and the messages from below

    def network(name: str, layers: int, inputs: int, width: int) -> None:
        for number in range(1, layers + 1):
            shapes[f"{name}_{number}_weight"] = (width, inputs)
            shapes[f"{name}_{number}_bias"] = (width,)
            inputs = width

    def edges(name: str, sender: int, receiver: int, width: int) -> None:
        network(name, 2, sender + receiver + spec.n_edge_features + step, width)

    if spec.radial:
        network("edge", 2, spec.n_edge_features, edge)
        shapes["strength_weight"] = (RADIAL_POWERS, edge)
        if spec.learned_masses:
            shapes[LOG_MASS] = (spec.learned_masses,)
        return ParticleLayout(shapes)
    if spec.hierarchical:
        edges("up_particle", base, base, node)
        edges("up_cell", cell, base, node)
        edges("cell_edge", cell, cell, edge)
        network("cell_node", 3, cell + edge + step, node)
        edges("down_particle", cell, base, edge)
        edges("down_cell", cell, cell, edge)
    edges("edge", base, base, edge)
    if spec.messages == "antisymmetric":
        shapes["impulse_weight"] = (spec.dims, edge)
    if spec.messages == "symmetric":
        shapes["energy_weight"] = (1, edge)
    if spec.pairwise:
        return ParticleLayout(shapes)
    network("node", 3, base + edge + step, node)
    width = node
    if spec.family == "hogn" and not spec.separable:
        network("global", 2, node + edge, spec.global_width)
        width = spec.global_width
    shapes["out_weight"] = (spec.outputs, width)
    shapes["out_bias"] = (spec.outputs,)
    gains: dict[str, float] = {}
    if spec.separable:
        deep = [name for name in shapes if name.startswith(("node_", "cell_node_"))]
        gains = {name: _KEEPS_SIZE for name in deep if name.endswith("_weight")}
    return ParticleLayout(shapes, gains=gains)
