"""The user's own system, from a function."""

from __future__ import annotations

import numpy as np
import pytest

from pympnode.errors import IntegrationFailed, InvalidData, InvalidOption, UnknownName
from pympnode.networks.generate import generate
from pympnode.networks.graphs.topology import resolve
from pympnode.networks.systems.user import own_system
from pympnode.systems.base import Parameter


def springs(t, x, u, graph, parameters):
    place = x[..., :1]
    pull = graph.sum_neighbours(place) - graph.in_degree[:, None] * place
    return np.concatenate([x[..., 1:], parameters["stiffness"] * pull], axis=-1)


def energy(x, graph, parameters):
    stretch = x[..., graph.sender, 0] - x[..., graph.receiver, 0]
    stored = 0.25 * parameters["stiffness"] * (stretch**2).sum(axis=-1)
    return stored + 0.5 * (x[..., 1] ** 2).sum(axis=-1)


FACTS = {
    "features": ["place", "velocity"],
    "units": ["m", "m/s"],
    "start": [(-1.0, 1.0), (0.0, 0.0)],
    "parameters": {"stiffness": 2.0},
}


def test_a_vector_field_and_a_few_facts_make_a_system():
    system = own_system("springs", springs, observables={"energy": energy}, **FACTS)
    graph = resolve("ring", 6)
    made = generate(system, graph, {"stiffness": 3.0}, 4)
    assert made.x.shape == (4, 51, 6, 2) and not made.x[:, 0, :, 1].any()
    values = system.observables["energy"](made.x, graph, made.parameters)
    # 50 intervals of at most 1e-8 in each of 12 numbers, times the slope of the energy (below 12)
    assert np.abs(values - values[:, :1]).max() < 50 * 12 * 12 * 1e-8
    assert "springs" in repr(system) and "<table>" in system._repr_html_()
    still = generate(system.uncoupled, graph, None, 2)
    np.testing.assert_allclose(still.x[:, -1], still.x[:, 0], atol=1e-12)


def test_one_trajectory_at_a_time_gives_the_same_and_logs_that_it_is_slower(caplog):
    graph = resolve("path", 4)
    batched = generate(own_system("a", springs, **FACTS), graph, None, 3, steps=5)
    with caplog.at_level("INFO", logger="pympnode"):
        alone = own_system("b", springs, vectorised=False, **FACTS)
    assert "slower" in caplog.text
    single = generate(alone, graph, None, 3, steps=5)
    np.testing.assert_allclose(single.x, batched.x, rtol=0, atol=1e-12)


def test_array_parameters_and_controls():
    def driven(t, x, u, graph, parameters):
        return u + parameters["offset"][:, None] * np.ones_like(x)

    offset = Parameter(lambda graph: np.arange(graph.nodes[0]), ("node",))
    system = own_system("d", driven, "x", parameters={"offset": offset}, controls=["push"])
    made = generate(
        system, resolve("none", 3), None, 2, steps=2, dt=1.0, initial=np.zeros((2, 3, 1))
    )
    assert made.u.shape == (2, 3, 3, 1)
    np.testing.assert_allclose(made.x[0, -1, :, 0], [0, 2, 4], atol=1e-12)


def test_nodes_that_differ_tell_the_model_so():
    import pympnode

    def decay(t, x, u, graph, parameters):
        return -parameters["rate"][:, None] * x

    rate = Parameter(lambda graph: np.linspace(0.5, 1.5, graph.nodes[0]), ("node",))
    facts = dict(parameters={"rate": rate}, node_attributes=["rate"], nodes=3, topology="none")
    ds = pympnode.simulate(own_system("decay", decay, "x", **facts), trajectories=2, steps=2)
    np.testing.assert_array_equal(ds.node_attribute[:, 0], [0.5, 1.0, 1.5])
    assert list(ds.attribute.values) == ["rate"]
    with pytest.raises(UnknownName, match="rates"):
        own_system("decay", decay, "x", parameters={"rate": rate}, node_attributes=["rates"])


def test_wrong_fields_are_named():
    graph = resolve("path", 3)
    with pytest.raises(InvalidData, match="wrong shape"):
        generate(own_system("w", lambda t, x, u, g, p: x[..., 0], "x"), graph, None, 2)
    with pytest.raises(InvalidData, match=r"\(node, feature\)"):
        wrong = own_system("w", lambda t, x, u, g, p: x.T, ["x", "y"], vectorised=False)
        generate(wrong, graph, None, 2)
    with pytest.raises(IntegrationFailed, match="trajectory 0, node 0, feature 0, time 0"):
        infinite = own_system("i", lambda t, x, u, g, p: np.log(-np.abs(x)), "x")
        generate(infinite, graph, None, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"features": []},
        {"features": ["x", "x"]},
        {"units": ["m"]},
        {"start": (1.0, -1.0)},
        {"start": (0.0, 1.0, 2.0)},
    ],
)
def test_facts_that_do_not_fit_are_refused(change):
    with pytest.raises(InvalidOption):
        own_system(**({"name": "springs", "field": springs, **FACTS} | change))
