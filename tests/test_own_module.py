"""Modules of the user as models: training, rollouts, files, and what is refused."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import pympnode
from pympnode.errors import InvalidModel, InvalidOption, PympnodeWarning, UnknownName

pytestmark = pytest.mark.filterwarnings("ignore:node attributes only name:pympnode.PympnodeWarning")


@pympnode.register_module("test field")
class Field(nn.Module):
    """F(x) + sum of w g(x_j), with the inputs that a network of this package has."""

    def __init__(
        self, features: int, hidden: int = 8, controls: int = 0, attributes: int = 0
    ) -> None:
        super().__init__()
        self.own = nn.Sequential(
            nn.Linear(features + controls + attributes, hidden),
            nn.Tanh(),
            nn.Linear(hidden, features),
        )
        self.sent = nn.Linear(features, features, bias=False)

    def forward(
        self,
        x: torch.Tensor,
        edge_index: torch.Tensor,
        edge_weight: torch.Tensor | None = None,
        control: torch.Tensor | None = None,
        node_attribute: torch.Tensor | None = None,
    ) -> torch.Tensor:
        sender, receiver = edge_index
        sent = self.sent(x)[sender]
        if edge_weight is not None:
            sent = edge_weight[:, None] * sent
        received = torch.zeros_like(x).index_add(0, receiver, sent)
        inputs = [x, *(v for v in (control, node_attribute) if v is not None)]
        return self.own(torch.cat(inputs, dim=1)) + received


def module(ds: xr.Dataset, **options: Any) -> Field:
    torch.manual_seed(0)
    return Field(
        ds.sizes["feature"],
        controls=ds.sizes.get("control_feature", 0),
        attributes=ds.sizes.get("attribute", 0),
        **options,
    )


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    """Two graphs of different size in turn, weights, controls and node attributes."""
    rng = np.random.default_rng(0)
    graphs = [
        pympnode.Graph.single(np.array(s), np.array(r), 4, weight=rng.uniform(0.5, 2, len(s)))
        for s, r in (([0, 1, 2, 3, 0], [1, 2, 3, 0, 2]), ([3, 2, 1], [0, 1, 3]))
    ]
    return pympnode.from_arrays(
        np.cumsum(rng.normal(0, 0.1, (12, 9, 4, 2)), axis=1),
        dt=0.2,
        topology=graphs,
        control=rng.normal(size=(12, 9, 4, 1)),
        node_attribute=rng.normal(size=(4, 1)),
    )


def train(ds: xr.Dataset, model: Any, **options: Any) -> Any:
    return pympnode.train(ds, **{"model": model, "epochs": 2, "progress": False, **options})


def test_loss_and_gradient_are_those_of_a_loop_over_trajectories(data: xr.Dataset) -> None:
    """Against the same rollout by hand: one trajectory at a time, on its own graph."""
    from pympnode.networks.engines.base import Batch
    from pympnode.networks.half import NETWORKS

    mine = module(data)
    options = NETWORKS.Training(model=mine, updates=1, dtype="float64", batch_size=4)
    prepared = NETWORKS.prepare(None, [data], options, None)
    chosen = prepared.task.train[:5]
    batch = Batch(chosen, np.arange(5) % 3, 3)
    value, gradient = prepared.task.loss(prepared.theta[0], batch)
    model, arrays = prepared.model, prepared.task.arrays[0]
    mine = mine.double()

    def field(x: Any, index: Any, weight: Any, u: Any, b: Any) -> torch.Tensor:
        return mine(x, index, weight, u, b)

    h, total = (arrays.time[1] - arrays.time[0]), 0.0
    for trajectory, start in zip(chosen, batch.start):
        graph = arrays.graph[int(arrays.graph_of[trajectory])]
        index = torch.from_numpy(np.stack([graph.sender, graph.receiver]))
        weight, b = torch.from_numpy(graph.weight), torch.from_numpy(arrays.attribute)
        truth = torch.from_numpy(arrays.x[trajectory])
        z = truth[start]
        for step in range(3):
            u = torch.from_numpy(arrays.u[trajectory, start + step])
            f = functools.partial(field, index=index, weight=weight, u=u, b=b)
            k1 = f(z)
            k2 = f(z + h / 2 * k1)
            k3 = f(z + h / 2 * k2)
            z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + f(z + h * k3))
            total = total + nn.functional.huber_loss(z, truth[start + step + 1], reduction="sum")
    total = total / (5 * 4)
    total.backward()
    expected = torch.cat([p.grad.ravel() for p in mine.parameters()]).numpy()
    assert value == pytest.approx(float(total.detach()), rel=1e-10)
    assert np.allclose(gradient, expected, rtol=1e-8, atol=1e-12)
    assert [n.removeprefix("module/") for n in model.weights] == list(dict(mine.named_parameters()))


def test_it_trains_rolls_out_evaluates_and_is_read_from_a_file(
    data: xr.Dataset, tmp_path: Path
) -> None:
    mine = module(data)
    before = [p.detach().clone() for p in mine.parameters()]
    result = train(data, mine, epochs=8, run=tmp_path / "run")
    assert result.kernel == "eager" and "'test field'" in repr(result)
    assert all(torch.equal(a, b) for a, b in zip(before, mine.parameters()))  # it stays as it was
    loss = result.history.validation_loss.values
    assert loss[-1] < 0.9 * loss[0]
    predicted = result.model.rollout(data)
    assert bool(predicted.finite.all())
    assert result.evaluate(data).rmse_z.sel(predictor="model").notnull()
    for path in (tmp_path / "run", tmp_path / "model.nc"):
        if path.suffix:
            result.save(path)
        again = pympnode.load(path)
        assert np.array_equal(again.theta, result.model.theta)
        assert np.array_equal(again.rollout(data).state, predicted.state)
    # The same call continues: nothing is left to do. Other first weights are another run.
    assert train(data, module(data), epochs=8, run=tmp_path / "run").seconds == result.seconds
    torch.manual_seed(1)
    with pytest.raises(InvalidOption, match="another call"):
        train(data, Field(2, controls=1, attributes=1), epochs=8, run=tmp_path / "run")
    tuned = pympnode.finetune(tmp_path / "model.nc", data=data, epochs=1, progress=False)
    assert set(tuned.restored_tensors) == set(result.model.weights)


def test_its_vector_field_and_module_agree(data: xr.Dataset) -> None:
    from pympnode.networks.schema import pack

    model = train(data, module(data), dtype="float64", epochs=1).model
    x, u, b = (data[name].values for name in ("state", "control", "node_attribute"))
    graph = pack(data).graph[1]
    slope, _ = model.vector_field(x[:3, 1], u=u[:3, 1], graph=graph, node_attribute=b)
    field = model.module()
    found = field(
        torch.from_numpy(x[:3, 1]),
        **field.edges(graph),
        control=torch.from_numpy(u[:3, 1]),
        node_attribute=torch.from_numpy(b),
    )
    assert np.allclose(found.detach(), slope, rtol=1e-9, atol=1e-12)
    assert isinstance(field.inner, Field)
    assert np.array_equal(pympnode.Model.from_module(field).theta, model.theta)
    with pytest.raises(InvalidOption, match="physical"):
        train(data, field)


def test_a_file_is_read_where_its_name_is_registered(
    data: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pympnode.networks import own_module

    train(data, module(data, hidden=3), epochs=1).save(tmp_path / "model.nc")
    assert b"class Field" not in (tmp_path / "model.nc").read_bytes()
    # As in a process that has not imported this file.
    monkeypatch.setattr(own_module, "_templates", {})
    with monkeypatch.context() as elsewhere:
        elsewhere.delitem(own_module._makers, "test field")
        with pytest.raises(UnknownName, match=r"register_module.*test field"):
            pympnode.load(tmp_path / "model.nc")
    assert pympnode.load(tmp_path / "model.nc").weights["module/own.0.weight"].shape == (3, 4)


def test_ensembles_of_a_registered_module_begin_differently(data: xr.Dataset) -> None:
    mine = module(data)
    state = torch.random.get_rng_state()
    result = train(data, mine, members=2, epochs=1)
    assert torch.equal(torch.random.get_rng_state(), state)  # that of the caller is left alone
    first, second = result.model.theta
    assert result.model.members == 2 and abs(first - second).max() > 0.05


class Plain(nn.Module):
    """Without a name, and without a use for what is not x and the edges."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.1))
        self.fixed = nn.Parameter(torch.ones(2), requires_grad=False)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return self.scale * self.fixed * x


def test_a_module_without_a_name_trains_in_memory_alone(data: xr.Dataset, tmp_path: Path) -> None:
    with pytest.warns(PympnodeWarning, match="the module does not take it"):
        result = train(data, Plain(), epochs=2)
    assert result.model.weights["module/scale"].shape == ()
    assert result.model.weights["module/scale"] != np.float32(0.1)
    assert np.array_equal(result.model.weights["module/fixed"], [1, 1])  # as it was set
    with pytest.raises(InvalidModel, match="register_module"):
        result.save(tmp_path / "model.nc")
    with pytest.warns(PympnodeWarning), pytest.raises(InvalidOption, match="never code"):
        train(data, Plain(), run=tmp_path / "run")
    with pytest.raises(InvalidOption, match="register_module"):
        train(data, Plain(), members=2)


def test_what_cannot_be_a_model_is_refused(data: xr.Dataset) -> None:
    class Wrong(Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return x

    class Shape(Plain):
        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            return (self.scale * x)[:, :1]

    with pytest.raises(InvalidOption, match="forward"):
        train(data, Wrong())
    with pytest.warns(PympnodeWarning), pytest.raises(InvalidModel, match="shape of x"):
        train(data, Shape())
    with pytest.raises(InvalidOption, match="nothing to train"):
        train(data, nn.Identity())
    with pytest.raises(InvalidOption, match="hidden"):
        train(data, module(data), hidden=3)
    with pytest.raises(InvalidOption, match="model"):
        train(data, 3)
    with pytest.raises(
        InvalidOption, match=r"fix: +make a module of the class: model=Plain\(\.\.\.\)"
    ):
        train(data, Plain)
    changed = module(data)
    changed.sent = nn.Linear(2, 2)
    with pytest.raises(InvalidOption, match="parameters of the module"):
        train(data, changed)
    with pytest.raises(pympnode.errors.EngineUnavailable, match="own"):
        train(data, module(data), kernel="numba")
    with pytest.raises(InvalidOption, match="plain values"):
        train(data, Field(2, hidden=4, controls=1, attributes=torch.tensor(1)))
    with pytest.raises(UnknownName):
        pympnode.networks.own_module.make_module("tset field", {})


class Changed(Plain):
    """A forward that changes its input in place: the solver would go on from a changed state."""

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        x += self.scale
        return x


class Detached(Plain):
    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return (self.scale * x).detach()


class Complex(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.phase = nn.Parameter(torch.tensor([1 + 2j]))


class Lazy(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(2)


class Frozen(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.scale.requires_grad_(False)


@pytest.mark.filterwarnings("ignore::pympnode.PympnodeWarning")
@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        (Changed, InvalidModel, "changes its inputs"),
        (Detached, InvalidModel, "nothing can be learned"),
        (Complex, InvalidOption, "real numbers"),
        (Lazy, InvalidOption, "no shape yet"),
        (Frozen, InvalidOption, "nothing to train"),
    ],
)
def test_modules_that_would_learn_something_else_are_refused(
    data: xr.Dataset, kind: type[nn.Module], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        train(data, kind(), epochs=1)


@pytest.mark.filterwarnings("ignore::pympnode.PympnodeWarning")
def test_an_error_of_the_users_forward_says_what_it_was_given(data: xr.Dataset) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        train(data, Field(3, controls=1, attributes=1), epochs=1)
    assert "raised by forward of Field, with x (" in caught.value.__notes__[0]


def test_a_class_that_took_over_a_name_does_not_read_weights_of_the_other(
    data: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pympnode.networks import own_module

    monkeypatch.setattr(own_module, "_makers", dict(own_module._makers))
    monkeypatch.setattr(own_module, "_templates", {})
    for members in (1, 2):
        result = train(data, module(data), epochs=1, members=members)
        result.save(tmp_path / f"{members}.nc")

    @pympnode.register_module("test field")
    class Fewer(nn.Module):
        """Its only tensor has the name and the shape of one of `Field`."""

        def __init__(self, features: int, **_: Any) -> None:
            super().__init__()
            self.sent = nn.Linear(features, features, bias=False)

        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            return self.sent(x)

    for members in (1, 2):
        with pytest.raises(InvalidModel, match="registered now, Fewer"):
            pympnode.load(tmp_path / f"{members}.nc")
    one = result.model.member(0)
    for use in (result.model.rollout, result.evaluate, one.rollout):
        with pytest.raises(InvalidModel, match="do not belong"):
            use(data)
    with pytest.raises(InvalidModel, match="do not belong"):
        one.module()

    @pympnode.register_module("test field")
    class Unlike(Fewer):
        def __init__(self, size: int) -> None:
            super().__init__(size)

    with pytest.raises(InvalidModel, match="does not take the arguments"):
        pympnode.load(tmp_path / "1.nc")


@pytest.mark.parametrize("aggregation", ["sum", "mean", "max"])
def test_own_networks_for_messages_and_their_effect(data: xr.Dataset, aggregation: str) -> None:
    """Networks that are those of the family compute what the family computes."""

    class Message(nn.Module):
        def __init__(self, weights: dict[str, Any]) -> None:
            super().__init__()
            self.weights = nn.ParameterDict(weights)

        def forward(self, receiver: Any, sender: Any, edge: Any) -> torch.Tensor:
            w = self.weights
            # Of the family's messages the receiver's part has no control, which is the third here.
            hidden = torch.cat([receiver[:, [0, 1, 3]], sender], 1) @ w["1w"].T + w["1b"]
            hidden = torch.tanh(torch.tanh(hidden) @ w["2w"].T + w["2b"])
            return hidden @ w["3w"].T + w["3b"]

    class Update(nn.Module):
        def __init__(self, weights: dict[str, Any]) -> None:
            super().__init__()
            self.weights = nn.ParameterDict(weights)

        def forward(self, node: torch.Tensor, received: torch.Tensor) -> torch.Tensor:
            w, values = self.weights, torch.cat([node, received], dim=1)
            for number in (1, 2):
                values = torch.tanh(values @ w[f"{number}w"].T + w[f"{number}b"])
            return values @ w["3w"].T + w["3b"]

    options = dict(aggregation=aggregation, hidden=5, dtype="float64", kernel="eager", updates=1)
    theirs = train(
        data, None, epochs=None, messages="pairwise", coupling="mixed", message_size=3, **options
    )
    found: dict[str, dict[str, Any]] = {"pair_layer": {}, "layer": {}}
    for name, value in theirs.model.weights.items():
        part, _, (number, kind) = (
            name.rpartition("_")[0].rpartition("_")[0],
            0,
            (
                name.split("_")[-2],
                name[-6 if name.endswith("weight") else -4],
            ),
        )
        found[part][number + kind] = torch.from_numpy(value.copy())
    mine = train(
        data, None, epochs=None, message=Message(found["pair_layer"]), update=Update(found["layer"]),
        **{**options, "learning_rate": 1e-12},
    )  # fmt: skip
    expected, predicted = theirs.model.rollout(data).state, mine.model.rollout(data).state
    assert np.allclose(predicted, expected, rtol=1e-6, atol=1e-8)


@pympnode.register_module("test message")
class Difference(nn.Module):
    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, size)

    def forward(self, receiver: torch.Tensor, sender: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.tanh(sender - receiver))


def test_a_registered_message_is_read_from_a_file_with_the_default_update(
    data: xr.Dataset, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    result = train(data, None, message=Difference(4, 2), hidden=6, epochs=4, run=tmp_path)
    assert "module/message.layer.weight" in result.model.weights
    assert result.model.weights["module/update.0.weight"].shape == (6, 4 + 2)
    again = pympnode.load(tmp_path)
    assert np.array_equal(again.rollout(data).state, result.model.rollout(data).state)
    assert (
        train(data, None, message=Difference(4, 2), hidden=6, epochs=1, members=2).model.members
        == 2
    )


def test_networks_that_do_not_fit_are_refused(data: xr.Dataset) -> None:
    with pytest.raises(InvalidOption, match="do not fit"):
        train(data, None, message=Difference(3, 2))
    with pytest.raises(InvalidOption, match="do not fit"):
        train(data, None, update=nn.Sequential(nn.Linear(4 + 6, 3)))
    with pytest.raises(InvalidOption, match="of your own"):
        train(data, None, update="direct")
    with pytest.raises(InvalidOption, match="coupling"):
        train(data, None, message=Difference(4, 2), coupling="mixed")
    with pytest.raises(InvalidOption, match="model"):
        train(data, "mpnode", message=Difference(4, 2))
