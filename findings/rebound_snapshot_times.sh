#!/usr/bin/env bash
# Snapshots of a Simulationarchive are taken at the first step after each interval.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rebound==5.2.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import numpy
import rebound

print("rebound", rebound.__version__)
print("A snapshot every 0.1, time step 0.013. Expected: snapshots at 0, 0.1, 0.2, ... or at an even spacing.")
sim = rebound.Simulation()
sim.add(m=1.0)
sim.add(m=1e-3, a=1.0)
sim.integrator, sim.dt = "leapfrog", 0.013
sim.save_to_file("a.bin", interval=0.1)
sim.integrate(1.0)
times = numpy.array([snapshot.t for snapshot in rebound.Simulationarchive("a.bin")])
steps = numpy.diff(times)
exact = [s.t for s in rebound.Simulationarchive("a.bin").getSimulations([0.0, 0.1, 0.2], mode="exact")]
print("times of the snapshots", times.round(3).tolist())
print("between them          ", steps.round(3).tolist())
print('getSimulations(..., mode="exact")', exact)
assert numpy.ptp(steps) > 0.01 and abs(times[1] - 0.104) < 1e-9, "snapshots are even now"
assert exact == [0.0, 0.1, 0.2]
print("Seen: steps of 0.091 to 0.104. A time axis of 0.1 * number is wrong by up to 12 %.")
PYTHON
