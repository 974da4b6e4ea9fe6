"""Pictures of particles: that they show what they say, at few and many particles."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import xarray as xr

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import to_rgb

from pympnode import plotting
from pympnode.errors import InvalidData, InvalidOption, UnknownName
from pympnode.particles.simulate import simulate_particles


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def gravity():
    return simulate_particles("gravity", particles=40, trajectories=2, steps=6, seed=1)


@pytest.fixture(scope="module")
def coulomb():
    return simulate_particles("coulomb", particles=9, trajectories=1, steps=6, dims=3)


def area(ax, side: float) -> float:
    """Share of the box that filled cells cover, from a raster of the patches' outlines."""
    inside = np.zeros((256, 256), dtype=int)
    centres = (np.arange(256) + 0.5) / 256 * side - side / 2
    points = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
    for collection in ax.collections:
        if isinstance(collection, PatchCollection) and collection.get_facecolor().size:
            for path in collection.get_paths():
                inside += path.contains_points(points).reshape(256, 256)
    assert inside.max() <= 1  # no place is told of twice
    return float(inside.mean())


def test_hierarchy_of_a_particle_covers_the_box_once(gravity):
    """On a lattice no cell is empty: the cells of all levels leave out the nine finest."""
    axis = np.arange(-7.5, 8)
    ds = gravity.isel(particle=slice(0, 1)).isel(trajectory=[0], time=[0])
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(1, 1, 256, 2)
    from pympnode.particles.schema import unpack_particles

    ds = unpack_particles(
        grid, np.zeros_like(grid), np.ones((1, 256)), [0.0],
        about={"system": "gravity", "parameters": {"side": 16.0}},
    )  # fmt: skip
    axes = plotting.hierarchy_of(ds, 100)
    assert len(axes) == 5  # all, levels 2 to 4, particles
    assert area(axes[0], 16.0) == pytest.approx(1 - 9 / 256)
    titles = [ax.get_title() for ax in axes]
    assert "7 of 16" in titles[1] and "27 of 64" in titles[2] and "27 of 256" in titles[3]
    assert titles[4].startswith("8 particles")


def test_hierarchy_of_takes_options_and_axes(gravity, coulomb):
    axes = plotting.hierarchy_of(gravity, 3, trajectory=1, time=0.04, levels=2)
    assert len(axes) == 3
    stars = axes[0].collections[-1].get_offsets()
    np.testing.assert_allclose(stars, gravity["position"].values[1, 4, 3][None])
    figure, given = plt.subplots(2, 4)
    axes = plotting.hierarchy_of(gravity, 3, split_above=4, axes=given)
    assert axes[0].figure is figure
    assert plotting.hierarchy_of(coulomb, 2, levels=2)[0].get_xlabel() == "x (length)"
    with pytest.raises(InvalidOption, match="no such particle"):
        plotting.hierarchy_of(gravity, 40)
    with pytest.raises(InvalidOption, match="too few axes"):
        plotting.hierarchy_of(gravity, 3, axes=given[0, :1])


def test_hierarchy_of_draws_a_time_as_other_pictures_do(gravity):
    """A time in the unit of the data, not a number on the grid; the last one by default."""
    for time, number in ((None, -1), (0.0, 0), (0.031, 3)):
        star = plotting.hierarchy_of(gravity, 3, time=time)[0].collections[-1].get_offsets()
        np.testing.assert_allclose(star, gravity["position"].values[0, number, 3][None])
    for wrong in (1, -1, "first"):
        with pytest.raises(InvalidOption, match="does not reach that time"):
            plotting.hierarchy_of(gravity, 3, time=wrong)


@pytest.mark.parametrize(("count", "dims"), [(20, 3), (5, 2), (1, 2)])
def test_hierarchy_of_few_particles_has_the_levels_of_the_model(count, dims):
    ds = simulate_particles("gravity", particles=count, trajectories=1, steps=1, dims=dims)
    assert len(plotting.hierarchy_of(ds, 0)) == 3  # all, level 2, particles


def test_hierarchy_of_refuses_in_words(gravity):
    for wrong in ("a", 1.5, True):
        with pytest.raises(InvalidOption, match="no such particle"):
            plotting.hierarchy_of(gravity, wrong)
    with pytest.raises(InvalidOption, match="levels is a whole number"):
        plotting.hierarchy_of(gravity, 3, levels="a")
    with pytest.raises(InvalidOption, match="no such trajectory"):
        plotting.hierarchy_of(gravity, 3, trajectory=99)


def test_a_selected_trajectory_is_drawn(gravity, coulomb):
    """`ds.isel(trajectory=0)` takes a dim away, of particles as of nodes."""
    whole = plotting.particle_trajectories(gravity, trajectory=1)
    one = plotting.particle_trajectories(
        gravity.isel(trajectory=1), truth=gravity.isel(trajectory=1)
    )
    np.testing.assert_array_equal(
        one.collections[-1].get_offsets(), whole.collections[-1].get_offsets()
    )
    assert len(plotting.hierarchy_of(gravity.isel(trajectory=1), 3)) == 4
    still = gravity.isel(trajectory=0, time=-1)
    assert len(plotting.particle_trajectories(still).collections[-1].get_offsets()) == 40
    few = coulomb.isel(trajectory=0, particle=4)
    assert len(plotting.conservation({"one": few})[0].lines) == 1
    player = plotting.animate_particles(gravity.isel(trajectory=0))
    assert list(player.new_frame_seq())[-1] == 6
    player._init_draw()


def test_paths_and_truth_fit_together(gravity, coulomb):
    for other in (gravity.isel(particle=slice(0, 9)), coulomb):
        with pytest.raises(InvalidData, match="do not fit together"):
            plotting.particle_trajectories(gravity, truth=other)


@pytest.mark.parametrize(
    "zoom", ["a", "abc", (1, 2), (0, 0, 0), (0, "b", 1), 1.5, True, (0, 0, np.nan)]
)
def test_zoom_is_a_particle_or_a_window(zoom, gravity):
    with pytest.raises(InvalidOption, match="zoom is a particle or"):
        plotting.particle_trajectories(gravity, zoom=zoom)


@pytest.mark.parametrize("trajectory", [99, -3, "a", 1.5, True])
def test_there_are_so_many_trajectories(trajectory, gravity):
    for draw in (plotting.particle_trajectories, plotting.conservation, plotting.animate_particles):
        with pytest.raises(InvalidOption, match="no such trajectory"):
            draw(gravity, trajectory=trajectory)


def test_pictures_of_nothing_are_refused(gravity):
    for draw, given in (
        (plotting.conservation, {}), (plotting.conservation, "ds"), (plotting.scaling, {}),
        (plotting.scaling, {"a": ([], [])}), (plotting.scaling, {"a": 3}),
        (plotting.scaling, {"a": ([1, 2], [1])}), (plotting.error_over_particles, {}),
        (plotting.error_over_particles, {"a": evaluation(20, 1.0)}),
        (plotting.error_over_particles, evaluation(20, 1.0)),
    ):  # fmt: skip
        with pytest.raises(InvalidOption) as error:
            draw(given)
        assert error.value.allowed is not None
    for draw in (plotting.particle_trajectories, plotting.animate_particles):
        with pytest.raises(InvalidData, match="drawn from a dataset"):
            draw("ds")
    with pytest.raises(InvalidOption, match="wrong number of axes"):
        plotting.conservation(gravity, axes=[plt.figure().add_subplot()])


def test_paths_break_at_the_border():
    """A particle that leaves to the right enters from the left: two lines, none across the box."""
    from pympnode.particles.schema import unpack_particles

    position = np.array([[[[3.5, 0.0]], [[-3.5, 0.0]]]])
    ds = unpack_particles(
        position, np.zeros_like(position), np.ones((1, 1)), [0.0, 1.0],
        about={"system": "gravity", "parameters": {"side": 8.0}},
    )  # fmt: skip
    ax = plotting.particle_trajectories(ds)
    (lines,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    ends = sorted(np.round(np.array(lines.get_segments())[..., 0], 9).tolist())
    assert ends == [[-4.5, -3.5], [3.5, 4.5]]
    assert ax.get_xlim() == (-4.0, 4.0) and ax.get_xlabel() == "x (length)"


def test_paths_take_zoom_colour_and_truth(gravity, coulomb):
    panels = plotting.particle_trajectories(gravity, zoom=5, truth=gravity)
    assert len(panels) == 2
    x = gravity["position"].values[0, -1, 5, 0]
    low, high = panels[1].get_xlim()
    assert low < x < high and high - low < np.ptp(panels[0].get_xlim())
    greys = [c for c in panels[0].collections if isinstance(c, LineCollection)]
    assert tuple(greys[0].get_colors()[0][:3]) == to_rgb(plotting.style.TRUTH)
    ax = plotting.particle_trajectories(coulomb)  # by charge, white in the middle
    assert ax.collections[-1].norm.vcenter == 0.0
    plotting.particle_trajectories(coulomb, color="mass", particles=[1, 2], zoom=(0, 0, 2.0))
    _, mine = plt.subplots()
    assert plotting.particle_trajectories(gravity, ax=mine) is mine
    with pytest.raises(InvalidOption, match="no charge"):
        plotting.particle_trajectories(gravity, color="charge")
    with pytest.raises(InvalidOption, match="coloured by"):
        plotting.particle_trajectories(gravity, color="speed")
    with pytest.raises(InvalidOption, match="number of a particle"):
        plotting.particle_trajectories(gravity, zoom=40)


def test_conservation_shows_the_observables(gravity):
    from pympnode.particles.metrics import observe

    axes = plotting.conservation(gravity, trajectory=1)
    lines = {line.get_label(): line.get_ydata() for line in axes[0].lines}
    assert np.allclose(lines["energy"], observe(gravity)["energy"][1])
    assert [line.get_label() for line in axes[1].lines] == ["p_x", "p_y"]
    both = plotting.conservation({"a": gravity, "b": gravity})
    assert [line.get_label() for line in both[0].lines] == ["a", "b"]
    assert both[1].lines[0].get_ydata()[0] == 0.0
    # The names stand above both panels, where they cover no line.
    assert [text.get_text() for text in both[0].figure.legends[0].get_texts()] == ["a", "b"]
    assert both[0].get_legend() is None


@pytest.fixture
def overflowed(gravity):
    """As `rollout` tells of it: the second of two trajectories is NaN from the fourth time on."""
    ds = gravity.copy(deep=True)
    ds["position"][1, 3:] = np.nan
    ds["velocity"][1, 3:] = np.nan
    return ds.assign(finite=("trajectory", [True, False]))


def test_paths_end_with_the_last_finite_state(gravity, overflowed):
    ax = plotting.particle_trajectories(overflowed, trajectory=1, truth=gravity)
    moment = f"t = {float(gravity['time'][2]):.3g}"
    assert ax.get_title() == f"finite until {moment}\n1 of 2 trajectories stopped being finite"
    np.testing.assert_array_equal(ax.collections[-1].get_offsets(), gravity["position"][1, 2])
    paths = [len(c.get_segments()) for c in ax.collections if isinstance(c, LineCollection)]
    assert paths[0] >= 6 * 40 and 2 * 40 <= paths[1] < 3 * 40  # the truth goes on
    ax = plotting.particle_trajectories(overflowed)
    assert ax.get_title() == "1 of 2 trajectories stopped being finite"
    assert plotting.particle_trajectories(gravity).get_title() == ""
    both = plotting.particle_trajectories(overflowed, trajectory=1, zoom=3)
    assert both[0].get_title().startswith("finite until")
    overflowed["position"][1, 1] = np.inf
    plotting.particle_trajectories(overflowed, trajectory=1).figure.canvas.draw()  # no line at all
    overflowed["velocity"][1, 0] = np.nan
    with pytest.raises(InvalidData, match="not finite"):
        plotting.particle_trajectories(overflowed, trajectory=1)
    with pytest.raises(InvalidOption, match="no such trajectory"):
        plotting.particle_trajectories(overflowed, trajectory=2)


def test_conservation_ends_with_the_last_finite_state(gravity, overflowed):
    alone = plotting.conservation(overflowed, trajectory=1)
    assert alone[0].get_title().startswith("finite until")
    assert {len(line.get_xdata()) for ax in alone for line in ax.lines} == {3}
    both = plotting.conservation({"true": gravity, "predicted": overflowed}, trajectory=1)
    assert [len(line.get_xdata()) for line in both[0].lines] == [7, 3]
    first, second = both[0].get_title().split("\n")
    assert first.startswith("predicted: finite until") and second.startswith("1 of 2")
    assert plotting.conservation(gravity)[0].get_title() == ""


def test_animation_ends_with_the_last_finite_state(overflowed, tmp_path):
    player = plotting.animate_particles(overflowed, trajectory=1)
    assert list(player.new_frame_seq()) == [0, 1, 2]
    player.save(tmp_path / "player.gif", writer="pillow")
    title = player._fig.axes[0].get_title().split("\n")
    assert title[0] == title[1].removeprefix("finite until ") and title[2].startswith("1 of 2")


def test_particles_are_chosen_by_number_or_by_mask(gravity):
    mask = gravity["position"].values[0, 0, :, 0] > 0
    for given in (mask, list(mask), np.flatnonzero(mask)):
        ax = plotting.particle_trajectories(gravity, particles=given)
        expected = gravity["position"].values[0, -1, mask]
        np.testing.assert_array_equal(ax.collections[-1].get_offsets(), expected)
    none = plotting.particle_trajectories(gravity, particles=np.zeros(40, bool))
    assert len(none.collections[-1].get_offsets()) == 0
    assert len(plotting.particle_trajectories(gravity, particles=[]).collections) == 2
    assert len(plotting.particle_trajectories(gravity, particles=-1).collections) == 2
    with pytest.raises(InvalidOption, match="one value for each particle"):
        plotting.particle_trajectories(gravity, particles=mask[:39])
    for wrong in (40, [1, 2.5], [[1, 2]], "all"):
        with pytest.raises(InvalidOption, match="no such particle"):
            plotting.particle_trajectories(gravity, particles=wrong)


def test_scaling_takes_sizes_in_any_order():
    ax = plotting.scaling({"a": ([100, 1000, 10], [12.0, 130.0, 1.0])})
    measured, line = (np.array(line.get_data()) for line in ax.lines)
    np.testing.assert_array_equal(measured, [[10, 100, 1000], [1.0, 12.0, 130.0]])
    np.testing.assert_allclose(line, [[10, 1000], [1.3, 130.0]])


def test_scaling_has_a_line_of_slope_one():
    ax = plotting.scaling({"a": ([10, 100], [1.0, 12.0]), "b": ([10, 100], [2.0, 30.0])})
    line = next(line for line in ax.lines if line.get_label() == "linear")
    x, y = line.get_data()
    assert np.diff(np.log(y))[0] == pytest.approx(np.diff(np.log(x))[0])
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_animation_moves(coulomb, tmp_path):
    player = plotting.animate_particles(coulomb, every=3, trail=2)
    player.save(tmp_path / "player.gif", writer="pillow")
    assert (tmp_path / "player.gif").stat().st_size > 1000
    assert "<img" in player._repr_html_() or "<video" in player._repr_html_()


@pytest.mark.parametrize("side", [None, 6.0])
def test_an_animation_has_room_for_all_frames(side, tmp_path):
    from pympnode.particles.schema import unpack_particles

    position = np.zeros((1, 5, 2, 2))
    position[0, :, 1, 1] = np.linspace(0.5, 2.9, 5)
    position[0, :, 1, 0] = np.linspace(-0.1, -2.9, 5)
    ds = unpack_particles(
        position, np.zeros_like(position), np.ones((1, 2)), np.arange(5.0),
        about={"system": "gravity", "parameters": {"side": side}},
    )  # fmt: skip
    _, ax = plt.subplots()
    plotting.animate_particles(ds, ax=ax).save(tmp_path / "player.gif", writer="pillow")
    assert ax.get_xlim()[0] < -2.9 and ax.get_ylim()[1] > 2.9
    if side is not None:
        assert ax.get_xlim() == ax.get_ylim() == (-3.0, 3.0)


def test_accessor_has_the_particle_pictures(gravity):
    assert len(gravity.pympnode.plot.hierarchy_of(3, levels=2)) == 3
    assert "hierarchy_of" in repr(gravity.pympnode.plot)


def evaluation(steps: int, size: float):
    """Errors that grow with time, as `pympnode.evaluate` gives them."""
    time, horizon = np.arange(1, steps + 1) * 0.01, [h for h in (20, 200) if h <= steps]
    predictors = ["model", "free_flight", "constant_acceleration"]
    growth = np.outer([1, 50, 20], time) * size
    ends = growth[:, [h - 1 for h in horizon]]
    return xr.Dataset(
        {
            "rmse_state_at": (("predictor", "time"), growth),
            "rmse_published": (("predictor", "horizon"), ends),
        },
        coords={"predictor": predictors, "time": time, "horizon": horizon},
    )


def test_errors_over_time_are_drawn_by_predictor() -> None:
    found = evaluation(200, 1.0)
    ax = plotting.particle_error_over_time(found)
    for line, name in zip(ax.lines, found["predictor"].values):
        assert line.get_label() == name.replace("_", " ")
        np.testing.assert_array_equal(line.get_ydata(), found["rmse_state_at"].sel(predictor=name))
    with pytest.raises(UnknownName, match="rmse_state"):
        plotting.particle_error_over_time(found, variable="rmse_stat")


def test_evaluations_of_the_other_half_name_their_picture(gravity) -> None:
    found = evaluation(20, 1.0)
    network = xr.Dataset({"rmse_z": ("predictor", [1.0])}, coords={"predictor": ["model"]})
    for draw, given in (
        (plotting.error_over_time, found), (plotting.comparison, {"a": found}),
    ):  # fmt: skip
        with pytest.raises(InvalidData, match="evaluation of particles") as error:
            draw(given)
        assert "particle_error_over_time" in (error.value.fix or "")
    for draw, given in (
        (plotting.particle_error_over_time, network),
        (plotting.error_over_particles, {10: network}),
    ):
        with pytest.raises(InvalidData, match="not an evaluation of particles") as error:
            draw(given)
        assert "error_over_time" in (error.value.fix or "")
    for wrong in (gravity, "result", network["rmse_z"]):
        with pytest.raises(InvalidData, match="not an evaluation of particles"):
            plotting.particle_error_over_time(wrong)
    with pytest.raises(UnknownName, match="rmse_published"):
        plotting.error_over_particles({10: found}, variable="rmse_publishd")


def test_a_row_that_not_all_evaluations_have_is_left_out() -> None:
    found = {20: evaluation(20, 1.0), 100: evaluation(20, 1.0).isel(predictor=[0, 1])}
    ax = plotting.error_over_particles(found)
    assert [line.get_label() for line in ax.lines] == ["model", "free flight"]


def test_training_curves_name_the_loss_that_the_history_has(gravity) -> None:
    import pympnode

    words = dict(kernel="eager", edge_width=8, node_width=8, updates=2, progress=False)
    history = pympnode.train(data=gravity, **words).history
    assert plotting.training_curves(history).get_ylabel() == (
        "loss (in variances of the velocity change)"
    )
    plain = pympnode.train(data=gravity, inputs="plain", **words).history
    assert "mean square of positions" in plotting.training_curves(plain).get_ylabel()
    older = history.copy()
    older.attrs = {}
    assert plotting.training_curves(older).get_ylabel() == "loss"
    assert plotting.training_curves(older, ylabel="mine").get_ylabel() == "mine"
    with pytest.raises(InvalidData, match="holds no epoch"):
        plotting.training_curves(history.isel(epoch=slice(0, 0)))


def test_the_legend_of_errors_counts_excluded_trajectories() -> None:
    found = {n: evaluation(200, 1.0) for n in (20, 100)}
    for n, lost in ((20, [0, 1]), (100, [2, 3])):
        counts = [lost, [0, 0], [0, 0]]
        found[n] = found[n].assign(not_finite=(("predictor", "horizon"), counts))
    ax = plotting.particle_error_over_time(found[100])
    names = [line.get_label() for line in ax.lines]
    assert names == ["model (3 not finite)", "free flight", "constant acceleration"]
    ax = plotting.error_over_particles(found, horizon=200)
    assert ax.lines[0].get_label() == "model (4 not finite)"
    ax = plotting.error_over_particles(found, horizon=20)
    assert ax.lines[0].get_label() == "model (2 not finite)"


def test_errors_over_particles_take_the_steps_that_all_have() -> None:
    found = {100: evaluation(200, 1.0), 20: evaluation(200, 2.0), 1000: evaluation(20, 3.0)}
    ax = plotting.error_over_particles(found, trained=100)
    model = ax.lines[0]
    np.testing.assert_array_equal(model.get_xdata(), [20, 100, 1000])
    np.testing.assert_allclose(model.get_ydata(), [0.4, 0.2, 0.6])
    assert "20 steps" in ax.get_ylabel() and ax.get_xscale() == "log"
    with pytest.raises(InvalidData, match="20"):
        plotting.error_over_particles(found, horizon=200)
