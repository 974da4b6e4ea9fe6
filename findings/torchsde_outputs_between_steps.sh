#!/usr/bin/env bash
# Outputs of sdeint between its steps lie on straight lines: their noise is too small, and is not independent.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 torchsde==0.2.6 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy
import torch
import torchsde

print("torchsde", version("torchsde"), "torch", torch.__version__)
print("Brownian motion, dy = dW, 20000 paths. Expected: increments between outputs have the variance of the time")
print("between them (1.00 below), and are independent (correlation 0.00), whatever the step of the solver is.")


class Brownian(torch.nn.Module):
    noise_type, sde_type = "diagonal", "ito"

    def f(self, t, y):
        return torch.zeros_like(y)

    def g(self, t, y):
        return torch.ones_like(y)


numpy.random.seed(0)  # of the Brownian motion
seen = {}
for every, options in (
    (0.1, {"dt": 0.1}),
    (0.15, {"dt": 0.1}),
    (0.05, {"dt": 0.1}),
    (0.05, {"dt": 0.1, "method": "euler"}),
    (0.0005, {}),
):
    times = torch.arange(7, dtype=torch.float64) * every
    y = torchsde.sdeint(Brownian(), torch.zeros(20000, 1, dtype=torch.float64), times, **options)[..., 0]
    steps = y.diff(dim=0)
    variance = (steps.var(1) / every).mean().item()
    correlation = torch.corrcoef(steps[:2])[0, 1].item()
    seen[every, len(options)] = variance, correlation
    print(f"outputs every {every:<6} {str(options or 'default dt'):31} variance {variance:.2f}, correlation {correlation:.2f}")
good, wide, fine, euler, default = seen.values()
assert abs(good[0] - 1) < 0.03 and abs(good[1]) < 0.03
assert abs(wide[0] - 5 / 6) < 0.03 and wide[1] > 0.15, "outputs every 0.15 have the whole noise now"
assert all(abs(v - 0.5) < 0.03 and c > 0.99 for v, c in (fine, euler, default)), "steps end at outputs now"
print("Seen: sdeint does not step to the times of its outputs; where they are not multiples of dt (1e-3 by default),")
print("it interpolates linearly. With two outputs in a step half of the variance is lost, and one increment repeats the other.")
PYTHON
