"""Power grids of pandapower: admittances as weights of edges, injected power of every node."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...errors import EngineUnavailable, InvalidData, InvalidGraph, InvalidOption, unknown_name
from ...training.ranges import warn_user
from .labelled import LabelledGraph, RawGraph, assemble

EDGE_ATTRIBUTES = ("susceptance", "conductance")  # per unit, of all branches between two nodes


@dataclass(frozen=True, eq=False, repr=False)
class PowerGrid(LabelledGraph):
    """A power grid, a `LabelledGraph` whose nodes are buses and whose weights are susceptances.

    graph: weights in per unit of ``base_mva``, equal in both directions.
    labels: the index of each node's bus in ``net.bus``; of buses that closed switches join, the first.
    power: (node,), the active power that generators inject less what loads take, in per unit of
    ``base_mva``. It sums to zero: the power flow has no losses, and the external grid balances.
    base_mva: the unit of power in MVA; 1 per unit.
    node_of: the number of the node of each bus in service, by the index of the bus.
    """

    power: NDArray[np.float64]
    base_mva: float
    node_of: Mapping[int, int]

    def __repr__(self) -> str:
        return f"PowerGrid({super().__repr__()}, in per unit of {self.base_mva:g} MVA)"

    @property
    def node_attribute(self) -> xr.DataArray:
        """``power`` as (node, attribute), for ``node_attribute=`` of `pympnode.from_arrays` and rollouts."""
        return xr.DataArray(
            self.power[:, None],
            dims=("node", "attribute"),
            coords={"node": list(self.labels), "attribute": ["power"]},
            attrs={"units": "1", "long_name": f"injected power, per unit of {self.base_mva:g} MVA"},
        )


def read_pandapower(
    net: Any, *, attributes: Sequence[str] = (), base_mva: float | None = None
) -> PowerGrid:
    """The graph of a pandapower net: lines, transformers and closed switches between buses in service.

    The weight of an edge is the susceptance of all branches between two nodes, x / (r^2 + x^2) over
    the tap ratio, from the branch table and the function ``makeYbus`` with which pandapower solves its
    power flow; parallel lines add. What is out of service, lines with an open switch, and buses that
    nothing connects to an external grid or a slack generator are left out, as there. Charging of
    lines, shunts and phase shifts (the vector groups of transformers among them) are left out too.
    Star points of three-winding transformers are eliminated (Kron 1939). Buses that closed switches
    without impedance join are one node. A weight is negative where series capacitors prevail.

    Main arguments:
        net: a pandapower net; it is copied, and does not change.
        attributes: of the edges, ``"susceptance"`` (that with its sign, as the weight) and
            ``"conductance"``, r / (r^2 + x^2), in per unit.
        base_mva: the unit of power in MVA, by default ``net.sn_mva``. Grids that one model is used on
            need one base.
    Returns: a `PowerGrid`.
    Raises: `InvalidGraph` for what is no pandapower net, for one without external grid, and one
    without branches; `InvalidData` where pandapower refuses its values; `InvalidOption`, `UnknownName`;
    `EngineUnavailable` where pandapower cannot be imported.
    """
    names = (attributes,) if isinstance(attributes, str) else tuple(attributes)
    for name in names:
        if name not in EDGE_ATTRIBUTES:
            raise unknown_name("attribute of edges", name, EDGE_ATTRIBUTES)
    branches = solve(net, base_mva)
    read = assemble(branches.raw(None), nodes=None, first_node=None, self_loops="error")
    return branches.grid(read, names)


@dataclass(frozen=True, eq=False)
class Branches:
    """Nodes of a net as pandapower solves it. ``admittance`` complex (node, node), zero on the diagonal
    and where there is no branch; ``power`` (node,); both in per unit of ``base_mva``."""

    labels: list[int]
    admittance: NDArray[np.complex128]
    power: NDArray[np.float64]
    base_mva: float
    node_of: dict[int, int]

    def raw(self, weight: Any) -> RawGraph:
        """The edges, with their susceptances unless ``weight`` is False."""
        if weight not in (None, False, "susceptance"):
            raise unknown_name("weight of a pandapower net", str(weight), ["susceptance"])
        sender, receiver = np.nonzero(self.admittance)
        values = None if weight is False else -self.admittance[sender, receiver].imag
        return RawGraph(
            sender, receiver, list(self.labels), values, True, "pandapower net", lists_nodes=True
        )

    def grid(self, read: LabelledGraph, attributes: Sequence[str] = ()) -> PowerGrid:
        """``read``, which `assemble` made of `raw`, with power and ``attributes``."""
        number = {label: at for at, label in enumerate(read.labels)}
        place = np.array([number[label] for label in self.labels])
        power = np.zeros(len(read.labels))
        power[place] = self.power
        graph = read.graph
        if attributes:
            back = np.full(len(read.labels), -1)
            back[place] = np.arange(len(place))
            between = self.admittance[back[graph.sender], back[graph.receiver]]
            columns = {"susceptance": -between.imag, "conductance": between.real}
            graph = replace(
                graph,
                attribute=np.stack([columns[name] for name in attributes], axis=1),
                attribute_names=tuple(attributes),
            )
        node_of = {bus: int(place[node]) for bus, node in self.node_of.items()}
        return PowerGrid(graph, read.labels, power, self.base_mva, node_of)


def is_pandapower(source: Any) -> bool:
    """Whether ``source`` is a net of pandapower, which is not imported for that."""
    return type(source).__module__.partition(".")[0] == "pandapower"


def solve(net: Any, base_mva: float | None = None) -> Branches:
    """Branches and power of a pandapower net by its own linear ("DC") power flow. See `read_pandapower`."""
    if not (is_pandapower(net) and hasattr(net, "bus") and hasattr(net, "line")):
        raise InvalidGraph(
            "this is no pandapower net",
            got=type(net).__name__,
            allowed="a pandapowerNet",
            fix="pandapower.networks.case39(), or pandapower.from_json(path)",
        )
    # A file of a net can be read without pandapower; its power flow cannot be solved without it.
    try:
        import pandapower
        from pandapower.pypower.idx_brch import (
            BR_B,
            BR_B_ASYM,
            BR_G,
            BR_G_ASYM,
            SHIFT,
        )
        from pandapower.pypower.idx_bus import BS, GS
        from pandapower.pypower.makeYbus import makeYbus
    except ImportError as error:
        raise EngineUnavailable(
            "pandapower cannot be imported",
            got=str(error)[:200],
            allowed="pandapower 3",
            fix='pip install "pympnode[examples]"',
        ) from error
    net = copy.deepcopy(net)
    try:
        # The linear flow converges always, and has the same branches as the other one.
        pandapower.rundcpp(net)
    except Exception as error:  # UserWarning, KeyError, ValueError, LinAlgError, ...
        if not _slacks(net):
            raise InvalidGraph(
                "the net has no reference",
                got="no external grid or slack generator in service",
                allowed="at least one",
                fix="pandapower.create_ext_grid(net, bus)",
            ) from error
        raise InvalidData(
            "pandapower cannot solve the power flow of the net",
            got=f"{type(error).__name__}: {error}"[:300],
            allowed="a net that pandapower.rundcpp(net) solves",
            fix="pandapower.diagnostic(net) lists what is wrong with it",
        ) from error
    inner = net._ppc["internal"]
    bus, branch = inner["bus"].copy(), inner["branch"].copy()
    bus[:, [GS, BS]] = 0.0
    branch[:, [BR_B, BR_G, BR_B_ASYM, BR_G_ASYM, SHIFT]] = 0.0
    unit = float(inner["baseMVA"])
    base = _checked_base(unit if base_mva is None else base_mva)
    if not len(branch):
        raise InvalidGraph("the net has no branches in service", got=0, allowed=">= 1")
    matrix = makeYbus(unit, bus, branch)[0].toarray() * (unit / base)

    # Several buses of the net may be one of the power flow; those after its last are not energised.
    lookup = net._pd2ppc_lookups["bus"]
    in_service = [int(b) for b in net.bus.index[net.bus.in_service.to_numpy(bool)]]
    energised = [b for b in in_service if 0 <= lookup[b] < len(bus)]
    if len(energised) < len(in_service):
        dropped = [b for b in in_service if b not in set(energised)]
        warn_user(
            f"{len(dropped)} of {len(in_service)} buses in service are not connected to a reference, "
            f"and are no nodes: {', '.join(map(str, dropped[:6]))}"
        )
    node: dict[int, int] = {}
    for b in energised:
        node.setdefault(int(lookup[b]), len(node))
    node_of = {b: node[int(lookup[b])] for b in energised}
    labels: list[int] = [-1] * len(node)
    for b in reversed(energised):
        labels[node_of[b]] = b
    power = np.zeros(len(node))
    np.add.at(
        power,
        [node_of[b] for b in energised],
        np.nan_to_num(-net.res_bus.p_mw.loc[energised].to_numpy(float)) / base,
    )
    between = -_eliminated(matrix, np.array(list(node)))
    np.fill_diagonal(between, 0.0)
    # What elimination leaves of a dangling branch is a rounding error.
    between[np.abs(between) < 1e-9 * np.abs(between).max(initial=0.0)] = 0.0
    return Branches(labels, between, power, base, node_of)


def _slacks(net: Any) -> int:
    slack = net.ext_grid.in_service.sum()
    if "slack" in net.gen:
        slack += (net.gen.slack.astype(bool) & net.gen.in_service.astype(bool)).sum()
    return int(slack)


def _checked_base(value: Any) -> float:
    try:
        base = float(value)
    except (TypeError, ValueError):
        base = np.nan
    if not (np.isfinite(base) and base > 0) or isinstance(value, bool):
        raise InvalidOption(
            "base_mva is the unit of power",
            got=f"base_mva={value!r}",
            allowed="a positive number of MVA",
            fix="100.0 is that of the IEEE test grids",
        )
    return base


def _eliminated(matrix: NDArray, keep: NDArray[np.int64]) -> NDArray:
    """Kron reduction of an admittance matrix to the nodes ``keep``, in this order."""
    rest = np.setdiff1d(np.arange(len(matrix)), keep)
    kept = matrix[np.ix_(keep, keep)]
    if not len(rest):
        return kept
    inner = np.linalg.solve(matrix[np.ix_(rest, rest)], matrix[np.ix_(rest, keep)])
    return kept - matrix[np.ix_(keep, rest)] @ inner
