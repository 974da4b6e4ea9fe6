"""What pictures say: order of arguments, missing data, horizons, legends, units, sizes, animations."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.animation import FuncAnimation, writers
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch

import pympnode
from pympnode import plotting
from pympnode.commands.pictures import plot as plot_command
from pympnode.datasets.record import with_record
from pympnode.errors import EngineUnavailable, InvalidData, InvalidOption
from pympnode.particles.schema import unpack_particles
from pympnode.plotting import style
from pympnode.plotting.logarithmic import LogLabels, LogTicks

EDGES = [(0, 1, 1.0), (1, 2, -2.0), (2, 0, 0.5), (2, 3, 4.0)]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def truth() -> xr.Dataset:
    """Four nodes on a directed graph with weights, 6 times."""
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 2))
    units = dict(features=["a", "b"], units=["m", "rad"], time_unit="s")
    return pympnode.from_arrays(x, dt=0.5, edges=EDGES, directed=True, **units)


def rollout(ds: xr.Dataset, steps: int, members: int = 1) -> xr.Dataset:
    """States of a rollout of ``ds`` over ``steps`` times, by its record."""
    dims = ("member", "trajectory", "time", "node", "feature")
    x = np.random.default_rng(1).normal(size=(members, 2, steps, 4, 2))
    x[:, :, 0] = ds.state.values[:, 0]
    one = ds.drop_vars("state").drop_dims("time")
    one = one.assign(state=(dims, x)) if members > 1 else one.assign(state=(dims[1:], x[0]))
    one = one.assign_coords(time=("time", 0.5 * np.arange(steps), {"units": "s"}))
    return with_record(one, kind="rollout")


def words(figure: Any) -> set[str]:
    """Texts of all legends of a figure."""
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    return {text.get_text() for legend in legends for text in legend.get_texts()}


# ---- (predicted, truth) ------------------------------------------------------------------------


def test_the_prediction_comes_first_and_the_old_order_still_works(truth: xr.Dataset) -> None:
    guess = rollout(truth, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        new = plotting.prediction(guess, truth)
        plotting.prediction(truth=truth, predicted=guess)
        plotting.parity(guess, truth)
    for call in (
        lambda: plotting.prediction(truth, guess),
        lambda: truth.pympnode.plot.prediction(guess),
        lambda: truth.pympnode.plot.prediction(predicted=guess),
        lambda: plotting.prediction(ds=truth, predicted=guess),
    ):
        with pytest.warns(DeprecationWarning) as caught:
            old = call()
        assert caught[0].filename == __file__
        for a, b in zip(new[1, 2].lines, old[1, 2].lines):
            assert a.get_label() == b.get_label()
            np.testing.assert_array_equal(a.get_ydata(), b.get_ydata())
    with pytest.warns(DeprecationWarning, match="now predicted"):
        plotting.phase_portrait(ds=truth)


def test_datasets_that_do_not_say_what_they_are_are_taken_in_the_new_order(
    truth: xr.Dataset,
) -> None:
    other = truth.assign(state=truth.state + 1.0)
    with pytest.warns(DeprecationWarning, match="name them"):
        axes = plotting.prediction(other, truth)
    drawn = {line.get_label(): line.get_ydata() for line in axes[0, 0].lines}
    np.testing.assert_allclose(drawn["true"], truth.state[0, :, 0, 0])
    np.testing.assert_allclose(drawn["predicted"], truth.state[0, :, 0, 0] + 1.0)


def test_a_rollout_is_drawn_without_truth(truth: xr.Dataset) -> None:
    axes = plotting.prediction(rollout(truth, 9, members=3))
    assert words(axes[0, 0].figure) == {"predicted (mean)", "lowest to highest of 3 members"}
    assert plotting.prediction(rollout(truth, 9), kind="map").shape == (2, 1)


# ---- horizons beyond the truth -----------------------------------------------------------------


def test_a_prediction_may_be_longer_than_the_truth(truth: xr.Dataset) -> None:
    guess = rollout(truth, 11)
    ax = plotting.prediction(guess, truth)[0, 1]
    drawn = {line.get_label(): line for line in ax.lines}
    assert np.isfinite(drawn["true"].get_ydata()).sum() == 6
    np.testing.assert_allclose(drawn["predicted"].get_ydata(), guess.state[0, :, 1, 0])
    assert words(ax.figure) == {"true", "predicted", "no truth"}
    (grey,) = (patch for patch in ax.patches if patch.get_label() == "no truth")
    ends = np.asarray(grey.get_extents().transformed(ax.transData.inverted()))[:, 0]
    np.testing.assert_allclose(ends, [2.5, 5.0])
    image = plotting.prediction(guess, truth, kind="map")[0, 0]
    values = np.ma.masked_invalid(image.collections[0].get_array())
    assert isinstance(image.collections[0], QuadMesh) and values.mask.sum() == 5 * 4
    assert to_rgb(image.get_facecolor()) == to_rgb(style.MISSING)
    assert "no truth" in image.texts[0].get_text()
    phase = plotting.phase_portrait(guess, truth, nodes=[0])
    lengths = {line.get_linestyle(): len(line.get_xdata()) for line in phase.lines}
    assert lengths["--"] == 6 and lengths[":"] == 6  # the last state with truth is in both
    assert "predicted, no truth" in words(phase.figure)
    rate = plotting.phase_portrait(guess, truth, nodes=[0], features=["a"]).lines[0]
    assert np.isfinite(rate.get_ydata()).all()
    dots = plotting.parity(guess, truth)[0].collections[0]
    assert len(dots.get_offsets()) == 2 * 5 * 4
    assert len(plotting.error_by_degree(guess, truth).lines[0].get_xdata()) == 5


def test_truth_and_prediction_of_other_times_do_not_fit(truth: xr.Dataset) -> None:
    shifted = rollout(truth, 11).assign_coords(time=0.1 + 0.5 * np.arange(11))
    for other in (shifted, rollout(truth, 4)):
        with pytest.raises(InvalidData, match="do not fit together"):
            plotting.prediction(other, truth)
    with pytest.raises(InvalidData, match="1 trajectories"):
        plotting.parity(rollout(truth, 6).isel(trajectory=[0]), truth)


# ---- graphs ------------------------------------------------------------------------------------


def test_a_directed_graph_has_arrows_and_its_weights_in_the_legend(truth: xr.Dataset) -> None:
    ax = plotting.graph_state(truth, layout="circular")
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == len(EDGES)
    assert [arrow.get_linestyle() for arrow in arrows].count("dashed") == 1
    widths = [arrow.get_linewidth() for arrow in arrows]
    assert np.argmax(widths) == 3 and len(set(widths)) == 4
    assert words(ax.figure) == {"weight 4", "weight 1", "negative weight"}
    both = pympnode.simulate("heat", nodes=4, topology="ring", trajectories=1, steps=2)
    ax = plotting.graph_state(both)
    assert not ax.patches and not words(ax.figure)
    assert len(ax.collections[0].get_segments()) == 4


def test_nodes_without_data_are_grey_where_they_are(truth: xr.Dataset) -> None:
    place = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    holes = truth.copy(deep=True)
    holes.state[0, 3, 1] = np.nan
    for draw in (
        lambda: plotting.graph_state(holes, time=1.5, layout=place),
        lambda: plotting.animate(holes, layout=place, every=3)._fig.axes[0],
    ):
        ax = draw()
        (dots,) = (c for c in ax.collections if isinstance(c, PathCollection))
        assert not np.ma.is_masked(dots.get_offsets())  # as matplotlib leaves missing values out
        np.testing.assert_allclose(dots.get_offsets(), place)
        assert "no data" in words(ax.figure)
    moving = plotting.animate(holes, layout=place, every=3)
    dots = moving._func(3)[0]
    dots.update_scalarmappable()
    faces = [to_rgb(face) for face in dots.get_facecolor()]
    assert faces[1] == to_rgb(style.MISSING) and faces[0] != faces[1]
    grid = plotting.grid_state(holes, time=1.5)
    assert "no data" in words(grid[0].figure)
    assert to_rgb(grid[0].images[0].get_cmap().get_bad()) == to_rgb(style.MISSING)
    assert "no data" not in words(plotting.graph_state(holes, time=0.0).figure)


def test_angles_are_wrapped_where_some_are_missing() -> None:
    ds = pympnode.simulate("kuramoto", trajectories=1, steps=2)
    ds = ds.assign(state=ds.state * 20.0)
    ds.state[0, 1, 0] = np.nan
    dots = plotting.graph_state(ds, time=0.0).collections[-1]
    assert dots.get_cmap().name == "twilight"


def test_a_graph_at_several_times(truth: xr.Dataset) -> None:
    axes = plotting.graph_state(truth, times=[0.0, 1.0, 2.5], feature="b")
    dots = [ax.collections[-1] for ax in axes]
    for one, index in zip(dots, (0, 2, 5)):
        np.testing.assert_allclose(one.get_array(), truth.state[0, index, :, 1])
        assert one.get_clim() == dots[0].get_clim()
        np.testing.assert_array_equal(one.get_offsets(), dots[0].get_offsets())
    assert [ax.get_title() for ax in axes] == ["t = 0 s", "t = 1 s", "t = 2.5 s"]
    _, two = plt.subplots(1, 2)
    assert plotting.graph_state(truth, times=[0.0, 1.0], axes=two)[1] is two[1]
    for wrong in (
        dict(time=0.0, times=[1.0]), dict(times=[]), dict(axes=two), dict(times=[0.0], ax=two[0]),
        dict(times=[0.0], axes=two),
    ):  # fmt: skip
        with pytest.raises(InvalidOption):
            plotting.graph_state(truth, **wrong)
    with pytest.raises(InvalidOption, match="no times"):
        plotting.grid_state(truth, times=[])
    with pytest.raises(InvalidOption, match="several"):
        plotting.grid_state(truth, time=0.0, times=[1.0])


# ---- axes, legends, sizes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.2, 0.5, ["0.2", "0.3", "0.4", "0.5"]),
        (0.1711, 0.1765, None),
        (0.02, 30, ["0.1", "1", "10"]),
        (0.09, 1.1, ["0.1", "0.3", "1"]),
        (1e-9, 1e3, None),
        (3e-6, 4e-5, None),
    ],
)
def test_labels_of_logarithmic_axes_are_few_exact_and_different(
    low: float, high: float, labels: list[str] | None
) -> None:
    ticks = LogTicks().tick_values(low, high)
    texts = LogLabels().format_ticks(ticks)
    assert 2 <= len(texts) <= 7 and len(set(texts)) == len(texts)
    assert (np.diff(ticks) > 0).all()
    for tick, text in zip(ticks, texts):
        if "10^" not in text:
            assert float(text) == pytest.approx(tick, rel=1e-5)
    if labels is not None:
        assert texts == labels


def evaluation(values: np.ndarray) -> xr.Dataset:
    return xr.Dataset(
        {"rmse_trajectory_z": (("predictor", "trajectory"), values)},
        coords={"predictor": ["model", "persistence"]},
    )


def test_a_comparison_explains_its_marks_and_its_labels_do_not_touch() -> None:
    values = np.stack([np.linspace(0.31, 0.42, 9), np.linspace(0.36, 0.44, 9)])
    ax = plotting.comparison({"ours": evaluation(values)}, figsize=(3.4, 2.2))
    assert words(ax.figure) == {"a trajectory", "median", "quartile to quartile"}
    ax.figure.canvas.draw()
    shown = [t for t in (*ax.get_xticklabels(), *ax.get_xticklabels(minor=True)) if t.get_text()]
    boxes = [text.get_window_extent() for text in shown]
    assert len(boxes) >= 2
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def history(losses: list[list[float]], **attrs: Any) -> xr.Dataset:
    both = np.array(losses).T
    return xr.Dataset(
        {"loss": (("epoch", "member"), both), "validation_loss": (("epoch", "member"), both)},
        coords={"epoch": np.arange(1, len(both) + 1)},
        attrs=attrs,
    )


@pytest.mark.parametrize(
    ("attrs", "says"),
    [
        ({}, "best: 1 in epoch 2"),
        ({"best_loss": 1.0, "best_epoch": 2}, "best: 1 in epoch 2"),
        ({"best_loss": 2.0, "best_epoch": 3}, "best: 2 in epoch 3"),  # the last was kept
        ({"best_loss": 0.5, "best_epoch": 0}, "best: 0.5 in epoch 0"),  # the first weights
        ({"best_loss": 7.5, "best_epoch": 3}, "best: 1 in epoch 2"),  # of another history
    ],
)
def test_the_best_epoch_is_that_of_the_best_member(attrs: dict[str, Any], says: str) -> None:
    ax = plotting.training_curves(history([[3.0, 1.0, 2.0], [9.0, 8.0, 3.0]], **attrs))
    assert says in words(ax.figure)
    assert {"training of each member", "validation (median of 2)"} <= words(ax.figure)


def test_result_and_picture_agree_on_the_best_epoch() -> None:
    few = dict(nodes=3, topology="ring", trajectories=8, steps=4, hidden=4)
    result = pympnode.train("heat", **few, epochs=2, members=2, kernel="eager", progress=False)
    assert result.history.attrs["best_epoch"] == result.best_epoch
    label = f"best: {result.best_loss:.4g} in epoch {result.best_epoch}"
    assert label in words(plotting.training_curves(result.history).figure)


def test_a_size_for_a_paper(truth: xr.Dataset) -> None:
    guess = rollout(truth, 6)
    axes = plotting.prediction(guess, truth, nodes=[0, 1], figsize=(3.4, 2.6))
    figure = axes[0, 0].figure
    assert tuple(figure.get_size_inches()) == (3.4, 2.6)
    figure.canvas.draw()
    parity = plotting.parity(guess, truth, features=["a"], figsize=(3.4, 2.6))[0].figure
    parity.canvas.draw()
    for ax in (axes[1, 0], *parity.axes):  # the last one is a colour bar
        texts = [ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]
        assert len(texts) > 4 and {text.get_fontsize() for text in texts} == {8.0}
    assert plt.rcParams["font.size"] == 10.0
    wide = plotting.prediction(guess, truth, figsize=(9, 3))[0, 0]
    assert wide.yaxis.label.get_fontsize() == 10.0
    small, large = (plotting.graph_state(truth, figsize=s) for s in ((2.4, 2.0), (9, 7)))
    assert small.collections[-1].get_sizes()[0] < 0.5 * large.collections[-1].get_sizes()[0]
    scores = {"a": evaluation(np.ones((2, 3)))}
    for draw, given in (
        (plotting.training_curves, history([[2.0, 1.0]])), (plotting.comparison, scores),
        (plotting.animate, truth), (plotting.grid_state, truth), (plotting.phase_portrait, truth),
        (plotting.scaling, {"a": ([1, 2], [1, 2])}), (plotting.conservation, particles(5, 2)),
        (plotting.particle_trajectories, particles(5, 2)), (plotting.hierarchy_of, particles(5, 2)),
        (plotting.animate_particles, particles(5, 2)),
    ):  # fmt: skip
        made = draw(given, figsize=(3, 2))
        figure = made.figure if hasattr(made, "figure") else np.ravel(made)[0].figure
        assert tuple(figure.get_size_inches()) == (3, 2), draw.__name__
    with pytest.raises(InvalidOption, match="the axes were given"):
        plotting.graph_state(truth, ax=small, figsize=(3, 2))
    for wrong in (3, (3,), "34", (0, 2), (3, np.nan), (1e9, 1)):
        with pytest.raises(InvalidOption, match="width and the height"):
            plotting.graph_state(truth, figsize=wrong)


def test_errors_in_z_units_have_one_label(truth: xr.Dataset) -> None:
    ax = plotting.error_by_degree(rollout(truth, 6), truth)
    assert ax.get_ylabel() == "root mean square error (z units)"
    values = np.stack([np.linspace(0.31, 0.42, 9)] * 2)
    assert plotting.comparison({"a": evaluation(values)}).get_xlabel().endswith("(z units)")


# ---- particles ---------------------------------------------------------------------------------


def particles(count: int, dims: int, side: float | None = None, far: float = 0.0) -> xr.Dataset:
    """Particles that stay within 1 of the origin; the last one goes ``far``."""
    rng = np.random.default_rng(2)
    x = rng.uniform(-0.8, 0.8, size=(1, 1, count, dims)) + 0.02 * rng.normal(
        size=(1, 5, count, dims)
    ).cumsum(axis=1)
    x[0, :, -1, 0] += np.linspace(0, far, 5)
    about = {"system": "gravity", "parameters": {"side": side, "constant": 2.0, "softening": 0.2}}
    return unpack_particles(x, 0 * x, np.ones((1, count)), np.arange(5.0), about=about)


def test_paths_in_three_dimensions() -> None:
    ds = particles(6, 3)
    ax = plotting.particle_trajectories(ds)
    assert ax.name == "3d" and ax.get_zlabel() == "z (length)"
    lines = ax.collections[0]._segments3d
    assert np.shape(lines) == (4 * 6, 2, 3)
    np.testing.assert_allclose(lines[0][1], ds.position[0, 1, 0])
    near = plotting.particle_trajectories(ds, zoom=2)[1]
    assert near.name == "3d" and len(near.collections[0]._segments3d) < 4 * 6
    moving = plotting.animate_particles(ds)
    assert moving._fig.axes[0].name == "3d"
    dots = moving._func(3)[0]
    np.testing.assert_allclose(np.stack(dots._offsets3d, -1), ds.position[0, 3])
    moving._fig.canvas.draw()
    _, flat = plt.subplots()
    assert plotting.particle_trajectories(ds, ax=flat) is flat  # projected
    assert isinstance(flat.collections[0], LineCollection) and flat.get_ylabel() == "y (length)"


@pytest.mark.parametrize("dims", [2, 3])
def test_an_escaper_does_not_shrink_the_others(dims: int) -> None:
    ds = particles(12, dims, far=300.0)
    for ax in (
        plotting.particle_trajectories(ds),
        plotting.animate_particles(ds)._fig.axes[0],
    ):
        low, high = ax.get_xlim()
        near = ds.position.values[0, :, :-1, 0]
        assert -2 < low <= near.min() and near.max() <= high < 2
        assert "1 of 12 particles leave the picture" in ax.get_title()
    whole = plotting.particle_trajectories(ds, quantile=1)
    assert whole.get_xlim()[1] > 300 and whole.get_title() == ""
    assert plotting.particle_trajectories(particles(12, dims)).get_title() == ""
    box = plotting.particle_trajectories(particles(12, dims, side=8.0, far=3.0))
    assert box.get_xlim() == (-4.0, 4.0) and box.get_title() == ""
    for wrong in (0, 1.5, "all", True):
        with pytest.raises(InvalidOption, match="quantile"):
            plotting.particle_trajectories(ds, quantile=wrong)


def test_truth_that_ends_before_the_prediction_says_so() -> None:
    ds = particles(5, 2)
    ax = plotting.particle_trajectories(ds, ds.isel(time=slice(0, 3)))
    assert words(ax.figure) == {"true, until t = 2", "predicted"}
    assert words(plotting.particle_trajectories(ds, ds).figure) == {"true", "predicted"}


def test_many_equal_particles_have_one_colour() -> None:
    few = plotting.particle_trajectories(particles(6, 2)).collections[-1]
    many = plotting.particle_trajectories(particles(120, 2)).collections[-1]
    for dots, colours in ((few, 6), (many, 1)):
        dots.update_scalarmappable()
        assert len(np.unique(dots.get_facecolor(), axis=0)) == colours


def test_conserved_quantities_have_units() -> None:
    ds = particles(5, 2)
    axes = plotting.conservation(ds, ds)
    assert [ax.get_ylabel() for ax in axes] == [
        "change of energy per particle\n(mass length² / time²)",
        "change of momentum per particle\n(mass length / time)",
    ]
    assert words(axes[0].figure) == {"true", "predicted"}
    ds["mass"].attrs["units"], ds["position"].attrs["units"] = "kg", "m"
    ds["time"].attrs["units"] = "s"
    axes = plotting.conservation(ds)
    assert axes[0].get_ylabel() == "energy\n(kg m² / s²)" and axes[1].get_xlabel() == "time (s)"
    ds["time"].attrs["units"] = "1"
    assert plotting.conservation(ds)[1].get_ylabel() == "momentum\n(kg m)"
    with pytest.warns(DeprecationWarning, match="predicted"):
        plotting.conservation(data=ds)


# ---- animations --------------------------------------------------------------------------------


def test_an_animation_that_no_writer_makes_is_an_error_in_words(
    truth: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "is_available", lambda name: name == "pillow")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    moving = plotting.animate(truth, layout="circular", every=5)
    for ending in ("mp4", "webm"):
        with pytest.raises(EngineUnavailable, match="imageio-ffmpeg"):
            moving.save(tmp_path / f"a.{ending}")
    with pytest.raises(InvalidOption, match=r"cannot be written as \.doc"):
        moving.save(str(tmp_path / "a.doc"))
    moving.save(tmp_path / "a.html")
    assert "<script" in (tmp_path / "a.html").read_text()
    calls: list[dict[str, Any]] = []

    def record(self: Any, filename: Any, **keywords: Any) -> None:
        calls.append(keywords | {"path": plt.rcParams["animation.ffmpeg_path"]})

    monkeypatch.setattr("pympnode.plotting.animation.ffmpeg", lambda: "/there/ffmpeg")
    monkeypatch.setattr(FuncAnimation, "save", record)
    moving.save(tmp_path / "a.mp4", dpi=60)
    moving.save(tmp_path / "a.webm")
    plain, web = calls
    assert plain == {"writer": "ffmpeg", "dpi": 60, "path": "/there/ffmpeg"}
    assert web["codec"] == "libvpx-vp9" and web["extra_args"] == ["-pix_fmt", "yuv420p"]


def test_a_notebook_shows_one_copy(truth: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    moving = plotting.animate(truth, every=5)
    assert plt.fignum_exists(moving._fig.number)  # for plt.show() in a script
    assert "<script" in moving._repr_html_()
    assert not plt.get_fignums()
    name = "module://matplotlib_inline.backend_inline"
    monkeypatch.setattr(matplotlib, "get_backend", lambda *a, **k: name)
    later = plotting.animate(truth, every=5)
    assert not plt.get_fignums()
    assert "<script" in later._repr_html_()


# ---- the command line --------------------------------------------------------------------------


def test_the_command_line_takes_the_rollout_first_and_sizes(
    truth: xr.Dataset, tmp_path: Path
) -> None:
    from click.testing import CliRunner
    from matplotlib.image import imread

    from pympnode.files import netcdf

    data, guess, out = (str(tmp_path / n) for n in ("data.nc", "guess.nc", "p.png"))
    netcdf.write_netcdf(truth, data)
    netcdf.write_netcdf(rollout(truth, 9), guess)
    size = ["--figsize", "3", "2", "--dpi", "50", "--out", out]
    new = CliRunner().invoke(plot_command, ["prediction", guess, data, *size])
    assert new.exit_code == 0 and "warning" not in new.output
    first = imread(out)
    assert first.shape[:2] == (100, 150)
    old = CliRunner().invoke(plot_command, ["prediction", data, guess, *size])
    assert old.exit_code == 0 and "rollout before the data" in old.output
    np.testing.assert_array_equal(imread(out), first)
    times = ["--time", "0", "--time", "1"]
    assert CliRunner().invoke(plot_command, ["graph", data, *times, "--out", out]).exit_code == 0
    assert CliRunner().invoke(plot_command, ["graph", data, "--quantile", "1", *size]).exit_code
