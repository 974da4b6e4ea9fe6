"""What is given to `simulate`, `train` and `finetune` of particles is taken, or refused in words."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.engines.torch.particles.program import ParticleProgram
from pympnode.errors import InvalidData, InvalidGraph, InvalidOption, PympnodeError, UnknownName
from pympnode.models.particle_spec import MODELS, ParticleScales, ParticleSpec
from pympnode.particle_presets import particle_preset
from pympnode.particle_schema import box_of
from pympnode.schema import record

TINY: dict[str, Any] = {"edge_width": 8, "node_width": 8, "progress": False, "device": "cpu"}
NETWORK: dict[str, Any] = {"epochs": 1, "kernel": "eager", "hidden": 4, "progress": False}


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate("gravity", particles=20, trajectories=6, steps=6, seed=3)


@pytest.fixture(scope="module")
def nodes() -> xr.Dataset:
    return pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=8, steps=5)


@pytest.mark.parametrize("levels", ["3", 2.0, 1, 0, True])
def test_levels_are_a_whole_number(levels) -> None:
    with pytest.raises(InvalidOption, match="levels of a hierarchy"):
        ParticleSpec(levels=levels)


def test_published_behaviour_leaves_momentum_free() -> None:
    for name in MODELS:
        fields = particle_preset("fast", name, 20).fields({"behaviour": "published"})
        assert not ParticleSpec.named(name, **fields).conserve_momentum
    asked = {"behaviour": "published", "conserve_momentum": True}
    fields = particle_preset("fast", "deltagn", 20).fields(asked)
    assert ParticleSpec.named("deltagn", **fields).conserve_momentum


def test_a_preset_says_which_names_there_are() -> None:
    with pytest.raises(UnknownName, match="did you mean 'hogn'"):
        particle_preset("paper", "hogm", 20)
    with pytest.raises(UnknownName, match="did you mean 'fast'"):
        particle_preset("fats", "hogn", 20)
