"""Nets of pandapower: admittances by hand, outages, switches, three windings; and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pympnode
from pympnode.errors import InvalidGraph, InvalidOption, PympnodeWarning, UnknownName
from pympnode.networks.readers import PowerGrid, read_pandapower

# ---- without pandapower -------------------------------------------------------------------------


def test_other_objects_are_refused() -> None:
    with pytest.raises(InvalidGraph, match="no pandapower net"):
        read_pandapower({"bus": 1})
    with pytest.raises(UnknownName, match="conductance"):
        read_pandapower(None, attributes=["conductnace"])


# ---- with it ------------------------------------------------------------------------------------

IMPEDANCE = 110.0**2 / 10.0  # ohm, of 1 per unit of the small net


def line(net: Any, a: int, b: int, r: float, x: float, **more: Any) -> int:
    """A line with its resistance and reactance in per unit of the small net."""
    values = dict(length_km=1.0, c_nf_per_km=9.0, max_i_ka=1.0)  # charging, which is left out
    ohm = dict(r_ohm_per_km=r * IMPEDANCE, x_ohm_per_km=x * IMPEDANCE)
    return int(power().create_line_from_parameters(net, a, b, **values, **ohm, **more))


def power() -> Any:
    return pytest.importorskip("pandapower", reason="the extra `examples` brings pandapower")


def small_net() -> Any:
    """Buses 5, 3, 9, 7 at 110 kV; 9 and 7 joined by a closed switch, 5 and 3 by two lines."""
    pp = power()
    net = pp.create_empty_network(sn_mva=10.0)
    for index in (5, 3, 9, 7):
        pp.create_bus(net, 110.0, index=index)
    pp.create_ext_grid(net, 5)
    line(net, 5, 3, 0.0, 0.5)
    line(net, 5, 3, 0.0, 0.25)
    line(net, 3, 9, 0.06, 0.08)
    pp.create_switch(net, 9, 7, et="b", closed=True)
    pp.create_load(net, 7, 5.0)
    pp.create_sgen(net, 3, 2.0)
    return net


def edges(grid: PowerGrid) -> dict[tuple[int, int], float]:
    ends = zip(grid.graph.sender.tolist(), grid.graph.receiver.tolist())
    return {
        (grid.labels[a], grid.labels[b]): w
        for (a, b), w in zip(ends, grid.graph.weight_or_ones.tolist())
    }


def test_admittances_by_hand() -> None:
    grid = read_pandapower(small_net(), attributes=["conductance", "susceptance"])
    assert grid.labels == (3, 5, 9)
    # Parallel lines add 1 / 0.5 and 1 / 0.25; 0.08 / (0.06^2 + 0.08^2) = 8, conductance 6.
    expected = {(3, 5): 6.0, (5, 3): 6.0, (3, 9): 8.0, (9, 3): 8.0}
    assert edges(grid) == pytest.approx(expected)
    assert grid.graph.attribute_names == ("conductance", "susceptance")
    to_nine = [grid.labels[s] == 9 for s in grid.graph.sender]
    np.testing.assert_allclose(grid.graph.attribute[to_nine], [[6.0, 8.0]])
    np.testing.assert_allclose(grid.power, [0.2, 0.3, -0.5], atol=1e-12)
    assert grid.node_of == {3: 0, 5: 1, 9: 2, 7: 2}
    assert "per unit of 10 MVA" in repr(grid) and len(repr(grid)) < 250
    assert grid.node_attribute.dims == ("node", "attribute")
    assert grid.node_attribute.attrs["units"] == "1"


def test_the_unit_of_power_scales_both() -> None:
    ten, hundred = read_pandapower(small_net()), read_pandapower(small_net(), base_mva=100.0)
    np.testing.assert_allclose(hundred.graph.weight, ten.graph.weight / 10)
    np.testing.assert_allclose(hundred.power, ten.power / 10)
    for bad in (0.0, -1.0, np.nan, "many", True):
        with pytest.raises(InvalidOption, match="unit of power"):
            read_pandapower(small_net(), base_mva=bad)


def test_outages_and_open_switches_are_no_edges() -> None:
    pp, net = power(), small_net()
    whole = edges(read_pandapower(net))
    line(net, 5, 9, 0.0, 0.1, in_service=False)
    opened = line(net, 5, 9, 0.0, 0.1)
    pp.create_switch(net, 9, opened, et="l", closed=False)
    pp.create_switch(net, 5, 9, et="b", closed=False)
    assert edges(read_pandapower(net)) == pytest.approx(whole)
    pp.create_bus(net, 110.0, index=20, in_service=False)
    line(net, 3, 20, 0.0, 0.1)
    assert edges(read_pandapower(net)) == pytest.approx(whole)
    net.switch.loc[net.switch.element == opened, "closed"] = True
    assert edges(read_pandapower(net)) == pytest.approx(whole | {(5, 9): 10.0, (9, 5): 10.0})
    net.line.loc[1, "in_service"] = False  # one of the parallel lines
    assert edges(read_pandapower(net))[3, 5] == pytest.approx(2.0)


def test_buses_without_a_reference_warn() -> None:
    net = small_net()
    power().create_bus(net, 110.0, index=30)
    with pytest.warns(PympnodeWarning, match="30"):
        assert read_pandapower(net).labels == (3, 5, 9)


def test_tap_ratio_counts_and_vector_group_does_not() -> None:
    pp, net = power(), small_net()
    pp.create_bus(net, 20.0, index=40)
    values = dict(sn_mva=10.0, vn_hv_kv=110.0, vn_lv_kv=20.0, vkr_percent=0.0, vk_percent=10.0)
    more = dict(pfe_kw=5.0, i0_percent=0.5, shift_degree=150.0)
    tap = dict(
        tap_side="hv", tap_neutral=0, tap_step_percent=10.0, tap_pos=1, tap_min=-2, tap_max=2
    )
    pp.create_transformer_from_parameters(
        net, 5, 40, **values, **more, **tap, tap_changer_type="Ratio"
    )
    assert edges(read_pandapower(net))[5, 40] == pytest.approx(10.0 / 1.1, rel=1e-3)


def test_three_windings_are_a_triangle() -> None:
    pp, net = power(), small_net()
    pp.create_bus(net, 20.0, index=41)
    pp.create_bus(net, 10.0, index=42)
    percent = {f"vk_{side}_percent": 20.0 for side in ("hv", "mv", "lv")}
    percent |= {f"vkr_{side}_percent": 0.0 for side in ("hv", "mv", "lv")}
    pp.create_transformer3w_from_parameters(
        net, 5, 41, 42, vn_hv_kv=110.0, vn_mv_kv=20.0, vn_lv_kv=10.0, sn_hv_mva=10.0,
        sn_mv_mva=10.0, sn_lv_mva=10.0, pfe_kw=0.0, i0_percent=0.0, **percent,
    )  # fmt: skip
    found = edges(read_pandapower(net))
    # Star of three reactances of 0.1: a triangle of 0.3 each.
    for pair in ((5, 41), (5, 42), (41, 42)):
        assert found[pair] == pytest.approx(1 / 0.3, rel=1e-6)


def test_the_net_does_not_change_and_must_have_a_reference() -> None:
    net = small_net()
    before = copy.deepcopy(net)
    read_pandapower(net)
    assert net.res_bus.equals(before.res_bus) and net._ppc is before._ppc is None
    net.ext_grid["in_service"] = False
    with pytest.raises(InvalidGraph, match="no reference"):
        read_pandapower(net)


def test_the_same_as_the_admittance_matrix_of_the_full_power_flow() -> None:
    pp = power()
    from pandapower import networks

    for name in ("case39", "case118", "case_ieee30"):
        net = getattr(networks, name)()
        grid = read_pandapower(net)
        pp.runpp(net)
        matrix = net._ppc["internal"]["Ybus"].toarray().imag
        np.fill_diagonal(matrix, 0.0)
        dense = np.zeros_like(matrix)
        dense[grid.graph.sender, grid.graph.receiver] = grid.graph.weight_or_ones
        np.testing.assert_allclose(dense, matrix, atol=1e-9 * matrix.max())
        assert abs(grid.power.sum()) < 1e-9 * np.abs(grid.power).max()


def test_read_graph_and_simulate_take_it(tmp_path: Path) -> None:
    net = small_net()
    read = pympnode.read_graph(net, nodes=[9, 5, 3])
    assert isinstance(read, PowerGrid) and read.labels == (9, 5, 3)
    np.testing.assert_allclose(read.power, [-0.5, 0.3, 0.2], atol=1e-12)
    assert pympnode.read_graph(net, weight=False).weight is None
    with pytest.raises(UnknownName, match="susceptance"):
        pympnode.read_graph(net, weight="length_km")
    swing = {"power": read.power, "coupling": 1.0}
    ds = pympnode.simulate("swing", topology=read.graph, parameters=swing, trajectories=3, steps=4)
    assert ds.sizes["node"] == 3 and ds.edge_weight.max() == pytest.approx(8.0)
    x = ds.state.values
    own = pympnode.from_arrays(
        x, dt=0.1, topology=read, nodes=[9, 5, 3], node_attribute=read.node_attribute
    )
    assert own.attribute.values.tolist() == ["power"]
