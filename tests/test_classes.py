"""The classes of models that compete where neither messages nor coupling is chosen."""

from __future__ import annotations

import numpy as np
import pytest

import pympnode
from pympnode.networks.classes import CLASSES, UNMATCHED, competing, short_class
from pympnode.networks.options import NetworkTraining

QUICK = {"hidden": 4, "depth": 1, "progress": False, "kernel": "eager", "batch_size": 4}


def names(**options):
    return list(competing(NetworkTraining(**options)))


def test_what_is_given_narrows_the_classes():
    assert names() == list(CLASSES) == names(messages="auto", coupling="auto")
    assert names(coupling="superposed") == ["pairwise superposed", "emitted superposed"]
    assert names(coupling="mixed") == ["pairwise mixed", "pairwise mixed max"]
    assert names(aggregation="sum") == [
        "pairwise superposed",
        "pairwise mixed",
        "emitted superposed",
    ]
    assert names(messages="pairwise", coupling="superposed") == ["pairwise superposed"]
    assert names(antisymmetric=True) == ["pairwise superposed"]
    assert names(message_size=4) == ["pairwise mixed", "pairwise mixed max"]
    assert names(aggregation="max") == ["pairwise superposed", "pairwise mixed"]
    for given in ({"messages": "emitted"}, {"messages": "state"}, {"model": "l2s"}):
        assert names(**given) == []
    for given in ({"relative": "x"}, {"invariant": "x"}, {"messages": "pairwise"}):
        assert "emitted superposed" not in names(**given)
    assert "emitted superposed" not in competing(NetworkTraining(), edge_attributes=1)
    # A topology that is an array is not compared.
    assert names(topology=np.eye(3)) == list(CLASSES)


@pytest.mark.parametrize(
    "given, edge_attributes, messages, coupling",
    [
        ({}, 0, "emitted", "superposed"),
        ({"coupling": "mixed"}, 0, "emitted", "mixed"),
        ({"messages": "state"}, 0, "state", "superposed"),
        ({}, 2, "pairwise", "superposed"),
        ({"relative": "x"}, 0, "pairwise", "superposed"),
        ({"messages": "pairwise", "message_size": 5}, 0, "pairwise", "mixed"),
    ],
)
def test_the_class_of_a_short_run(given, edge_attributes, messages, coupling):
    chosen = short_class(NetworkTraining(**given), edge_attributes)
    assert (chosen.messages, chosen.coupling) == (messages, coupling)


def largest(t, x, u, graph, parameters):
    """dx_k/dt = -x_k / 2 + the largest sine of a neighbour."""
    out = np.full_like(x, -1.0)
    np.maximum.at(out.swapaxes(0, 1), graph.receiver, np.sin(x[:, graph.sender]).swapaxes(0, 1))
    return -0.5 * x + out


@pytest.fixture(scope="module")
def data():
    system = pympnode.own_system("largest", largest, ["x"], start=(-2.0, 2.0), nodes=5)
    return pympnode.simulate(system, topology="complete", trajectories=16, steps=12, dt=0.1)


@pytest.fixture
def short_races(monkeypatch):
    """Classes compete in runs of 120 updates: 4 updates of each, and 8 in the second round."""
    from pympnode.training import race

    monkeypatch.setattr("pympnode.networks.half.LONG", 100)
    monkeypatch.setattr(race, "_LEAST_UPDATES", 4)
    monkeypatch.setattr(race, "_LEARNED", 1e9)  # 12 updates count as having learned
    monkeypatch.setattr(race, "_BEHIND", 1e9)  # all have a second round


def test_the_class_with_the_smallest_loss_goes_on_and_a_resumed_run_repeats_it(
    data, tmp_path, short_races
):
    options = {**QUICK, "data": data, "updates": 120, "seed": 1}
    result = pympnode.train(**options, run=tmp_path / "a")
    spec, text = result.model.spec, result.history.attrs["classes"]
    winner = text.split(" by validation loss")[0]
    losses = {
        part.rsplit(" ", 1)[0]: float(part.rsplit(" ", 1)[1])
        for part in text.split(": ")[1].split(", ")
    }
    # These data have derivatives.
    assert set(losses) == set(CLASSES) - UNMATCHED and winner == min(losses, key=losses.__getitem__)
    assert CLASSES[winner]["coupling"] == spec.coupling
    assert ("aggregation" in CLASSES[winner]) == (spec.aggregation == "max")
    assert result.updates == 84
    counted = result.history.attrs["race_updates"]
    assert counted >= 3 * 4 and result.history.attrs["race_seconds"] > 0
    assert f"84 updates after {counted} in which classes competed" in repr(result)
    assert result.best_loss <= losses[winner]
    assert text in repr(result)
    # Everything again in another folder, and from the folder that is complete.
    again = pympnode.train(**options, run=tmp_path / "b")
    np.testing.assert_array_equal(again.model.theta, result.model.theta)
    kept = pympnode.train(**options, run=tmp_path / "a")
    np.testing.assert_array_equal(kept.model.theta, result.model.theta)


def titles_of(monkeypatch):
    """Titles and updates of all runs that follow."""
    from pympnode.training import race

    fit, seen = race.Trainer.fit, []

    def noting(self, theta):
        seen.append((self.title.removeprefix("comparing classes: "), self.config.updates))
        return fit(self, theta)

    monkeypatch.setattr(race.Trainer, "fit", noting)
    return seen


@pytest.mark.slow
def test_a_class_that_is_far_behind_has_no_second_round(data, monkeypatch):
    from pympnode.training import race

    seen = titles_of(monkeypatch)
    monkeypatch.setattr(race, "_LEAST_UPDATES", 10)
    # A best class that is behind itself leaves only that one.
    monkeypatch.setattr(race, "_LEARNED", 1e9)
    monkeypatch.setattr(race, "_BEHIND", 1.0)
    result = pympnode.train(**QUICK, data=data, updates=600, seed=1)
    assert len(seen) == 4  # a round of each, and the run
    # What the second rounds would have taken is left to the run.
    assert result.updates == seen[-1][1] == 600 - 3 * 20
    seen.clear()
    monkeypatch.setattr(race, "_LEARNED", 0.0)
    result = pympnode.train(**QUICK, data=data, updates=600, seed=1)
    names = [title for title, _ in seen]
    assert names[:3] == names[3:6] and len(names) == 7
    assert result.updates == 420
    # No class has learned anything by that measure: the cheapest update goes on.
    assert "by the cost of an update" in result.history.attrs["classes"]


@pytest.mark.slow
def test_emitted_messages_compete_where_the_data_have_no_derivatives(data):
    result = pympnode.train(**QUICK, data=data.isel(time=slice(0, None, 3)), updates=600)
    assert "emitted superposed" in result.history.attrs["classes"]
    assert result.history.attrs["matching"].startswith("none")


def test_a_short_run_has_a_higher_rate(data):
    def rate(**options):
        history = pympnode.train(**QUICK, data=data, **options).history
        return float(history.learning_rate.max())

    assert rate(updates=40) > 0.018
    assert rate(updates=40, learning_rate=5e-3) <= 5e-3
    assert rate(updates=40, optimiser="adam") <= 5e-3
    assert rate(epochs=2) <= 1e-2


def test_a_run_that_is_interrupted_while_classes_compete_goes_on(data, tmp_path, short_races):
    from pympnode.training import trainer

    options = {**QUICK, "data": data, "updates": 120, "seed": 1}
    whole = pympnode.train(**options)
    epochs, count = trainer.Trainer._close_epoch, 0

    def closing(self, state, row):
        nonlocal count
        epochs(self, state, row)
        count += 1
        if count >= 3 and self.title.startswith("comparing"):
            self.interrupt()  # ends the run before the next update, where this round has one

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer.Trainer, "_close_epoch", closing)
        pympnode.train(**options, run=tmp_path / "run")
    assert count < 9
    resumed = pympnode.train(**options, run=tmp_path / "run")
    np.testing.assert_array_equal(resumed.model.theta, whole.model.theta)


def test_a_class_that_cannot_start_loses(data, monkeypatch, short_races):
    from pympnode.errors import InvalidData
    from pympnode.training import race, trainer

    fit = trainer.Trainer.fit

    def failing(self, theta):
        if "mixed" in self.title and self.title.startswith("comparing"):
            raise InvalidData("the first loss is not finite", got="inf", allowed="finite")
        return fit(self, theta)

    monkeypatch.setattr(race.Trainer, "fit", failing)
    result = pympnode.train(**QUICK, data=data, updates=120)
    assert result.history.attrs["classes"].startswith("pairwise superposed by")
    assert "pairwise mixed max inf" in result.history.attrs["classes"]
    with pytest.raises(InvalidData, match="not finite"):
        pympnode.train(**QUICK, data=data, updates=120, coupling="mixed")
