"""Names of dimensions and variables of every dataset, of networks and of particles."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# Dimensions and variables of networks
TRAJECTORY, TIME, NODE, FEATURE = "trajectory", "time", "node", "feature"
EDGE, CONTROL_FEATURE, ATTRIBUTE = "edge", "control_feature", "attribute"
MESSAGE_COMPONENT, UNIT, PERIOD = "message_component", "unit", "period"
UNIT_NORM = "unit_norm"  # coordinate of features: the number of the group whose norm is 1
STATE, CONTROL, MESSAGE, NODE_ATTRIBUTE = "state", "control", "message", "node_attribute"
SENDER, RECEIVER, EDGE_GRAPH, GRAPH, SPLIT = "sender", "receiver", "edge_graph", "graph", "split"
EDGE_WEIGHT, EDGE_ATTRIBUTE, EDGE_FEATURE = "edge_weight", "edge_attribute", "edge_feature"
EDGE_DELAY = "edge_delay"
NODE_NUMBER = "node_number"  # coordinate of nodes: the numbers by which edges call them
NODE_TYPE = (
    "node_type"  # of nodes of several types with the same features: the name of each node's type
)
START_MARK = "start_mark"  # of a trajectory whose graph was learned: checksum of its first state
PREDICTED = "predicted"  # states that a model predicted, in evaluations

STATE_DIMS = (TRAJECTORY, TIME, NODE, FEATURE)
CONTROL_DIMS = (TRAJECTORY, TIME, NODE, CONTROL_FEATURE)
ATTRIBUTE_DIMS = (TRAJECTORY, NODE, ATTRIBUTE)
WEIGHT_DIMS = (TRAJECTORY, TIME, EDGE)  # of weights that vary; constant ones have EDGE alone
MESSAGE_DIMS = (TRAJECTORY, TIME, NODE, MESSAGE_COMPONENT)

# Variables with a meaning in the schema; any other variable is a parameter of the system.
OWN_VARIABLES = frozenset(
    {
        STATE,
        CONTROL,
        MESSAGE,
        NODE_ATTRIBUTE,
        NODE_TYPE,
        SENDER,
        RECEIVER,
        EDGE_GRAPH,
        EDGE_WEIGHT,
        EDGE_ATTRIBUTE,
        EDGE_DELAY,
        GRAPH,
        SPLIT,
    }
)

# Dims, variables and coordinates that nodes of several types have of their own: "state" of the type
# "load" is "state_load", over "node_load" and "feature_load".
TYPE_DIMS = (NODE, FEATURE, CONTROL_FEATURE, ATTRIBUTE)
OF_TYPES = (
    *TYPE_DIMS, UNIT, PERIOD, UNIT_NORM, NODE_NUMBER, STATE, CONTROL, MESSAGE, NODE_ATTRIBUTE,
    PREDICTED,
)  # fmt: skip

# Dimensions and variables of particles
PARTICLE, AXIS = "particle", "axis"
POSITION, VELOCITY, MASS, CHARGE = "position", "velocity", "mass", "charge"
FIXED, TYPE = "fixed", "type"
PARTICLE_DIMS = (TRAJECTORY, TIME, PARTICLE, AXIS)


def texts(values: Any) -> NDArray[np.str_]:
    """Labels of any text type as NumPy text of fixed width: objects, bytes, StringDType, and the
    strings and categories of pandas."""
    array = np.asarray(values)
    plain = [v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel().tolist()]
    return np.array(plain, dtype=str if plain else "U1").reshape(array.shape)


SPLITS = ("train", "validation", "test")  # labels of trajectories, in the variable ``split``
Missing = Literal["error", "mask"]  # treatment of NaN in the data of networks
