"""What a particle model was trained on: kept, and compared with what it is asked for."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.datasets.record import record, with_record
from pympnode.errors import OutsideTrainingRange, PympnodeWarning
from pympnode.particles.model import ParticleModel, ParticleRange
from pympnode.particles.schema import guess_missing_box, pack_particles

TINY: dict[str, Any] = {
    "model": "deltagn", "updates": 1, "edge_width": 8, "progress": False, "device": "cpu",
}  # fmt: skip


def simulated(system: str = "gravity", seed: int = 3, **options: Any) -> xr.Dataset:
    return pympnode.simulate(
        system, **{"particles": 10, "trajectories": 6, "steps": 4, "seed": seed, **options}
    )


def warned(model: ParticleModel, ds: xr.Dataset) -> str:
    """The texts of `OutsideTrainingRange` of a rollout, "" without one."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        model.rollout(ds, steps=1)
    return "; ".join(str(w.message) for w in found if w.category is OutsideTrainingRange)


@pytest.fixture(scope="module")
def coulomb() -> ParticleModel:
    return pympnode.train(data=simulated("coulomb"), **TINY).model


def test_other_draws_of_the_same_data_lie_within(coulomb) -> None:
    for seed in range(4, 12):
        assert warned(coulomb, simulated("coulomb", seed)) == ""


def test_speeds_and_charges_well_outside_warn_with_numbers(coulomb) -> None:
    ds = simulated("coulomb")
    fast = ds.assign(velocity=100 * ds["velocity"])
    fastest = 100 * float(abs(ds["velocity"][:, 0]).max())
    assert f"speeds up to {fastest:.3g} (trained on up to " in warned(coulomb, fast)
    charged = ds.assign(charge=50 * ds["charge"])
    assert f"charges {50 * float(ds['charge'].min()):.4g} to " in warned(coulomb, charged)
    assert warned(coulomb, ds.assign(charge=1.2 * ds["charge"])) == ""
    one_sign = simulated("coulomb", parameters={"charge": 1.0})
    model = pympnode.train(data=one_sign, **TINY).model
    assert "charges -1 (trained on 1)" in warned(model, one_sign.assign(charge=-one_sign["charge"]))


def test_physics_of_several_datasets_is_a_span() -> None:
    two, five = (simulated(parameters={"constant": c}) for c in (2.0, 5.0))
    with pytest.warns(PympnodeWarning, match="differ in their physics.*constant from 2 to 5"):
        model = pympnode.train(data=[two, five], **TINY).model
    assert model.trained.parameter_spans == {"constant": (2.0, 5.0)}
    assert "constant" not in model.trained.parameters
    assert model.trained.parameters["softening"] == 0.2
    for constant in (2.0, 3.0, 5.0):
        assert warned(model, simulated(parameters={"constant": constant})) == ""
    six = simulated(parameters={"constant": 6.0})
    assert "constant 6 (trained on 2 to 5)" in warned(model, six)
    single = pympnode.train(data=two, **TINY).model
    assert "constant 5 (trained on 2)" in warned(single, five)


def test_only_training_trajectories_count() -> None:
    ds = simulated()
    ds["split"] = ("trajectory", ["train", "train", "train", "validation", "test", "test"])
    heavy = ds["mass"].copy()
    heavy[3:] = 7.0
    fast = ds["velocity"].copy()
    fast[3:] *= 50
    ds = ds.assign(mass=heavy, velocity=fast)
    seen = pympnode.train(data=ds, **TINY).model.trained
    assert seen.trajectories == 3 and seen.mass == (1.0, 1.0)
    assert seen.speed == (0.0, pytest.approx(float(abs(fast[:3]).max())))
    # A dataset that lends nothing to training widens no range.
    other = simulated(particles=30).assign(split=("trajectory", ["validation"] * 6))
    assert pympnode.train(data=[ds, other], **TINY).model.trained == seen


def test_a_range_comes_back_from_its_file(coulomb, tmp_path) -> None:
    spans = [simulated(parameters={"constant": c}) for c in (2.0, 5.0)]
    with pytest.warns(PympnodeWarning, match="differ in their physics"):
        mixed = pympnode.train(data=spans, **TINY).model
    for number, model in enumerate((coulomb, mixed)):
        path = tmp_path / f"{number}.nc"
        model.save(path)
        assert pympnode.load(path).trained == model.trained


def test_a_file_of_before_still_loads(coulomb) -> None:
    """Without charges and spans nothing is compared with them."""
    ds = coulomb.to_dataset()
    facts = record(ds)
    for name in ("charge", "parameter_spans"):
        del facts["trained"][name]
    old = ParticleModel.from_dataset(with_record(ds, **facts))
    assert old.trained.charge is None and old.trained.parameter_spans == {}
    data = simulated("coulomb")
    assert warned(old, data.assign(charge=50 * data["charge"])) == ""


# ---- space ---------------------------------------------------------------------------------------


def scattered(seed: int, **options: Any) -> xr.Dataset:
    """Clouds in open space that lie far from each other and fly apart."""
    ds = simulated(seed=seed, parameters={"side": None}, **options)
    away = 100.0 * ds["trajectory"] + 50.0 * ds["time"]
    return ds.assign(position=ds["position"] + away, velocity=ds["velocity"] + 50.0)


def test_a_model_of_open_space_does_not_warn_of_its_own_data() -> None:
    """Its spacing is that of a cloud, not of all places that clouds were at."""
    model = pympnode.train(data=scattered(3), **TINY).model
    (low, high), box = model.trained.spacing, 12**0.5
    assert 0.5 * box < low <= high < box  # a drawn cloud fills a little less than its box
    assert warned(model, scattered(3)) == ""
    for one in range(6):
        assert warned(model, scattered(3).isel(trajectory=[one])) == ""
    for seed in range(4, 8):
        assert warned(model, scattered(seed)) == ""
    wide = scattered(3)
    assert "mean spacing" in warned(model, wide.assign(position=3 * wide["position"]))


def test_open_space_and_a_box_are_distinguished(coulomb) -> None:
    open_space = simulated("coulomb", parameters={"side": None})
    assert "open space (trained in a periodic box)" in warned(coulomb, open_space)
    model = pympnode.train(data=open_space, **TINY).model
    assert model.trained.spaces == ("open",)
    assert "a periodic box (trained in open space)" in warned(model, simulated("coulomb"))
    with pytest.warns(PympnodeWarning, match="open space and periodic boxes"):
        both = pympnode.train(data=[open_space, simulated("coulomb")], **TINY).model
    assert warned(both, open_space) == warned(both, simulated("coulomb")) == ""


def test_a_box_that_the_record_lacks_is_guessed(coulomb) -> None:
    ds = simulated("coulomb", steps=60, dt=0.05)  # some particle crosses the border
    forces = {"constant": 2.0, "softening": 0.2}
    bare = with_record(ds.drop_attrs(), system="coulomb", parameters=forces)
    assumed = pytest.warns(PympnodeWarning, match=r"assumed: open space \(no side\)\. ")
    with assumed, pytest.warns(PympnodeWarning, match="dataset 0: .*the record names none"):
        model = pympnode.train(data=bare, **TINY).model
    with assumed, pytest.warns(PympnodeWarning, match=r"with_record\(ds, parameters="):
        model.rollout(bare, steps=1)
    named = with_record(bare, parameters={**forces, "side": 120**0.5})
    assert pympnode.train(data=named, **TINY).model.trained.spaces == ("periodic",)
    # Particles that move in straight lines do not jump.
    assert guess_missing_box(scattered(3).drop_attrs()) == ""


def test_all_trajectories_are_the_range_where_none_are_named() -> None:
    arrays = pack_particles(simulated())
    assert ParticleRange.of([arrays]) == ParticleRange.of([arrays], [np.arange(6)])
