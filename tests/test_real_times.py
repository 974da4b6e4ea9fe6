"""Times as people have them: any unit, dates, float32 grids, rows at times of their own, gaps."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import pympnode
from pympnode.datasets.times import coded_dates, even_times, merged_times, rounding
from pympnode.errors import (
    InvalidData,
    InvalidOption,
    OutsideTrainingRange,
    PympnodeWarning,
    UnknownName,
)
from pympnode.networks import schema
from pympnode.networks.missing import interpolated, with_first_state
from pympnode.networks.normalise import natural_time

FAST: dict[str, Any] = {"kernel": "eager", "progress": False, "seed": 3}
SOURCE = pympnode.simulate("coupled_pendulum", nodes=4, topology="ring", trajectories=8, steps=10)
X = SOURCE.state.values
DT = float(SOURCE.time[1] - SOURCE.time[0])


def data(factor: float = 1.0, **options: Any) -> xr.Dataset:
    options = {"dt": DT * factor, "topology": "ring", **options}
    return pympnode.from_arrays(X, **options)


# ---- the unit of time ---------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"preset": "paper"}, {"model": "node"}])
def test_training_does_not_depend_on_the_unit_of_time(options: dict[str, Any]) -> None:
    # ks, s, ms, and hours for seconds: a factor that is no power of ten.
    results = {
        f: pympnode.train(data=data(f), epochs=3, **options, **FAST) for f in (1e-3, 1, 1e3, 3600)
    }
    want = results[1]
    for factor, result in results.items():
        np.testing.assert_allclose(
            result.history["validation_loss"], want.history["validation_loss"], rtol=2e-4
        )
        assert np.isclose(result.model.time_scale, factor * want.model.time_scale, rtol=1e-9)
        here = result.model.rollout(data(factor), check=False).state.values
        np.testing.assert_allclose(here, want.model.rollout(data(), check=False).state, atol=2e-3)


def test_the_vector_field_is_per_unit_of_time() -> None:
    model = pympnode.train(data=data(1e3), epochs=1, **FAST).model
    step = 1e-3 * model.time_scale
    start = data(1e3).isel(time=[0])
    moved = model.rollout(start, steps=1, dt=step, check=False).state.values
    rate, _ = model.vector_field(start.state.values[:, 0], graph="ring")
    np.testing.assert_allclose((moved[:, 1] - moved[:, 0]) / step, rate, rtol=0.05, atol=1e-3)


def test_a_coupled_model_moves_as_it_does_alone() -> None:
    result = pympnode.train(
        "coupled_pendulum", nodes=3, topology="path", trajectories=8, steps=10, epochs=1, **FAST
    )
    model = result.model
    assert model.time_scale != 1.0
    start = pympnode.simulate(
        "coupled_pendulum", nodes=3, topology="path", trajectories=2, steps=10, seed=9
    )
    alone = model.rollout(start, check=False).state
    coupled = pympnode.couple([model] * 3, "path").rollout(start, solver="rk4", check=False).state
    np.testing.assert_allclose(coupled, alone, atol=1e-5)


def test_the_time_scale_is_stored_and_kept(tmp_path: Path) -> None:
    model = pympnode.train(data=data(), epochs=1, **FAST).model
    model.save(tmp_path / "model.nc")
    loaded = pympnode.load(tmp_path / "model.nc")
    assert loaded.time_scale == model.time_scale
    np.testing.assert_array_equal(loaded.rollout(data()).state, model.rollout(data()).state)
    # Weights belong to their unit of time, also where the new data move slower.
    with pytest.warns(OutsideTrainingRange, match="time step"):
        slower = pympnode.finetune(
            model, data=data(3.0), epochs=1, normalisation="refit", **FAST
        ).model
    assert slower.time_scale == model.time_scale


def test_the_natural_time_is_that_of_the_data() -> None:
    t = 0.1 * np.arange(2000)
    sine = np.sqrt(2) * np.sin(t)[None, :, None, None]  # mean square 1, rate of mean square 1
    assert np.isclose(natural_time([sine], [t]), 1.0, rtol=0.01)
    assert np.isclose(natural_time([sine], [1000 * t]), 1000.0, rtol=0.01)
    gaps = np.where(np.arange(2000) % 3 == 0, np.nan, 1.0)[None, :, None, None]
    assert np.isclose(natural_time([sine * gaps], [t]), 1.0, rtol=0.05)
    assert np.isclose(natural_time([np.zeros_like(sine)], [t]), 0.1)  # nothing moves: a step
    assert natural_time([1e-9 * sine], [t]) <= t[-1] + 1e-9


# ---- dates --------------------------------------------------------------------------------------

DATES = pd.date_range("2005-01-03", periods=5, freq="7D")


@pytest.mark.parametrize(
    ("time", "unit", "values"),
    [
        (DATES, "day", 7.0 * np.arange(5)),
        (DATES.values.astype("datetime64[D]"), "day", 7.0 * np.arange(5)),
        (list(DATES), "day", 7.0 * np.arange(5)),
        (pd.Series(DATES), "day", 7.0 * np.arange(5)),
        ([datetime.date(2020, 1, d) for d in range(1, 6)], "day", np.arange(5.0)),
        ([datetime.datetime(2020, 1, 1, h) for h in range(5)], "h", np.arange(5.0)),
        ([datetime.timedelta(minutes=5 * i) for i in range(5)], "min", 5.0 * np.arange(5)),
        (np.arange(5).astype("timedelta64[ms]"), "ms", np.arange(5.0)),
        (pd.date_range("2020-01-01", periods=5, freq="15min", tz="Europe/Rome"), "min", 15.0 * np.arange(5)),
        (pd.date_range("2020-01-01", periods=5, freq="MS"), "day", np.array([0.0, 31, 60, 91, 121])),
        (np.arange("2020-01", "2020-06", dtype="datetime64[M]"), "day", np.array([0.0, 31, 60, 91, 121])),
        (xr.DataArray(DATES.values), "day", 7.0 * np.arange(5)),
    ],
)  # fmt: skip
def test_dates_are_numbers_of_a_stated_unit(time: Any, unit: str, values: np.ndarray) -> None:
    ds = pympnode.from_arrays(np.zeros((1, 5, 3, 1)), time=time, topology="ring")
    assert ds.time.attrs["units"] == unit
    np.testing.assert_allclose(ds.time, values)


def test_the_unit_of_dates_may_be_given() -> None:
    ds = pympnode.from_arrays(
        np.zeros((1, 5, 3, 1)), time=DATES, topology="ring", time_unit="weeks"
    )
    np.testing.assert_allclose(ds.time, np.arange(5))
    assert ds.time.attrs["units"] == "week" and ds.time.attrs["origin"].startswith("2005-01-03")
    step = pympnode.from_arrays(np.zeros((1, 5, 3, 1)), dt=np.timedelta64(90, "s"), topology="ring")
    assert step.time.attrs["units"] == "min" and step.time.values[1] == 1.5
    for bad, options in (
        (DATES, {"time_unit": "fortnight"}),
        (pd.DatetimeIndex([*DATES[:4], pd.NaT]), {}),
    ):
        with pytest.raises(InvalidData) as caught:
            pympnode.from_arrays(np.zeros((1, 5, 3, 1)), time=bad, topology="ring", **options)
        assert caught.value.fix


def test_dates_in_tables_and_datasets() -> None:
    rows = [(t, n, 1.0) for t in DATES for n in "abc"]
    table = pd.DataFrame(rows, columns=["time", "node", "x"])
    ds = pympnode.from_frame(table, features="x", topology="ring")
    assert ds.time.attrs["units"] == "day" and ds.time.attrs["origin"].startswith("2005-01-03")
    np.testing.assert_allclose(ds.time, 7.0 * np.arange(5))
    for column in (table.time, table.time - table.time.min()):
        with pytest.raises(InvalidData, match="dates or durations"):
            pympnode.from_frame(table.assign(when=column), features="when", topology="ring")
    with pytest.raises(InvalidData) as caught:
        pympnode.from_frame(
            table.assign(time=table.time.astype(str)), features="x", topology="ring"
        )
    assert "to_datetime" in str(caught.value.fix)
    dated = ds.assign_coords(time=DATES.values)
    with pytest.raises(InvalidData) as caught:
        pympnode.train(data=dated, epochs=1, **FAST)
    fixed = as_the_fix_says(dated)
    assert "timedelta64" in str(caught.value.fix) and schema.pack(fixed).time[1] == 7.0


def as_the_fix_says(ds: xr.Dataset) -> xr.Dataset:
    """What the fix of the message says."""
    days = (ds.time - ds.time[0]).values / np.timedelta64(1, "D")
    return ds.assign_coords(time=("time", days, {"units": "day"}))


# ---- rounding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("offset", "step"), [(0, 0.01), (10, 0.01), (100, 0.01), (2.0, 1e-3)])
def test_a_grid_is_even_to_its_own_rounding(kind: Any, offset: float, step: float) -> None:
    time = (offset + step * np.arange(50)).astype(kind)
    for given in (time, time.astype(np.float64)):  # float32 values in float64 too
        even = np.diff(even_times(given))
        assert np.allclose(even, even[0], rtol=1e-6, atol=0)


def test_seconds_since_1970_are_even() -> None:
    time = 1.6e9 + 1e-3 * np.arange(X.shape[1])
    arrays = schema.pack(data(dt=None, time=time))
    assert arrays.even and not np.allclose(np.diff(time), 1e-3, rtol=1e-6, atol=0)
    time[4] += 1e-4
    assert not schema.pack(data(dt=None, time=time)).even


@pytest.mark.parametrize(
    "time",
    [
        np.array([0, 0.1, 0.2, 0.31, 0.4]),
        np.array([0, 1, 2, 4, 5], np.float32),
        np.array([1e6, 1e6 + 1, 1e6 + 2, 1e6 + 4, 1e6 + 5]),
        np.array([0, 1, 2, 4]),
    ],
)
def test_uneven_grids_stay_as_they_are(time: np.ndarray) -> None:
    np.testing.assert_array_equal(even_times(time), time.astype(np.float64))


def test_even_grids_keep_their_bits() -> None:
    for time in (0.05 * np.arange(51), np.cumsum(np.full(40, 0.1)), np.arange(7)):
        np.testing.assert_array_equal(even_times(time), np.asarray(time, np.float64))


def test_a_float32_time_coordinate_trains_and_rolls_out() -> None:
    ds = data().assign_coords(time=(100 + DT * np.arange(X.shape[1])).astype(np.float32))
    arrays = schema.pack(ds)
    assert arrays.even
    assert pympnode.train(data=ds, epochs=1, **FAST).status == "completed"


def test_times_equal_to_rounding_are_one() -> None:
    steps = 0.1 * np.arange(12)
    rows = [
        (r, at + t, n, t) for r, at in enumerate((100.3, 7.7, 1000.1)) for t in steps for n in "abc"
    ]
    table = pd.DataFrame(rows, columns=["run", "time", "node", "x"])
    options: dict[str, Any] = dict(
        features="x", trajectory="run", topology="ring", relative_time=True
    )
    ds = pympnode.from_frame(table, **options)
    assert ds.sizes["time"] == 12 and not np.isnan(ds.state).any()
    single = pympnode.from_frame(table.astype({"time": np.float32}), **options)
    assert single.sizes["time"] == 12 and not np.isnan(single.state).any()
    found, number = merged_times(np.array([0.3, 0.1 + 0.2, 1.0]), rounding(np.array([1.0])))
    assert found.tolist() == [0.3, 1.0] and number.tolist() == [0, 0, 1]
    close = pd.DataFrame(
        {"time": [0.0, 1e-9, 1.0], "node": 0, "x": 1.0}
    )  # real steps, however short
    assert pympnode.from_frame(close, features="x").sizes["time"] == 3


def test_messages_say_where_times_repeat() -> None:
    with pytest.raises(InvalidData) as caught:
        data(dt=None, time=[0, 1, 2, 3, 3, 4, 5, 6, 5, 8, 9])
    assert "3 then 3 at positions 3 and 4" in str(caught.value.got)
    assert "6 then 5 at positions 7 and 8" in str(caught.value.got)


# ---- rows at times of their own -----------------------------------------------------------------


def stamps(seed: int = 0, runs: int = 3, rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    out = [
        (run, t, node, np.sin(t + number))
        for run in range(runs)
        for number, node in enumerate("abc")
        for t in np.sort(rng.uniform(0, 5, rows))
    ]
    return pd.DataFrame(out, columns=["run", "time", "node", "x"])


def test_rows_at_times_of_their_own_are_refused_or_resampled() -> None:
    table, options = stamps(runs=5), dict(features="x", trajectory="run", topology="ring")
    with pytest.raises(InvalidData) as caught:
        pympnode.from_frame(table, **options)  # type: ignore[arg-type]
    assert "resample=" in str(caught.value.fix)
    for how, error in (("linear", 0.1), ("nearest", 0.5)):
        ds = pympnode.from_frame(table, dt=0.1, resample=how, **options)  # type: ignore[arg-type]
        truth = np.sin(ds.time.values[:, None] + np.arange(3))
        assert np.isnan(ds.state).mean() < 0.1
        assert np.nanmax(np.abs(ds.state.values[..., 0] - truth)) < error
    with pytest.raises(InvalidOption):
        pympnode.from_frame(table, resample="linear", **options)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="cubic"):
        pympnode.from_frame(table, dt=0.1, resample="cubic", **options)  # type: ignore[arg-type]
    few = stamps(runs=1, rows=20)
    with pytest.warns(PympnodeWarning, match="few times in common"):
        pympnode.from_frame(few, features="x", topology="ring")


def test_long_gaps_are_not_filled() -> None:
    t = np.concatenate([0.1 * np.arange(10), 5 + 0.1 * np.arange(10)])
    table = pd.DataFrame([(v, n, v) for v in t for n in "abc"], columns=["time", "node", "x"])
    ds = pympnode.from_frame(table, features="x", topology="ring", dt=0.05, resample="linear")
    hole = ds.state.sel(time=slice(1.0, 4.9))
    assert np.isnan(hole).all() and not np.isnan(ds.state.sel(time=slice(0, 0.89))).any()


# ---- missing first states -----------------------------------------------------------------------


def test_a_missing_first_state_is_filled_with_a_word() -> None:
    x = X.copy()
    x[0, :3, 1] = np.nan
    x[2, 0, 0, 0] = np.nan
    ds = data()
    ds["state"] = (ds.state.dims, x)
    with pytest.warns(PympnodeWarning, match=r"3 of 64 values .* 3 steps later"):
        result = pympnode.train(data=ds, missing="mask", epochs=1, **FAST)
    assert result.status == "completed" and np.isfinite(result.best_loss)
    with pytest.warns(PympnodeWarning, match="first states"):
        start = result.model.rollout(ds).state
    np.testing.assert_array_equal(start[0, 0, 1], x[0, 3, 1].astype(start.dtype))
    with pytest.warns(PympnodeWarning, match="first states"):
        assert np.isfinite(pympnode.evaluate(result, ds).rmse).all()
    with pytest.raises(InvalidData, match="not finite"):
        pympnode.train(data=ds, epochs=1, **FAST)


def test_what_fills_a_missing_state() -> None:
    x = np.full((2, 4, 2, 1), np.nan)
    x[0, :, 0, 0] = [np.nan, 2.0, 3.0, np.nan]
    x[1, :, :, 0] = 5.0
    filled, words = with_first_state(x)
    assert filled[0, 0, 0, 0] == 2.0 and filled[0, 0, 1, 0] == np.nanmean(x)
    assert "mean of the feature" in words and np.isnan(filled[0, 1, 1, 0])
    inner = interpolated(x, np.array([0.0, 1.0, 2.0, 4.0]), np.isfinite(x))
    np.testing.assert_array_equal(inner[0, :, 0, 0], [2.0, 2.0, 3.0, 3.0])
    x[1] = np.nan
    with pytest.raises(InvalidData, match="first state"):
        with_first_state(x)


def test_nodes_that_are_never_known_together_train() -> None:
    x = X.copy()
    for node in range(4):
        x[:, np.arange(X.shape[1]) % 4 != node, node] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PympnodeWarning)
        result = pympnode.train(
            data=pympnode.from_arrays(x, dt=DT, topology="ring"), missing="mask", epochs=2, **FAST
        )
    assert np.isfinite(result.best_loss)


# ---- steps beside dates, numbers that look like dates --------------------------------------------


def table(times: Any) -> pd.DataFrame:
    rows = [(t, node, float(k)) for k, t in enumerate(times) for node in ("a", "b")]
    return pd.DataFrame(rows, columns=["time", "node", "x"])


@pytest.mark.parametrize(
    "dt", [pd.Timedelta("5min"), np.timedelta64(300, "s"), datetime.timedelta(minutes=5), 5.0]
)
def test_the_step_of_a_table_may_be_a_duration(dt: Any) -> None:
    dates = pd.date_range("2024-03-01", periods=9, freq="5min").delete([3, 4])
    ds = pympnode.from_frame(table(dates), features="x", edges=[("a", "b")], dt=dt)
    np.testing.assert_array_equal(ds.time, 5.0 * np.arange(9))
    assert ds.time.attrs["units"] == "min" and int(ds.state.isnull().sum()) == 4


def test_a_step_beside_dates_is_theirs_or_refused() -> None:
    dates = pd.date_range("2024-03-01", periods=4, freq="5min")
    x = xr.DataArray(
        np.zeros((1, 4, 1, 1)),
        dims=("trajectory", "time", "node", "feature"),
        coords={"time": dates},
    )
    for step, unit, last in ((5.0, "1", 15.0), (300.0, "s", 900.0)):
        ds = pympnode.from_arrays(x, dt=step, time_unit=unit)
        assert ds.time.values[-1] == last and ds.time.attrs["origin"].startswith("2024-03-01")
    assert ds.time.attrs["units"] == "s"
    for step in (0.5, pd.Timedelta("6min")):
        with pytest.raises(InvalidData, match="another step than that of the times of x"):
            pympnode.from_arrays(x, dt=step)


def test_periods_are_dates() -> None:
    months = pd.period_range("2020-01", periods=3, freq="M")
    ds = pympnode.from_frame(table(months), features="x", edges=[("a", "b")])
    assert ds.time.values.tolist() == [0.0, 31.0, 60.0] and ds.time.attrs["units"] == "day"
    same = pympnode.from_arrays(np.zeros((3, 1, 1)), time=months)
    np.testing.assert_array_equal(same.time, ds.time)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([202051, 202052, 202053, 202101], "202053 to 202101 they grow by 48"),
        ([202011, 202012, 202101], "years and weeks or months"),
        ([20201130, 20201201, 20201202], "years, months and days"),
    ],
)
def test_dates_written_as_numbers_are_told(numbers: list[int], words: str) -> None:
    with pytest.warns(PympnodeWarning, match=words):
        pympnode.from_frame(table(numbers), features="x", edges=[("a", "b")])


@pytest.mark.parametrize(
    "numbers", [range(1990, 2030), range(199950, 200050), range(1700000000, 1700000900, 300)]
)
def test_other_numbers_are_no_dates(numbers: range) -> None:
    assert coded_dates(np.array(numbers, float)) == ""
