"""The linear path beside the network of a node: where it starts, and what it is refused for.

Its equations are those of `test_equations` and the tests of the kernels ("linear path").
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import InvalidOption
from pympnode.networks import engines
from pympnode.networks.spec import ModelSpec

DT = 0.05
MATRIX = np.array([[0.0, 1.0], [-2.0, -0.3]])
FORCE = np.array([0.0, 1.5])
RUN = dict(updates=1, progress=False, kernel="eager", matching=0.0, messages="emitted")


def oscillators(nodes: int = 2) -> xr.Dataset:
    """x' = v, v' = -2 x - 0.3 v + 1.5 u on nodes that do not act on each other, u held."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 1, nodes, 2))
    u = rng.standard_normal((6, 41, nodes, 1))
    whole = np.zeros((3, 3))
    whole[:2, :2], whole[:2, 2] = DT * MATRIX, DT * FORCE
    step = np.eye(3)
    term = np.eye(3)
    for order in range(1, 12):
        term = term @ whole / order
        step = step + term
    for i in range(40):
        last = np.concatenate([x[:, -1], u[:, i]], axis=-1)
        x = np.concatenate([x, (last @ step[:2].T)[:, None]], axis=1)
    return pympnode.from_arrays(x, dt=DT, edges=[(0, 1), (1, 0)], control=u, features=["x", "v"])


def path_of(model: pympnode.Model) -> np.ndarray:
    """The linear path in physical units, its columns of state and control."""
    weight = model.weights["linear_weight"][:2, :3] / model.time_scale
    to = np.concatenate([model.state_scale.scale, model.control_scale.scale])
    return weight * np.asarray(model.state_scale.scale)[:, None] / to


def test_the_path_starts_as_the_linear_field_of_the_data() -> None:
    model = pympnode.train(data=oscillators(), linear_path=True, learning_rate=1e-12, **RUN).model
    # The mean of both ends of an interval is its middle to second order in the time step.
    wanted = np.column_stack([MATRIX, FORCE])
    np.testing.assert_allclose(path_of(model), wanted, atol=3 * DT**2)
    assert not model.weights["linear_weight"][:, 3:].any()


def test_a_linear_system_is_learned_at_once_and_kept_in_files(tmp_path) -> None:
    ds = oscillators()
    losses = {
        path: pympnode.train(data=ds, linear_path=path, seed=1, **RUN).history.loss.item()
        for path in (False, True)
    }
    assert losses[True] < losses[False] / 3
    model = pympnode.train(data=ds, linear_path=True, **RUN).model
    model.save(tmp_path / "model.nc")
    again = pympnode.load(tmp_path / "model.nc")
    assert again.spec.linear
    np.testing.assert_array_equal(again.theta, model.theta)
    # A start keeps its path; one without a path gets one of zeros.
    options = RUN | {"learning_rate": 1e-12}
    del options["messages"]
    tuned = pympnode.finetune(model, data=ds, **options).model
    np.testing.assert_allclose(path_of(tuned), path_of(model), atol=1e-5)
    plain = pympnode.train(data=ds, **RUN).model
    added = pympnode.finetune(plain, data=ds, linear_path=True, **options).model
    assert np.abs(added.weights["linear_weight"]).max() < 1e-9
    np.testing.assert_allclose(added.weights["layer_3_weight"], plain.weights["layer_3_weight"])


def test_a_path_for_each_type_of_nodes() -> None:
    ds = oscillators()
    ds["node_type"] = ("node", ["light", "heavy"])
    model = pympnode.train(data=ds, linear_path=True, learning_rate=1e-12, **RUN).model
    for name, scale in zip(model.spec.node_types, model.state_scale.types):
        weight = model.weights[f"{name}/linear_weight"][:2, :2] / model.time_scale
        found = weight * scale.scale[:, None] / scale.scale
        np.testing.assert_allclose(found, MATRIX, atol=3 * DT**2)


def test_where_there_is_no_path() -> None:
    with pytest.raises(InvalidOption, match="linear path") as error:
        ModelSpec(family="l2s", linear=True)
    assert "linear_path=True" in str(error.value)
    assert "linear_path" in engines.engine("julia").supports(ModelSpec(linear=True))
    assert not ModelSpec().linear and "linear" not in ModelSpec().as_dict()
