"""Equations of trained models: true terms, refusals in words, and a system that simulate runs.

Tests without pysindy are of what is refused; the others skip where it is not installed.
"""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import EngineUnavailable, InvalidData, InvalidModel, InvalidOption
from pympnode.networks import candidates, identification, identified, schema
from pympnode.networks.candidates import Candidate, column, sum_edges
from pympnode.networks.systems.user import own_system

SEED_WITHOUT_CONSTANT = 3  # SSR alone fails for a fifth of the seeds


@pytest.fixture(scope="module")
def sindy() -> Any:
    return pytest.importorskip("pysindy", reason="identify needs pysindy")


@pytest.fixture(scope="module")
def gene(sindy: Any) -> tuple[Any, Any, xr.Dataset]:
    model = pympnode.pretrained("gene")
    ds = pympnode.simulate("gene", trajectories=12, seed=3)
    return model, pympnode.identify(model, ds, samples=100), ds


def coefficients(found: Any) -> dict[tuple[str, str, str], float]:
    return {(t.feature, t.part, t.text): t.coefficient for t in found.terms}


def z_error(model: Any, states: Any, ds: xr.Dataset) -> float:
    return float(np.sqrt(np.mean(((states - ds.state.values) / model.state_scale.scale) ** 2)))


def test_gene_has_its_two_terms(gene: tuple[Any, Any, xr.Dataset]) -> None:
    _, found, _ = gene
    got = coefficients(found)
    assert set(got) == {
        ("expression", "node", "expression_i"),
        ("expression", "pair", "expression_j^2/(1 + expression_j^2)"),
    }
    assert np.allclose(list(got.values()), [-1.0, 1.0], atol=2e-3)
    assert found.field_error["expression"] < 0.01
    assert found.pair_error is None  # messages enter the update nonlinearly


def test_the_system_is_simulated_better_than_by_the_network(
    gene: tuple[Any, Any, xr.Dataset],
) -> None:
    model, found, _ = gene
    ds = pympnode.simulate("gene", topology="WS", nodes=20, trajectories=4, seed=11)
    graph, _ = schema.graphs_of(ds)
    again = pympnode.simulate(
        found.system, topology=graph, initial=ds.state.values[:, 0], steps=ds.sizes["time"] - 1
    )
    identified = z_error(model, again.state.values, ds)
    assert identified < 0.5 * z_error(model, model.rollout(ds, check=False).state.values, ds)


def test_text_and_latex_name_the_terms(gene: tuple[Any, Any, xr.Dataset]) -> None:
    _, found, _ = gene
    assert found.text.startswith("dexpression_i/dt = -") and "sum_j [" in found.text
    assert r"\sum_j" in found.latex and r"\frac{\mathrm{expression}_{j}^2}" in found.latex
    assert str(found) in repr(found)
    assert found.latex.count("{") == found.latex.count("}")


def test_the_default_system_of_simulate_has_the_graph_of_the_data(
    gene: tuple[Any, Any, xr.Dataset],
) -> None:
    _, found, ds = gene
    made = pympnode.simulate(found.system, trajectories=2)
    assert schema.graphs_of(made)[0].same(schema.graphs_of(ds)[0])
    assert made.sizes["time"] == ds.sizes["time"]


def test_an_optimiser_of_pysindy_is_taken_as_it_is(
    sindy: Any, gene: tuple[Any, Any, xr.Dataset]
) -> None:
    model, _, ds = gene
    optimiser = sindy.STLSQ(threshold=0.05)
    found = pympnode.identify(
        model, ds, optimiser=optimiser, library=["hill"], degree=1, samples=60
    )
    # More than the true terms: a Hill function of large states is nearly constant.
    assert len(found.terms) == np.count_nonzero(optimiser.coef_) > 2
    assert found.field_error["expression"] < 0.05


def test_kuramoto_is_found_from_its_own_simulation(sindy: Any) -> None:
    """Six terms among 150 candidates, and the pair function of the network up to its mean over senders."""
    found = pympnode.identify(pympnode.pretrained("kuramoto"), samples=60, degree=2)
    got = coefficients(found)
    wanted = {(f"phase_{n}", "node", "") for n in (1, 2, 3)}
    wanted |= {(f"phase_{n}", "pair", f"sin(phase_{n}_j - phase_{n}_i)") for n in (1, 2, 3)}
    assert set(got) == wanted
    waves = [value for (_, part, _), value in got.items() if part == "pair"]
    assert np.allclose(waves, 1 / 3, atol=2e-3)
    assert found.pair_error is not None and max(found.pair_error.values()) < 0.05


def test_candidates_of_the_user(sindy: Any, gene: tuple[Any, Any, xr.Dataset]) -> None:
    model, _, ds = gene
    found = pympnode.identify(
        model,
        ds,
        library=["difference"],
        degree=1,
        pair_terms={"saturation(x_j)": lambda i, j: 1 - 1 / (1 + j[..., 0] ** 2)},
        samples=60,
    )
    assert ("expression", "pair", "saturation(x_j)") in coefficients(found)
    with pytest.raises(InvalidData, match="one number for each state"):
        pympnode.identify(model, ds, pair_terms={"wrong": lambda i, j: j}, samples=20)
    with pytest.raises(InvalidData, match="not finite"):
        pympnode.identify(model, ds, node_terms={"1/0": lambda x: x[..., 0] * np.inf}, samples=20)


def test_equal_degrees_are_refused(sindy: Any) -> None:
    ds = pympnode.simulate("gene", topology="ring", nodes=6, trajectories=3, steps=4)
    with pytest.raises(InvalidData, match="same degree"):
        pympnode.identify(pympnode.pretrained("gene"), ds)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict(aggregation="mean"), "does not depend on the number of senders"),
        (dict(aggregation="max"), "no sum over pairs"),
        (dict(messages="state"), "ODE states"),
    ],
)
def test_models_without_a_sum_over_pairs_are_refused(change: dict[str, Any], match: str) -> None:
    model = pympnode.pretrained("gene")
    model = dataclasses.replace(model, spec=model.spec.replace(**change))
    with pytest.raises(InvalidModel, match=match):
        pympnode.identify(model)


def test_the_pretrained_lorenz_model_is_of_means_and_particles_have_no_graph() -> None:
    with pytest.raises(InvalidModel, match="mean"):
        pympnode.identify(pympnode.pretrained("lorenz"))
    with pytest.raises(InvalidModel, match="networks"):
        pympnode.identify(pympnode.pretrained("gravity"))


def test_without_pysindy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pysindy", None)
    with pytest.raises(EngineUnavailable, match=r"pympnode\[identify\]"):
        pympnode.identify(pympnode.pretrained("gene"))


def test_a_constant_is_not_replaced_by_two_functions(sindy: Any) -> None:
    """Of 1, x^2 and cos x at small x the constant was removed first: the other two fit the noise better."""
    rng = np.random.default_rng(SEED_WITHOUT_CONSTANT)
    x = rng.uniform(-0.5, 0.5, 200)
    columns = np.stack([np.ones(200), x**2, np.cos(x)], axis=-1)
    supports = identification._path(columns, 0.5 + 1e-3 * rng.normal(size=200), sindy)
    assert [0] in [chosen.tolist() for chosen, _ in supports]


def test_too_many_candidates_are_counted_before_they_are_made(
    gene: tuple[Any, Any, xr.Dataset],
) -> None:
    model, _, ds = gene
    with pytest.raises(InvalidOption, match="too many candidate terms"):
        pympnode.identify(model, ds, degree=10**9)


def test_a_model_that_is_not_finite_is_refused(gene: tuple[Any, Any, xr.Dataset]) -> None:
    model, _, ds = gene
    broken = dataclasses.replace(model, theta=np.full_like(model.theta, np.nan))
    with pytest.raises(InvalidModel, match="not finite"):
        pympnode.identify(broken, ds, samples=20)


def test_hostile_options_are_refused() -> None:
    model = pympnode.pretrained("gene")
    for options in (
        dict(library=["wavelets"]), dict(degree=0), dict(tolerance=-1.0), dict(optimiser=3),
        dict(node_terms={"x": 1}), dict(samples=1),
    ):  # fmt: skip
        with pytest.raises((InvalidOption, ValueError)):
            pympnode.identify(model, **options)


def test_attributes_and_controls_enter_the_equations() -> None:
    """The system of known terms with an attribute and a control, without a regression."""
    terms = candidates.node_candidates(["x"], ["u", "b"], (), ["polynomial"], 2, [False])
    by_text = {term.text: term for term in terms}
    assert (
        set(by_text) >= {"", "x_i", "u_i", "b_i", "x_i b_i", "x_i^2"} and "u_i b_i" not in by_text
    )
    found = (((by_text["u_i"], 2.0), (by_text["x_i b_i"], -1.0)),)
    from pympnode.networks.identified import system_of

    graph = pympnode.Graph.from_edges([(0, 1)], nodes=2)
    system = system_of(
        "two", ("x",), found, units=("1",), controls=("u",), attributes={"b": np.array([1.0, 2.0])},
        start=np.array([[0.0, 1.0]]), topology=graph, dt=0.1, steps=3,
    )  # fmt: skip
    x, u = np.array([[[1.0], [3.0]]]), np.array([[[1.0], [0.5]]])
    parameters = system.resolve_parameters({}, graph)
    assert np.allclose(system.field(0.0, x, u, graph, parameters)[0, :, 0], [2 - 1, 1 - 6])
    assert pympnode.simulate(system, trajectories=2).sizes["node"] == 2


def test_terms_of_pairs_are_weighted_sums_over_senders() -> None:
    graph = pympnode.Graph.from_edges(
        [(0, 1), (2, 1), (1, 0)], nodes=4, weight=[1.0, 2.0, 0.5], directed=True
    )
    x = np.random.default_rng(0).normal(size=(3, 4, 1))
    wave = Candidate("pair", "s", "s", lambda i, j: np.sin(j[..., 0] - 2 * i[..., 0]))
    got = column(wave, x, 1, graph)
    wanted = np.zeros((3, 4))
    for sender, receiver, weight in zip(graph.sender, graph.receiver, graph.weight):
        wanted[:, receiver] += weight * np.sin(x[:, sender, 0] - 2 * x[:, receiver, 0])
    assert np.allclose(got, wanted)
    assert np.array_equal(sum_edges(np.ones((1, 3)), graph)[0], graph.in_weight)


def test_a_difference_and_a_sender_are_told_apart(sindy: Any) -> None:
    """x_j alone is two terms in a library of differences, and one in a library of senders."""

    def field(t: float, x: Any, u: Any, graph: Any, parameters: Any) -> Any:
        return graph.sum_neighbours(x) - 3.0 * x

    system = own_system("senders", field, ["x"], topology="BA", nodes=8)
    ds = pympnode.simulate(system, trajectories=4, steps=5)
    model = _exact(ds)
    found = pympnode.identify(model, ds, library=["polynomial", "difference"], samples=20)
    assert {(t.part, t.text) for t in found.terms} == {("node", "x_i"), ("pair", "x_j")}


def _exact(ds: xr.Dataset) -> Any:
    """A model whose field is -3 x_i + sum_j x_j, a module of the user."""
    torch = pytest.importorskip("torch")

    class Exact(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Parameter(torch.ones(1))

        def forward(self, x: Any, edge_index: Any) -> Any:
            sent = torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])
            return self.one * (sent - 3.0 * x)

    model = pympnode.train(ds, model=Exact(), updates=1, kernel="eager", progress=False).model
    scale = dataclasses.replace(
        model.state_scale, mean=np.zeros_like(model.state_scale.mean),
        scale=np.ones_like(model.state_scale.scale),
    )  # fmt: skip
    return dataclasses.replace(
        model, theta=np.ones_like(model.theta), state_scale=scale, time_scale=1.0
    )


def test_check_graphs_takes_graphs_without_edges() -> None:
    ds = pympnode.simulate("gene", topology="none", nodes=3, trajectories=2, steps=2)
    identification.check_graphs(schema.pack(ds))


def test_ensembles_are_refused_with_the_fix() -> None:
    model = pympnode.pretrained("gene")
    several = dataclasses.replace(model, theta=np.stack([model.theta, model.theta]))
    with pytest.raises(InvalidModel, match=r"model\.member\(0\)"):
        pympnode.identify(several)


def test_the_command_prints_and_saves_the_equations(
    tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pympnode import _api
    from pympnode.cli import status_of

    term = identified.Term("x", "node", "x_i", -1.0)
    found = SimpleNamespace(
        text="dx_i/dt = - x_i",
        latex="- x_{i}",
        terms=(term,),
        field_error={"x": 0.1},
        pair_error=None,
    )
    given: dict[str, Any] = {}

    def stand_in(model: Any, data: Any, **keywords: Any) -> Any:
        given.update(keywords, data=data)
        return found

    monkeypatch.setattr(_api, "load", lambda path: path)
    monkeypatch.setattr(_api, "identify", stand_in)
    out = str(tmp_path / "new" / "equations.tex")
    call = ["identify", "model.nc", "--samples", "100", "--library", "sine", "--library", "hill"]
    assert status_of(call) == 0
    assert capsys.readouterr().out == found.text + "\n"
    assert given == {"data": None, "samples": 100, "library": ("sine", "hill")}
    call += ["--latex", "--save", out]
    assert status_of(call) == 1  # there is no such folder
    assert "--parents" in capsys.readouterr().err
    assert status_of([*call, "--parents", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["text"] == found.text and facts["terms"] == [dataclasses.asdict(term)]
    with open(out, encoding="utf-8") as file:
        assert file.read() == found.latex + "\n"


def test_the_shell_completes_identify_and_its_families() -> None:
    from click.shell_completion import ShellComplete

    from pympnode.cli import cli

    shell = ShellComplete(cli, {}, "pympnode", "_PYMPNODE_COMPLETE")
    assert [item.value for item in shell.get_completions([], "iden")] == ["identify"]
    families = shell.get_completions(["identify", "--library"], "h")
    assert [item.value for item in families] == ["hill"]
