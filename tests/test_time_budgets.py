"""Time budgets: measured costs become a number of updates, once, and the run keeps to it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pympnode
from pympnode.config import TrainConfig
from pympnode.layout import Layout
from pympnode.particles.engine.program import ParticleProgram
from pympnode.particles.schema import pack_particles
from pympnode.particles.spec import ParticleScales, ParticleSpec
from pympnode.particles.task import StepTask
from pympnode.training import budget as budgets
from pympnode.training import trainer as module
from pympnode.training.budget import Timing, seconds_of, updates_within
from pympnode.training.schedule import plan
from pympnode.training.trainer import Trainer

SMALL: dict[str, Any] = dict(
    system="kuramoto", nodes=6, topology="ring", trajectories=24, steps=12, kernel="eager",
    hidden=8, batch_size=8, progress=False, dtype="float64",
)  # fmt: skip


class Clock:
    """A clock that stands still but for what is added to it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Priced:
    """A task of batches that are their own price in seconds."""

    steps, size, dtype = 1, 3, np.dtype(np.float64)
    layout = Layout({"theta": (3,)})

    def __init__(self, clock: Clock, kinds: list[tuple[float, float]], validation: float) -> None:
        self.clock, self.prices, self.validation = clock, kinds, validation
        self.made: list[float] = []

    def count(self, horizon: int) -> int:
        return 250

    def batches(self, horizon: int, rng: np.random.Generator) -> Any:
        exact = [price for share, price in self.prices for _ in range(round(250 * share))]
        return iter(rng.permutation(exact))

    def kinds(self, horizon: int, rng: np.random.Generator) -> list[tuple[float, float]]:
        return [(share, price * rng.uniform(0.9, 1.1)) for share, price in self.prices]

    def losses(self, thetas: Any, batches: Any) -> Any:
        self.made.append(sum(batches))
        self.clock.now += sum(batches)
        return np.zeros(len(thetas)), np.zeros((len(thetas), self.size))

    def validate(self, theta: Any) -> dict[str, float]:
        self.clock.now += self.validation
        return {"validation_loss": 1.0}


def priced(
    monkeypatch: pytest.MonkeyPatch, kinds: list[tuple[float, float]], budget: float, **options: Any
) -> tuple[Clock, Priced, Any]:
    """The clock, the task and the outcome of a run of ``budget`` seconds."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(budgets, "time", clock)
    task = Priced(clock, kinds, **options)
    fitted = Trainer(task, TrainConfig(time_budget=budget)).fit(np.zeros((1, 3)))  # type: ignore[arg-type]
    return clock, task, fitted


# ---- laying out ---------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [0.05, 0.3, 1.0, 4.0, 60.0, 3000.0])
@pytest.mark.parametrize("curriculum", [(), ((5, 0.4), (10, 0.3), (25, 0.15), (0, 0.15))])
@pytest.mark.parametrize("each", [0.0, 0.02, 1.0])
def test_a_plan_fills_its_budget(budget: float, curriculum: Any, each: float) -> None:
    config = TrainConfig(curriculum=curriculum)
    cost = {5: 0.002, 10: 0.004, 25: 0.010, 50: 0.020}

    def count(horizon: int) -> int:
        return 10 * (50 // horizon)

    def spent(updates: int) -> float:
        return seconds_of(plan(config, 50, count, 1, updates), cost, each)

    made = updates_within(config, 50, count, cost, each, budget)
    assert made >= 1 and (spent(made) <= budget or made == 1)
    # One part in a thousand may be left, an update, or an epoch's worth where windows change.
    more = made + 1 + made // 500
    assert spent(more) > budget - (0.5 if curriculum else 0)


def test_measured_costs_become_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number follows from given costs: it must not depend on the machine."""
    cost = {h: 0.004 * max(h, 1) for h in (0, 5, 10, 12)}  # 0: gradient matching
    monkeypatch.setattr(Timing, "costs", lambda self, *given: (cost, 0.05))
    result = pympnode.train(**SMALL, time_budget="4s")
    assert result.status == "completed"
    made = np.diff([0, *result.history.updates.values])
    windows = result.history.horizon.values
    total = sum(n * cost[h] for n, h in zip(made, windows)) + 0.05 * made.size
    assert 3.8 < total <= 4
    assert result.updates == made.sum()


def test_a_budget_below_an_epoch_cuts_it_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timing, "costs", lambda self, *given: ({1: 0.03}, 0.1))
    data = pympnode.simulate("gravity", particles=10, trajectories=12, steps=30)
    options = dict(model="deltagn", edge_width=8, node_width=8, batch_size=1, device="cpu")
    result = pympnode.train(data=data, time_budget=1.0, progress=False, **options)
    assert 28 <= result.updates <= 30  # 0.9 s by 30 ms, less what laying it out took
    assert result.history.sizes["epoch"] == 1


def test_the_number_is_kept_when_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Timing, "affordable", lambda self, *given: 21)
    # The rate of a run follows its length where it is not given.
    small = {**SMALL, "learning_rate": 5e-3}
    whole = pympnode.train(**small, time_budget="4s")
    exact = pympnode.train(**small, updates=21)
    np.testing.assert_array_equal(whole.model.theta, exact.model.theta)

    record = Trainer._record

    def stop(self: Any, state: Any) -> None:
        record(self, state)
        self.run.save(state)
        if state.epoch == 2:
            raise RuntimeError("power cut")

    options = {**small, "time_budget": "4s", "run": tmp_path / "run"}
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_record", stop)
        with pytest.raises(RuntimeError, match="power cut"):
            pympnode.train(**options)
    monkeypatch.setattr(Timing, "affordable", lambda self, *given: 1 / 0)
    resumed = pympnode.train(**options)
    assert resumed.updates == 21
    np.testing.assert_array_equal(resumed.model.theta, whole.model.theta)
    np.testing.assert_array_equal(resumed.history.learning_rate, whole.history.learning_rate)


# ---- measuring ----------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [10.0, 60.0, 400.0])
def test_batches_of_unlike_sizes_count_by_their_share(
    monkeypatch: pytest.MonkeyPatch, budget: float
) -> None:
    """Nine in ten updates take 2 ms, one takes 100 ms: the mean is 11.8, the median 2."""
    clock, _, outcome = priced(monkeypatch, [(0.9, 0.002), (0.1, 0.1)], budget, validation=0.05)
    assert outcome.status == "completed"
    assert 0.8 * budget < clock.now < 1.2 * budget


@pytest.mark.parametrize(("price", "least"), [(0.001, 8), (0.04, 8), (0.1, 3), (0.3, 2)])
def test_as_many_updates_are_timed_as_a_budget_bears(
    monkeypatch: pytest.MonkeyPatch, price: float, least: int
) -> None:
    # First calls, which compile, are outside of what is measured.
    monkeypatch.setattr(Timing, "_compile", lambda self, theta: None)
    clock, task, outcome = priced(monkeypatch, [(1.0, price)], 1.0, validation=0.01)
    measured = len(task.made) - outcome.updates - 1
    assert measured >= least and sum(task.made[1 : measured + 1]) <= max(0.06, 8.5 * price)
    assert len(set(task.made[: measured + 1])) == measured + 1  # other batches every time
    assert clock.now < 1.1 or outcome.updates <= 1


def test_what_is_compiled_at_the_first_call_is_outside_of_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first update takes 30 s, all others 10 ms: a budget of 2 s has as many as without."""
    timed = Timing._timed
    slow = [30.0]

    def compiling(self: Any, *given: Any) -> float:
        self.task.clock.now += slow.pop() if slow else 0.0
        return timed(self, *given)

    _, _, without = priced(monkeypatch, [(1.0, 0.01)], 2.0, validation=0.01)
    monkeypatch.setattr(Timing, "_timed", compiling)
    _, _, compiled = priced(monkeypatch, [(1.0, 0.01)], 2.0, validation=0.01)
    assert not slow
    assert compiled.updates == without.updates > 100


def test_a_budget_without_an_update_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "pympnode.training"):
        _, _, outcome = priced(monkeypatch, [(1.0, 2.0)], 1.0, validation=0.5)
    assert outcome.updates == 1 and outcome.status == "completed"
    assert "budget of 1 s does not hold one update" in caplog.text and "(0.5 s)" in caplog.text


def test_kinds_of_networks_are_whole_batches_and_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {}

    def look(self: Any, *given: Any) -> Any:
        found["task"] = self.task
        return 1

    monkeypatch.setattr(Timing, "affordable", look)
    pympnode.train(**SMALL, time_budget=1.0)
    task, rng = found["task"], np.random.default_rng(0)
    for horizon in (5, 12):
        lengths = [len(batch.trajectory) for batch in task.batches(horizon, rng)]
        kinds = task.kinds(horizon, rng)
        assert sum(share for share, _ in kinds) == pytest.approx(1)
        mean = sum(share * len(batch.trajectory) for share, batch in kinds)
        assert mean == pytest.approx(np.mean(lengths))


def test_kinds_of_particles_are_datasets_and_levels() -> None:
    sets = [
        pympnode.simulate("gravity", particles=n, trajectories=6, steps=10, seed=n)
        for n in (10, 30)
    ]
    arrays = [pack_particles(ds) for ds in (sets[0], sets[1].isel(trajectory=slice(0, 3)))]
    parts = [np.arange(6), np.arange(3)], [np.arange(0), np.arange(0)]
    spec = ParticleSpec.named("hierarchical_deltagn", inputs="scaled", edge_width=8, node_width=8)
    program = ParticleProgram(spec, ParticleScales(), 0.01, device="cpu")
    task = StepTask(program, arrays, *parts, 3, mixed_levels=True)
    kinds = task.kinds(1, np.random.default_rng(0))
    assert [(b.dataset, b.extra_levels) for _, b in kinds] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [share for share, _ in kinds] == pytest.approx([1 / 3, 1 / 3, 1 / 6, 1 / 6])
    again = task.kinds(1, np.random.default_rng(1))
    assert any((a.time != b.time).any() for (_, a), (_, b) in zip(kinds, again))
