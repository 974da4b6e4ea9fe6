"""Ensembles of particles: calibrated intervals, their scores and files; losses of steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import FileDamaged, InvalidData, UnknownName

OPTIONS: dict[str, Any] = dict(
    model="deltagn", messages="directed", edge_width=8, node_width=8, kernel="eager",
    batch_size=8, updates=3, progress=False, dtype="float64",
)  # fmt: skip
Q = NormalDist().inv_cdf(0.95)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate("gravity", particles=5, trajectories=40, steps=10, dt=0.05, seed=1)


@pytest.fixture(scope="module")
def ensemble(data: xr.Dataset) -> pympnode.ParticleModel:
    return pympnode.train(data=data, members=3, **OPTIONS).model


def test_an_ensemble_is_calibrated_on_its_validation_part(
    ensemble: pympnode.ParticleModel, data: xr.Dataset
) -> None:
    found = ensemble.calibration
    assert found is not None and found.factor.shape == (11, 2)
    assert found.trajectories == int((data.split == "validation").sum())
    rollout = ensemble.rollout(data)
    fresh = pympnode.simulate("gravity", particles=5, trajectories=40, steps=10, dt=0.05, seed=2)
    scores = pympnode.evaluate(ensemble, fresh)
    assert scores.coverage.dims == ("target", "time", "feature") and scores.sizes["time"] == 10
    assert scores.feature.values.tolist() == ["position", "velocity"]
    covered = scores.coverage.mean("time")
    assert ((covered > 0.8) & (covered < 0.99)).all()
    raw = pympnode.evaluate(replace(ensemble, calibration=None), fresh)
    assert (raw.coverage.mean("time") < 0.8).all() and raw.coverage.attrs["calibrated"] == 0
    for name in ("position", "velocity"):
        square = found.factor[:, None, None] ** 2
        k = ("position", "velocity").index(name)
        spread2 = np.square(rollout[f"spread_{name}"].values) ** found.power[k]
        expected = np.sqrt(square[..., k] * spread2 + found.floor[:, None, None, k] ** 2)
        np.testing.assert_allclose(rollout[f"state_std_{name}"][:, 1:], expected[:, 1:])
        lower, upper = pympnode.interval(rollout, variable=name)
        np.testing.assert_allclose(upper - lower, 2 * Q * rollout[f"state_std_{name}"], atol=1e-12)
    assert lower.dims == ("trajectory", "time", "particle", "axis")
    np.testing.assert_allclose(0.5 * (lower + upper), rollout.velocity.mean("member"))
    assert pympnode.interval(rollout).attrs["calibrated"] == 1


def test_members_on_both_sides_of_a_face_have_a_mean_at_the_face(
    ensemble: pympnode.ParticleModel,
) -> None:
    from pympnode.particles.graphs.box import as_box
    from pympnode.particles.uncertainty import with_uncertainty

    x = np.zeros((2, 1, 2, 1, 2))
    x[0, ..., 0], x[1, ..., 0] = 9.9, 0.1
    dims = ("member", "trajectory", "time", "particle", "axis")
    ds = xr.Dataset({"position": (dims, x), "velocity": (dims, 0 * x)}, coords={"time": [0.0, 1.0]})
    plain = replace(ensemble, calibration=None)
    spread = with_uncertainty(plain, ds, as_box(10.0)).spread_position
    np.testing.assert_allclose(spread[..., 0], np.sqrt(2) * 0.1)


def test_a_single_model_can_be_calibrated_and_kept(
    ensemble: pympnode.ParticleModel, data: xr.Dataset, tmp_path: Path
) -> None:
    single = ensemble.member(0)
    assert single.calibration is None
    with pytest.raises(InvalidData, match="no spread"):
        pympnode.interval(single.rollout(data))
    with pytest.raises(UnknownName):
        pympnode.interval(ensemble.rollout(data), variable="mass")
    fresh = single.calibrate(data)
    cover = pympnode.evaluate(fresh, data).coverage.mean("time")
    np.testing.assert_allclose(cover, 0.92, atol=0.011)  # of 40 trajectories 41 / 40 * 0.9
    assert "calibrated" in repr(fresh)
    fresh.save(tmp_path / "model.nc")
    back = pympnode.load(tmp_path / "model.nc")
    xr.testing.assert_identical(back.rollout(data), fresh.rollout(data))
    ds = fresh.to_dataset()
    with pytest.raises(FileDamaged):
        pympnode.ParticleModel.from_dataset(ds.assign(calibration_floor=-ds.calibration_floor))
    with pytest.raises(InvalidData, match="nothing to calibrate"):
        ensemble.calibrate(data.isel(time=[0]))
