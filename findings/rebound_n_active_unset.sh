#!/usr/bin/env bash
# N_active of REBOUND 5 is 2**64 - 1 where nobody set it; it was -1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rebound==5.2.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import rebound

print("rebound", rebound.__version__)
print("N_active counts the bodies that attract others. Expected where it is not set: -1, as in versions 3 and 4, or N.")
sim = rebound.Simulation()
sim.add(m=1.0)
sim.add(m=1e-3, a=1.0)
print("N", sim.N, " N_active", sim.N_active)
print("'N_active == -1' finds", sim.N_active == -1, "; 'N_active < 0' finds", sim.N_active < 0)
masses = [particle.m for particle in sim.particles][: sim.N_active]
print("particles[:N_active]", masses)
assert sim.N_active == 2**64 - 1, "another value stands for 'all'"
print("Seen: the largest unsigned number stands for 'all bodies attract'; tests for -1 or for a negative number miss it.")
PYTHON
