#!/usr/bin/env bash
# ASE reads velocities of an extended XYZ file from the column 'momenta' alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ase==3.29.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import ase
import ase.io

print("ase", ase.__version__)
print("Three files differ in the name of one column. Expected: each has velocities, or an error says that it has none.")
head = '1\nLattice="10 0 0 0 10 0 0 0 10" Properties=species:S:1:pos:R:3:{}:R:3 pbc="T T T"\n'
speeds = {}
for column in ("velo", "vel", "momenta"):
    with open(column + ".extxyz", "w") as file:
        file.write(head.format(column) + "Ar 1.0 2.0 3.0 0.25 0.0 0.0\n")
    atoms = ase.io.read(column + ".extxyz")
    speeds[column] = atoms.get_velocities()[0].tolist()
    print(f"column {column:8} get_velocities() {speeds[column]}   arrays {sorted(atoms.arrays)}")
assert speeds["velo"] == speeds["vel"] == [0.0, 0.0, 0.0], "velocities are read now"
assert abs(speeds["momenta"][0] - 0.25 / 39.948) < 1e-6
print("Seen: a column of velocities stays in atoms.arrays, and get_velocities() gives zeros, no error.")
PYTHON
