"""Steps over several intervals: order of what lies inside, what is refused, every kernel the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from kernel_windows import random_theta, random_window

from pympnode.errors import EngineUnavailable, InvalidOption
from pympnode.networks.engines.tableaux import RK4, TSIT5, Steps, dense
from pympnode.networks.engines.torch import kernel_eager as eager
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.engines.torch.kernel_torch import run as adjoint
from pympnode.networks.spec import ModelSpec


def test_continuous_extension_is_of_order_three() -> None:
    a, c = RK4.a, RK4.c
    for s in (0.2, 0.5, 0.9, 1.0):
        b = dense(RK4, s)
        assert b.sum() == pytest.approx(s, abs=1e-14)
        assert b @ c == pytest.approx(s**2 / 2, abs=1e-14)
        assert b @ c**2 == pytest.approx(s**3 / 3, abs=1e-14)
        assert b @ a @ c == pytest.approx(s**3 / 6, abs=1e-14)
    assert dense(RK4, 1.0) == pytest.approx(RK4.b)
    with pytest.raises(ValueError, match="tsit5"):
        dense(TSIT5, 0.5)


def test_steps_cover_the_window_once() -> None:
    dt = np.array([0.1, 0.2, 0.1, 0.3, 0.1, 0.1, 0.2])
    steps = Steps.over(RK4, dt, 3)
    assert steps.first.tolist() == [0, 3, 6, 7]
    assert steps.size == pytest.approx([0.4, 0.5, 0.2])
    assert steps.inside[0] == pytest.approx(0.4 * dense(RK4, 0.25))
    # The ends of steps are not inside any.
    assert not steps.inside[[2, 5, 6]].any()


@pytest.mark.parametrize("stride", [2, 5])
def test_error_falls_with_the_fourth_power(stride: int, rng: np.random.Generator) -> None:
    spec = ModelSpec(channels=2, message=1, hidden=8)
    base = random_window(spec, rng, [4], [0] * 3, 4 * stride, torch.float64)
    theta = random_theta(spec, rng, torch.float64)
    errors = []
    for size in (0.4, 0.2):
        window = dataclasses.replace(base, dt=np.full(base.steps, size / stride))
        truth = eager.rollout(spec.replace(substeps=4), theta, window)
        found = compiled.rollout(spec.replace(stride=stride), theta, window)
        # One step: its inside is of order 3, with a local error of h^4.
        errors.append(float((found - truth)[1:stride].abs().max()))
    assert np.log2(errors[0] / errors[1]) > 3.5


@pytest.mark.parametrize("messages", ["state", "pairwise"])
def test_kernels_agree_on_states_inside_a_step(messages: str, rng: np.random.Generator) -> None:
    spec = ModelSpec(channels=3, message=2, hidden=9, stride=3, messages=messages)
    window = random_window(spec, rng, [5, 3], [0, 1, 1], 7, torch.float64, masked=True)
    theta = random_theta(spec, rng, torch.float64)
    value, gradient = eager.loss_and_gradient(spec, theta, window)
    for kernel in (adjoint, compiled):
        if kernel.supports(spec) is not None:
            continue
        for store in (True, False):
            got, slope = kernel.loss_and_gradient(spec, theta, window, store=store)
            assert got == pytest.approx(value, rel=1e-12)
            assert float((slope - gradient).abs().max() / gradient.abs().max()) < 1e-12


@pytest.mark.parametrize("option", [{"controls": 1}, {"solver": "tsit5"}, {"substeps": 2}])
def test_refused_where_something_changes_within(option: dict[str, object]) -> None:
    with pytest.raises(InvalidOption, match="several intervals"):
        ModelSpec(stride=2).replace(**option)


def test_julia_engine_refuses_it_before_it_starts_anything() -> None:
    from pympnode.networks.engines.julia.engine import JuliaEngine

    with pytest.raises(EngineUnavailable, match="stride=2"):
        JuliaEngine().bind(ModelSpec(stride=2))
