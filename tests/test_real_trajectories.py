"""Trajectories of ASE, MDAnalysis, mdtraj and REBOUND: units, boxes, masses, times.

Velocities are compared with differences of positions: a factor of a unit would show there.
"""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pympnode.datasets.record import record
from pympnode.errors import (
    EngineUnavailable,
    InvalidData,
    InvalidOption,
    MissingFile,
    PympnodeWarning,
)
from pympnode.particles.readers import from_ase, from_mdanalysis, from_mdtraj, from_rebound
from pympnode.particles.readers.frames import even

STEPS, DT = 21, 0.5


def paths() -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities of three particles that turn around each other: (time, particle, 3)."""
    t = DT * np.arange(STEPS)[:, None]
    phase = 0.05 * t + np.array([0.0, 2.0, 4.0])
    x = np.stack([3 * np.cos(phase), 3 * np.sin(phase), 0 * phase + [0.0, 0.2, 0.4]], axis=-1)
    v = 0.15 * np.stack([-np.sin(phase), np.cos(phase), 0 * phase], axis=-1)
    return x, v


def consistent(ds: xr.Dataset, error: float = 1e-3) -> None:
    """Velocities are the slopes of the positions, in the units of both and of the time."""
    x, side = ds.position.values[0], record(ds)["parameters"]["side"]
    if side is not None:
        steps = np.diff(x, axis=0)
        x = x[:1] + np.concatenate(
            [0 * x[:1], np.cumsum(steps - side * np.round(steps / side), axis=0)]
        )
    slope = np.gradient(x, ds.time.values, axis=0, edge_order=2)
    scale = np.abs(ds.velocity.values).max()
    assert scale > 0
    assert np.abs(slope - ds.velocity.values[0])[1:-1].max() < error * scale


# ---- ASE ----------------------------------------------------------------------------------------


def atoms_of_ase(x: np.ndarray, v: np.ndarray | None, **cell: Any) -> list[Any]:
    """v in angstrom / fs."""
    ase = pytest.importorskip("ase")
    from ase import units

    images = []
    for t in range(len(x)):
        images.append(ase.Atoms("ArNeXe", positions=x[t], **cell))
        if v is not None:
            images[-1].set_velocities(v[t] / units.fs)
    return images


def test_ase_units(tmp_path: Path) -> None:
    x, v = paths()
    images = atoms_of_ase(x, v)
    ds = from_ase(images, dt=DT)
    assert np.allclose(ds.position[0], x) and np.allclose(ds.velocity[0], v)
    consistent(ds)
    assert np.allclose(ds.mass[0], [39.948, 20.1797, 131.293], rtol=1e-3)
    assert ds.position.attrs["units"] == "angstrom" and ds.mass.attrs["units"] == "u"
    assert ds.velocity.attrs["units"] == "angstrom / fs" and ds.time.attrs["units"] == "fs"
    from ase.io import write

    for name in ("a.traj", "a.extxyz"):
        write(tmp_path / name, images)
        assert np.allclose(from_ase(str(tmp_path / name), dt=DT).velocity, ds.velocity, atol=1e-6)
    assert from_ase(images, time=DT * np.arange(STEPS) + 3).time[0] == 3
    assert np.allclose(from_ase(images, dt=DT, mass=2.0).mass, 2.0)


def test_ase_dynamics() -> None:
    """An integration by ASE itself: its unit of time is 10.18 fs."""
    ase = pytest.importorskip("ase")
    from ase import units
    from ase.calculators.lj import LennardJones
    from ase.md.verlet import VelocityVerlet

    atoms = ase.Atoms("Ar2", positions=[[0, 0, 0], [4.0, 0, 0]])
    atoms.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=20.0)
    atoms.set_velocities([[0.0, 0.005, 0.0], [0.0, -0.005, 0.0]])
    images: list[Any] = []
    dynamics = VelocityVerlet(atoms, timestep=2.0 * units.fs)
    dynamics.attach(lambda: images.append(atoms.copy()), interval=5)
    dynamics.run(200)
    consistent(from_ase(images, dt=10.0))


def test_ase_boxes() -> None:
    """Positions outside of the cell, a cell that begins elsewhere, and cells that are refused."""
    x, v = paths()
    x[:, 0, 0] += 17.0
    ds = from_ase(atoms_of_ase(x, v, cell=[10.0] * 3, pbc=True, celldisp=[-5.0] * 3), dt=DT)
    assert record(ds)["parameters"]["side"] == 10.0
    assert np.allclose((ds.position[0] - x + 5) % 10, 5) and np.abs(ds.position).max() <= 5
    consistent(ds)
    assert (
        record(from_ase(atoms_of_ase(x, v, cell=[10.0] * 3, pbc=False), dt=DT))["parameters"][
            "side"
        ]
        is None
    )
    tilted = atoms_of_ase(x, v, cell=[[10, 0, 0], [3, 10, 0], [0, 0, 10]], pbc=True)
    with pytest.raises(InvalidData, match="no cuboid"):
        from_ase(tilted, dt=DT)
    growing = atoms_of_ase(x, v, cell=[10.0] * 3, pbc=True)
    growing[-1].set_cell([11.0] * 3)
    with pytest.raises(InvalidData, match="box changes in time"):
        from_ase(growing, dt=DT)


def test_ase_without_velocities(tmp_path: Path) -> None:
    """get_velocities() of ASE is 0, not an error, where the frames have none."""
    x, v = paths()
    images = atoms_of_ase(x, None)
    assert not np.any(images[0].get_velocities())
    with pytest.raises(InvalidData, match="no velocities") as raised:
        from_ase(images, dt=DT)
    assert "differences" in str(raised.value.fix)
    consistent(from_ase(images, dt=DT, velocity="differences"), 1e-12)
    assert np.allclose(from_ase(images, dt=DT, velocity=v).velocity[0], v)
    for image, one in zip(images, v):
        image.arrays["velo"] = one
    from ase.io import write

    write(tmp_path / "a.extxyz", images, columns=["symbols", "positions", "velo"])
    with pytest.raises(InvalidData, match="no velocities") as raised:
        from_ase(tmp_path / "a.extxyz", dt=DT)
    assert "'velo'" in str(raised.value.fix)
    with pytest.raises(InvalidOption, match="differences"):
        from_ase(images, dt=DT, velocity="guess")


def test_ase_types_of_lammps_are_no_elements(tmp_path: Path) -> None:
    """See findings/ase_lammps_types.sh."""
    pytest.importorskip("ase")
    from ase.io import read

    head = (
        "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n" + "0 20\n" * 3
    )
    atoms = "ITEM: ATOMS id type x y z vx vy vz\n1 1 1 2 3 1 0 0\n2 2 5 5 5 0 1 0\n"
    path = tmp_path / "a.lammpstrj"
    path.write_text("".join(head.format(step) + atoms for step in range(3)))
    with pytest.warns(PympnodeWarning, match="masses are those of HHe"):
        from_ase(path, dt=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PympnodeWarning)
        from_ase(path, dt=1.0, mass=[39.9, 83.8])
        ds = from_ase(read(path, index=":", specorder=["Ar", "Kr"]), dt=1.0)
    assert np.allclose(ds.mass[0], [39.948, 83.798], rtol=1e-3)
    assert np.allclose(ds.velocity[0, 0], [[0.001, 0, 0], [0, 0.001, 0]])


def test_ase_frames_that_do_not_fit() -> None:
    x, v = paths()
    images = atoms_of_ase(x, v)
    with pytest.raises(InvalidData, match="no times of its frames"):
        from_ase(images)
    with pytest.raises(InvalidOption, match="step or the times"):
        from_ase(images, dt=DT, time=np.arange(STEPS))
    with pytest.raises(InvalidData, match="different orders"):
        from_ase([*images[:5], images[5][[1, 0, 2]]], dt=DT)
    with pytest.raises(InvalidData, match="differ in their number") as raised:
        from_ase([*images[:5], images[5][:2]], dt=DT)
    assert "frame 5" in str(raised.value.got)
    with pytest.raises(InvalidData, match="no frames"):
        from_ase([], dt=DT)


# ---- MDAnalysis ---------------------------------------------------------------------------------


def universe(x: np.ndarray, v: np.ndarray | None, box: Any = None, **options: Any) -> Any:
    mda = pytest.importorskip("MDAnalysis")
    made = mda.Universe.empty(3, trajectory=True, velocities=v is not None)
    made.add_TopologyAttr("masses", [40.0, 20.0, 131.0])
    if v is not None:
        options["velocities"] = v.astype(np.float32)
    if box is not None:
        options["dimensions"] = np.array(box, np.float32)
    made.load_new(x.astype(np.float32), dt=DT, **options)
    return made


def test_mdanalysis(tmp_path: Path) -> None:
    x, v = paths()
    made = universe(x, v)
    made.trajectory[4]
    ds = from_mdanalysis(made)
    assert made.trajectory.frame == 4
    consistent(ds)
    assert np.allclose(ds.position[0], x, atol=1e-5) and ds.position.attrs["units"] == "angstrom"
    assert ds.velocity.attrs["units"] == "angstrom / ps" and ds.time.attrs["units"] == "ps"
    assert np.allclose(ds.time, DT * np.arange(STEPS)) and ds.mass.values[0].tolist() == [
        40,
        20,
        131,
    ]
    some = from_mdanalysis(made.atoms[[2, 0]], start=1, step=2)
    assert some.mass.values[0].tolist() == [131, 40] and np.allclose(np.diff(some.time), 2 * DT)
    assert np.allclose(some.position[0, 0, 0], x[1, 2], atol=1e-5)


def test_files_of_gromacs(tmp_path: Path) -> None:
    """TRR is in nm and nm / ps; MDAnalysis converts both, mdtraj drops the velocities."""
    mda = pytest.importorskip("MDAnalysis")
    x, v = paths()
    made = universe(x + 8, v, [9.0, 9.0, 9.0, 90, 90, 90])
    path = str(tmp_path / "a.trr")
    with mda.Writer(path, 3) as out:
        for _ in made.trajectory:
            out.write(made.atoms)
    made.load_new(path)
    ds = from_mdanalysis(made)
    consistent(ds)
    assert record(ds)["parameters"]["side"] == 9.0
    assert np.ptp(np.diff(ds.time)) < 1e-12, "times of single precision are even"
    md = pytest.importorskip("mdtraj")
    theirs = md.load(path, top=topology(md))
    with pytest.raises(InvalidData, match="no velocities") as raised:
        from_mdtraj(theirs)
    assert "from_mdanalysis" in str(raised.value.fix)
    nm = from_mdtraj(theirs, velocity="differences")
    assert nm.position.attrs["units"] == "nm" and record(nm)["parameters"]["side"] == 0.9
    assert np.allclose(10 * nm.position, ds.position, atol=1e-5)
    assert np.allclose(10 * nm.velocity, ds.velocity, atol=1e-3)
    assert np.allclose(nm.mass[0], 39.948, rtol=1e-3)


def test_mdanalysis_boxes_and_masses() -> None:
    x, v = paths()
    with pytest.raises(InvalidData, match="no cuboid"):
        from_mdanalysis(universe(x, v, [9.0, 9.0, 9.0, 90, 90, 60]))
    plain = universe(x, None)
    with pytest.raises(InvalidData, match="no velocities"):
        from_mdanalysis(plain)
    plain.del_TopologyAttr("masses")
    with pytest.raises(InvalidData, match="no masses") as raised:
        from_mdanalysis(plain, velocity="differences")
    assert "mass=" in str(raised.value.fix)
    consistent(from_mdanalysis(plain, velocity="differences", mass=[1.0, 2.0, 3.0]), 1e-5)
    plain.add_TopologyAttr("masses", [1.0, 1.0, 1.0])
    with pytest.warns(PympnodeWarning, match="mass 1 for all atoms"):
        from_mdanalysis(plain, velocity="differences")


def test_files_of_mdtraj_read_by_mdanalysis(tmp_path: Path) -> None:
    """DCD without a time step; a LAMMPS dump whose box moves. See findings/mdtraj_*.sh."""
    pytest.importorskip("MDAnalysis")
    md = pytest.importorskip("mdtraj")
    x, v = paths()
    made = md.Trajectory(x, topology(md), time=DT * np.arange(STEPS))
    made.unitcell_lengths, made.unitcell_angles = (
        np.full((STEPS, 3), 9.0),
        np.full((STEPS, 3), 90.0),
    )
    made.save_dcd(str(tmp_path / "a.dcd"))
    made.save_lammpstrj(str(tmp_path / "a.lammpstrj"))
    read = universe(x, None)
    read.load_new(str(tmp_path / "a.dcd"))
    with pytest.warns(PympnodeWarning, match="no time step"):
        from_mdanalysis(read, velocity="differences")
    ds = from_mdanalysis(read, velocity="differences", dt=DT)
    assert np.allclose(ds.velocity[0], 10 * v, atol=1e-2)
    read.load_new(str(tmp_path / "a.lammpstrj"), format="LAMMPSDUMP")
    with pytest.warns(PympnodeWarning) as found:
        from_mdanalysis(read, velocity="differences", dt=DT)
    assert any("box of this dump moves" in str(one.message) for one in found)


# ---- mdtraj -------------------------------------------------------------------------------------


def topology(md: Any) -> Any:
    made = md.Topology()
    residue = made.add_residue("AR", made.add_chain())
    for _ in range(3):
        made.add_atom("Ar", md.element.argon, residue)
    return made


def test_mdtraj_times_and_masses() -> None:
    md = pytest.importorskip("mdtraj")
    x, v = paths()
    made = md.Trajectory(x, topology(md), time=DT * np.arange(STEPS))
    consistent(from_mdtraj(made, velocity=v))
    numbered = md.Trajectory(x, topology(md))
    with pytest.warns(PympnodeWarning, match="mdtraj counts frames"):
        from_mdtraj(numbered, velocity=v)
    assert np.allclose(from_mdtraj(numbered, velocity=v, dt=DT).time, DT * np.arange(STEPS))
    bead = topology(md)
    bead.atom(1).element = md.element.virtual
    with pytest.raises(InvalidData, match="no mass"):
        from_mdtraj(md.Trajectory(x, bead, time=DT * np.arange(STEPS)), velocity=v)


def test_a_box_is_crossed_by_differences() -> None:
    """Positions are wrapped into [0, 2); velocities are those of the unwrapped paths."""
    md = pytest.importorskip("mdtraj")
    t = DT * np.arange(STEPS)[:, None, None]
    v = np.array([[0.3, 0.0, 0.0], [-0.2, 0.1, 0.0], [0.0, 0.0, 0.25]])
    x = (np.array([[0.1], [1.0], [1.9]]) + t * v) % 2.0
    made = md.Trajectory(x, topology(md), time=t.ravel())
    made.unitcell_lengths, made.unitcell_angles = (
        np.full((STEPS, 3), 2.0),
        np.full((STEPS, 3), 90.0),
    )
    ds = from_mdtraj(made, velocity="differences")
    assert np.allclose(ds.velocity, v, atol=1e-5)


# ---- REBOUND ------------------------------------------------------------------------------------


def planets(rebound: Any, **options: Any) -> Any:
    sim = rebound.Simulation()
    sim.units = ("AU", "yr", "Msun")
    sim.add(m=1.0)
    sim.add(m=1e-3, a=1.0)
    sim.add(m=1e-4, a=1.6, e=0.1)
    sim.move_to_com()
    sim.integrator, sim.dt = "leapfrog", 0.003
    for name, value in options.items():
        setattr(sim, name, value)
    return sim


def archive(sim: Any, path: Path, end: float = 0.5, interval: float = 0.02) -> str:
    sim.save_to_file(str(path), interval=interval)
    sim.integrate(end)
    return str(path)


def test_rebound(tmp_path: Path) -> None:
    rebound = pytest.importorskip("rebound")
    sim = planets(rebound)
    constant = sim.G
    path = archive(sim, tmp_path / "a.bin")
    with pytest.warns(PympnodeWarning, match="snapshots are uneven"):
        from_rebound(path)
    times = np.linspace(0, 0.48, 25)
    ds = from_rebound(path, times=times)
    consistent(ds, 0.02)
    assert np.allclose(ds.time, times) and ds.mass.values[0].tolist() == [1, 1e-3, 1e-4]
    about = record(ds)
    assert about["system"] == "gravity"
    assert about["parameters"]["constant"] == constant and about["parameters"]["side"] is None
    assert ds.time.attrs["units"] == "yr" and ds.velocity.attrs["units"] == "au / yr"
    # The accelerations are those of G: a_0 of the inner planet.
    x = ds.position.values[0]
    second = (x[2:] - 2 * x[1:-1] + x[:-2]) / 0.02**2
    to_star = x[1:-1, 0] - x[1:-1, 1]
    wanted = constant * to_star / np.linalg.norm(to_star, axis=-1, keepdims=True) ** 3
    assert np.abs(second[:, 1] - wanted).max() < 0.02 * np.abs(wanted).max()
    with pytest.raises(InvalidData, match="beyond the snapshots"):
        from_rebound(path, times=[0.0, 0.6])
    same = from_rebound(rebound.Simulationarchive(path), times=times)
    assert np.allclose(same.position, ds.position)


def test_rebound_forces_that_are_not_known(tmp_path: Path) -> None:
    rebound = pytest.importorskip("rebound")
    times = np.linspace(0, 0.1, 6)
    test_particles = planets(rebound, N_active=2)
    ds = from_rebound(archive(test_particles, tmp_path / "a.bin", 0.1), times=times)
    assert record(ds)["system"] == "particles", (
        "the third body has a mass and attracts no other body"
    )
    massless = planets(rebound, N_active=3)
    massless.add(a=2.0)
    ds = from_rebound(archive(massless, tmp_path / "b.bin", 0.1), times=times)
    assert record(ds)["system"] == "gravity" and ds.sizes["particle"] == 4
    none = planets(rebound, gravity="none")
    ds = from_rebound(archive(none, tmp_path / "c.bin", 0.1), times=times)
    assert record(ds)["system"] == "particles"


def test_rebound_bodies_that_merge(tmp_path: Path) -> None:
    rebound = pytest.importorskip("rebound")
    sim = rebound.Simulation()
    sim.integrator, sim.dt = "leapfrog", 0.01
    sim.collision, sim.collision_resolve = "direct", "merge"
    for m, x, v in ((1.0, 0.0, 0.0), (0.1, 5.0, 0.0), (0.2, 5.5, -1.0), (0.3, 9.0, 0.0)):
        sim.add(m=m, x=x, vx=v, r=0.1)
    path = archive(sim, tmp_path / "a.bin", 1.0, 0.1)
    with pytest.raises(InvalidData, match="number of particles"):
        from_rebound(path)


def test_rebound_snapshots_within_a_step(tmp_path: Path) -> None:
    """WHFast with safe_mode=0 stores states that are not synchronised."""
    rebound = pytest.importorskip("rebound")
    read = []
    for safe in (1, 0):
        sim = planets(rebound, integrator="whfast", dt=0.02)
        options = sim.ri_whfast if hasattr(sim, "ri_whfast") else sim.integrator
        options.safe_mode = safe
        path = str(tmp_path / f"{safe}.bin")
        sim.save_to_file(path, step=5)
        sim.integrate(1.0, exact_finish_time=0)
        read.append(from_rebound(path))
    assert np.allclose(read[0].time, read[1].time)
    assert np.allclose(read[0].position, read[1].position, rtol=0, atol=1e-9)
    assert np.allclose(read[0].velocity, read[1].velocity, rtol=0, atol=1e-9)


def test_rebound_sources(tmp_path: Path) -> None:
    rebound = pytest.importorskip("rebound")
    with pytest.raises(MissingFile):
        from_rebound(tmp_path / "missing.bin")
    sim = planets(rebound)
    sims = []
    for t in (0.0, 0.1, 0.2):
        sim.integrate(t, exact_finish_time=1)
        sims.append(sim.copy())
    assert from_rebound(sims).sizes["time"] == 3
    with pytest.raises(InvalidData, match="belongs to an archive"):
        from_rebound(sims, times=[0.0, 0.1])
    sims[1].particles[1].m = 5.0
    with pytest.raises(InvalidData, match="masses change"):
        from_rebound(sims)


# ---- without the libraries ----------------------------------------------------------------------


def test_times_of_single_precision_are_even() -> None:
    exact = 0.002 * np.arange(5001)
    assert np.array_equal(even(exact.astype(np.float32).astype(float)), even(exact))
    uneven = exact.copy()
    uneven[7] += 1e-4
    assert np.array_equal(even(uneven), uneven)


@pytest.mark.parametrize(
    ("reader", "package"),
    [
        (from_ase, "ase"),
        (from_mdanalysis, "MDAnalysis"),
        (from_mdtraj, "mdtraj"),
        (from_rebound, "rebound"),
    ],
)
def test_a_library_that_is_missing(
    reader: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineUnavailable, match=f"package {package}") as raised:
        reader(types.SimpleNamespace())
    assert f"pip install {package}" in str(raised.value.fix)
