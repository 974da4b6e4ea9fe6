"""Optimisers: SOAP against a slow transcription, the seam that a user's optimiser goes through."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pympnode
from pympnode.config import TrainConfig
from pympnode.errors import InvalidOption, UnknownName
from pympnode.layout import Layout
from pympnode.training import optimiser as optimisers
from pympnode.training.optimiser import Adam, Soap, make_optimiser
from pympnode.training.trainer import Trainer

LAYOUT = Layout(
    {
        "first_weight": (4, 3),
        "first_bias": (4,),
        "second_weight": (4, 4),
        "third_weight": (4, 3),
        "code": (3, 2),
        "column": (5, 1),
        "number": (1, 1),
        "last_weight": (2, 4),
        "last_bias": (2,),
    },
    elementwise=frozenset({"code"}),
)
SMALL: dict[str, Any] = dict(
    system="kuramoto", nodes=6, topology="ring", trajectories=24, steps=10, kernel="eager",
    hidden=8, batch_size=8, progress=False,
)  # fmt: skip


def transcribed(
    gradients: list[NDArray], theta: NDArray, rate: float, layout: Layout, every: int = 10
) -> NDArray:
    """SOAP as the paper states it (algorithm 3), a tensor at a time, by matrices of eigenvectors.

    The first moment is kept in the coordinates of the weight, and the second in those of the basis.
    """
    beta, epsilon = 0.95, 1e-8
    values = {name: view.copy() for name, view in layout.unpack(theta).items()}
    kept: dict[str, dict[str, NDArray]] = {}
    for count, vector in enumerate(gradients, start=1):
        for name, gradient in layout.unpack(vector).items():
            matrix = gradient.ndim == 2 and name != "code"
            work = gradient if matrix else gradient.reshape(-1, 1)
            one, two = work.shape
            if count == 1:
                kept[name] = {
                    "m": np.zeros((one, two)), "v": np.zeros((one, two)),
                    "L": work @ work.T, "R": work.T @ work, "QL": np.eye(one), "QR": np.eye(two),
                }  # fmt: skip
                if matrix:
                    kept[name]["QL"] = np.linalg.eigh(ridged(work @ work.T))[1][:, ::-1]
                    kept[name]["QR"] = np.linalg.eigh(ridged(work.T @ work))[1][:, ::-1]
            k = kept[name]
            if count > 1:
                k["L"] = beta * k["L"] + (1 - beta) * work @ work.T
                k["R"] = beta * k["R"] + (1 - beta) * work.T @ work
            k["m"] = beta * k["m"] + (1 - beta) * work
            rotated = k["QL"].T @ work @ k["QR"]
            k["v"] = beta * k["v"] + (1 - beta) * rotated**2
            moment = k["QL"].T @ k["m"] @ k["QR"] / (1 - beta**count)
            step = moment / (np.sqrt(k["v"] / (1 - beta**count)) + epsilon)
            values[name] -= rate * (k["QL"] @ step @ k["QR"].T).reshape(gradient.shape)
            if matrix and (count < 5 or count % every == 0):
                for basis, factor, axis in (("QL", "L", 0), ("QR", "R", 1)):
                    k_factor = ridged(k[factor])
                    eigenvalues = np.diag(k[basis].T @ k_factor @ k[basis])
                    falling = np.argsort(-eigenvalues)
                    k["v"] = np.take(k["v"], falling, axis=axis)
                    k[basis] = np.linalg.qr(k_factor @ k[basis][:, falling])[0]
    return layout.pack(values)


def ridged(factor: NDArray) -> NDArray:
    """With the diagonal that decides the basis outside of the span of the gradients."""
    n = len(factor)
    return factor + 1e-6 * np.trace(factor) / n * np.diag(
        [2.0 - i / max(n - 1, 1) for i in range(n)]
    )


def test_soap_is_the_transcription(rng: np.random.Generator) -> None:
    theta = np.stack([LAYOUT.initial(rng) for _ in range(3)])
    # Full rank after two updates, so that no basis is arbitrary for long; all are from here on.
    gradients = [rng.normal(size=theta.shape) for _ in range(25)]
    soap, rates = Soap(LAYOUT), np.array([1e-3, 1e-2, 0.1])
    state, here = soap.start(theta), theta
    for count, gradient in enumerate(gradients, start=1):
        here = soap.update(here, gradient, rates, state, count)
    for member in range(3):
        expected = transcribed([g[member] for g in gradients], theta[member], rates[member], LAYOUT)
        moved = np.abs(expected - theta[member]).max()
        np.testing.assert_allclose(here[member], expected, rtol=0, atol=1e-9 * moved)


def test_entries_without_a_basis_go_by_adam_of_the_betas_of_soap(rng: np.random.Generator) -> None:
    """Biases, tensors that are marked, sides of one, and sides that are too large."""
    layout = Layout({"bias": (3,), "code": (2, 2), "wide": (1, 2000)}, frozenset({"code"}))
    theta = rng.normal(size=(1, layout.size))
    soap, state = Soap(layout), {}
    state = soap.start(theta)
    assert state["left"].size == state["right"].size == 0
    first, second, expected, here = 0.0, 0.0, theta, theta
    for count in range(1, 12):
        gradient = rng.normal(size=theta.shape)
        first, second = 0.95 * first + 0.05 * gradient, 0.95 * second + 0.05 * gradient**2
        fix = 1 - 0.95**count
        expected = expected - 0.1 * first / fix / (np.sqrt(second / fix) + 1e-8)
        here = soap.update(here, gradient, np.array([0.1]), state, count)
    np.testing.assert_allclose(here, expected, rtol=0, atol=1e-12)


def test_a_side_that_is_too_large_has_no_basis_and_the_other_has(rng: np.random.Generator) -> None:
    layout = Layout({"tall": (1025, 3)})
    soap = Soap(layout)
    theta = rng.normal(size=(1, layout.size))
    state = soap.start(theta)
    assert state["left"].size == 0 and state["right"].shape == (1, 9)
    gradient = rng.normal(size=theta.shape)
    step = theta - soap.update(theta, gradient, np.array([1.0]), state, 1)
    of_matrix = gradient.reshape(1025, 3)
    basis = np.linalg.eigh(of_matrix.T @ of_matrix)[1]
    # The first step is the sign of the rotated gradient.
    np.testing.assert_allclose(np.abs(step.reshape(1025, 3) @ basis), 1.0, atol=1e-4)


def test_a_weight_without_entries_changes_nothing(rng: np.random.Generator) -> None:
    """Of invariant messages the receiver has no inputs: a weight (hidden, 0)."""
    layout = Layout({"weight": (4, 3), "bias": (4,)})
    empty = Layout({"of_receiver": (6, 0), "weight": (4, 3), "bias": (4,)})
    theta = rng.normal(size=(2, layout.size))
    rates, found = np.array([1e-3, 1e-2]), []
    gradients = rng.normal(size=(12, *theta.shape))
    for each in (layout, empty):
        soap, here = Soap(each), theta
        state = soap.start(here)
        for count, gradient in enumerate(gradients, start=1):
            here = soap.update(here, gradient, rates, state, count)
        found.append(here)
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - theta).max() > 1e-3


def test_members_are_single_runs_bit_for_bit(rng: np.random.Generator) -> None:
    theta = rng.normal(size=(3, LAYOUT.size)).astype(np.float32)
    gradients = rng.normal(size=(25, *theta.shape)).astype(np.float32)
    rates, soap = np.array([1e-3, 1e-2, 1e-1]), Soap(LAYOUT)

    def run(members: slice) -> NDArray:
        here = theta[members]
        state = soap.start(here)
        for count, gradient in enumerate(gradients, start=1):
            here = soap.update(here, gradient[members], rates[members], state, count)
        return here

    whole = run(slice(None))
    assert whole.dtype == np.float32
    for member in range(3):
        np.testing.assert_array_equal(whole[member], run(slice(member, member + 1))[0])


def test_soap_beats_adam_where_a_rotation_helps() -> None:
    """|A W B - C|^2 with curvatures from 1 to 1e-4 along directions that are no axes."""
    rng = np.random.default_rng(3)
    turn = [np.linalg.qr(rng.normal(size=(8, 8)))[0] for _ in range(2)]
    scale = np.geomspace(1, 0.1, 8)
    left, right = (q * scale @ q.T for q in turn)
    goal = rng.normal(size=(8, 8))
    layout = Layout({"w": (8, 8)})

    def left_over(optimiser: Any, rate: float) -> float:
        theta = np.zeros((1, 64))
        state = optimiser.start(theta)
        for count in range(1, 301):
            away = left @ (theta.reshape(8, 8) - goal) @ right
            gradient = (left.T @ away @ right.T).reshape(1, 64)
            falling = rate * 0.5 * (1 + math.cos(math.pi * count / 300))
            theta = optimiser.update(theta, gradient, np.array([falling]), state, count)
        return float(((theta.reshape(8, 8) - goal) ** 2).mean())

    rates = (0.01, 0.03, 0.1, 0.3)
    best = {cls: min(left_over(cls(layout), rate) for rate in rates) for cls in (Adam, Soap)}
    assert best[Soap] < 0.1 * best[Adam], best


# ---- the seam ------------------------------------------------------------------------------------


class Momentum:
    """An optimiser as a user writes it: gradient descent with momentum, a callable of the layout."""

    def __init__(self, layout: Layout) -> None:
        assert layout.linear_maps
        self.made_for = layout.size

    def start(self, theta: NDArray) -> dict[str, NDArray]:
        return {"velocity": np.zeros_like(theta), "theta": np.zeros((len(theta), 1))}

    def update(
        self, theta: NDArray, gradient: NDArray, rate: NDArray, state: dict, count: int
    ) -> NDArray:
        state["velocity"] = 0.9 * state["velocity"] + gradient
        # A name that the checkpoint uses for itself.
        state["theta"] = state["theta"] + count
        return (theta - rate[:, None] * state["velocity"]).astype(theta.dtype)


def interrupt_after(number: int, run: Path, options: dict[str, Any]) -> None:
    """A run that gets Ctrl-C after so many updates."""
    import os
    import signal

    before = Trainer._tell

    def tell(self: Trainer, state: Any, count: int, values: NDArray) -> None:
        before(self, state, count, values)
        if count == number:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_tell", tell)
        with pytest.raises(KeyboardInterrupt):
            pympnode.train(**options, run=run)


@pytest.mark.parametrize("choice", ["soap", "adam", Momentum])
@pytest.mark.parametrize("members", [1, 2])
def test_a_resumed_run_has_the_bits_of_a_whole_one(
    choice: Any, members: int, tmp_path: Path
) -> None:
    options = {**SMALL, "updates": 30, "optimiser": choice, "members": members}
    whole = pympnode.train(**options)
    interrupt_after(17, tmp_path / "run", options)
    resumed = pympnode.train(**options, run=tmp_path / "run")
    assert resumed.updates == 30 and resumed.status == "completed"
    np.testing.assert_array_equal(whole.model.theta, resumed.model.theta)


def test_members_of_a_soap_ensemble_are_single_runs() -> None:
    single = pympnode.train(**SMALL, updates=12, optimiser="soap")
    both = pympnode.train(**SMALL, updates=12, optimiser="soap", members=2)
    np.testing.assert_array_equal(both.model.theta[0], single.model.theta)


def test_a_run_folder_belongs_to_its_optimiser(tmp_path: Path) -> None:
    pympnode.train(**SMALL, updates=2, optimiser="adam", learning_rate=1e-2, run=tmp_path)
    with pytest.raises(InvalidOption, match="belongs to another call") as caught:
        pympnode.train(**SMALL, updates=2, optimiser="soap", learning_rate=1e-2, run=tmp_path)
    assert "soap" in str(caught.value)


def test_a_run_folder_of_adam_has_the_description_of_old_versions() -> None:
    """Without the field, which those versions did not write."""
    assert "optimiser" not in TrainConfig().as_dict()
    assert TrainConfig(optimiser="soap").as_dict()["optimiser"] == "soap"
    assert (
        TrainConfig(optimiser=Momentum).as_dict()["optimiser"].endswith("test_optimiser.Momentum")
    )


def test_the_record_of_a_model_names_the_optimiser() -> None:
    result = pympnode.train(**SMALL, updates=1, optimiser=Momentum, learning_rate=1e-3)
    assert result.model.about["training"]["optimiser"].endswith("Momentum")


@pytest.mark.parametrize("system", ["kuramoto", "gravity"])
def test_each_optimiser_has_its_rate_in_a_preset(system: str) -> None:
    if system == "kuramoto":
        from pympnode.networks.options import NetworkTraining

        def config(**given: Any) -> TrainConfig:
            return NetworkTraining(**given).run_config(fresh=True)
    else:
        from pympnode.particles.options import ParticleTraining

        def config(**given: Any) -> TrainConfig:
            return ParticleTraining(**given).run_config("deltagn", 20, fresh=True)

    assert config().optimiser == "soap" and config(preset="paper").optimiser == "adam"
    assert config(optimiser="adam").learning_rate == {"kuramoto": 5e-3, "gravity": 1e-2}[system]
    assert config(optimiser="adam", learning_rate=0.5).learning_rate == 0.5


@pytest.mark.parametrize(
    ("choice", "error", "text"),
    [
        ("sopa", UnknownName, "soap"),
        (3, InvalidOption, "neither a name nor callable"),
        (lambda layout: None, InvalidOption, "returned no optimiser"),
        (lambda layout: Momentum, InvalidOption, "returned no optimiser"),
    ],
)
def test_what_is_no_optimiser_is_refused(choice: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        pympnode.train(**SMALL, updates=1, optimiser=choice)
    assert caught.value.got and caught.value.allowed and caught.value.fix


class Scalar(Momentum):
    def start(self, theta: NDArray) -> dict[str, NDArray]:
        return {"velocity": np.zeros(3)}


def test_a_state_that_no_checkpoint_can_keep_is_refused() -> None:
    with pytest.raises(InvalidOption, match="named arrays") as caught:
        pympnode.train(**SMALL, updates=1, optimiser=Scalar)
    assert "velocity" in caught.value.got and caught.value.fix


def test_names_make_optimisers() -> None:
    for name, cls in optimisers.OPTIMISERS.items():
        assert isinstance(make_optimiser(name, LAYOUT), cls)
