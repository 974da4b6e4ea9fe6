"""Model files: weights, configuration, normalisation and training ranges in one dataset."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.record import record, with_record
from ..errors import FileDamaged
from ..files import netcdf
from ..graph import Graph
from .normalise import Normalisation
from .ranges import TrainingRange
from .spec import ModelSpec
from .weights import layout_of

KIND = "model"

# Variables of the graph whose weights were learned.
_EDGES = ("learned_sender", "learned_receiver", "learned_nodes", "learned_weight")


def dataset_of(model: Any) -> xr.Dataset:
    """A `Model` as a dataset: what `Model.save` writes."""
    variables: dict[str, Any] = {}
    ensemble = ("member",) if model.theta.ndim == 2 else ()
    for name, value in model.weights.items():
        dims = (f"{name}_out", f"{name}_in")[: value.ndim - len(ensemble)]
        variables[name] = ((*ensemble, *dims), value)
    for name, scale in _scales(model).items():
        if scale is not None:
            variables[f"{name}_mean"] = (f"{name}_component", scale.mean)
            variables[f"{name}_scale"] = (f"{name}_component", scale.scale)
    if model.graph is not None:
        edges = model.graph
        for name, values in zip(
            _EDGES, (edges.sender, edges.receiver, edges.nodes, edges.weight_or_ones)
        ):
            dim = "learned_graph" if name == "learned_nodes" else "learned_edge"
            variables[name] = (dim, values)
    facts = {
        "kind": KIND,
        "spec": model.spec.as_dict(),
        "features": list(model.features),
        "units": list(model.units),
        "controls": list(model.controls),
        "attributes": list(model.attributes),
        **({"edge_attributes": list(model.edge_attributes)} if model.edge_attributes else {}),
        "system": model.system,
        "time_unit": model.time_unit,
        "time_scale": model.time_scale,
        "trained": _plain(model.trained.as_dict()),
        "about": _plain(model.about),
    }
    return with_record(xr.Dataset(variables), **facts)


def fields_of(ds: xr.Dataset, source: str) -> dict[str, Any]:
    """The fields of the `Model` in a dataset that `dataset_of` made. Raises `FileDamaged`."""
    facts = record(ds)
    if facts.get("kind") != KIND:
        raise FileDamaged(
            f"{source} is not a model",
            got=f"kind {facts.get('kind', 'unknown')!r}, variables {list(ds.data_vars)[:4]}",
            allowed="a file written by model.save",
            fix="datasets are opened with xarray.open_dataset",
        )
    try:
        spec = ModelSpec.from_dict(facts["spec"])
        layout = layout_of(spec)
        weights = {name: ds[name].values for name in layout.shapes}
        dtype = weights[next(iter(weights))].dtype
        if "member" in ds.sizes:
            theta = np.stack(
                [
                    layout.pack({n: w[i] for n, w in weights.items()}, dtype=dtype)
                    for i in range(ds.sizes["member"])
                ]
            )
        else:
            theta = layout.pack(weights, dtype=dtype)
        scales = {
            name: Normalisation(ds[f"{name}_mean"].values, ds[f"{name}_scale"].values)
            if f"{name}_mean" in ds
            else None
            for name in ("state", "control", "attribute", "edge_attribute")
        }
        graph = None
        if "learned_sender" in ds:
            sender, receiver, nodes, weight = (ds[name].values for name in _EDGES)
            graph = Graph(sender, receiver, nodes, weight=weight)
        return dict(
            spec=spec,
            graph=graph,
            theta=theta,
            state_scale=scales["state"],
            control_scale=scales["control"],
            attribute_scale=scales["attribute"],
            edge_attribute_scale=scales["edge_attribute"],
            features=tuple(facts["features"]),
            units=tuple(facts["units"]),
            controls=tuple(facts["controls"]),
            attributes=tuple(facts["attributes"]),
            edge_attributes=tuple(facts.get("edge_attributes", ())),
            system=facts["system"],
            time_unit=facts["time_unit"],
            # Files of version 0.1 have none: their fields are per unit of time.
            time_scale=float(facts.get("time_scale", 1.0)),
            trained=TrainingRange.from_dict(facts["trained"]),
            about=facts["about"],
        )
    except (KeyError, TypeError) as error:
        raise netcdf.incomplete_model(source, error) from error


def _scales(model: Any) -> dict[str, Normalisation | None]:
    return {
        "state": model.state_scale,
        "control": model.control_scale,
        "attribute": model.attribute_scale,
        "edge_attribute": model.edge_attribute_scale,
    }


def _plain(value: Any) -> Any:
    """``value`` with arrays as lists, for JSON."""
    return json.loads(json.dumps(value, default=lambda v: np.asarray(v).tolist()))
