"""Pictures: what they draw, at one node and at 64, not only that they draw."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, QuadMesh

import pympnode
from pympnode import plotting
from pympnode.datasets.record import with_record
from pympnode.errors import InvalidData, InvalidOption, UnknownName

SIZES = {"lorenz": 1, "kuramoto": 10, "gene": 64}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    # What was drawn must also survive the layout and the renderer.
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")


@pytest.fixture(scope="module", params=SIZES)
def data(request: pytest.FixtureRequest) -> xr.Dataset:
    topology = "none" if SIZES[request.param] == 1 else "BA"
    return pympnode.simulate(
        request.param, nodes=SIZES[request.param], topology=topology, trajectories=3, steps=12
    )


@pytest.fixture(scope="module")
def guess(data: xr.Dataset) -> xr.Dataset:
    """A prediction that is off by 1 % more at every step."""
    grows = 1.0 + 0.01 * xr.DataArray(np.arange(13.0), dims="time")
    ds = data.assign(state=(data.state * grows).transpose(*data.state.dims))
    return with_record(ds, kind="rollout")


@pytest.fixture(scope="module")
def result() -> pympnode.Result:
    return pympnode.train(
        "kuramoto", trajectories=32, steps=12, epochs=3, hidden=8, kernel="eager", progress=False
    )


@pytest.fixture(scope="module")
def scores(result: pympnode.Result) -> xr.Dataset:
    return result.evaluate(trajectories=4)


def lines(ax: Axes) -> dict[str, np.ndarray]:
    """y of every line with a name."""
    found = {str(line.get_label()): np.asarray(line.get_ydata()) for line in ax.lines}
    return {name: y for name, y in found.items() if not name.startswith("_")}


def of_kind(ax: Axes, kind: type) -> list:
    return [each for each in ax.collections if isinstance(each, kind)]


def said(ax: Axes) -> str:
    """All words of the figure of ``ax``."""
    return " ".join(text.get_text() for text in ax.figure.findobj(plt.Text))


# ---- predicted against true -------------------------------------------------------------------


def test_prediction_by_node_and_feature(data: xr.Dataset, guess: xr.Dataset) -> None:
    axes = plotting.prediction(guess, data, trajectory=1)
    nodes, features = data.sizes["node"], data.sizes["feature"]
    if nodes <= 12:
        assert axes.shape == (features, nodes)
        for (row, column), ax in np.ndenumerate(axes):
            drawn = lines(ax)
            np.testing.assert_allclose(drawn["true"], data.state[1, :, column, row])
            np.testing.assert_allclose(drawn["predicted"], guess.state[1, :, column, row])
        assert len(axes[0, 0].figure.legends) == 1
    else:
        assert axes.shape == (features, 3)
        true, predicted, off = (of_kind(ax, QuadMesh)[0] for ax in axes[0])
        np.testing.assert_allclose(
            np.ravel(true.get_array()), data.state[1, :, :, 0].T.values.ravel()
        )
        assert predicted.get_clim() == true.get_clim()
        low, high = off.get_clim()
        assert low == -high
    words = said(axes[0, 0])
    for name in data.feature.values:
        assert str(name).replace("_", " ") in words
    if "rad" in data.unit.values:
        assert "phase 1 (rad)" in words


def test_the_choice_between_lines_and_images_is_the_user_s(
    data: xr.Dataset, guess: xr.Dataset
) -> None:
    axes = plotting.prediction(guess, data, kind="map")
    assert axes.shape == (data.sizes["feature"], 3)
    axes = plotting.prediction(guess, data, kind="lines", nodes=[0])
    assert axes.shape == (data.sizes["feature"], 1)
    with pytest.raises(UnknownName, match="bars"):
        plotting.prediction(guess, data, kind="bars")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="no such node"):
        plotting.prediction(guess, data, nodes=[64])


def test_an_ensemble_is_its_mean_in_a_band(data: xr.Dataset, guess: xr.Dataset) -> None:
    both = guess.assign(state=xr.concat([data.state, guess.state], dim="member"))
    ax = plotting.prediction(both, data, kind="lines", nodes=[0])[0, 0]
    middle = 0.5 * (data.state + guess.state)[0, :, 0, 0]
    np.testing.assert_allclose(lines(ax)["predicted (mean)"], middle)
    (band,) = ax.collections
    assert band.get_label() == "lowest to highest of 2 members"
    legend = {text.get_text() for text in ax.figure.legends[0].get_texts()}
    assert legend == {"true", "predicted (mean)", "lowest to highest of 2 members"}
    y = band.get_paths()[0].vertices[:, 1]
    both_ends = np.concatenate([data.state[0, :, 0, 0], guess.state[0, :, 0, 0]])
    assert y.max() == pytest.approx(both_ends.max())
    assert y.min() == pytest.approx(both_ends.min())


def test_parity_has_a_panel_a_feature(data: xr.Dataset, guess: xr.Dataset) -> None:
    axes = plotting.parity(guess, data)
    assert len(axes) == data.sizes["feature"]
    (dots,) = of_kind(axes[0], PathCollection)
    x, y = np.asarray(dots.get_offsets()).T
    # Times after the start lie between 1 and 12 percent off the diagonal.
    assert np.all((y / x > 1.0099) & (y / x < 1.1201))
    assert len(x) <= 2 * 4000


def test_truth_and_prediction_must_fit(data: xr.Dataset, guess: xr.Dataset) -> None:
    with pytest.raises(InvalidData, match="do not fit together"):
        plotting.prediction(guess.isel(time=slice(0, 5)), data)


# ---- phases, messages -------------------------------------------------------------------------


def test_phase_portrait_draws_every_node(data: xr.Dataset, guess: xr.Dataset) -> None:
    nodes = data.sizes["node"]
    ax = plotting.phase_portrait(guess, data, trajectory=2)
    assert len(ax.lines) == 3 * nodes  # a path, its start, and the prediction
    if data.sizes["feature"] == 1:
        assert "rate of" in ax.get_ylabel()
        path = ax.lines[0]
        x = data.state[2, :, 0, 0].values
        np.testing.assert_allclose(path.get_xdata(), x)
        np.testing.assert_allclose(path.get_ydata(), np.gradient(x, data.time.values))
    else:
        space = plotting.phase_portrait(data, features=list(data.feature.values[:3]))
        assert space.name == "3d"


def test_phase_portrait_of_features_that_are_not_there(data: xr.Dataset) -> None:
    with pytest.raises(UnknownName, match="unknown feature"):
        plotting.phase_portrait(data, features=["q"])
    with pytest.raises(InvalidOption, match="one, two or three"):
        plotting.phase_portrait(data, features=[])


def test_message_norms_of_carried_messages(data: xr.Dataset) -> None:
    rng = np.random.default_rng(0)
    nodes = data.sizes["node"]
    dims = ("trajectory", "time", "node", "message_component")
    ds = data.assign(message=(dims, rng.normal(size=(3, 13, nodes, 2))))
    norm = np.linalg.norm(ds.message[1].values, axis=-1)
    ax = plotting.message_norms(ds, trajectory=1)
    if nodes <= 7:
        drawn = lines(ax)
        assert len(drawn) == nodes
        np.testing.assert_allclose(drawn["node 0"], norm[:, 0])
    else:
        (image,) = of_kind(ax, QuadMesh)
        np.testing.assert_allclose(np.ravel(image.get_array()), norm.T.ravel())
    assert "norm of the message" in said(ax)


def test_message_norms_of_emitted_messages(result: pympnode.Result) -> None:
    model, ds = result.model, result.test_set(2)
    predicted = model.rollout(ds)
    assert model.spec.messages == "emitted"
    with pytest.raises(InvalidData, match="a rollout with messages"):
        plotting.message_norms(ds)
    ax = plotting.message_norms(predicted)
    x = model.state_scale.apply(predicted.state[0, 4].values)
    w = model.weights
    hidden = np.tanh(x @ w["emit_layer_1_weight"].T + w["emit_layer_1_bias"])
    sent = hidden @ w["emit_layer_2_weight"].T + w["emit_layer_2_bias"]
    (image,) = of_kind(ax, QuadMesh)
    norm = np.reshape(image.get_array(), (10, -1))  # node, time
    np.testing.assert_allclose(norm[:, 4], np.linalg.norm(sent, axis=-1), rtol=1e-4)


# ---- training, errors, comparison -------------------------------------------------------------


def test_training_curves(result: pympnode.Result) -> None:
    ax = plotting.training_curves(result.history)
    drawn = lines(ax)
    np.testing.assert_allclose(drawn["training"], result.history.loss.values.ravel())
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "epoch"
    best = [name for name in drawn if name.startswith("best: ")]
    assert best[0].endswith(f"in epoch {result.best_epoch}")


def test_training_curves_name_the_stage_without_rollouts(result: pympnode.Result) -> None:
    horizon = result.history.horizon.values.copy()
    horizon[: len(horizon) // 2], horizon[len(horizon) // 2 :] = 0, 5
    history = result.history.assign(horizon=("epoch", horizon))
    assert len(set(horizon)) == 2
    labels = [text.get_text().strip() for text in plotting.training_curves(history).texts]
    assert "derivatives" in labels and "5" in labels and "0" not in labels


def test_labels_of_close_stages_are_one_text(result: pympnode.Result) -> None:
    last = result.history.isel(epoch=[-1] * 40).assign_coords(epoch=range(1, 41))
    windows = [0] * 35 + [5, 10, 25, 25, 50]
    ax = plotting.training_curves(last.assign(horizon=("epoch", windows)))
    assert [text.get_text().strip() for text in ax.texts] == ["derivatives", "5, 10, 25, 50"]


def test_training_curves_of_members(result: pympnode.Result) -> None:
    one = result.history
    if "member" in one.dims:
        one = one.isel(member=0)
    many = xr.concat([one, one * 2.0, one * 4.0], dim="member")
    ax = plotting.training_curves(many)
    drawn = lines(ax)
    np.testing.assert_allclose(drawn["training (median of 3)"], 2.0 * one.loss)
    thin = [line for line in ax.lines if line.get_linewidth() < 1 and len(line.get_xdata()) == 3]
    assert len(thin) == 2 * 3


def test_error_over_time(scores: xr.Dataset) -> None:
    ax = plotting.error_over_time(scores)
    drawn = lines(ax)
    assert list(drawn) == ["model", "persistence", "uncoupled"]
    expected = scores.rmse_time_z.sel(predictor="model").values
    np.testing.assert_allclose(drawn["model"][1:], expected[1:])
    assert np.isnan(drawn["model"][0])  # zero has no place on a logarithmic axis
    assert "z units" in ax.get_ylabel()
    ax = plotting.error_over_time(scores, feature="phase_2")
    assert ax.get_ylabel() == "error of phase 2 (rad)"
    with pytest.raises(UnknownName, match="did you mean 'phase_2'"):
        plotting.error_over_time(scores, feature="phase_22")
    with pytest.raises(InvalidData, match="not an evaluation"):
        plotting.error_over_time(xr.Dataset())


def test_error_by_degree_counts_every_node(data: xr.Dataset, guess: xr.Dataset) -> None:
    ax = plotting.error_by_degree(guess, data)
    counts = [int(name.split("n = ")[1].rstrip(")")) for name in lines(ax)]
    assert sum(counts) == data.sizes["trajectory"] * data.sizes["node"]
    assert 1 <= len(counts) <= 6
    if data.sizes["feature"] == 1:
        first = next(iter(lines(ax).values()))
        assert first[-1] > first[0]  # it was made to grow


def test_observables_of_the_prediction_beside_the_true_ones(scores: xr.Dataset) -> None:
    axes = plotting.observables(scores, trajectory=1)
    names = [str(name) for name in scores.observable.values]
    assert len(axes) == len(names)
    for number, ax in enumerate(axes):
        drawn = lines(ax)
        np.testing.assert_allclose(drawn["true"], scores.observable_true[1, :, number])
        np.testing.assert_allclose(drawn["predicted"], scores.observable_predicted[1, :, number])
        assert names[number].replace("_", " ") in ax.get_ylabel()
    with pytest.raises(InvalidData, match="observables"):
        plotting.observables(scores.drop_vars("observable_true"))


def test_members_are_thin_lines_and_no_rows_of_their_own(scores: xr.Dataset) -> None:
    member = scores.sel(predictor=["model"])
    two = [member.assign_coords(predictor=[f"member {i}"]) for i in range(2)]
    both = xr.concat([scores, *two], dim="predictor", data_vars="all")
    ax = plotting.error_over_time(both)
    assert list(lines(ax)) == ["model", "persistence", "uncoupled", "each member"]
    assert len(ax.lines) == 5
    rows = plotting.comparison({"ensemble": both}).get_yticklabels()
    assert [text.get_text() for text in rows] == ["ensemble", "persistence", "uncoupled"]


def test_comparison_has_a_row_a_model_and_the_baselines(scores: xr.Dataset) -> None:
    worse = scores.copy(deep=True)
    worse.rmse_trajectory_z[:] = np.inf
    ax = plotting.comparison({"ours": scores, "theirs": worse})
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == ["ours", "theirs (4 of 4 overflowed)", "persistence", "uncoupled"]
    assert sum(len(each.get_offsets()) for each in of_kind(ax, PathCollection)) == 3 * 4
    ax = plotting.comparison({"ours": scores}, variable="valid_time")
    assert ax.get_xlabel().startswith("valid prediction time")
    with pytest.raises(InvalidOption, match="by name"):
        plotting.comparison(scores)  # type: ignore[arg-type]
    with pytest.raises(UnknownName):
        plotting.comparison({"ours": scores}, variable="rmse")


# ---- graphs -----------------------------------------------------------------------------------


def test_graph_state_draws_nodes_and_each_coupling_once(data: xr.Dataset) -> None:
    ax = plotting.graph_state(data, time=0.0, trajectory=1)
    (dots,) = of_kind(ax, PathCollection)
    np.testing.assert_allclose(dots.get_array(), data.state[1, 0, :, 0])
    undirected = {frozenset(e) for e in zip(data.sender.values, data.receiver.values)}
    (edges,) = of_kind(ax, LineCollection)
    assert len(edges.get_segments()) == len(undirected)
    assert ax.get_title() == "t = 0"


def test_graph_state_takes_the_graph_of_its_trajectory() -> None:
    two = pympnode.simulate("heat", nodes=9, topology="ER", graphs=2, trajectories=2, steps=3)
    for trajectory in (0, 1):
        of = int(two.graph[trajectory])
        wanted = {
            frozenset((int(s), int(r)))
            for s, r, g in zip(two.sender, two.receiver, two.edge_graph)
            if int(g) == of
        }
        ax = plotting.graph_state(two, trajectory=trajectory)
        (edges,) = of_kind(ax, LineCollection)
        assert len(edges.get_segments()) == len(wanted)


def test_angles_that_go_round_take_a_cyclic_map() -> None:
    ds = pympnode.simulate("kuramoto", trajectories=1, steps=3)
    turned = ds.assign(state=ds.state * 20.0)
    (dots,) = of_kind(plotting.graph_state(turned, time=0.0), PathCollection)
    assert dots.get_cmap().name == "twilight"
    np.testing.assert_allclose(
        np.exp(1j * dots.get_array()), np.exp(1j * turned.state[0, 0, :, 0].values)
    )
    assert np.abs(dots.get_array()).max() <= np.pi


def test_layouts(data: xr.Dataset) -> None:
    nodes = data.sizes["node"]
    place = np.random.default_rng(0).normal(size=(nodes, 2))
    (dots,) = of_kind(plotting.graph_state(data, layout=place), PathCollection)
    np.testing.assert_allclose(dots.get_offsets(), place)
    for layout in ("circular", "grid"):
        plotting.graph_state(data, layout=layout)
    with pytest.raises(UnknownName, match="did you mean 'spring'"):
        plotting.graph_state(data, layout="sprang")
    with pytest.raises(InvalidOption, match="do not fit"):
        plotting.graph_state(data, layout=np.zeros((nodes + 1, 2)))
    with pytest.raises(InvalidOption, match="does not reach"):
        plotting.graph_state(data, time=1e6)


def test_grid_state_is_the_state_row_by_row() -> None:
    ds = pympnode.simulate("gene_hot_spots", nodes=12, trajectories=1, steps=5)
    axes = plotting.grid_state(ds, times=[0.0, 0.25])
    assert len(axes) == 2
    image = axes[1].images[0]
    rows, columns = image.get_array().shape
    assert rows * columns == 12
    np.testing.assert_allclose(image.get_array().ravel(), ds.state[0, 5, :, 0])
    assert axes[0].images[0].get_clim() == image.get_clim()
    with pytest.raises(InvalidOption, match="too small"):
        plotting.grid_state(ds, shape=(2, 2))


def test_an_animation_shows_the_states_in_turn(data: xr.Dataset) -> None:
    moving = plotting.animate(data, every=6)
    assert list(moving.new_frame_seq()) == [0, 6, 12]
    nodes, title = moving._func(6)
    np.testing.assert_allclose(nodes.get_array(), data.state[0, 6, :, 0])
    assert title.get_text() == f"t = {float(data.time[6]):.3g}"
    assert "<script" in moving._repr_html_()


# ---- all of them ------------------------------------------------------------------------------

TAKE_AX = {
    "phase_portrait": lambda d, g, h, s: (d,),
    "training_curves": lambda d, g, h, s: (h,),
    "error_over_time": lambda d, g, h, s: (s,),
    "error_by_degree": lambda d, g, h, s: (g, d),
    "comparison": lambda d, g, h, s: ({"a": s},),
    "graph_state": lambda d, g, h, s: (d,),
}


@pytest.mark.parametrize("name", TAKE_AX)
def test_the_given_axes_are_drawn_on_and_returned(
    name: str, data: xr.Dataset, guess: xr.Dataset, result: pympnode.Result, scores: xr.Dataset
) -> None:
    _, ax = plt.subplots()
    figures = len(plt.get_fignums())
    given = TAKE_AX[name](data, guess, result.history, scores)
    assert getattr(plotting, name)(*given, ax=ax) is ax
    assert ax.has_data()
    assert len(plt.get_fignums()) == figures


def test_given_axes_of_several_panels(data: xr.Dataset, guess: xr.Dataset) -> None:
    _, axes = plt.subplots(1, data.sizes["feature"], squeeze=False)
    plotting.prediction(guess, data, nodes=[0], axes=axes)
    assert all(len(ax.lines) == 2 for ax in axes.ravel())
    with pytest.raises(InvalidOption, match="wrong number of axes"):
        plotting.prediction(guess, data, nodes=[0], kind="map", axes=np.ravel(axes)[:1])


def test_no_such_trajectory(data: xr.Dataset) -> None:
    with pytest.raises(InvalidOption, match="no such trajectory"):
        plotting.graph_state(data, trajectory=3)
    plotting.graph_state(data, trajectory=-1)


def test_one_trajectory_cut_out_is_drawn_too(data: xr.Dataset) -> None:
    ax = plotting.graph_state(data.isel(trajectory=1), time=0.0)
    (dots,) = of_kind(ax, PathCollection)
    np.testing.assert_allclose(dots.get_array(), data.state[1, 0, :, 0])


def test_the_accessor_is_the_functions(data: xr.Dataset, guess: xr.Dataset) -> None:
    axes = guess.pympnode.plot.prediction(data, nodes=[0], kind="lines")
    np.testing.assert_allclose(lines(axes[0, 0])["predicted"], guess.state[0, :, 0, 0])
    assert data.pympnode.record["system"] in SIZES
    assert "phase_portrait" in dir(data.pympnode.plot)
    with pytest.raises(AttributeError, match="did you mean 'phase_portrait'"):
        _ = data.pympnode.plot.phase_portrat


def test_importing_plotting_imports_no_matplotlib() -> None:
    code = (
        "import sys, pympnode.plotting, xarray as xr;"
        "print('matplotlib' in sys.modules, hasattr(xr.Dataset, 'pympnode'))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "True"]


def test_categories_differ_in_grey_or_in_dashes() -> None:
    """Model and baselines differ in dashes, so that a picture survives a black and white print."""
    from pympnode.networks.plots.errors import STYLES

    assert len({dashes for _, dashes in STYLES.values()}) == len(STYLES)


@pytest.mark.parametrize("length", [4, 40])
def test_a_legend_above_has_as_many_columns_as_fit(length: int) -> None:
    names = [f"{i} " + "w" * length for i in range(12)]
    ax = plotting.style.new_axes(6.4, 4.0)
    handles = [ax.plot([0, 1])[0] for _ in names]
    plotting.style.legend_above(ax.figure, handles, names)
    ax.figure.canvas.draw()
    legend = ax.figure.legends[0]
    inside = legend.get_window_extent()
    assert 0 <= inside.x0 and inside.x1 <= ax.figure.bbox.x1
    assert legend._ncols == {4: 4, 40: 1}[length]
