"""``ds.pympnode`` in fresh processes: registered by ``import pympnode``, which imports nothing large."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest

import pympnode

LARGE = ("torch", "matplotlib", "numba", "scipy", "netCDF4", "networkx", "tqdm", "juliacall")
LOADED = f"json.dumps([m for m in {LARGE!r} if m in sys.modules])"


def fresh(code: str, *arguments: str) -> Any:
    """What the code prints, as JSON, in a process that has imported nothing."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A dataset of either half as a file."""
    folder: Path = tmp_path_factory.mktemp("accessor")
    made = {
        "kuramoto": pympnode.simulate(
            "kuramoto", nodes=3, topology="ring", trajectories=2, steps=3
        ),
        "gravity": pympnode.simulate("gravity", particles=4, trajectories=2, steps=3),
    }
    for name, ds in made.items():
        ds.to_netcdf(folder / f"{name}.nc")
    return {name: str(folder / f"{name}.nc") for name in made}


OPENED = """
import json, sys
import xarray as xr
import pympnode
with xr.open_dataset(sys.argv[1]) as ds:
    print(json.dumps([ds.pympnode.record["system"], repr(ds.pympnode)]))
"""


@pytest.mark.parametrize("name", ["kuramoto", "gravity"])
def test_the_record_of_an_opened_file(files: dict[str, str], name: str) -> None:
    system, text = fresh(OPENED, files[name])
    assert system == name and repr(name) in text


def test_without_the_package_it_is_the_text_of_the_attribute(files: dict[str, str]) -> None:
    """The reason for registering it with the package: xarray serves attributes by the same syntax."""
    code = OPENED.replace("import pympnode\n", "").replace(
        'json.dumps([ds.pympnode.record["system"], repr(ds.pympnode)])', "ds.pympnode"
    )
    assert fresh(code, files["gravity"])["system"] == "gravity"


SIMULATED = """
import json, sys
import pympnode
options = {"kuramoto": {"nodes": 3, "topology": "ring"}, "gravity": {"particles": 4}}
ds = pympnode.simulate(sys.argv[1], trajectories=2, steps=3, **options[sys.argv[1]])
before = "matplotlib" in sys.modules
import matplotlib
matplotlib.use("Agg")
drawn = getattr(ds.pympnode.plot, sys.argv[2])()
print(json.dumps([before, ds.pympnode.record["system"], type(drawn).__name__]))
"""


@pytest.mark.parametrize(
    ("name", "picture"), [("kuramoto", "graph_state"), ("gravity", "particle_trajectories")]
)
def test_record_and_plot_of_a_simulated_dataset(name: str, picture: str) -> None:
    before, system, drawn = fresh(SIMULATED, name, picture)
    assert system == name and ("Axes" in drawn or drawn == "ndarray")
    assert before is False  # matplotlib is imported with the first picture


def test_the_plots_of_an_opened_file(files: dict[str, str]) -> None:
    code = OPENED.replace(
        "import pympnode\n", 'import matplotlib\nmatplotlib.use("Agg")\nimport pympnode\n'
    ).replace(
        'json.dumps([ds.pympnode.record["system"], repr(ds.pympnode)])',
        "json.dumps(type(ds.pympnode.plot.conservation()).__name__)",
    )
    assert fresh(code, files["gravity"]) == "ndarray"


def test_the_import_loads_nothing_large() -> None:
    alone = set(fresh(f"import json, sys, xarray; print({LOADED})"))
    assert set(fresh(f"import json, sys, pympnode; print({LOADED})")) - alone == set()
    accessor = "import xarray as xr, pympnode; xr.Dataset().pympnode.record"
    assert set(fresh(f"import json, sys; {accessor}; print({LOADED})")) - alone == set()
    assert {"torch", "matplotlib", "numba", "scipy"}.isdisjoint(alone)


@pytest.mark.slow
def test_the_import_costs_little_more_than_xarray() -> None:
    """CPU seconds of the second import, in one process: whole processes differ by more than that."""
    code = (
        "import json, time, xarray; before = time.process_time(); import pympnode; "
        "print(json.dumps(time.process_time() - before))"
    )
    assert median(fresh(code) for _ in range(7)) <= 0.05
