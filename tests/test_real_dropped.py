"""Nothing is dropped in silence: weights, directions, masks, imaginary parts, dims, own variables."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xarray as xr

import pympnode
from pympnode import Graph
from pympnode.errors import InvalidData, InvalidGraph, PympnodeError, PympnodeWarning, UnknownName
from pympnode.networks import schema

X = np.zeros((2, 5, 4, 1))
W = np.array([[0, 0.5, 0, 0], [0.5, 0, -2, 0], [0, -2, 0, 1e-9], [0, 0, 1e-9, 0]])
FAST: dict[str, Any] = dict(epochs=1, kernel="eager", progress=False)


def arrays(x: Any = X, **options: Any) -> xr.Dataset:
    return pympnode.from_arrays(x, dt=0.1, **options)


def frame(nodes: Any = "abcd", **columns: Any) -> pd.DataFrame:
    rows = [(t, node, 0.0) for t in range(3) for node in nodes]
    return pd.DataFrame(rows, columns=["time", "node", "v"]).assign(**columns)


def weighted(**attributes: Any) -> nx.Graph:
    graph = nx.path_graph(4)
    for name, value in attributes.items():
        nx.set_edge_attributes(graph, value, name)
    return graph


# ---- weights ------------------------------------------------------------------------------------

UNUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "edges": (lambda: arrays(edges=pd.DataFrame({"i": [0], "j": [1], "cost": [9]})), "cost 9"),
    "another name": (lambda: arrays(topology=weighted(distance=2.5)), "distance 2.5"),
    "beside a weight": (lambda: arrays(topology=weighted(weight=2, distance=2.5)), "distance 2.5"),
    "weights beside chosen ones": (
        lambda: arrays(topology=weighted(weight=2, distance=2.5), edge_weight="distance"),
        "weight 2",
    ),
    "signs": (lambda: arrays(topology=weighted(sign={(0, 1): "+", (1, 2): "-"})), r"sign \+, -"),
    "table": (
        lambda: pympnode.from_frame(
            frame(),
            features="v",
            edges=pd.DataFrame({"from": ["a", "b"], "to": ["b", "c"], "cost": [2610.9, 0.1]}),
        ),
        "cost 0.1 to 2611",
    ),
    "simulate": (
        lambda: pympnode.simulate("heat", topology=weighted(km=3.0), trajectories=1, steps=2),
        "km 3",
    ),
    "couple": (lambda: pympnode.couple(["heat"] * 4, weighted(km=3.0)), "km 3"),
    "Graph of networkx": (lambda: Graph.from_networkx(weighted(length=3)), "length 3"),
}


@pytest.mark.parametrize("name", UNUSED)
def test_what_edges_hold_and_models_do_not_use_is_warned_of(name: str) -> None:
    make, words = UNUSED[name]
    with pytest.warns(PympnodeWarning, match=words) as caught:
        make()
    assert [Path(w.filename).name for w in caught] == [Path(__file__).name]
    assert "edge_weight=" in str(caught[0].message)


def test_edges_without_weights_are_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for topology in (
            W != 0,
            (W != 0).astype(int),
            sp.csr_array(W != 0),
            weighted(weight=1.0, id=7),
            [(0, 1), (1, 0)],
            "ring",
        ):
            arrays(topology=topology)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1j])
def test_entries_of_an_adjacency_that_are_no_edges(value: complex) -> None:
    adjacency = W.astype(complex) if isinstance(value, complex) else W.copy()
    adjacency[0, 3] = value
    masked = np.ma.masked_array(W, mask=W == 1e-9)
    for matrix in (adjacency, sp.csr_array(adjacency), masked):
        with pytest.raises(InvalidGraph, match="0 where there is no edge"):
            arrays(topology=matrix)


# ---- directions and self loops --------------------------------------------------------------------


def test_directed_is_heeded_with_pairs_of_any_kind() -> None:
    pairs = [(0, 1), (1, 2)]
    numbered = frame(range(4))
    table = pd.DataFrame(pairs, columns=["source", "target"])
    one_way = nx.DiGraph(pairs)
    one_way.add_node(3)
    for ds in (
        arrays(topology=pairs, directed=True),
        arrays(topology=np.array(pairs), directed=True),
        arrays(topology=table, directed=True),
        arrays(edges=table, directed=True),
        arrays(topology=one_way, directed=True),
        arrays(topology=one_way),
        pympnode.from_frame(numbered, features="v", topology=pairs, directed=True),
        pympnode.from_frame(numbered, features="v", edges=table, directed=True),
    ):
        assert list(zip(ds.sender.values, ds.receiver.values)) == pairs
    for undirected in ("ring", ("BA", {"k": 1}), nx.Graph(pairs)):
        with pytest.raises(InvalidGraph, match="directed=True"):
            arrays(topology=undirected, directed=True)


def test_self_loops_are_refused_dropped_or_kept() -> None:
    loops = [(0, 0), (0, 1), (1, 2)]
    given = (
        dict(edges=loops),
        dict(topology=loops),
        dict(topology=nx.Graph([*loops, (2, 3)])),
        dict(topology=np.eye(4) + np.eye(4, k=1)),
    )
    for options in given:
        with pytest.raises(InvalidGraph, match="self loops") as caught:
            arrays(**options)
        assert 'self_loops="drop"' in str(caught.value.fix)
        dropped, kept = (arrays(**options, self_loops=do) for do in ("drop", "keep"))
        assert not (dropped.sender == dropped.receiver).any()
        assert (kept.sender == kept.receiver).any()
    with pytest.raises(InvalidGraph, match="self loops") as caught:
        pympnode.simulate("heat", nodes=3, topology=loops, trajectories=1, steps=2)
    assert "self_loops=" not in str(caught.value.fix)  # simulate has no such keyword
    with pytest.raises(UnknownName, match="self_loops"):
        arrays(edges=loops, self_loops="leave")  # type: ignore[arg-type]


# ---- masks and imaginary parts --------------------------------------------------------------------

FILL = 9.96921e36  # what netCDF4 puts where a value is missing


def hidden(shape: tuple[int, ...]) -> np.ma.MaskedArray:
    values, mask = np.ones(shape), np.zeros(shape, bool)
    mask.reshape(-1)[-1] = True
    values[mask] = FILL
    return np.ma.masked_array(values, mask)


def test_masked_values_are_missing_values() -> None:
    whole = hidden((2, 5, 4, 1))
    for x in (whole, [whole[0], whole[1]], [list(whole[0]), list(whole[1])]):
        ds = arrays(x, topology="ring")
        assert int(ds.state.isnull().sum()) == 1 and float(ds.state.max()) == 1.0
    free = arrays(np.ma.masked_array(X, mask=False), topology="ring")
    assert not bool(free.state.isnull().any())
    moved = np.zeros((1, 3, 2, 2))
    for make in (
        lambda: arrays(control=hidden((2, 5, 4, 1))[:, ::-1], topology="ring"),
        lambda: arrays(node_attribute=hidden((4, 1)), topology="ring"),
        lambda: pympnode.from_particles(hidden((1, 3, 2, 2)), moved, 1.0, dt=1.0, side=1e40),
        lambda: pympnode.from_particles(moved, hidden((1, 3, 2, 2)), 1.0, dt=1.0),
        lambda: pympnode.from_particles(moved, moved, hidden((2,)), dt=1.0),
    ):
        with pytest.raises(InvalidData, match="not finite"):
            make()


def test_imaginary_parts_are_refused() -> None:
    z = np.exp(1j * np.arange(40.0)).reshape(2, 5, 4, 1)
    moved = np.zeros((1, 3, 2, 2))
    for make in (
        lambda: arrays(z, topology="ring"),
        lambda: arrays(np.ma.masked_array(z, mask=z.real > 2), topology="ring"),
        lambda: arrays(z.astype(object), topology="ring"),
        lambda: arrays(xr.DataArray(z, dims=schema.STATE_DIMS), topology="ring"),
        lambda: arrays(control=z, topology="ring"),
        lambda: arrays(node_attribute=z[0, 0], topology="ring"),
        lambda: pympnode.from_frame(frame(v=z.ravel()[:12]), features="v", topology="ring"),
        lambda: pympnode.from_particles(moved + 1j, moved, 1.0, dt=1.0),
        lambda: pympnode.from_particles(moved, moved, np.array([1.0, 1j]), dt=1.0),
    ):
        with pytest.raises(InvalidData) as caught:
            make()
        assert caught.value.fix
    assert arrays(z.real + 0j, topology="ring").state.dtype == np.float64


# ---- names of dims and labels ---------------------------------------------------------------------


def test_dims_of_data_arrays_are_read_by_name() -> None:
    values = np.arange(2 * 4 * 5.0).reshape(2, 4, 5)
    x = xr.DataArray(
        values,
        dims=("trajectory", "node", "time"),
        coords={"node": list("dcba"), "time": np.arange(5) / 10, "height": ("node", range(4))},
        attrs={"units": "K"},
    )
    wind = xr.DataArray(
        np.arange(4.0)[:, None, None] * np.ones((4, 5, 2)),
        dims=("node", "time", "trajectory"),
        coords={"node": list("abcd")},
    ).expand_dims(control=["wind"])
    level = pd.DataFrame({"level": np.arange(4.0)}, index=list("abcd"))
    ds = pympnode.from_arrays(x, edges=[("a", "b")], control=wind, node_attribute=level)
    np.testing.assert_array_equal(ds.state[..., 0], values.transpose(0, 2, 1))
    assert ds.node.values.tolist() == list("dcba") and ds.unit.values.tolist() == ["K"]
    np.testing.assert_allclose(ds.time, x.time)
    assert ds.height.values.tolist() == [0, 1, 2, 3]
    assert ds.control.sel(node="c")[0, 0].item() == 2.0
    assert ds.control_feature.values.tolist() == ["wind"]
    assert ds.node_attribute.sel(node="c", attribute="level").item() == 2.0
    with pytest.raises(InvalidData, match="other dims"):
        arrays(x.rename(node="sensor"), topology="ring")
    with pytest.raises(InvalidData, match="other labels"):
        pympnode.from_arrays(x, topology="ring", node_attribute=level.rename({"a": "z"}))


# ---- variables of the user ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    x = np.random.default_rng(0).normal(size=(6, 8, 4, 1))
    return arrays(x, topology="ring")


def test_own_variables_are_left_out_with_a_warning(data: xr.Dataset, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    own = {
        "station": [("node", np.array(list(text))) for text in ("abcd", "abce")],
        "note": [
            ("node", np.array(row, dtype=object)) for row in ([1, None, "x", 2], [1, 2, 3, 4])
        ],
        "impedance": [("node", np.ones(4) * (1 + 1j))] * 2,
        "quality": [(("trajectory", "time", "node"), rng.random((6, 8, 4))) for _ in range(2)],
        "elevation": [("node", rng.random(4)) for _ in range(2)],
        "since": [("node", np.array(["2020-01-01"] * 4, dtype="datetime64[ns]"))] * 2,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = pympnode.train(data=data, **FAST).model
    plain.save(tmp_path / "plain.nc")
    for name, (one, two) in own.items():
        pair = [data.assign({name: one}), data.assign({name: two})]
        with pytest.warns(PympnodeWarning, match=name):
            model = pympnode.train(data=pair, **FAST).model
        assert not model.trained.parameters and not model.trained.parameter_spans
        model.save(tmp_path / "own.nc")
        assert pympnode.load(tmp_path / "own.nc").trained == model.trained
        size = (tmp_path / "own.nc").stat().st_size
        assert size < 1.1 * (tmp_path / "plain.nc").stat().st_size
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pympnode.evaluate(model, pair[1])
            model.rollout(pair[1])


def test_parameters_of_the_physics_stay_parameters() -> None:
    ds = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=4, steps=3)
    assert "frequency" in ds and not schema.own_variables(ds)
    odd = ds.assign(station=("node", list("abcd")), extra=("node", np.ones(4)))
    assert schema.own_variables(odd) == ["station", "extra"]
    assert schema.parameters_of(odd).keys() == schema.parameters_of(ds).keys()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = pympnode.train(data=ds, **FAST).model
    other = ds.assign(frequency=ds.frequency + 1)
    with pytest.warns(PympnodeWarning, match="frequency"):
        model.rollout(other)
    # A file of version 0.1, whose record does not name the arrays.
    older = ds.assign_attrs(pympnode=ds.attrs["pympnode"].replace("parameter_arrays", "other"))
    assert schema.parameters_of(older).keys() == schema.parameters_of(ds).keys()
    given = arrays(np.zeros((2, 3, 4, 3)), topology="ring").assign(frequency=("feature", [1.0] * 3))
    assert schema.own_variables(given) == ["frequency"]
    assert schema.own_variables(given, "kuramoto") == []


# ---- advice ---------------------------------------------------------------------------------------


def test_errors_of_datasets_advise_what_helps() -> None:
    ds = pympnode.simulate("heat", nodes=4, topology="ring", trajectories=3, steps=4)

    def caught(make: Callable[[], Any]) -> PympnodeError:
        with pytest.raises(PympnodeError) as error:
            make()
        return error.value

    split = caught(lambda: schema.validate(ds.assign(split=ds.split.expand_dims(node=4))))
    assert "node" in str(split.got) and "trajectory" in str(split.allowed)
    joined = xr.concat([ds, ds], dim="trajectory", data_vars="all")
    assert 'data_vars="minimal"' in str(caught(lambda: schema.validate(joined)).fix)
    schema.validate(xr.concat([ds, ds], dim="trajectory", data_vars="minimal"))
    late = ds.assign(state=(ds.state * 1e9).astype("timedelta64[ns]"))
    assert "np.timedelta64" in str(caught(lambda: schema.validate(late)).fix)
    gap = frame(wind=[np.nan] + [1.0] * 11)
    error = caught(
        lambda: pympnode.from_frame(gap, features="v", controls=["wind"], topology="ring")
    )
    assert "`state`" not in str(error.fix) and "inputs" in str(error.fix)
