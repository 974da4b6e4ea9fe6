"""Data as tasks of a Dask cluster: the same bits as in one process, also when a worker dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from experiment_cases import NETWORK, QUICK, written

import pympnode
from pympnode import experiments
from pympnode.cli import cli
from pympnode.errors import EngineUnavailable, InvalidOption, PympnodeError
from pympnode.experiments.budget import Budget
from pympnode.experiments.catalogue import experiment
from pympnode.experiments.cells import cells
from pympnode.experiments.on_cluster import run_cells
from pympnode.networks.generate_tasks import generate_over
from pympnode.tasks import check_client, client_of, run_tasks

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


# What a worker imports for its first task, seconds of CPU time in each.
PRELOADED = (
    "distributed", "networkx", "dask.array", "numba", "llvmlite.binding", "pympnode._api",
    "pympnode.experiments.sweeping",
    "pympnode.experiments.running", "pympnode.networks.assembly", "pympnode.particles.task",
    "pympnode.networks.engines.torch.program", "pympnode.networks.engines.torch.kernel_eager",
    "pympnode.networks.compiled.vectors", "pympnode.networks.compiled.solve",
)  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two workers, which are processes forked from one that has imported the package."""
    import dask
    from distributed.utils import get_mp_context

    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context().set_forkserver_preload(list(PRELOADED))
        with client_of(workers=2) as found:
            yield found


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("kuramoto", dict(topology="BA", nodes=6, trajectories=150, steps=6, noise=0.1)),
    ("lorenz", dict(topology="ER", nodes=3, trajectories=130, steps=5, graphs=3)),
    ("quadrotors", dict(trajectories=70, steps=10)),
    ("gravity", dict(particles=4, trajectories=5, steps=4)),
]


@pytest.mark.parametrize(("system", "keywords"), CALLS, ids=[name for name, _ in CALLS])
def test_data_are_those_of_one_process(client: Any, system: str, keywords: dict[str, Any]) -> None:
    alone = pympnode.simulate(system, **keywords)
    xr.testing.assert_identical(pympnode.simulate(system, **keywords, client=client), alone)


def test_networks_into_a_store(client: Any, tmp_path: Path) -> None:
    pytest.importorskip("zarr", minversion="3")
    keywords: dict[str, Any] = dict(topology="ring", nodes=4, trajectories=150, steps=5)
    made = pympnode.simulate("heat", **keywords, path=tmp_path / "a.zarr", client=client)
    alone = pympnode.simulate("heat", **keywords)
    np.testing.assert_array_equal(made.state, alone.state)
    assert made.attrs == alone.attrs


def test_parts_on_disk_and_a_worker_that_dies(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keywords: dict[str, Any] = dict(particles=4, trajectories=70, steps=4)
    alone = pympnode.simulate("gravity", **keywords, path=tmp_path / "alone").load()
    killed = []

    def kills(done: int, total: int, left: float) -> None:
        if done == 5 and not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    made = pympnode.simulate(
        "gravity", **keywords, path=tmp_path / "cluster", client=client, progress=kills
    )
    assert killed
    xr.testing.assert_identical(made.load(), alone)


def _fails(number: int) -> int:
    if number == 2:
        raise InvalidOption("number two", got=2, allowed="another", fix="leave it out")
    return number


def test_an_error_of_a_task_is_raised_with_its_parts(client: Any) -> None:
    with pytest.raises(PympnodeError, match="number two"):
        run_tasks(client, _fails, [(n,) for n in range(4)], lambda number, result: None)


def _appended(path: str, number: int) -> None:
    with open(path, "a") as file:
        file.write(f"{number}\n")


def test_tasks_wait_for_those_before(client: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "order")
    after = [[], [0], [1], [0, 2]]
    run_tasks(client, _appended, [(path, n) for n in range(4)], lambda n, r: None, after)
    assert Path(path).read_text().split() == ["0", "1", "2", "3"]


def test_what_is_no_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidOption, match="no client of a Dask cluster"):
        pympnode.simulate("kuramoto", client="tcp://127.0.0.1:8786")
    with pytest.raises(InvalidOption, match="no client of a Dask cluster"):
        check_client("client", object())
    with pytest.raises(InvalidOption, match="workers of its own"):
        client_of("tcp://127.0.0.1:1", workers=2)


def test_another_version_on_the_workers_is_refused(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pympnode.tasks.__version__", "0.0.1")
    with pytest.raises(EngineUnavailable, match="another version"):
        run_tasks(client, _fails, [(0,)], lambda number, result: None)


def test_a_solver_of_another_engine_is_refused(client: Any) -> None:
    graph = pympnode.Graph.single([0], [1], 2)
    with pytest.raises(InvalidOption, match="embedded engine"):
        generate_over(client, "kuramoto", graph, None, 2, 0, solve=lambda *given: None)


def test_cells_of_an_experiment_are_those_of_one_process(client: Any, tmp_path: Path) -> None:
    path = written(tmp_path, NETWORK)
    words: dict[str, Any] = {**QUICK, "budget": "2 updates", "seeds": 1}
    alone = experiments.run(path, out=tmp_path / "alone", **words)
    made = experiments.run(path, out=tmp_path / "cluster", client=client, **words)
    assert (made["status"] == "completed").all()
    timed = [name for name in alone.data_vars if "seconds" in str(name) or "_ms" in str(name)]
    assert len(timed) < len(alone.data_vars)
    xr.testing.assert_identical(made.drop_vars(timed), alone.drop_vars(timed))
    lines: list[str] = []
    again = experiments.run(
        path, out=tmp_path / "cluster", client=client, report=lines.append, **words
    )
    xr.testing.assert_identical(again, made)
    assert sum("completed before" in line for line in lines) == made["status"].size


def test_a_sweep_is_that_of_one_process(client: Any, tmp_path: Path) -> None:
    data = pympnode.simulate("kuramoto", nodes=3, topology="ring", trajectories=6, steps=4)
    words: dict[str, Any] = dict(epochs=1, kernel="eager", preset="paper", progress=False)
    start = pympnode.train(data=data, hidden=4, **words)
    grid: dict[str, Any] = {"learning_rate": [1e-3, 1e-2]}
    words.update(data=data, start=start, halving=2)
    alone = pympnode.sweep(grid, **words, run=tmp_path / "alone")
    made = pympnode.sweep(grid, **words, run=tmp_path / "cluster", client=client)
    timed = ["seconds", "folder"]
    xr.testing.assert_identical(
        made.drop_vars(timed).drop_attrs(), alone.drop_vars(timed).drop_attrs()
    )
    for one, two in zip(alone.folder.values.ravel(), made.folder.values.ravel()):
        assert np.array_equal(pympnode.load(one).theta, pympnode.load(two).theta)


def test_cells_of_one_run_are_computed_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = experiment(written(tmp_path, NETWORK))
    given: dict[str, Any] = {}

    def keeps(client: Any, call: Any, arguments: Any, on_done: Any, after: Any) -> None:
        given.update(arguments=arguments, after=after)

    monkeypatch.setattr("pympnode.experiments.on_cluster.run_tasks", keeps)
    todo = list(cells(found, Budget.of("4 updates"), 2))
    run_cells(None, print, todo, tmp_path, "cpu", lambda cell, numbers: None)
    number = {id(what[3]): i for i, what in enumerate(given["arguments"]) if what[2] == "cell"}
    opened = {id(cell): {t.folder(tmp_path, cell.seed) for t in cell.trainings} for cell in todo}
    shared = 0
    for later, cell in enumerate(todo):
        for earlier in todo[:later]:
            if opened[id(cell)] & opened[id(earlier)]:
                shared += 1
                assert number[id(earlier)] in given["after"][number[id(cell)]]
    assert shared == 2  # "as it is" and "fine-tuned" of two seeds


def test_a_scheduler_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, NETWORK)
    words = ["experiment", "run", str(path), "--out", str(tmp_path / "out")]
    ended = CliRunner().invoke(cli, [*words, "--scheduler", "tcp://127.0.0.1:1"])
    assert ended.exit_code == 1 and "no Dask scheduler answers" in str(ended.exception)
