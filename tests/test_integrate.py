"""The batched solver: order, tolerance, controls, failures."""

from __future__ import annotations

import numpy as np
import pytest

from pympnode.errors import IntegrationFailed, InvalidData, InvalidOption
from pympnode.networks.integrate import integrate
from pympnode.networks.runge_kutta import DOP853


def oscillator(t, x, u=None):
    """Two features rotating at the angular rate 1 + t / 2."""
    rate = 1 + t / 2
    return rate * np.stack([-x[..., 1], x[..., 0]], axis=-1)


def rotated(x0, times):
    angle = times + times**2 / 4
    a, b = x0[:, None, :, 0], x0[:, None, :, 1]
    c, s = np.cos(angle)[None, :, None], np.sin(angle)[None, :, None]
    return np.stack([c * a - s * b, s * a + c * b], axis=-1)


def fixed_steps(pair, steps, inside=None):
    """End state (or the error inside the last step) of a nonlinear scalar problem y' = -t y^2."""
    h, t, y = 2.0 / steps, 0.0, 1.0
    for _ in range(steps):
        k = np.zeros(pair.stages)
        for stage in range(pair.stages):
            state = pair.combine(h)[stage] @ np.concatenate([[y], k])
            k[stage] = -(t + pair.nodes[stage] * h) * state**2
        start, y = y, y + h * pair.weights @ k[: pair.first]
        t += h
    if inside is not None:
        at = t - h + inside * h
        return start + h * pair.dense(np.array([inside]))[0] @ k - 1 / (1 + at**2 / 2)
    return y - 1 / (1 + t**2 / 2)


def test_order_of_the_step():
    errors = np.abs([fixed_steps(DOP853, 8 * 2**i) for i in range(2)])
    assert np.log2(errors[0] / errors[1]) == pytest.approx(DOP853.order, abs=0.2)


def test_dense_output_converges_with_order_7():
    errors = np.array(
        [[abs(fixed_steps(DOP853, 6 * 2**i, at)) for at in (0.3, 0.5, 0.8)] for i in range(2)]
    ).max(axis=1)
    assert np.log2(errors[0] / errors[1]) > 7 - 0.2
    ends = DOP853.dense(np.array([0.0, 1.0]))
    assert not ends[0].any()
    np.testing.assert_allclose(ends[1, : DOP853.first], DOP853.weights, rtol=0, atol=1e-14)


def test_the_tableau_is_consistent():
    pair = DOP853
    np.testing.assert_allclose(pair.matrix.sum(axis=1), pair.nodes, rtol=0, atol=4e-15)
    np.testing.assert_allclose(pair.matrix[pair.first, : pair.first], pair.weights, atol=0)
    np.testing.assert_allclose(pair.errors.sum(axis=1), 0, atol=1e-14)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-9, 1e-12])
def test_error_follows_the_tolerance(rng, tolerance):
    x0 = rng.uniform(-1, 1, (8, 3, 2))
    times = np.sort(np.concatenate([[0, 4], rng.uniform(0, 4, 30)]))  # uneven, inside steps
    solution = integrate(oscillator, x0, times, rtol=tolerance, atol=tolerance)
    # every step adds at most about one tolerance (|x| <= 1.5), and rotation does not amplify;
    # the dense output may add a few more
    assert np.abs(solution.x - rotated(x0, times)).max() < (solution.steps + 10) * 2.5 * tolerance
    assert np.array_equal(solution.x[:, 0], x0)
    assert not solution.status.any() and solution.x.flags.c_contiguous
    assert solution.evaluations >= DOP853.first * (solution.steps + solution.rejected)


def test_the_worst_trajectory_decides_the_step():
    def field(t, x, u=None):
        return -x * np.array([1.0, 60.0])[:, None, None]

    times = np.linspace(0, 1, 5)
    both = integrate(field, np.ones((2, 1, 1)), times)
    np.testing.assert_allclose(both.x[1, :, 0, 0], np.exp(-60 * times), rtol=0, atol=3e-7)
    many = integrate(
        lambda t, x, u=None: -x * np.r_[np.ones(63), 60.0][:, None, None],
        np.ones((64, 1, 1)),
        times,
    )
    assert many.steps == both.steps  # the error is not averaged over trajectories


def test_controls_are_held_over_each_interval_exactly(rng):
    times = np.array([0.0, 0.3, 0.4, 1.0, 1.1])
    u = rng.normal(size=(3, 5, 2, 1))
    solution = integrate(lambda t, x, u: u + 0 * x, np.zeros((3, 2, 1)), times, controls=u)
    expected = np.cumsum(u[:, :-1] * np.diff(times)[None, :, None, None], axis=1)
    np.testing.assert_allclose(solution.x[:, 1:], expected, rtol=0, atol=1e-14)
    u[:, -1] = 99.0  # the last is never used
    again = integrate(lambda t, x, u: u + 0 * x, np.zeros((3, 2, 1)), times, controls=u)
    assert np.array_equal(again.x, solution.x)


def test_no_step_crosses_a_jump_of_the_control():
    times = np.linspace(0, 2, 11)
    calls = []

    def field(t, x, u):
        calls.append((t, u[0, 0, 0]))
        return u - x

    u = np.arange(11.0).reshape(1, 11, 1, 1)
    solution = integrate(field, np.zeros((1, 1, 1)), times, controls=u)
    for t, value in calls:
        i = int(value)
        assert times[i] - 1e-12 <= t <= times[i + 1] + 1e-12
    x = 0.0
    for i in range(10):
        x = u[0, i, 0, 0] + (x - u[0, i, 0, 0]) * np.exp(-0.2)
        assert solution.x[0, i + 1, 0, 0] == pytest.approx(x, abs=1e-8)


def blow_up(t, x, u=None):
    return x * x  # x(t) = x0 / (1 - x0 t)


def test_a_failing_trajectory_is_named_and_does_not_harm_the_others():
    x0 = np.full((4, 3, 2), 0.1)
    x0[2, 1, 0] = 2.0  # infinite at t = 0.5
    times = np.linspace(0, 1, 11)
    with pytest.raises(IntegrationFailed, match=r"trajectory 2, node 1, feature 0, time 0\.5"):
        integrate(blow_up, x0, times)
    solution = integrate(blow_up, x0, times, check=False)
    assert solution.status.tolist() == [0, 0, 1, 0]
    assert np.isnan(solution.x[2, 6:]).all() and np.isfinite(solution.x[2, :5]).all()
    fine = [0, 1, 3]
    expected = np.broadcast_to(0.1 / (1 - 0.1 * times)[:, None, None], (3, 11, 3, 2))
    np.testing.assert_allclose(solution.x[fine], expected, rtol=0, atol=1e-8)


def test_non_finite_derivatives_are_named():
    def field(t, x, u=None):
        rate = np.zeros_like(x)
        if t > 0.35:
            rate[1, 2, 0] = np.nan
        return rate

    with pytest.raises(IntegrationFailed, match=r"not finite\n.*trajectory 1, node 2, feature 0"):
        integrate(field, np.ones((2, 3, 1)), np.linspace(0, 1, 5))
    from_start = lambda t, x, u=None: np.where(x > 1, np.inf, 0.0)  # noqa: E731
    x0 = np.ones((2, 3, 1))
    x0[0, 1, 0] = 2.0
    with pytest.raises(IntegrationFailed, match="trajectory 0, node 1, feature 0, time 0"):
        integrate(from_start, x0, np.linspace(0, 1, 5))


def test_too_many_steps_is_a_status():
    with pytest.raises(IntegrationFailed, match="more than 5 steps"):
        integrate(oscillator, np.ones((1, 1, 2)), np.array([0.0, 50.0]), max_steps=5)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"x0": np.ones((2, 2))}, InvalidData),
        ({"x0": np.full((1, 1, 2), np.nan)}, InvalidData),
        ({"times": np.array([0.0])}, InvalidData),
        ({"times": np.array([0.0, 1.0, 1.0])}, InvalidData),
        ({"rtol": 0.0}, InvalidOption),
        ({"atol": np.nan}, InvalidOption),
        ({"controls": np.ones((1, 3, 1, 1))}, InvalidData),
        ({"field": lambda t, x, u: x[..., :1]}, InvalidData),
    ],
)
def test_bad_input_is_refused(change, error):
    given = {"field": oscillator, "x0": np.ones((1, 1, 2)), "times": np.array([0.0, 1.0])}
    with pytest.raises(error) as caught:
        integrate(**(given | change))
    assert caught.value.got is not None
