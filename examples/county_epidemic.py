"""Your first real dataset: county case counts to a forecast that beats persistence.

    python examples/county_epidemic.py [--seed 0] [--out counties] [--images docs/images] [--smoke]

Writes cases.csv and commuting.csv of an invented epidemic, with the faults of real files; reads them
as the page "Your first real dataset" does, trains for at most a minute on the CPU, prints the errors
of the forecasts, draws county_forecast.png and saves the model. --smoke trains for a few updates;
--data-only writes the two files and stops.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

import pympnode

COUNTIES, SEASONS, WEEKS = 40, 8, 26
LEAD = 4  # weeks that a forecast looks ahead


# ---- the two files ------------------------------------------------------------------------------


def write_files(folder: Path | str, seed: int = 0) -> None:
    """Write cases.csv and commuting.csv: eight winters of an influenza-like epidemic, 40 counties.

    A stochastic SEIR model with a step of one day (latent 1.5 days, infectious 4 days; the basic
    reproduction number differs by winter, 1.35 to 1.6) runs on counties that commuters join. A third
    of the infections is reported, with negative binomial noise. As in real files: FIPS codes begin
    with a zero, one week of one winter is missing everywhere, single reports are missing, the counties
    are in no order, and one of them, an island, has no commuters.
    """
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, 300, (COUNTIES, 2))  # km
    population = np.round(np.exp(rng.normal(11.2, 1.0, COUNTIES)), -2).clip(6_000)
    state = np.where(place[:, 0] < 150, "01", "13")
    order = rng.permutation(COUNTIES)
    fips = np.array([f"{state[i]}{2 * order[i] + 1:03d}" for i in range(COUNTIES)])

    distance = np.linalg.norm(place[:, None] - place, axis=-1)
    island = int(population.argmin())
    near = (distance < 75) & (distance > 0)
    near[island] = near[:, island] = False
    pull = np.where(near, population * np.exp(-distance / 25), 0.0)
    commuters = np.round(0.12 * population[:, None] * pull / pull.sum(1, keepdims=True).clip(1))
    commuters[commuters < 20] = 0
    home, work = np.nonzero(commuters)
    pd.DataFrame(
        {"home": fips[home], "work": fips[work], "commuters": commuters[home, work].astype(int)}
    ).to_csv(Path(folder) / "commuting.csv", index=False)

    # Contacts: what share of a county's contacts is with each county, both ways of commuting.
    mixing = (commuters + commuters.T) / population[:, None]
    mixing[np.arange(COUNTIES), np.arange(COUNTIES)] = np.clip(1 - mixing.sum(1), 0.2, None)
    rows = []
    for season in range(SEASONS):
        start = pd.Timestamp(f"{2014 + season}-10-06")
        start += pd.Timedelta(days=(7 - start.weekday()) % 7)  # a Monday
        contact = rng.uniform(1.35, 1.6) / 4.0
        s = np.round(population * rng.uniform(0.92, 1.0))
        e, i = np.zeros(COUNTIES), np.zeros(COUNTIES)
        i[rng.choice(COUNTIES, 6, p=population / population.sum())] += 12
        for week in range(WEEKS):
            infections = np.zeros(COUNTIES)
            for _ in range(7):
                force = contact * (mixing @ (i / population)) + 2e-7  # travellers from elsewhere
                new = rng.binomial(s.astype(int), 1 - np.exp(-force))
                ill = rng.binomial(e.astype(int), 1 - np.exp(-1 / 1.5))
                well = rng.binomial(i.astype(int), 1 - np.exp(-1 / 4.0))
                s, e, i = s - new, e + new - ill, i + ill - well
                infections += new
            mean = 0.33 * infections
            cases = rng.poisson(mean * rng.gamma(30.0, 1 / 30.0, COUNTIES))
            if (season, week) == (2, 12):  # no report in the week of Christmas
                continue
            date = (start + pd.Timedelta(weeks=week)).date()
            rows += [
                (fips[c], date, cases[c], int(population[c]))
                for c in range(COUNTIES)
                if rng.random() > 0.003
            ]
    pd.DataFrame(rows, columns=["fips", "date", "cases", "population"]).to_csv(
        Path(folder) / "cases.csv", index=False
    )


# ---- from the files to a dataset ----------------------------------------------------------------


def read_files(folder: Path | str) -> xr.Dataset:
    """The dataset of the two files: two features of every county in every week of every winter."""
    frame = pd.read_csv(Path(folder) / "cases.csv", dtype={"fips": str}, parse_dates=["date"])
    commuting = pd.read_csv(Path(folder) / "commuting.csv", dtype={"home": str, "work": str})

    # A winter is one trajectory. It has the year in which it begins.
    frame["winter"] = winter_of(frame["date"]).dt.year
    # What drives the next week: how many are ill, and how many can no longer become ill.
    frame["incidence"] = np.log1p(1e5 * frame["cases"] / frame["population"])
    total = total_cases(frame).stack().rename("total").reset_index()
    frame = frame.merge(total, on=["date", "fips"])
    frame["attack"] = 100 * frame["total"] / frame["population"]
    frame["split"] = np.select(
        [frame["winter"] < 2019, frame["winter"] == 2019], ["train", "validation"], "test"
    )
    return pympnode.from_frame(
        frame,
        features=["incidence", "attack"],
        units=["1", "%"],
        time="date",
        node="fips",
        trajectory="winter",
        edges=commuting,
        split="split",
        relative_time=True,
        dt=7.0,
    )


def winter_of(dates: pd.Series) -> pd.Series:
    """The dates, moved so that a winter (October to April) lies in the year in which it begins."""
    return dates - pd.Timedelta(days=200)


def total_cases(frame: pd.DataFrame) -> pd.DataFrame:
    """Cases since the begin of the winter, date by county. A missing report counts as the mean of
    its neighbours in time: left out, all later totals would be too low."""
    cases = frame.pivot(index="date", columns="fips", values="cases")
    winters = cases.groupby(frame.groupby("date")["winter"].first())
    return pd.concat(
        winter.asfreq("7D").interpolate(limit_direction="both").cumsum() for _, winter in winters
    )


# ---- forecasts ----------------------------------------------------------------------------------


def cut_forecasts(ds: xr.Dataset, lead: int = LEAD) -> xr.Dataset:
    """A trajectory of ``lead`` weeks from every week of ``ds`` with a complete report.

    A start with a missing county is left out, because a rollout would fill the gap with the next
    known value, which a forecaster does not have.
    """
    cuts = []
    for winter in ds["trajectory"].values:
        for week in range(ds.sizes["time"] - lead):
            cut = ds.sel(trajectory=[winter]).isel(time=slice(week, week + lead + 1))
            if cut["state"].isel(time=0).notnull().all():
                name = f"{winter} week {week}"
                cuts.append(cut.assign_coords(trajectory=[name], time=ds["time"][: lead + 1]))
    return xr.concat(cuts, dim="trajectory", data_vars="minimal")


def ar1(ds: xr.Dataset, forecasts: xr.Dataset) -> xr.DataArray:
    """Forecasts of an AR(1) for each county and feature, fitted to the training winters of ``ds``."""
    state = ds["state"].isel(trajectory=ds["split"].values == "train")
    now, later = state.isel(time=slice(None, -1)), state.isel(time=slice(1, None)).values
    now, later = now.where(np.isfinite(later)), now.copy(data=later).where(now.notnull())
    over = ("trajectory", "time")
    mean_now, mean_later = now.mean(over), later.mean(over)
    spread = ((now - mean_now) ** 2).sum(over)
    slope = ((now - mean_now) * (later - mean_later)).sum(over) / spread.where(spread > 0, 1)
    out = forecasts["state"].transpose("time", ...).copy(deep=True)
    for week in range(1, out.sizes["time"]):
        out[week] = mean_later + slope * (out[week - 1] - mean_now)
    return out.transpose(*forecasts["state"].dims)


def errors(result: pympnode.Result, ds: xr.Dataset, lead: int = LEAD) -> pd.DataFrame:
    """Root mean square error of the log incidence by weeks ahead, in the winters marked "test"."""
    forecasts = cut_forecasts(ds.isel(trajectory=ds["split"].values == "test"), lead)
    score = pympnode.evaluate(result.model, forecasts)
    table = score["rmse_time"].sel(feature="incidence").to_pandas().T
    error = (ar1(ds, forecasts) - forecasts["state"]).sel(feature="incidence")
    table["AR(1)"] = np.sqrt((error**2).mean(("trajectory", "node"))).values
    table = table.iloc[1:].set_axis(range(1, lead + 1)).rename_axis("weeks ahead")
    return table.rename_axis(columns=None)


def draw(model: pympnode.Model, ds: xr.Dataset, path: Path) -> None:
    """Four counties in the last winter: reports, and forecasts from every fourth week."""
    last = ds.isel(trajectory=[-1])
    forecasts = cut_forecasts(last).isel(trajectory=slice(2, None, LEAD))
    predicted = model.rollout(forecasts)
    edges = np.bincount(ds["receiver"], minlength=ds.sizes["node"])
    counties = ds["node"].values[np.argsort(edges, kind="stable")[[1, 12, 26, -1]]]
    degree = dict(zip(ds["node"].values, edges, strict=True))

    figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
    for county, axis in zip(counties, axes, strict=True):
        truth = last["state"].sel(feature="incidence", node=county)[0]
        axis.plot(truth["time"] / 7, np.expm1(truth), "o", ms=3.5, color="0.6", label="reported")
        for number, name in enumerate(predicted["trajectory"].values):
            week = int(name.split()[-1])
            line = predicted["state"].sel(trajectory=name, feature="incidence", node=county)
            weeks = week + line["time"] / 7
            label = f"forecast, {LEAD} weeks" if number == 0 else None
            axis.plot(weeks, np.expm1(line), color="C0", lw=1.8, label=label)
            axis.plot(weeks[0], np.expm1(line[0]), "o", ms=5, color="C0")
        joined = f"{degree[county]} neighbour{'s' if degree[county] > 1 else ''}"
        axis.set_title(f"county {county}, {joined}", fontsize=10)
        axis.set_xlabel("week of the winter")
        axis.set_ylim(0)
    axes[0].set_ylabel("reported cases a week per 100,000")
    lines, names = axes[-1].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside upper center", ncols=2, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def fit(ds: xr.Dataset, updates: int, **options: Any) -> pympnode.Result:
    return pympnode.train(data=ds, missing="mask", updates=updates, progress=False, **options)


def choices(ds: xr.Dataset, updates: int) -> pd.Series:
    """The error over all weeks of models with one choice changed."""
    window = 7.0 * LEAD
    found = {
        "as above": (ds, {"window": window}),
        "the default window": (ds, {}),
        'messages="zero"': (ds, {"window": window, "messages": "zero"}),
        "without the attack": (ds.sel(feature=["incidence"]), {"window": window}),
    }
    table = {
        name: errors(fit(data, updates, **options), data) for name, (data, options) in found.items()
    }
    return pd.Series(
        {name: float(np.sqrt((each["model"] ** 2).mean())) for name, each in table.items()}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the invented epidemic")
    parser.add_argument("--out", type=Path, default=Path("counties"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--smoke", action="store_true", help="a few updates")
    parser.add_argument("--data-only", action="store_true", help="write the two files and stop")
    parser.add_argument(
        "--choices", action="store_true", help="errors with other choices, and stop"
    )
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    write_files(options.out, options.seed)
    if options.data_only:
        return
    ds = read_files(options.out)
    print(ds)
    updates = 10 if options.smoke else 1500
    if options.choices:
        print(choices(ds, updates).round(2))
        return
    result = fit(ds, updates, window=7.0 * LEAD)
    print(result)
    table = errors(result, ds)
    print(table.round(3))
    print("all weeks:", np.sqrt((table**2).mean()).round(3).to_dict())
    draw(result.model, ds, options.images / "county_forecast.png")
    result.model.save(options.out / "epidemic.nc")


if __name__ == "__main__":
    main()
