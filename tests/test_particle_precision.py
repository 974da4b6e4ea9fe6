"""Training with products in bfloat16 reaches the error of training in float32."""

from __future__ import annotations

import numpy as np
import pytest

import pympnode
from pympnode.datasets.split import labels_of
from pympnode.errors import InvalidOption
from pympnode.particles.schema import pack_particles
from pympnode.particles.task import StepTask

# Standard deviation of the logarithm of a ratio of two losses from one seed, of float32 runs whose
# sums over edges are in another order and nothing else: eight seeds, 500 updates.
SPREAD = 0.2
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def data():
    return pympnode.simulate("gravity", particles=20, trajectories=40, steps=50, seed=0)


def trained(data, updates, seed, precision):
    options = dict(model="deltagn", preset="fast", updates=updates, seed=seed, progress=False)
    return pympnode.train(data=data, **options, device="cpu", precision=precision).model


def loss(data, model, seed, precision):
    """The loss on the validation states, computed in a precision of its own."""
    labels = labels_of(data, 0.7, seed)
    parts = [[np.flatnonzero(labels == name)] for name in ("train", "validation")]
    program = model.bind(precision=precision)
    return StepTask(program, [pack_particles(data)], *parts, 16).validate(model.theta)[
        "validation_loss"
    ]


def ratios(data, updates, seeds=SEEDS):
    """Loss after training in bf16 over that after float32, both computed in float32."""
    found = []
    for seed in seeds:
        models = [trained(data, updates, seed, p) for p in ("bf16", "float32")]
        low, full = (loss(data, model, seed, "float32") for model in models)
        assert full < 0.05, "nothing was learned"
        found.append(low / full)
        # Sixteen bits or not, the trained network says the same but for a rounding of factors by
        # 2^-9, some of which add up: in units of the spread of what is predicted, squared.
        assert loss(data, models[0], seed, "bf16") == pytest.approx(low, abs=(2 * 2**-8) ** 2)
    return np.array(found)


@pytest.mark.slow
def test_a_short_training_in_bf16_reaches_the_error_of_float32(data) -> None:
    (ratio,) = ratios(data, 500, seeds=SEEDS[:1])
    assert ratio < np.exp(4 * SPREAD)


@pytest.mark.slow
def test_a_longer_training_in_bf16_reaches_the_error_of_float32(data) -> None:
    mean = np.exp(np.log(ratios(data, 4000)).mean())
    # Two standard deviations of a mean over the seeds.
    assert mean < np.exp(2 * SPREAD / np.sqrt(len(SEEDS)))  # measured: 0.80


def test_a_run_records_its_precision(data, tmp_path) -> None:
    options = dict(data=data, model="deltagn", updates=2, progress=False, device="cpu")
    options["run"] = tmp_path / "run"
    result = pympnode.train(**options, precision="bf16")
    assert result.model.about["precision"] == "bf16"
    assert result.model.theta.dtype == np.float32
    assert result.model.bind().precision == "float32"
    with pytest.raises(InvalidOption):
        pympnode.train(**options)
