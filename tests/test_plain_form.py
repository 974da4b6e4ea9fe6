"""The plain form of models with relative and invariant channels: the same field and gradient."""

from __future__ import annotations

import equations
import numpy as np
import pytest

from pympnode.graph import Graph
from pympnode.networks.engines.torch.plain import PlainForm
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

OPTIONS = [
    {"relative": (1,)},
    {"relative": (0, 2), "edge_attributes": 2},
    {"invariant": (1,), "relative": (0,), "controls": 2, "attributes": 1},
    {"invariant": (0, 1, 2), "coupling": "superposed"},
    {"invariant": (2,), "coupling": "superposed", "edge_attributes": 1, "controls": 1},
    {"messages": "emitted", "invariant": (1,)},
    {"messages": "emitted", "invariant": (1,), "linear": True},
    {
        "messages": "emitted",
        "invariant": (0, 2),
        "sender_controls": True,
        "controls": 2,
        "attributes": 1,
    },
    {"messages": "emitted", "invariant": (0,), "coupling": "superposed", "attributes": 1},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_plain_form_is_the_same_field_and_folds_gradients(options):
    spec = ModelSpec(channels=3, message=3, hidden=4, **{"messages": "pairwise", **options})
    form = PlainForm.of(spec)
    rng = np.random.default_rng(0)
    layout, plain = layout_of(spec), layout_of(form.spec)
    theta = rng.standard_normal(layout.size)
    attribute = rng.standard_normal((5, 2))[:, : spec.edge_attributes]
    graph = Graph.single(
        [0, 1, 2, 3, 0], [1, 2, 0, 0, 2], 4, attribute=attribute if attribute.size else None
    )
    x = rng.standard_normal((4, 3))
    u = rng.standard_normal((4, spec.controls)) if spec.controls else None
    b = rng.standard_normal((4, spec.attributes)) if spec.attributes else None
    field = equations.field(spec, layout.unpack(theta), graph, x, u, b)
    same = equations.field(form.spec, plain.unpack(form.expand(theta)), graph, x, u, b)
    np.testing.assert_allclose(same, field, rtol=0, atol=1e-12)
    # `fold` is the transpose of `expand`.
    bar = rng.standard_normal(plain.size)
    assert bar @ form.expand(theta) == pytest.approx(form.fold(bar) @ theta, rel=1e-12)
    assert form.fold(np.ones(plain.size, np.float32)).dtype == np.float32


def test_a_plain_model_has_no_other_form():
    assert PlainForm.of(ModelSpec(messages="pairwise")) is None


@pytest.mark.parametrize("symmetry", ["invariant", "antisymmetric", "emitted"])
def test_symmetries_hold_exactly(symmetry):
    options = {"invariant": (0, 1)} if symmetry == "invariant" else {"antisymmetric": True}
    if symmetry == "emitted":
        options = {"invariant": (0,), "messages": "emitted"}
    spec = ModelSpec(
        channels=2, message=2, hidden=8, coupling="superposed", aggregation="sum",
        **{"messages": "pairwise", **options},
    )  # fmt: skip
    rng = np.random.default_rng(1)
    layout = layout_of(spec)
    w = layout.unpack(rng.standard_normal(layout.size))
    graph = Graph.single([0, 1, 1, 2], [1, 0, 2, 1], 3, weight=[0.5, 0.5, -2.0, -2.0])
    x = rng.standard_normal((3, 2))
    field = equations.field(spec, w, graph, x)
    if symmetry == "emitted":
        # Any number may be added to the channel of any node.
        moved = equations.field(spec, w, graph, x + np.array([[3.0, 0.0], [-7.0, 0.0], [1.0, 0.0]]))
        np.testing.assert_allclose(moved, field, rtol=0, atol=1e-12)
        return
    if symmetry == "invariant":
        moved = equations.field(spec, w, graph, x + np.array([3.0, -7.0]))
        np.testing.assert_allclose(moved, field, rtol=0, atol=1e-12)
        return
    own = np.array([equations.mlp(spec, w, node) for node in x])
    np.testing.assert_allclose((field - own).sum(axis=0), 0, atol=1e-12)
    assert np.abs(field - own).max() > 0.1
