"""``LearnedNode``: a node of a coupled graph that a model moves; see `hybrid.couple`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InvalidModel, InvalidOption
from ..systems.base import System
from ..systems.registry import get
from .agreement import same_unit


@dataclass(frozen=True, eq=False)
class LearnedNode:
    """A node that moves by the vector field of ``model``, in the state and units of ``system``.

    `couple` makes one of every `Model` among its nodes.
    """

    model: Any  # a `Model`, whose class this module does not import: `Model` imports this one
    system: System

    @classmethod
    def of(cls, model: Any, system: Any = None) -> LearnedNode:
        """A node of ``model``, checked; ``system``: by default the one it was trained on.

        Raises `InvalidModel` (an ensemble, a neural ODE of the whole system, other features or
        controls than ``system`` has), `InvalidOption` (no system), `UnknownName`.
        """
        if system is None and not model.system:
            raise InvalidOption(
                "the model was trained on given data, so its system is not known",
                got="a Model without a system",
                allowed="a Model and the name of a system, or a System",
                fix='couple(nodes, topology, system="...") names the system whose state it has',
            )
        system = get(model.system if system is None else system)
        if model.members > 1:
            raise InvalidModel(
                "a node is moved by one model, and this is an ensemble",
                got=f"{model.members} members",
                allowed="one",
                fix="take one of them: model.member(0)",
            )
        if model.spec.node_types:
            raise InvalidModel(
                "nodes of a coupled graph have one type, and the model has several",
                got=", ".join(model.spec.node_types),
                allowed="a model of nodes of one type",
                fix="train a model on the nodes of one type: pympnode.nodes_of_type(ds, "
                f"{model.spec.node_types[0]!r})",
            )
        if model.delayed:
            raise InvalidModel(
                "nodes of models with delays cannot be coupled: the past of the others is not kept",
                got="a model with delays",
                allowed="a model without delays",
                fix="model.rollout predicts a graph of such nodes alone",
            )
        if model.spec.family == "node":
            raise InvalidModel(
                "a neural ODE of the whole system has no nodes to take out",
                got='model="node"',
                allowed='model="mpnode" or "l2s"',
            )
        for what, got, wanted in (
            ("features", model.features, system.feature_names),
            ("controls", model.controls, system.control_names),
        ):
            if tuple(got) != tuple(wanted):
                raise InvalidModel(
                    f"the model and {system.name} differ in their {what}",
                    got=", ".join(got) or "none",
                    allowed=", ".join(wanted) or "none",
                    fix="couple learned and simulated nodes of the same state and inputs",
                )
        units = [v.unit for v in system.state for _ in range(v.components)]
        for name, got, wanted in zip(model.features, model.units, units):
            if not same_unit(got, wanted):
                raise InvalidModel(
                    f"the model and {system.name} differ in the unit of {name!r}",
                    got=repr(got),
                    allowed=repr(wanted),
                    fix="train the model on data in the units of the system",
                )
        return cls(model, system)

    def __repr__(self) -> str:
        return f"LearnedNode(of {self.system.name}: {len(self.model.theta):,} weights)"
