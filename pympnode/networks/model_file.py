"""Model files: weights, configuration, normalisation and training ranges in one dataset."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.names import RECEIVER, SENDER, START_MARK, TRAJECTORY
from ..datasets.record import record, with_record
from ..errors import FileDamaged, InvalidModel
from ..files import kinds, netcdf
from ..files.kinds import check_record
from ..graph import Graph
from ..layout import weight_dtype
from ..uncertainty import Calibration
from .normalise import Normalisation, NormalisationByType
from .ranges import TrainingRange
from .spec import LATER, ModelSpec
from .weights import layout_of

KIND = "model"
# Files of version 0.1 have no number of their format, and no unit of time of their field.
FORMAT = 2

# Variables of the graph whose weights were learned.
_RECEIVER, _SENDER, _SCORED = "scored_receiver", "scored_sender", "scored_trajectory"
_EDGES = ("learned_sender", "learned_receiver", "learned_nodes", "learned_weight")


def dataset_of(model: Any) -> xr.Dataset:
    """A `Model` as a dataset: what `Model.save` writes."""
    if model.spec.family == "own":
        from .own_module import is_registered

        if not is_registered(model.spec.module):
            raise InvalidModel(
                "the module of this model has no name, under which a file could be read",
                got=model.spec.module,
                allowed="a module of a registered class",
                fix='@pympnode.register_module("my_module") above the class, before it is made',
            )
    variables: dict[str, Any] = {}
    ensemble = ("member",) if model.theta.ndim == 2 else ()
    for name, value in model.weights.items():
        name = _in_file(name)
        sides = ("out", "in", *map(str, range(2, value.ndim)))
        dims = tuple(f"{name}_{side}" for side in sides)[: value.ndim - len(ensemble)]
        variables[name] = ((*ensemble, *dims), value)
    for name, scale in _scales(model).items():
        if scale is not None:
            variables[f"{name}_mean"] = (f"{name}_component", scale.mean)
            variables[f"{name}_scale"] = (f"{name}_component", scale.scale)
    if model.graph is not None:
        edges = model.graph
        if edges.delay is not None:
            variables["learned_delay"] = ("learned_edge", edges.delay)
        for name, values in zip(
            _EDGES, (edges.sender, edges.receiver, edges.nodes, edges.weight_or_ones)
        ):
            dim = "learned_graph" if name == "learned_nodes" else "learned_edge"
            variables[name] = (dim, values)
    if model.edge_scores is not None:
        scores = model.edge_scores
        of_each = (_SCORED,) if scores.ndim == 3 else ()
        dims = (*of_each, _RECEIVER, _SENDER)
        variables["edge_scores"] = (dims, scores.values, dict(scores.attrs))
        for dim, name in ((_RECEIVER, RECEIVER), (_SENDER, SENDER), (_SCORED, TRAJECTORY)):
            if name in scores.coords:
                variables[dim] = (dim, scores[name].values)
        if of_each:
            variables[START_MARK] = (_SCORED, scores[START_MARK].values)
    if model.calibration is not None:
        variables |= model.calibration.variables("state_component")
    if model.noise is not None:
        variables["likelihood_noise_std"] = ("state_component", model.noise)
    facts = {
        "kind": KIND,
        "format": FORMAT,
        "spec": model.spec.as_dict(),
        "features": list(model.features),
        "units": list(model.units),
        "controls": list(model.controls),
        "attributes": list(model.attributes),
        **({"edge_attributes": list(model.edge_attributes)} if model.edge_attributes else {}),
        **({"unit_norm": [list(group) for group in model.unit_norm]} if model.unit_norm else {}),
        **({"left_out": list(model.left_out)} if model.left_out else {}),
        **(
            {"calibrated_on": model.calibration.trajectories}
            if model.calibration is not None
            else {}
        ),
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
    older = () if "format" in facts else ("time_scale",)
    check_record(
        facts, _RECORD, source, "edge_attributes", "unit_norm", "left_out", "calibrated_on", *older
    )
    try:
        if facts["spec"]["depth"] > len(ds.variables):  # the layout has some variables a layer
            raise KeyError(f"weights of {facts['spec']['depth']} layers")
        spec = ModelSpec.from_dict(facts["spec"])
        check_record(facts, _sizes(spec), source)
        layout = layout_of(spec)
        weights = {name: ds[_in_file(name)].values for name in layout.shapes}
        dtype = weight_dtype(weights)
        if "member" in ds.sizes:
            theta = np.stack(
                [
                    layout.pack({n: w[i] for n, w in weights.items()}, dtype=dtype)
                    for i in range(ds.sizes["member"])
                ]
            )
        else:
            theta = layout.pack(weights, dtype=dtype)
        scales: dict[str, Any] = {
            name: Normalisation(ds[f"{name}_mean"].values, ds[f"{name}_scale"].values)
            if f"{name}_mean" in ds
            else None
            for name in ("state", "control", "attribute", "edge_attribute")
        }
        for name, widths in (
            ("state", spec.type_channels or (spec.channels,)),
            ("control", spec.type_controls or (spec.controls,)),
            ("attribute", spec.type_attributes or (spec.attributes,)),
            ("edge_attribute", (spec.edge_attributes,)),
        ):
            scale, width = scales[name], sum(widths)
            if (0 if scale is None else scale.features) != width:
                raise KeyError(f"{name}_mean and {name}_scale of {width} components")
            if scale is not None and len(widths) > 1:
                scales[name] = NormalisationByType.of(scale.mean, scale.scale, widths)
        unit_norm = tuple(tuple(group) for group in facts.get("unit_norm", ()))
        if not {name for group in unit_norm for name in group} <= {*facts["features"]}:
            raise KeyError("features of unit_norm")
        graph = None
        if "learned_sender" in ds:
            sender, receiver, nodes, weight = (ds[name].values for name in _EDGES)
            delay = ds["learned_delay"].values if "learned_delay" in ds else None
            graph = Graph(sender, receiver, nodes, weight=weight, delay=delay)
            if delay is not None and not facts["trained"].get("weight") and (weight == 1).all():
                graph = graph.with_weight(None)  # of learned delays alone
        scores = _scores_of(ds) if "edge_scores" in ds else None
        return dict(
            spec=spec,
            graph=graph,
            edge_scores=scores,
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
            unit_norm=unit_norm,
            left_out=_left_out(facts.get("left_out", ()), theta),
            calibration=Calibration.from_variables(
                ds, len(facts["features"]), int(facts["calibrated_on"])
            )
            if "calibrated_on" in facts
            else None,
            noise=_noise_of(ds, len(facts["features"])),
            system=facts["system"],
            time_unit=facts["time_unit"],
            # Files of version 0.1 have none: their fields are per unit of time.
            time_scale=float(facts.get("time_scale", 1.0)),
            trained=TrainingRange.from_dict(facts["trained"]),
            about=facts["about"],
        )
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise netcdf.incomplete_model(source, error) from error


# The record of a file: what a model needs, all of it. Fields of a specification that version 0.1 did
# not write are not asked for.
_WHOLE, _SPAN = kinds.whole(0, 1 << 31), kinds.pair(kinds.real)
_RECORD: dict[str, kinds.Check] = {
    "spec": kinds.mapping(
        {
            **dict.fromkeys(
                ("family", "messages", "coupling", "aggregation", "first_message", "solver"),
                kinds.text,
            ),
            **dict.fromkeys(
                ("channels", "controls", "attributes", "message", "hidden", "depth", "substeps",
                 "bodies", "stride"),
                _WHOLE,
            ),
            "divisor": kinds.positive,
            **dict.fromkeys(("circular", "relative", "invariant"), kinds.listing(_WHOLE)),
            "node_types": kinds.listing(kinds.text),
            **dict.fromkeys(
                ("type_channels", "type_controls", "type_attributes"), kinds.listing(_WHOLE)
            ),
            **dict.fromkeys(("edge_attributes", "learned_edges", "codes", "coded_nodes"), _WHOLE),
            **dict.fromkeys(("learned_delays", "longest_delay"), _WHOLE),
            "delay": kinds.real,
            **dict.fromkeys(("module", "module_arguments"), kinds.text),
            **dict.fromkeys(("sender_controls", "antisymmetric", "linear"), kinds.flag),
        },
        *LATER,
    ),
    "features": kinds.listing(kinds.text),
    "units": kinds.listing(kinds.text),
    "controls": kinds.listing(kinds.text),
    "attributes": kinds.listing(kinds.text),
    "edge_attributes": kinds.listing(kinds.text),
    "unit_norm": kinds.listing(kinds.listing(kinds.text)),
    "left_out": kinds.listing(_WHOLE),
    "calibrated_on": kinds.whole(1),
    "system": kinds.text,
    "time_unit": kinds.text,
    "time_scale": kinds.positive,
    "trained": kinds.mapping(
        {
            "nodes": kinds.pair(_WHOLE),
            "degree": kinds.pair(_WHOLE),
            "mean_degree": kinds.real,
            "dt": kinds.pair(kinds.positive),
            "low": kinds.listing(kinds.real),
            "high": kinds.listing(kinds.real),
            "steps": kinds.whole(0),
            "trajectories": kinds.whole(0),
            "parameters": kinds.named(kinds.anything),
            "graphs": kinds.listing(kinds.text),
            "parameter_spans": kinds.named(kinds.anything),
            "control": kinds.listing(_SPAN),
            "attribute": kinds.listing(_SPAN),
            "type_nodes": kinds.listing(kinds.pair(_WHOLE)),
            "weight": kinds.either(kinds.listing(kinds.real, 0), _SPAN),
            "delay": kinds.either(kinds.listing(kinds.real, 0), _SPAN),
            "edge_attribute": kinds.listing(_SPAN),
        },
        "graphs", "parameter_spans", "control", "attribute", "weight", "edge_attribute",
        "type_nodes", "delay",
    ),
    "about": kinds.named(kinds.anything),
}  # fmt: skip


def _scores_of(ds: xr.Dataset) -> xr.DataArray:
    """`Model.edge_scores` of a file."""
    scores = ds["edge_scores"]
    coords: dict[str, Any] = {RECEIVER: ds[_RECEIVER].values, SENDER: ds[_SENDER].values}
    dims: tuple[str, ...] = (RECEIVER, SENDER)
    if scores.ndim == 3:
        dims = (TRAJECTORY, *dims)
        if _SCORED in ds:
            coords[TRAJECTORY] = ds[_SCORED].values
        coords[START_MARK] = (TRAJECTORY, ds[START_MARK].values)
    return xr.DataArray(
        scores.values, dims=dims, coords=coords, name="edge_scores", attrs=dict(scores.attrs)
    )


def _left_out(numbers: Any, theta: np.ndarray) -> tuple[int, ...]:
    """Numbers of the members that are left out, at least one of which is kept."""
    members = set(range(len(theta) if theta.ndim == 2 else 1))
    if not set(numbers) < members:
        raise KeyError(f"members {list(numbers)} that are left out")
    return tuple(numbers)


def _noise_of(ds: xr.Dataset, features: int) -> np.ndarray | None:
    """`Model.noise` of a file."""
    if "likelihood_noise_std" not in ds:
        return None
    noise: np.ndarray = ds["likelihood_noise_std"].values.astype(np.float64)
    if noise.shape != (features,) or not (np.isfinite(noise).all() and (noise >= 0).all()):
        raise KeyError(f"the noise of {features} features")
    return noise


def _sizes(spec: ModelSpec) -> dict[str, kinds.Check]:
    """Lists of the record that have an entry for each component of the specification."""
    channels = sum(spec.type_channels) or spec.channels
    ranges = {name: kinds.listing(kinds.anything, channels) for name in ("low", "high")}
    return {
        "features": kinds.listing(kinds.text, channels),
        "units": kinds.listing(kinds.text, channels),
        "controls": kinds.listing(kinds.text, sum(spec.type_controls) or spec.controls),
        "attributes": kinds.listing(kinds.text, sum(spec.type_attributes) or spec.attributes),
        **(
            {"edge_attributes": kinds.listing(kinds.text, spec.edge_attributes)}
            if spec.edge_attributes
            else {}
        ),
        "trained": kinds.mapping(ranges),
    }


def _in_file(tensor: str) -> str:
    """The variable of a tensor: names of netCDF hold no "/", which stands behind the type of nodes."""
    return tensor.replace("/", ".")


def _scales(model: Any) -> dict[str, Normalisation | NormalisationByType | None]:
    return {
        "state": model.state_scale,
        "control": model.control_scale,
        "attribute": model.attribute_scale,
        "edge_attribute": model.edge_attribute_scale,
    }


def _plain(value: Any) -> Any:
    """``value`` with arrays as lists, for JSON."""
    return json.loads(json.dumps(value, default=lambda v: np.asarray(v).tolist()))
