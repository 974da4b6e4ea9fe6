"""Long and few recordings: windows by length of time, one recording split in time, nothing known."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.config import TrainConfig
from pympnode.errors import InvalidData, InvalidOption, PympnodeWarning
from pympnode.networks import schema
from pympnode.networks.recordings import (
    LONG,
    choose_windows,
    cut_windows,
    interpolate_starts,
    memory,
    split_recordings,
)

FAST: dict[str, Any] = dict(
    updates=3, kernel="torch", progress=False, hidden=8, message_size=2, device="cpu", matching=0
)
PRESET = ((5, 0.4), (10, 0.3), (25, 0.15), (0, 0.15))


def waves(
    steps: int, dt: float = 0.05, nodes: int = 4, trajectories: int = 1, **options: Any
) -> xr.Dataset:
    """Travelling waves of angular frequency 1 on a ring; their correlation falls to 1/e at t = 1.19."""
    t = dt * np.arange(steps + 1)[None, :, None]
    phase = t + np.arange(nodes) + 0.3 * np.arange(trajectories)[:, None, None]
    x = np.stack([np.sin(phase), np.cos(phase)], -1)
    return pympnode.from_arrays(x, dt=dt, topology="ring", **options)


def longest(result: Any) -> int:
    return int(result.history.horizon.max())


# ---- windows --------------------------------------------------------------------------------------


def test_the_memory_of_a_wave_is_a_length_of_time() -> None:
    for dt in (0.02, 0.05, 0.2):
        x = waves(round(300 / dt), dt).state.values
        assert memory(x) * dt == pytest.approx(np.arccos(np.exp(-1)), abs=max(dt, 0.05))
    x[:, ::3] = np.nan  # pairs of known times alone
    assert memory(x) * dt == pytest.approx(np.arccos(np.exp(-1)), abs=dt)


def test_what_does_not_move_has_no_end_of_memory() -> None:
    assert memory(np.ones((1, 101, 2, 1))) == 50
    assert memory(np.random.default_rng(0).normal(size=(2, 400, 3, 1))) == 1


def test_a_long_recording_ends_in_windows_by_its_memory_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pympnode")
    result = pympnode.train(data=waves(2000), **{**FAST, "updates": 40})
    memory_of_data = np.arccos(np.exp(-1))
    assert longest(result) * 0.05 == pytest.approx(4 * memory_of_data, rel=0.1)
    text = result.history.attrs["windows"]
    assert f"({longest(result)} intervals)" in text and "memory of the data" in text
    assert text in caplog.text and text in repr(result)


def test_windows_follow_time_and_not_the_grid() -> None:
    coarse, fine = (pympnode.train(data=waves(round(150 / dt), dt), **FAST) for dt in (0.2, 0.1))
    assert longest(fine) == pytest.approx(2 * longest(coarse), rel=0.1)


def test_trajectories_of_a_few_hundred_steps_keep_whole_windows() -> None:
    ds = waves(LONG, trajectories=5)
    result = pympnode.train(data=ds, **FAST)
    assert longest(result) == LONG and "windows" not in result.history.attrs
    beyond = pympnode.train(data=waves(LONG + 1, trajectories=5), **{**FAST, "updates": 40})
    assert longest(beyond) < LONG and "windows" in beyond.history.attrs


def test_the_long_part_decides_where_the_lengths_differ() -> None:
    """A short validation recording beside a long training one."""
    parts = [waves(1500, split=np.array(["train"])), waves(60, split=np.array(["validation"]))]
    result = pympnode.train(data=parts, **FAST)
    assert longest(result) <= 60 and "1,500 intervals" in result.history.attrs["windows"]


@pytest.mark.parametrize("steps", [50, 900])
def test_window_is_the_length_of_all_windows(steps: int) -> None:
    result = pympnode.train(data=waves(steps, trajectories=4), window=0.6, **FAST)
    assert set(result.history.horizon.values.tolist()) == {12}
    assert "window=0.6" in result.history.attrs["windows"]


def test_max_window_ends_the_curriculum() -> None:
    few = pympnode.train(data=waves(60, trajectories=4), max_window=1.0, **{**FAST, "updates": 60})
    assert set(few.history.horizon.values.tolist()) == {5, 10, 20}
    whole = pympnode.train(data=waves(300, trajectories=4), window=np.inf, **FAST)
    assert longest(whole) == 300


def test_windows_in_intervals_are_refused_with_the_length_of_a_step() -> None:
    for name in ("window", "max_window"):
        with pytest.raises(InvalidOption, match="shorter than one time step") as caught:
            pympnode.train(data=waves(300, dt=20.0), **{name: 5}, **FAST)
        assert "200" in str(caught.value.fix)
    for value in (0, -1.0, True, "10", np.nan):
        with pytest.raises(InvalidOption, match="length of time"):
            pympnode.train(data=waves(300), window=value, **FAST)
    with pytest.raises(InvalidOption, match="max_window of the longest"):
        pympnode.train(data=waves(300), window=1.0, max_window=2.0, **FAST)


def test_stages_keep_their_share_of_the_longest_window() -> None:
    arrays = schema.pack(waves(5000, dt=0.05, trajectories=2))
    found = choose_windows(TrainConfig(curriculum=PRESET), [arrays], np.array([0]))
    assert found.longest == found.curriculum[-1][0]
    shares = [window / found.longest for window, _ in found.curriculum]
    assert shares == pytest.approx([0.1, 0.2, 0.5, 1.0], abs=0.01)
    assert [share for _, share in found.curriculum] == [share for _, share in PRESET]


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_an_update_costs_no_whole_recording(preset: str) -> None:
    """Slow data: the memory is longer than what an update can hold."""
    t = np.linspace(0, 1, 3001)[None, :, None, None]
    ds = pympnode.from_arrays(np.exp(-t * np.arange(1, 4)[:, None]), dt=0.1, topology="ring")
    result = pympnode.train(data=ds, preset=preset, **FAST)
    assert longest(result) <= LONG
    assert f"({LONG} intervals)" in result.history.attrs["windows"]
    assert f"at most {LONG} intervals" in result.history.attrs["windows"]


def test_uneven_recordings_train_in_windows() -> None:
    ds = waves(800)
    step = np.random.default_rng(0).uniform(0.04, 0.06, 800)
    ds = ds.assign_coords(time=np.concatenate([[0], np.cumsum(step)]))
    result = pympnode.train(data=ds, **FAST)
    assert longest(result) < 240 and np.isfinite(result.best_loss)


def test_members_of_an_ensemble_train_on_one_recording() -> None:
    result = pympnode.train(data=waves(500), members=2, **FAST)
    assert np.isfinite(result.history.validation_loss.values).all()


def test_the_same_recording_gives_the_same_bits_and_continues(tmp_path: Any) -> None:
    ds = waves(500)
    first = pympnode.train(data=ds, run=tmp_path / "run", **FAST)
    again = pympnode.train(data=ds, run=tmp_path / "run", **FAST)
    other = pympnode.train(data=ds, **FAST)
    for result in (again, other):
        assert np.array_equal(result.model.theta, first.model.theta)
    with pytest.raises(InvalidOption, match="another call"):
        pympnode.train(data=ds, run=tmp_path / "run", max_window=1.0, **FAST)


# ---- one recording, split in time -----------------------------------------------------------------


@pytest.mark.parametrize("steps", [40, 600])
def test_one_recording_is_split_in_time_with_a_gap(steps: int) -> None:
    ds = waves(steps)
    (train, validation), text = split_recordings([ds], 0.7)
    assert train.split.values == ["train"] and validation.split.values == ["validation"]
    assert train.time.values[-1] < validation.time.values[0] and validation.time[-1] == ds.time[-1]
    assert train.sizes["time"] - 1 == round(0.7 * steps) and text is not None
    result = pympnode.train(data=ds, **FAST)
    block = result.test_set()
    assert np.array_equal(block.time, validation.time)
    assert np.array_equal(block.state, validation.state)
    assert result.history.attrs["split"] == text
    assert result.evaluate().sizes["time"] == validation.sizes["time"]


def test_a_single_simulated_trajectory_is_split_too() -> None:
    ds = pympnode.simulate("heat", nodes=3, trajectories=1, steps=60)
    result = pympnode.train(data=ds, **FAST)
    assert result.test_set().time.values[0] > 0.7 * ds.time.values[-1]


def test_controls_and_gaps_are_cut_with_the_states() -> None:
    ds = pympnode.simulate("pendulum", nodes=3, trajectories=1, steps=60)
    control = np.arange(61.0)[None, :, None, None] * np.ones((1, 1, 3, 1))
    ds = ds.assign(control=(("trajectory", "time", "node", "control_feature"), control))
    (train, validation), _ = split_recordings([ds], 0.5)
    assert np.array_equal(train.control, ds.control[:, :31])
    assert validation.control.values[0, :, 0, 0].tolist() == list(range(33, 61))
    ds["state"][0, 33, 1, 0] = np.nan  # where the second block would begin, or soon after
    (_, validation), _ = split_recordings([ds], 0.5)
    assert np.isfinite(validation.state.values[0, 0]).all()


def test_several_trajectories_are_not_split_in_time() -> None:
    ds = waves(60, trajectories=2)
    assert split_recordings([ds], 0.7) == ([ds], None)
    assert split_recordings([waves(60), ds], 0.7)[1] is None
    labelled = waves(60, split=np.array(["train"]))
    assert split_recordings([labelled], 0.7)[1] is None


def test_several_recordings_of_one_trajectory_are_each_split() -> None:
    parts, text = split_recordings([waves(60), waves(300)], 0.7)
    assert [str(p.split.values[0]) for p in parts] == ["train", "validation"] * 2
    assert text is not None and "60" in text and "300" in text


def test_training_data_are_never_judged_by_unsaid() -> None:
    for ds, options in (
        (waves(60), {"split": 1}),
        (waves(60, split=np.array(["train"])), {}),
        (waves(8), {}),
        (waves(60, trajectories=3), {"split": 0.9}),
    ):
        with pytest.warns(PympnodeWarning, match="nothing is held out for validation"):
            result = pympnode.train(data=ds, **options, **FAST)
        assert any("training data" in sentence for sentence in result.diagnosis)
        with pytest.warns(PympnodeWarning, match="training data"):
            result.test_set()


def test_the_test_set_is_found_in_any_of_the_datasets() -> None:
    parts = [
        waves(30, split=np.array(["train"])),
        waves(30, split=np.array(["validation"])),
        waves(20, split=np.array(["test"])),
    ]
    assert pympnode.train(data=parts, **FAST).test_set().sizes["time"] == 21
    assert pympnode.train(data=parts[:2], **FAST).test_set().split.values == ["validation"]


def test_windows_are_cut_from_a_recording() -> None:
    ds = waves(100)
    cut = cut_windows(ds, 30, every=20)
    assert cut.sizes["trajectory"] == 4 and cut.sizes["time"] == 31
    assert np.array_equal(cut.state[2], ds.state[0, 40:71])
    assert cut.start.values.tolist() == pytest.approx([0, 1, 2, 3]) and cut.time.values[0] == 0
    schema.validate(cut)
    with pytest.raises(InvalidOption):
        cut_windows(ds, 101)


# ---- missing values -------------------------------------------------------------------------------


def test_windows_start_where_the_state_can_be_interpolated() -> None:
    """One value in three is missing: no time but the first is wholly known."""
    ds = waves(1000, dt=0.02, nodes=8)
    hide = np.random.default_rng(1).random(ds.state.shape) < 1 / 3
    hide[:, 0] = False
    gaps = ds.assign(state=ds.state.where(~hide))
    arrays = schema.pack(gaps, missing="mask")
    (filled,), starts, text = interpolate_starts([arrays])
    assert starts is not None and text is not None and "interpolated" in text
    assert starts[0].mean() > 0.9 and np.array_equal(filled.mask, arrays.mask)
    assert np.abs(filled.x - ds.state.values)[:, starts[0]].max() < 0.02
    # A node that is silent for long is no place to start at.
    x = arrays.x.copy()
    x[:, 300:700, 2] = np.nan
    long_gap = schema.pack(ds.assign(state=(ds.state.dims, x)), missing="mask")
    _, starts, _ = interpolate_starts([long_gap])
    assert starts is not None and not starts[0][400:600].any() and starts[0][:250].mean() > 0.9
    result = pympnode.train(data=gaps, missing="mask", **FAST)
    assert np.isfinite(result.best_loss) and "starts" in result.history.attrs


LABELS = np.array(["train"] * 4 + ["validation"] * 2)


@pytest.mark.parametrize(
    ("hidden", "part"),
    [(slice(None), "training"), (slice(4, None), "validation"), (slice(4), "training")],
    ids=["everything", "validation", "training"],
)
@pytest.mark.parametrize("several", [False, True], ids=["one dataset", "several"])
@pytest.mark.parametrize("steps", [8, 250])
def test_nothing_known_is_an_error(hidden: slice, part: str, several: bool, steps: int) -> None:
    full = waves(steps, trajectories=6, split=LABELS)
    ds = full.copy(deep=True)
    ds["state"][hidden, 1:] = np.nan
    data = [ds.isel(trajectory=slice(4)), ds.isel(trajectory=slice(4, None))] if several else ds
    with pytest.raises(InvalidData, match=f"nothing is known of the {part} trajectories"):
        pympnode.train(data=data, missing="mask", **FAST)


def test_little_known_is_enough() -> None:
    ds = waves(8, trajectories=6, split=LABELS)
    ds["state"][:, 1:] = np.nan
    ds["state"][[0, 5], 4, 1, 0] = 0.5
    result = pympnode.train(data=ds, missing="mask", **FAST)
    assert 0 < result.best_loss < np.inf


@pytest.mark.parametrize("trajectories", [1, 4])
@pytest.mark.parametrize("even", [True, False])
def test_a_node_that_is_never_known_leaves_windows(trajectories: int, even: bool) -> None:
    ds = waves(400, trajectories=trajectories)
    ds["state"][:, :, 2] = np.nan
    if not even:
        ds = ds.assign_coords(time=ds.time + 0.01 * np.sin(np.arange(401.0)))
    with pytest.warns(PympnodeWarning, match="never known"):
        result = pympnode.train(data=ds, missing="mask", **FAST)
    assert 0 < result.best_loss < np.inf


def test_windows_where_states_are_known_at_the_end_alone() -> None:
    ds = waves(300, trajectories=4, split=["train"] * 3 + ["validation"])
    ds["state"][:3, :290] = np.nan
    with pytest.warns(PympnodeWarning, match="290 steps later"):
        result = pympnode.train(data=ds, missing="mask", **FAST)
    assert np.isfinite(result.best_loss)
