#!/usr/bin/env bash
# A LAMMPS dump of mdtraj has a box that moves with the lowest atom; MDAnalysis subtracts its origin.
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
print("Two atoms drift by 1 angstrom a frame in a box of 20 angstrom. Expected: they drift after writing and reading.")
top = mdtraj.Topology()
residue = top.add_residue("AR", top.add_chain())
for _ in range(2):
    top.add_atom("Ar", mdtraj.element.argon, residue)
x = numpy.zeros((3, 2, 3))
x[:, 1] = 0.3
x += 0.1 * numpy.arange(3)[:, None, None] + 0.2
made = mdtraj.Trajectory(x, top)
made.unitcell_lengths, made.unitcell_angles = numpy.full((3, 3), 2.0), numpy.full((3, 3), 90.0)
made.save_lammpstrj("a.lammpstrj")
lines = open("a.lammpstrj").read().splitlines()
bounds = [lines[i + 1] for i, line in enumerate(lines) if "BOX BOUNDS" in line]
universe = MDAnalysis.Universe("a.lammpstrj", format="LAMMPSDUMP", topology_format="LAMMPSDUMP")
read = [frame.positions[:, 0].round(3).tolist() for frame in universe.trajectory]
back = (10 * mdtraj.load("a.lammpstrj", top=top).xyz[:, :, 0]).round(3).tolist()
print("x in angstrom, written by mdtraj ", (10 * x[:, :, 0]).round(3).tolist())
print("bounds of x in the file          ", bounds)
print("x read by mdtraj                 ", back)
print("x read by MDAnalysis             ", read)
assert len(set(bounds)) == 3, "the box stays in place now"
assert read[0] == read[1] == read[2], "MDAnalysis shows the drift now"
print("Seen: the box begins at the smallest coordinate of each frame, and after reading nothing moves.")
PYTHON
