#!/usr/bin/env bash
# mdtraj writes no times to DCD: mdtraj reads numbers of frames, MDAnalysis a step of 0.0489 ps.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mdtraj==1.11.1.post2 MDAnalysis==2.11.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import MDAnalysis
import mdtraj
import numpy

print("mdtraj", mdtraj.__version__, "MDAnalysis", MDAnalysis.__version__)
print("Frames 0.5 ps apart are saved as DCD, a format with a field for the time step. Expected: 0.5 ps.")
top = mdtraj.Topology()
top.add_atom("Ar", mdtraj.element.argon, top.add_residue("AR", top.add_chain()))
xyz = numpy.arange(12.0).reshape(4, 1, 3)
mdtraj.Trajectory(xyz, top, time=[0.0, 0.5, 1.0, 1.5]).save_dcd("a.dcd")
again = mdtraj.load("a.dcd", top=top).time.tolist()
universe = MDAnalysis.Universe.empty(1)
universe.load_new("a.dcd")
other = [float(frame.time) for frame in universe.trajectory]
print("written            [0.0, 0.5, 1.0, 1.5] ps")
print("read by mdtraj    ", again)
print("read by MDAnalysis", other)
assert again == [0, 1, 2, 3], "mdtraj keeps times now"
assert abs(other[1] - 0.04888821) < 1e-6, "MDAnalysis reads another step"
print("Seen: velocities from differences are wrong by a factor of 2 or 10, and by neither error nor warning.")
PYTHON
