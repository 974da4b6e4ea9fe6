#!/usr/bin/env bash
# ASE takes the types of a LAMMPS dump for atomic numbers: type 1 is hydrogen.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ase==3.29.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import ase
import ase.io
from ase import units

print("ase", ase.__version__)
print("Argon and krypton, types 1 and 2 of a LAMMPS dump, at 1 angstrom / ps. Expected: masses of 39.95 and 83.80 u, or a")
print("word that a dump has no masses.")
open("a.dump", "w").write("""ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 20
0 20
0 20
ITEM: ATOMS id type x y z vx vy vz
1 1 1 2 3 1 0 0
2 2 5 5 5 0 1 0
""")
for options in ({}, {"specorder": ["Ar", "Kr"]}):
    atoms = ase.io.read("a.dump", format="lammps-dump-text", **options)
    speed = 1000 * units.fs * abs(atoms.get_velocities()).max(axis=1)
    energy = atoms.get_kinetic_energy()
    masses = atoms.get_masses().round(3).tolist()
    print(options, "symbols", atoms.symbols, "masses", masses, "speeds", speed.round(6).tolist(), f"kinetic energy {energy:.2e} eV")
    if not options:
        assert str(atoms.symbols) == "HHe" and masses == [1.008, 4.003], "types are no elements now"
        assert abs(speed - 1).max() < 1e-6
        light = energy
assert energy / light > 20
print("Seen: the atoms are hydrogen and helium. Velocities are right, momenta and energies are those of the wrong masses.")
PYTHON
