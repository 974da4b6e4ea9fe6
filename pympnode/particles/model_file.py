"""Files of particle models: weights, architecture, scales and training range in one dataset."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.record import record, with_record
from ..errors import FileDamaged, InvalidModel
from ..files import kinds, netcdf
from ..files.kinds import check_record
from ..layout import weight_dtype
from ..uncertainty import Calibration
from .ranges import ParticleRange
from .spec import ParticleScales, ParticleSpec
from .uncertainty import FEATURES
from .weights import particle_layout_of

KIND = "particle_model"
# Version of what weights of scaled inputs compute; files of another version are refused.
WEIGHTS_VERSION = 2
# The record of a file: what a model needs, all of it. Fields of a specification that version 0.1 did
# not write are left out (levels, mass_coupling, types, cell_units, learned_masses), and the entries that are optional below.
_SPAN = kinds.pair(kinds.real)
_PHYSICS: dict[str, kinds.Check] = {
    "constant": kinds.real,
    "softening": kinds.real,
    "accuracy": kinds.positive,
}
_RECORD: dict[str, kinds.Check] = {
    "spec": kinds.mapping(
        {
            **{
                name: kinds.text
                for name in ("family", "join", "behaviour", "inputs", "integrator", "update",
                             "messages", "mass_coupling", "cell_units")
            },
            **{
                name: kinds.whole(1, 1 << 31)
                for name in ("dims", "edge_width", "node_width", "global_width", "neighbours")
            },
            "charged": kinds.flag,
            "conserve_momentum": kinds.flag,
            "levels": kinds.whole(2, 60),
            "kicks": kinds.whole(1, 1 << 10),
            "learned_masses": kinds.whole(1, 1 << 20),
            "fixed_mass": kinds.whole(0, 1 << 20),
            "types": kinds.listing(kinds.text),
        },
        "levels", "mass_coupling", "types", "kicks", "cell_units",
        "learned_masses", "fixed_mass",
    ),
    "scales": kinds.mapping(
        {
            **dict.fromkeys(
                ("length", "near", "mass", "charge", "velocity", "change"), kinds.positive
            ),
            "lengths": kinds.listing(kinds.positive, 3),
            "reach": kinds.positive,
        },
        "reach",
    ),
    "dt": kinds.positive,
    "system": kinds.text,
    "trained": kinds.mapping(
        {
            "particles": kinds.pair(kinds.whole(1)),
            "spacing": _SPAN,
            "mass": _SPAN,
            "speed": _SPAN,
            "trajectories": kinds.whole(0),
            "steps": kinds.whole(0),
            "parameters": kinds.mapping(_PHYSICS, *_PHYSICS),
            "charge": kinds.either(kinds.nothing, _SPAN),
            "parameter_spans": kinds.named(_SPAN),
            "spaces": kinds.listing(kinds.one_of("open", "periodic")),
        },
        "charge", "parameter_spans", "spaces",
    ),
    "left_out": kinds.listing(kinds.whole(0)),
    "calibrated_on": kinds.whole(1),
    "about": kinds.named(kinds.anything),
}  # fmt: skip


def dataset_of(model: Any) -> xr.Dataset:
    """A `ParticleModel` as a dataset: what `ParticleModel.save` writes."""
    members = ("member",) if model.theta.ndim == 2 else ()
    variables: dict[str, Any] = {
        name: (((*members, f"{name}_out", f"{name}_in"))[: value.ndim], value)
        for name, value in model.weights.items()
    }
    if model.calibration is not None:
        variables |= model.calibration.variables("calibration_feature")
    return with_record(
        xr.Dataset(variables), kind=KIND, networks=WEIGHTS_VERSION,
        spec=model.spec.as_dict(), scales=model.scales.as_dict(), dt=model.dt,
        system=model.system, trained=asdict(model.trained), about=dict(model.about),
        **({"left_out": list(model.left_out)} if model.left_out else {}),
        **({"calibrated_on": model.calibration.trajectories} if model.calibration else {}),
    )  # fmt: skip


def fields_of(ds: xr.Dataset, source: str) -> dict[str, Any]:
    """The fields of the `ParticleModel` in a dataset that `dataset_of` made.

    Raises `FileDamaged` where it is no particle model, and `InvalidModel` for weights of networks of an
    older version.
    """
    facts = record(ds)
    if facts.get("kind") != KIND:
        raise FileDamaged(
            f"{source} is not a model of particles",
            got=f"kind {facts.get('kind', 'unknown')!r}",
            allowed="a file written by model.save",
        )
    check_record(facts, _RECORD, source, "left_out", "calibrated_on")
    try:
        spec = ParticleSpec.from_dict(facts["spec"])
        if spec.inputs == "scaled" and facts.get("networks") != WEIGHTS_VERSION:
            raise InvalidModel(
                f"{source} holds weights of an older version of the networks",
                got=f"networks {facts.get('networks', 1)}",
                allowed=f"networks {WEIGHTS_VERSION}",
                fix="train the model again",
            )
        layout = particle_layout_of(spec)
        weights = {name: ds[name].values for name in layout.shapes}
        dtype = weight_dtype(weights)
        if "member" in ds.dims:
            each = [{n: w[i] for n, w in weights.items()} for i in range(ds.sizes["member"])]
            theta = np.stack([layout.pack(one, dtype=dtype) for one in each])
        else:
            theta = layout.pack(weights, dtype=dtype)
        left_out = tuple(facts.get("left_out", ()))
        if not set(left_out) < set(range(len(theta) if theta.ndim == 2 else 1)):
            raise KeyError(f"members {list(left_out)} that are left out")
        calibration = None
        if "calibrated_on" in facts:
            trajectories = int(facts["calibrated_on"])
            calibration = Calibration.from_variables(ds, len(FEATURES), trajectories)
        return {
            "spec": spec,
            "theta": theta,
            "scales": ParticleScales.from_dict(facts["scales"]),
            "dt": float(facts["dt"]),
            "system": facts["system"],
            "trained": ParticleRange.from_dict(facts["trained"]),
            "left_out": left_out,
            "calibration": calibration,
            "about": facts["about"],
        }
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise netcdf.incomplete_model(source, error) from error
