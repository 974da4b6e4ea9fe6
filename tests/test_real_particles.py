"""Particles that people bring: velocities, windows of a path, labels, errors by body, symmetries."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import pympnode
from pympnode.datasets.record import record
from pympnode.errors import InvalidData, InvalidOption, PympnodeWarning
from pympnode.particles.bodies import body_spreads
from pympnode.particles.engine.program import Target
from pympnode.particles.evaluate import free_flight
from pympnode.particles.graphs.box import Box
from pympnode.particles.metrics import motion, particle_errors
from pympnode.particles.options import ParticleTraining
from pympnode.particles.recordings import pieces, split_in_time
from pympnode.particles.schema import box_of, pack_particles

SMALL = {
    "updates": 2, "batch_size": 4, "edge_width": 8, "node_width": 8, "kernel": "eager",
    "progress": False,
}  # fmt: skip


def springs(times=60, particles=4, dims=2, dt=0.05, seed=0):
    """Paths of particles in harmonic wells of several frequencies; position and velocity."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(0.7, 2.0, (particles, 1))
    shift, centre = rng.uniform(0, 6, (particles, dims)), rng.uniform(-3, 3, (particles, dims))
    t = dt * np.arange(times)[:, None, None]
    return centre + np.sin(w * t + shift), w * np.cos(w * t + shift)


# ---- velocities -------------------------------------------------------------------------------


def test_velocities_of_other_signs_and_particles_are_refused_and_units_warn_with_numbers() -> None:
    x, v = springs()
    pympnode.from_particles(x, v, 1.0, dt=0.05)
    with pytest.raises(InvalidData, match="against the motion"):
        pympnode.from_particles(x, -v, 1.0, dt=0.05)
    for factor in (1e-3, 60.0, 3.6):
        with pytest.warns(PympnodeWarning, match="another unit") as warned:
            pympnode.from_particles(x, v * factor, 1.0, dt=0.05)
        said = float(str(warned[0].message).split("dt=")[1].split()[0])
        assert said == pytest.approx(1 / factor, rel=0.01)
    with pytest.warns(PympnodeWarning, match="another unit"):
        pympnode.from_particles(x, v, 1.0, dt=50.0)
    with pytest.raises(InvalidData, match="of other particles"):
        pympnode.from_particles(x, v[:, [1, 0, 3, 2]], 1.0, dt=0.05)


def test_velocities_of_nothing_are_a_warning_with_numbers() -> None:
    x, _ = springs()
    noise = np.random.default_rng(1).normal(size=x.shape)
    with pytest.warns(PympnodeWarning, match="correlation -?0.[0-4]"):
        pympnode.from_particles(x, noise, 1.0, dt=0.05)


def test_velocities_that_belong_pass_across_borders_at_rest_and_with_long_steps() -> None:
    x, v = springs()
    fast = v + 9.0
    pympnode.from_particles(
        x + 9.0 * 0.05 * np.arange(60)[:, None, None], fast, 1.0, dt=0.05, side=5.0
    )
    still = np.repeat(x[:1], 60, axis=0)
    pympnode.from_particles(still, np.zeros_like(still), 1.0, dt=0.05)
    x, v = springs(times=40, dt=0.8)  # up to 1.6 of the 6.3 of a turn
    pympnode.from_particles(x, v, 1.0, dt=0.8)


# ---- windows of one path ----------------------------------------------------------------------


def windows(every: int, length: int, times=200):
    x, v = springs(times)
    at = np.arange(0, times - length, every)[:, None] + np.arange(length)
    return pympnode.from_particles(x[at], v[at], 1.0, dt=0.05), at


@pytest.mark.parametrize("every,length", [(10, 11), (5, 11), (10, 10), (1, 6)])
@pytest.mark.parametrize("shuffled", [False, True])
def test_windows_of_one_path_are_split_in_time(every: int, length: int, shuffled: bool) -> None:
    ds, at = windows(every, length)
    if shuffled:
        if every == length:
            pytest.skip("windows that share no state are found in their order alone")
        order = np.random.default_rng(0).permutation(len(at))
        ds, at = ds.isel(trajectory=order), at[order]
    path, start = pieces(ds)
    assert (path == 0).all()
    np.testing.assert_array_equal(start - start.min(), at[:, 0] - at[:, 0].min())
    (out,), changed = split_in_time([ds], 0.7, 0)
    assert changed
    kept = {name: at[ds.trajectory.isin(out.trajectory[out.split == name]).values]
            for name in ("train", "validation")}  # fmt: skip
    assert len(kept["train"]) and len(kept["validation"])
    assert (
        kept["train"].max() <= kept["validation"].min()
    )  # no state of a later window is trained on
    result = pympnode.train(data=ds, model="deltagn", **SMALL)
    assert set(np.unique(result.test_set().trajectory)) <= set(out.trajectory.values)


def test_independent_trajectories_and_labelled_ones_keep_their_split() -> None:
    x, v = (np.stack(a) for a in zip(*(springs(12, seed=seed) for seed in range(8))))
    ds = pympnode.from_particles(x, v, 1.0, dt=0.05)
    assert len(np.unique(pieces(ds)[0])) == 8
    assert split_in_time([ds], 0.7, 0) == ([ds], False)
    cut, _ = windows(10, 11)
    labelled = cut.assign(
        split=("trajectory", np.resize(["train", "validation"], len(cut.trajectory)))
    )
    assert split_in_time([labelled], 0.7, 0)[1] is False
    assert split_in_time([cut], 1.0, 0)[1] is False


def test_many_paths_are_split_as_wholes() -> None:
    each = [springs(41, seed=seed) for seed in range(6)]
    at = np.arange(0, 40, 10)[:, None] + np.arange(11)
    x, v = (np.concatenate([one[i][at] for one in each]) for i in (0, 1))
    (out,), changed = split_in_time([pympnode.from_particles(x, v, 1.0, dt=0.05)], 0.7, 0)
    assert changed
    by_path = out.split.values.reshape(6, 4)
    assert (by_path == by_path[:, :1]).all() and set(by_path[:, 0]) == {"train", "validation"}


def test_one_recording_validates_on_its_end() -> None:
    x, v = springs(101)
    parts, changed = split_in_time([pympnode.from_particles(x, v, 1.0, dt=0.05)], 0.7, 0)
    assert changed and [str(p.split.values[0]) for p in parts] == ["train", "validation"]
    assert [p.sizes["time"] for p in parts] == [71, 31]
    result = pympnode.train(
        data=pympnode.from_particles(x, v, 1.0, dt=0.05), model="deltagn", **SMALL
    )
    assert result.status == "completed" and result.model.trained.steps == 70


# ---- boxes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [(6.0, 4.0), (6.0, None), (None, 4.0), (6.0, 6.0)])
def test_boxes_of_rectangles_and_of_open_axes(side) -> None:
    box = Box(side)
    x = np.random.default_rng(0).uniform(-20, 20, (50, 2))
    closed = [s is not None for s in side]
    for axis, (s, shut) in enumerate(zip(side, closed)):
        for got, half_open in ((box.wrap(x), 1), (box.displacement(x), -1)):
            one = got[:, axis]
            if not shut:
                np.testing.assert_array_equal(one, x[:, axis])
                continue
            assert (np.abs(one) <= s / 2).all() and (one * half_open < s / 2).all()
            turns = (x[:, axis] - one) / s
            np.testing.assert_allclose(turns, np.round(turns), atol=1e-12)
    for method in ("wrap", "displacement"):
        found = getattr(box, method)(torch.from_numpy(x))
        np.testing.assert_array_equal(found.numpy(), getattr(box, method)(x))
    assert Box((6.0, 6.0)) == Box(6.0) and Box((None, None)) == Box()
    if side != (6.0, 6.0):
        with pytest.raises(InvalidOption, match="all pairs or of nearest"):
            _ = box.cube


@pytest.mark.parametrize("model", ["deltagn", "hogn", "nearest_deltagn"])
def test_models_move_alike_across_the_borders_of_a_rectangle(model: str) -> None:
    x, v = (np.stack(a) for a in zip(*(springs(12, particles=6, seed=s) for s in range(4))))
    x = x + 3.0 * 0.05 * np.arange(12)[:, None, None] * np.array([1.0, 0.0])
    v = v + np.array([3.0, 0.0])
    shift = np.array([2.5, 0.0])

    def data(offset):
        return pympnode.from_particles(x + offset, v, 1.0, dt=0.05, side=(8.0, None), softening=0.2)

    ds = data(0.0)
    options = {**SMALL, "neighbours": 4 if "near" in model else None}
    trained = pympnode.train(data=ds, model=model, dtype="float64", **options).model
    a, b = (trained.rollout(one, check=False) for one in (ds, data(shift)))
    off = Box((8.0, None)).displacement((b.position - a.position - shift).values)
    np.testing.assert_allclose(off, 0, atol=1e-9)
    assert record(a)["parameters"]["side"] == [8.0, None]
    assert box_of(a) == Box((8.0, None))
    assert pympnode.evaluate(trained, ds).rmse_position.notnull().all()
    pympnode.plotting.particle_trajectories(a)


def test_what_needs_a_square_says_so() -> None:
    x, v = (np.stack(a) for a in zip(*(springs(12, particles=20, seed=s) for s in range(4))))
    ds = pympnode.from_particles(x, v, 1.0, dt=0.05, side=(9.0, 12.0))
    with pytest.raises(InvalidOption, match="all pairs or of nearest"):
        pympnode.train(data=ds, model="hierarchical_deltagn", **SMALL)
    with pytest.raises(InvalidOption, match="squares, cubes and open space"):
        pympnode.from_particles(
            x, v, 1.0, dt=0.05, side=(9.0, 12.0), system="gravity", constant=1, softening=0.1
        )
    with pytest.raises(InvalidOption, match="a side for each axis"):
        pympnode.from_particles(x, v, 1.0, dt=0.05, side=(9.0, 12.0, 3.0))


def test_a_softening_that_was_not_given_is_stated_in_the_unit_of_the_data(caplog) -> None:
    x, v = (np.stack(a) for a in zip(*(springs(12, seed=s) for s in range(4))))
    with caplog.at_level("INFO", "pympnode.training"):
        near = [
            pympnode.train(
                data=pympnode.from_particles(x * unit, v * unit, 1.0, dt=0.05),
                model="deltagn",
                **SMALL,
            ).model
            for unit in (1.0, 1e-9)
        ]
    assert near[1].scales.near == pytest.approx(1e-9 * near[0].scales.near)
    assert f"{near[0].scales.near:.4g}" in repr(near[0]) and "none was given" in repr(near[0])
    assert f"{near[1].scales.near:.4g}" in caplog.text


# ---- training ---------------------------------------------------------------------------------


def test_a_first_loss_that_is_not_finite_is_an_error() -> None:
    x, v = (np.stack(a) for a in zip(*(springs(12, seed=seed) for seed in range(4))))
    ds = pympnode.from_particles(x * 1e30, v * 1e30, 1.0, dt=0.05)
    assert pympnode.train(data=ds, model="deltagn", **SMALL).status == "completed"
    with pytest.raises(InvalidData, match="first loss or its gradient is not finite"):
        pympnode.train(data=ds, model="deltagn", inputs="plain", **SMALL)


def test_the_default_model_is_the_best_for_that_many_particles() -> None:
    def default(particles=20, known=True, coupling="input", **options):
        given = ParticleTraining(**options)
        spec = given.new_spec(
            particles=particles, dims=2, charged=False, known=known, mass_coupling=coupling
        )
        assert spec.mass_coupling == ("product" if known and spec.radial else coupling)
        return f"radial {spec.name}" if spec.radial else spec.name

    pairs, cells = "radial deltagn", "radial hierarchical_deltagn"
    assert [default(n) for n in (2, 1000, 1001)] == [pairs, pairs, cells]
    assert default(known=False) == "deltagn" and default(300, known=False) == "hierarchical_deltagn"
    assert default(known=False, coupling="product") == pairs and default(levels=2) == cells
    assert default(preset="paper") == default(mixed_levels=True) == "hierarchical_deltagn"
    assert default(kernel="torch") == default(update="direct") == "deltagn"
    assert default(kernel="numba") == pairs and default(kernel="numba", known=False) == "deltagn"
    assert default(conserve_momentum=True, recompute=True) == "deltagn"
    assert default(conserve_momentum=False) == default(messages="antisymmetric") == "deltagn"
    assert default(node_width=8) == "hogn" and default(messages="symmetric") == "hogn"
    assert default(messages="radial", known=False) == pairs
    assert default(model="deltagn") == "deltagn" and default(model="hogn") == "hogn"
    assert default(model="nearest_deltagn") == "nearest_deltagn"


# ---- errors, labels, energies -----------------------------------------------------------------


def named():
    x, v = (np.stack(a) for a in zip(*(springs(12, seed=seed) for seed in range(4))))
    ds = pympnode.from_particles(x, v, [1.0, 2.0, 1.5, 1.0], dt=0.05)
    return ds.assign_coords(
        particle=["Sun", "Mercury", "Venus", "Earth"], trajectory=[1990, 1991, 1992, 1993],
        element=("particle", ["H", "He", "Hg", "H"]),
    )  # fmt: skip


def test_labels_survive_a_rollout_and_name_errors_by_body() -> None:
    ds = named()
    model = pympnode.train(data=ds, model="deltagn", **SMALL).model
    for later in (model.rollout(ds), model.rollout(ds.isel(time=[0]), steps=3), free_flight(ds)):
        assert later.particle.values.tolist() == ["Sun", "Mercury", "Venus", "Earth"]
        assert later.trajectory.values.tolist() == [1990, 1991, 1992, 1993]
        assert later.element.values.tolist() == ["H", "He", "Hg", "H"]
    scores = pympnode.evaluate(model, ds)
    body = scores.rmse_position_body.sel(predictor="free_flight", horizon=11)
    wrong = free_flight(ds).position - ds.position
    found = float(np.sqrt((wrong.sel(particle="Venus")[:, 1:] ** 2).mean()))
    assert float(body.sel(particle="Venus")) == pytest.approx(found)
    mean = float(np.sqrt((scores.rmse_position_body**2).mean("particle"))[0, -1])
    assert mean == pytest.approx(float(scores.rmse_position[0, -1]))


def test_a_law_without_softening_and_predictors_of_nan_are_evaluated() -> None:
    src = pympnode.simulate(
        "gravity", particles=4, trajectories=4, steps=10, parameters={"side": None}, seed=0
    )
    ds = pympnode.from_particles(
        src.position.values, src.velocity.values, 1.0, dt=0.01,
        system="gravity", constant=2.0, softening=0.0,
    )  # fmt: skip
    model = pympnode.train(data=ds, model="deltagn", **SMALL).model
    scores = pympnode.evaluate(model, ds)
    assert np.isfinite(scores.rmse_position_at).all()  # constant acceleration among them
    lost = ds.assign(position=ds.position * np.nan)
    errors = particle_errors(lost, ds)
    assert errors.not_finite == 4 and set(errors) == set(particle_errors(ds, ds))
    assert np.isnan(errors.rmse_position_body).all()


def test_kinetic_energy_and_momentum_need_no_law() -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    ds = named()
    found = motion(ds)
    by_hand = 0.5 * (ds.mass * (ds.velocity**2).sum("axis")).sum("particle")
    np.testing.assert_allclose(found.kinetic, by_hand.transpose("trajectory", "time"))
    axes = pympnode.plotting.conservation(ds)
    assert [line.get_label() for line in axes[0].lines] == ["kinetic"]
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), found.kinetic[0])
    axes = pympnode.plotting.conservation({"true": ds, "free": free_flight(ds)})
    assert "kinetic" in axes[0].get_ylabel() and len(axes[1].lines) == 2
    plt.close("all")


# ---- fixed particles and types ----------------------------------------------------------------


def pinned(trajectories=4, times=12, count=6):
    """Particles of which the first two never move; positions, velocities, marks."""
    each = [springs(times, particles=count, seed=seed) for seed in range(trajectories)]
    x, v = (np.stack(a) for a in zip(*each))
    x[:, :, :2], v[:, :, :2] = x[:, :1, :2], 0.0
    return x, v, np.arange(count) < 2


MODELS = ["deltagn", "hogn", "nearest_deltagn", "hierarchical_deltagn", "hierarchical_hogn"]


@pytest.mark.parametrize("inputs", ["scaled", "plain"])
@pytest.mark.parametrize("model", MODELS)
def test_fixed_particles_stay_and_act(model: str, inputs: str) -> None:
    x, v, fixed = pinned()
    ds = pympnode.from_particles(x, v, 1.0, dt=0.05, fixed=fixed, softening=0.2)
    options = {
        "neighbours": 3 if "near" in model else None,
        "levels": 2 if "hier" in model else None,
    }
    trained = pympnode.train(data=ds, model=model, inputs=inputs, **SMALL, **options).model
    later = trained.rollout(ds, check=False)
    np.testing.assert_array_equal(later.position[:, :, :2], np.repeat(x[:, :1, :2], 12, axis=1))
    assert later.fixed.dtype == bool and (np.abs(later.position - x)[:, -1, 2:] > 0).any()
    shifted = ds.assign(position=ds.position + 0.7 * ds.fixed)
    other = trained.rollout(shifted, check=False)
    assert np.abs(other.position - later.position)[:, 1:, 2:].max() > 1e-9  # they do act
    assert pympnode.evaluate(trained, ds).rmse_position_body.sel(predictor="free_flight")[
        0, :2
    ].values.tolist() == [0, 0]


def test_fixed_particles_are_in_no_loss() -> None:
    x, v, fixed = pinned()
    ds = pympnode.from_particles(x, v, 1.0, dt=0.05, fixed=fixed, softening=0.2)
    marked = pympnode.train(data=ds, model="deltagn", **SMALL)
    program = marked.model.bind(dtype="float64")
    theta = marked.model.theta.astype(np.float64)
    batch, after = (
        program.batch(x[:, t], v[:, t], np.ones((4, 6)), None, Box(), fixed=np.tile(fixed, (4, 1)))
        for t in (0, 1)
    )
    target = Target(after.position, after.velocity)
    weights = program.weights(theta)
    change = program.velocity_change(weights, batch, program.graph(batch), training=False)
    wrong = ((change - target.change_from(batch)) / program.scales.change).detach().numpy()
    by_hand = np.mean(wrong.reshape(4, 6, 2)[:, 2:] ** 2)
    assert program.loss(theta, batch, target) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(
    "change,words",
    [
        ({"fixed": [True] * 6}, "fixed particles move"),
        ({"fixed": [0, 0, 0, 0, 0, 1]}, "true or false"),
        ({"fixed": [True]}, "fixed does not fit"),
        ({"type": ["H", "O"]}, "type does not fit"),
    ],
)
def test_marks_that_do_not_fit_are_refused(change, words: str) -> None:
    x, v, _ = pinned()
    with pytest.raises(InvalidData, match=words):
        pympnode.from_particles(x, v, 1.0, dt=0.05, **change)


@pytest.mark.parametrize("update", [None, "direct"])
@pytest.mark.parametrize("model", MODELS)
def test_types_are_inputs(model: str, update, tmp_path) -> None:
    if update and "hogn" in model:
        pytest.skip("a HOGN takes leapfrog steps")
    x, v, _ = pinned()
    types = np.array(["O", "H", "H", "O", "C", "C"])
    ds = pympnode.from_particles(x, v, 1.0, dt=0.05, type=types, softening=0.2)
    options = {
        "neighbours": 3 if "near" in model else None,
        "levels": 2 if "hier" in model else None,
    }
    trained = pympnode.train(data=ds, model=model, update=update, **SMALL, **options).model
    assert trained.spec.types == ("C", "H", "O")
    trained.save(tmp_path / "model.nc")
    again = pympnode.load(tmp_path / "model.nc")
    later = again.rollout(ds, check=False)
    np.testing.assert_array_equal(later.position, trained.rollout(ds, check=False).position)
    assert later.type.values.tolist() == [types.tolist()] * 4
    swapped = ds.assign(type=ds.type.copy(data=np.tile(types[::-1], (4, 1))))
    assert np.abs(again.rollout(swapped, check=False).position - later.position).max() > 1e-9
    order = [1, 0, 2, 3, 5, 4]
    turned = again.rollout(ds.isel(particle=order), check=False)
    np.testing.assert_allclose(turned.position, later.position.isel(particle=order), atol=1e-5)
    with pytest.raises(InvalidData, match="was not trained on"):
        again.rollout(ds.assign(type=ds.type.copy(data=np.full((4, 6), "Xe"))), check=False)
    with pytest.raises(InvalidData, match="the data do not"):
        again.rollout(ds.drop_vars("type"), check=False)


# ---- ensembles --------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [None, 9.0])
def test_an_ensemble_of_particles_trains_rolls_out_and_is_kept(side, tmp_path) -> None:
    x, v = (np.stack(a) for a in zip(*(springs(12, seed=s) for s in range(4))))
    ds = pympnode.from_particles(x, v, 1.0, dt=0.05, softening=0.2, side=side)
    result = pympnode.train(data=ds, model="deltagn", members=3, **SMALL)
    model = result.model
    assert model.members == 3 and len({t.tobytes() for t in model.theta}) == 3
    alone = pympnode.train(data=ds, model="deltagn", **SMALL).model
    np.testing.assert_array_equal(model.member(0).theta, alone.theta)
    later = model.rollout(ds)
    assert later.position.sizes["member"] == 3 and later.finite.dims == ("member", "trajectory")
    np.testing.assert_array_equal(later.position[2], model.member(2).rollout(ds).position)
    np.testing.assert_allclose(later.spread_velocity, later.velocity.std("member", ddof=1))
    # Members on both sides of a face of the box are near each other.
    near = later.position - later.position[0]
    near = near - side * np.round(near / side) if side else near
    np.testing.assert_allclose(later.spread_position, near.std("member", ddof=1), atol=1e-12)
    fewer = replace(model, left_out=(1,))
    assert fewer.rollout(ds).member.values.tolist() == [0, 2]
    fewer.save(tmp_path / "fewer.nc")
    assert pympnode.load(tmp_path / "fewer.nc").left_out == (1,)
    assert "member 1" not in pympnode.evaluate(fewer, ds).predictor
    scores = pympnode.evaluate(model, ds)
    assert scores.predictor.values.tolist()[:4] == ["model", "member 0", "member 1", "member 2"]
    one = scores.rmse_position.isel(horizon=-1)
    assert float(one.sel(predictor="model")) <= float(one[1:4].max())
    model.save(tmp_path / "model.nc")
    again = pympnode.load(tmp_path / "model.nc")
    np.testing.assert_array_equal(again.theta, model.theta)
    assert "3 members" in repr(again)
    tuned = pympnode.finetune(
        again, data=ds, updates=1, batch_size=2, kernel="eager", progress=False
    )
    assert tuned.model.members == 3
    with pytest.raises(InvalidOption, match="no such member"):
        model.member(3)


def test_windows_are_found_beside_a_body_at_rest() -> None:
    x, v, fixed = pinned(trajectories=1, times=101)
    at = np.arange(0, 100, 10)[:, None] + np.arange(11)
    ds = pympnode.from_particles(x[0][at], v[0][at], 1.0, dt=0.05, fixed=fixed)
    assert (pieces(ds)[0] == 0).all()


# ---- named arrays, one recording, bodies that drift ---------------------------------------------


def test_data_arrays_are_read_by_name() -> None:
    x, v = springs()
    mass = np.array([1.0, 2.0, 3.0, 4.0])
    coords = {"particle": list("abcd"), "axis": ["x", "y"], "time": 0.05 * np.arange(60)}
    position = xr.DataArray(x, dims=("time", "particle", "axis"), coords=coords)
    velocity, by_name = position.copy(data=v), xr.DataArray(mass, {"particle": list("abcd")})
    wanted = pympnode.from_particles(x, v, mass, dt=0.05, charge=-mass)
    turned = list("dcba")
    got = pympnode.from_particles(
        position.transpose("particle", "axis", "time"),
        velocity.sel(particle=turned, axis=["y", "x"]),
        by_name.sel(particle=turned),
        charge=pd.Series(-mass[::-1], index=turned),
    )
    assert got.particle.values.tolist() == list("abcd")
    for name in ("position", "velocity", "mass", "charge", "time"):
        np.testing.assert_array_equal(got[name].values, wanted[name].values)
    # Without names of ours the axes are taken as they stand.
    other = position.rename(time="t", particle="p", axis="c")
    same = pympnode.from_particles(other, v, mass, dt=0.05)
    np.testing.assert_array_equal(same.position.values, wanted.position.values)
    with pytest.raises(InvalidData, match="mass has other labels"):
        pympnode.from_particles(position, velocity, pd.Series(mass, index=list("abcx")))
    with pytest.raises(InvalidData, match="velocity has other dims"):
        pympnode.from_particles(position, velocity.rename(axis="c"), mass)


def test_one_recording_is_not_validated_on_its_training_part() -> None:
    x, v = springs(101)
    ds = pympnode.from_particles(x, v, 1.0, dt=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PympnodeWarning)
        result = pympnode.train(data=ds, model="deltagn", **SMALL)
        # The end alone decides: with other states to validate, another loss.
        x[75:] += 0.3 * (x[75:] - x[75])
        v[75:] *= 1.3
        other = pympnode.train(
            data=pympnode.from_particles(x, v, 1.0, dt=0.05), model="deltagn", **SMALL
        )
    assert "training data" not in str(result)
    np.testing.assert_allclose(result.history.loss, other.history.loss)
    assert other.best_loss > 1.2 * result.best_loss


def test_a_body_that_drifts_does_not_decide_the_loss() -> None:
    """A heavy body at constant velocity has no acceleration to be relative to."""
    x, v = springs(40, particles=5)
    x[:, 0], v[:, 0] = 0.3 * 0.05 * np.arange(40)[:, None], 0.3
    mass = np.array([1e4, 1.0, 2.0, 3.0, 4.0])
    for share, data in (
        (1.0, (x, v)),
        (0.0, (x[:, :1] + np.arange(5)[:, None], v[:, :1] + x[0] * 0)),
    ):
        ds = pympnode.from_particles(*data, mass, dt=0.05)
        arrays = pack_particles(ds)
        spread = body_spreads(arrays, np.arange(1))
        change = np.diff(arrays.velocity.astype(np.float64), axis=1)
        usual = np.sqrt((change**2).mean()) if share else np.sqrt((arrays.velocity**2).mean())
        np.testing.assert_allclose(spread[0, 0], usual, rtol=1e-6)
        result = pympnode.train(data=ds, model="hogn", mass_coupling="product", **SMALL)
        assert result.best_loss < 100
