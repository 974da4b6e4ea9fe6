"""Training in several processes: the same numbers as in one, whoever stops, dies or differs."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from process_groups import Groups

import pympnode
from pympnode.errors import InvalidOption
from pympnode.networks.half import NETWORKS
from pympnode.networks.options import NetworkTraining
from pympnode.training.group import share
from pympnode.training.processes import current

# 21 trajectories, of which 17 train in batches of 5: no batch is divided evenly, the last has 2.
SMALL = dict(
    topology="BA", nodes=6, trajectories=21, steps=8, batch_size=5, dtype="float64",
    progress=False, kernel="torch", device="cpu", hidden=8,
)  # fmt: skip

SCRIPT = """
import json, os, sys
import numpy as np
import pympnode

calls, out = json.loads(sys.argv[1]), sys.argv[2]
rank = int(os.environ.get("RANK", 0))
for number, (system, keywords) in enumerate(calls):
    result = pympnode.train(system, **keywords)
    np.savez(
        f"{out}/{number}-{rank}.npz", theta=result.model.theta, best=result.best_loss,
        updates=result.updates, history=result.history.validation_loss.values,
    )
"""


def trained(groups: Groups, size: int, folder: Path, calls: list[Any]) -> list[list[Any]]:
    """What each process of a group found, by call."""
    folder.mkdir(exist_ok=True)
    for code, text in groups.run(size, SCRIPT, json.dumps(calls), str(folder)):
        assert code == 0, text
    return [
        [np.load(folder / f"{number}-{rank}.npz") for rank in range(size)]
        for number in range(len(calls))
    ]


GRAVITY = dict(
    particles=5, trajectories=4, steps=8, model="deltagn", updates=12, batch_size=5, dtype="float64",
    optimiser="adam", progress=False, device="cpu", edge_width=8, node_width=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def compared(groups: Groups, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    calls = {
        "adam": ("kuramoto", {**SMALL, "updates": 60, "optimiser": "adam", "messages": "emitted"}),
        "members": ("kuramoto", {**SMALL, "updates": 20, "optimiser": "adam", "members": 3}),
        "one step": ("kuramoto", {**SMALL, "updates": 1, "optimiser": "adam", "matching": 0.0}),
        "soap": ("kuramoto", {**SMALL, "updates": 30, "optimiser": "soap"}),
        "budget": ("kuramoto", {**SMALL, "time_budget": 0.2, "trajectories": 40}),
        "particles": ("gravity", GRAVITY),
    }
    folder = tmp_path_factory.mktemp("processes")
    found = {
        size: dict(zip(calls, trained(groups, size, folder / str(size), list(calls.values()))))
        for size in (1, 2)
    }
    return {name: (found[1][name][0], found[2][name]) for name in calls}


@pytest.mark.parametrize("name", ["adam", "members", "one step", "soap", "budget", "particles"])
def test_all_processes_have_the_same_weights(compared: dict[str, Any], name: str) -> None:
    _, (first, second) = compared[name]
    for key in ("theta", "best", "updates", "history"):
        assert np.array_equal(first[key], second[key]), key


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("adam", 1e-6), ("members", 1e-9), ("one step", 1e-12), ("particles", 1e-9)],
)
def test_two_processes_learn_what_one_learns(
    compared: dict[str, Any], name: str, tolerance: float
) -> None:
    # Adam's first step is the sign of the gradient: the same only where the gradient is.
    one, (two, _) = compared[name]
    np.testing.assert_allclose(two["theta"], one["theta"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(two["history"], one["history"], rtol=1e-6)


def test_soap_ends_with_the_same_loss(compared: dict[str, Any]) -> None:
    one, (two, _) = compared["soap"]
    assert float(two["best"]) == pytest.approx(float(one["best"]), rel=0.05)


def test_the_parts_of_a_batch_are_all_of_it() -> None:
    for length in (1, 2, 7, 8):
        for size in (1, 2, 3, 8):
            parts = [np.arange(length)[share(length, rank, size)] for rank in range(size)]
            assert np.array_equal(np.concatenate(parts), np.arange(length))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_parts_of_a_batch_of_graphs_of_several_sizes() -> None:
    """Sums over parts are those over the batch where nodes differ by trajectory."""
    data = [
        pympnode.simulate("kuramoto", nodes=n, trajectories=6, steps=8, topology="ring")
        for n in (4, 9)
    ]
    options = NetworkTraining(
        dtype="float64", updates=1, matching=0.0, messages="emitted", hidden=8, device="cpu",
        kernel="torch",
    )  # fmt: skip
    prepared = NETWORKS.prepare("kuramoto", data, options, None)
    task, theta = prepared.task, prepared.theta[0]
    batch = next(task.batches(4, np.random.default_rng(0)))
    value, gradient = task.loss(theta, batch)
    total, summed = 0.0, np.zeros_like(gradient)
    for rank in range(3):
        part, weight = task.part(batch, rank, 3)
        one, of_part = task.loss(theta, part)
        total, summed = total + weight * one, summed + weight * of_part
    assert total == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(summed, gradient, rtol=1e-10, atol=1e-14)


DIES = """
import os, signal, sys
import pympnode
from pympnode.training.trainer import Trainer

record = Trainer._record
def dies(self, state):
    record(self, state)
    if state.epoch == int(os.environ["AT"]) and os.environ.get("RANK", "one") == os.environ.get("DIES"):
        os.kill(os.getpid(), signal.Signals[os.environ["BY"]])
Trainer._record = dies
Trainer.__init__.__kwdefaults__["checkpoint_seconds"] = 0.0
result = pympnode.train(
    "kuramoto", topology="ring", nodes=5, trajectories=20, steps=10, epochs=8, hidden=8,
    dtype="float64", optimiser="adam", preset="paper", progress=False, kernel="torch", device="cpu",
    run=sys.argv[1],
)
print("status", result.status, result.updates, repr(result.best_loss))
"""


def ended(found: list[Any]) -> float:
    """The loss that all processes of a run ended with after its 8 updates."""
    for code, text in found:
        assert code == 0 and "status completed 8" in text, text
    assert len({text for _, text in found}) == 1
    return float(found[0][1].split()[-1])


@pytest.fixture(scope="module")
def whole(groups: Groups, tmp_path_factory: pytest.TempPathFactory) -> float:
    """The loss of the run in one process that nothing stops."""
    return ended(groups.run(1, DIES, str(tmp_path_factory.mktemp("whole")), AT="0"))


def test_a_killed_process_is_named_and_its_last_checkpoint_is_whole(
    groups: Groups, tmp_path: Path, whole: float
) -> None:
    run = str(tmp_path / "run")
    first, second = groups.run(2, DIES, run, DIES="1", AT="3", BY="SIGKILL")
    assert second[0] == -signal.SIGKILL
    assert first[0] == 1 and "ProcessLost" in first[1] and "does not answer: rank 1" in first[1]
    assert ended(groups.run(1, DIES, run, AT="0")) == pytest.approx(whole, rel=1e-9)


def test_two_processes_go_on_as_one_and_as_two_again(
    groups: Groups, tmp_path: Path, whole: float
) -> None:
    """An interrupt of one process stops all at the same update."""
    run = str(tmp_path / "run")
    stopped = groups.run(2, DIES, run, DIES="1", AT="3", BY="SIGINT")
    stopped += groups.run(1, DIES, run, DIES="one", AT="5", BY="SIGINT")
    assert [code for code, _ in stopped] == [-signal.SIGINT] * 3
    assert all("KeyboardInterrupt" in text for _, text in stopped)
    assert ended(groups.run(2, DIES, run, AT="0")) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("keywords['seed'] = rank", "the data"),
        ("from pympnode.training import fit; fit.__version__ = f'1.{rank}'", "the version"),
        ("keywords['hidden'] = 8 + rank", "the model and its options"),
    ],
)
def test_processes_that_differ_are_refused_with_their_ranks(
    groups: Groups, tmp_path: Path, line: str, what: str
) -> None:
    differs = SCRIPT.replace("in enumerate(calls):", f"in enumerate(calls):\n    {line}")
    for code, text in groups.run(2, differs, json.dumps([("kuramoto", SMALL)]), str(tmp_path)):
        assert code == 1 and "ranks [1] differ from rank 0" in text, text
        assert f"differ in {what}" in text


# The disk of the first process, which writes: no file may grow from a point on.
FULL = """
import os, resource, signal, sys
from pathlib import Path
import pympnode
from pympnode.training.trainer import Trainer

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
first = os.environ["RANK"] == "0"
record = Trainer._record
def fills(self, state):
    record(self, state)
    if first and state.epoch == int(os.environ["AT"]):
        limit()
def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
Trainer._record = fills
Trainer.__init__.__kwdefaults__["checkpoint_seconds"] = 0.0
if first and os.environ["AT"] == "0":
    limit()
result = pympnode.train(
    "kuramoto", topology="ring", nodes=5, trajectories=20, steps=10, epochs=4, hidden=8,
    dtype="float64", optimiser="adam", preset="paper", progress=False, kernel="torch", device="cpu",
    run=sys.argv[1],
)
Path(f"{sys.argv[2]}/{os.environ['RANK']}").write_text(
    f"{result.status} {result.updates} {result.best_loss!r} {type(result.save_error).__name__}"
)
"""


def test_a_full_disk_of_one_process(groups: Groups, tmp_path: Path) -> None:
    """Before the first update it is an error of all; later the run goes on, and says so where it
    writes."""
    for code, text in groups.run(2, FULL, str(tmp_path / "none"), str(tmp_path), AT="0"):
        assert code == 1 and "errors.NotEnoughDisk" in text, text
    found = groups.run(2, FULL, str(tmp_path / "later"), str(tmp_path), AT="2")
    assert [code for code, _ in found] == [0, 0], found
    assert "RunNotSaved" in found[0][1] and "RunNotSaved" not in found[1][1]
    first, second = ((tmp_path / str(rank)).read_text().split() for rank in (0, 1))
    assert first[:3] == second[:3] and first[:2] == ["completed", "4"]
    assert first[3] == "NotEnoughDisk" and second[3] == "NoneType"


def test_an_error_of_the_first_process_is_that_of_all(groups: Groups, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    call = ("kuramoto", {**SMALL, "updates": 2, "run": str(tmp_path / "file")})
    first, second = groups.run(2, SCRIPT, json.dumps([call]), str(tmp_path))
    assert first[0] == second[0] == 1
    assert first[1].splitlines()[-1] == second[1].splitlines()[-1]
    kind = [line for line in second[1].splitlines() if line.startswith("pympnode.errors.")]
    assert kind == [line for line in first[1].splitlines() if line.startswith("pympnode.errors.")]


def test_an_incomplete_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert current() is None
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InvalidOption, match="how they meet") as caught:
        current()
    assert "MASTER_ADDR" in str(caught.value.got)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert current() is None
