"""The tables of quadrotors run from their files, in small."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from experiment_cases import QUICK, written

from pympnode import experiments
from pympnode.errors import UnknownName

PUBLISHED = Path(experiments.__file__).parent / "published"


@pytest.mark.parametrize(
    "name", ["quadrotor_message_size", "quadrotor_finetune", "quadrotor_finetune_published"]
)
def test_runs_with_few_flights_and_updates(name: str, tmp_path: Path) -> None:
    values = tomllib.loads((PUBLISHED / f"{name}.toml").read_text(encoding="utf-8"))
    values["data"] |= {"trajectories": 4, "steps": 10}
    for table in ("train", "start"):
        if table in values and "data" in values[table]:
            values[table]["data"] |= {"trajectories": 4}
    if "start" in values:
        values["grid"]["data"]["trajectories"] = [3, 4]
    for row in values["row"]:
        if "max_window" in row.get("train", {}):
            row["train"]["max_window"] = 0.2
    for test in values["test"]:
        test |= {"trajectories": 2, "steps": 10}
    path = written(tmp_path, values, name)
    ds = experiments.run(str(path), budget="2 updates", out=tmp_path / "out", **QUICK)
    rows = len(ds.row)
    assert rows == {"quadrotor_message_size": 6, "quadrotor_finetune": 7}.get(name, 5)
    for column in ("error_position", "error_attitude", "rmse_z"):
        assert np.isfinite(ds[column].sel(predictor=["model", "persistence"])).all(), column
    kinds = ds.error_position.sel(predictor="constant_velocity", test="six", seed=0)
    assert kinds.std() < 1e-6 and kinds[0] > 0
    text = experiments.table(str(path), out=tmp_path / "out")
    assert "error of position" in text and "*constant velocity*" in text
    values["columns"] = ["eror_position"]
    with pytest.raises(UnknownName, match="column"):
        experiments.run(str(written(tmp_path, values, name)), budget="2 updates", **QUICK)
