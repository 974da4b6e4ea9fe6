#!/usr/bin/env bash
# The current state Y(t) of ddeint is the one of the last output, and several steps are taken with it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ddeint==0.3.0 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from ddeint import ddeint
from scipy.integrate import odeint

print("ddeint", version("ddeint"), "scipy", version("scipy"))
print('y\' = -y. ddeint calls itself "a simple Differential Delay Equation solver built on top of Scipy\'s odeint".')
print("Expected: the accuracy of odeint, whatever times the output has.")


def solve(field, end, points, past):
    times = np.linspace(0, end, points)
    return times, ddeint(field, past, times)[:, 0]


def past(t):
    return np.exp(-t)


errors = {}
for end, points in ((5, 6), (1, 11), (1, 101), (1, 1001)):
    times, y = solve(lambda Y, t: -Y(t), end, points, past)
    theirs = odeint(lambda y, t: -y, 1.0, times)[:, 0]
    euler = (1 - times[1]) ** np.arange(points)
    errors[points] = [np.abs(one - np.exp(-times)).max() for one in (y, theirs, euler)]
    print(f"{points:5} outputs up to {end}: error {{:.4f}}; odeint {{:.1e}}, Euler {{:.4f}};".format(*errors[points]), y[:5].round(3))
times, y = solve(lambda Y, t: Y(t - 1) / np.e - 2 * Y(t), 5, 51, past)
both = np.abs(y - np.exp(-times)).max()
times, y = solve(lambda Y, t: -Y(t - 1) / np.e, 5, 51, past)
delayed = np.abs(y - np.exp(-times)).max()
print(f"y' = y(t - 1) / e - 2 y(t), past exp(-t), 51 outputs up to 5: error {both:.4f}")
print(f"y' = -y(t - 1) / e, the same past and outputs: error {delayed:.4f}")
assert errors[6][0] > 2 and errors[11][0] > 0.05 and both > 0.02, "Y(t) is the current state now"
assert all(dde > euler and odes < 1e-6 for dde, odes, euler in errors.values()) and delayed < 2e-3
print("Seen: within a step Y(t) is the last output, and one step of the solver may reach over several outputs, which then")
print("lie on a straight line. Terms of the current state are less accurate than with Euler's method; delayed ones are not.")
PYTHON
