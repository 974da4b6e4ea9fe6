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
        start += pd.Timedelta(days=(7 - start.dayofweek) % 7)  # a Monday
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
