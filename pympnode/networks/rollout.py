"""Rollouts of a trained network model, from initial states to a dataset; see `Model.rollout`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import FEATURE, MESSAGE, PERIOD, STATE, TIME, TRAJECTORY
from ..errors import InvalidData
from ..training.ranges import warn_outside
from ..uncertainty import MEMBER
from . import schema
from .agreement import agree
from .arrays import Arrays
from .edge_weights import arrays_for_model, graph_for_program
from .emitted import emitted
from .node_codes import with_codes
from .node_types import with_shared_state
from .normalise import scaled
from .rollout_start import (
    history_for,
    kept_coords,
    labels_of,
    on_graph,
    past_of_dataset,
    start_of_dataset,
    start_of_states,
)
from .stability import stable_substeps
from .uncertainty import with_uncertainty
from .unit_norm import columns_of, normalise, rollout_by_intervals, with_unit_norm
from .unknown_graph import on_found_graph
from .velocities import for_model, times_used


def rollout_of(
    model: Any,
    initial: Any,
    *,
    steps: int | None,
    dt: float | None,
    check: bool,
    history: Any,
    node_code: Any,
    ignore_weights: bool,
    **inputs: Any,
) -> xr.Dataset:
    """The dataset that `Model.rollout` returns, of one process.

    model: a `Model`. initial: a dataset, or states. inputs: ``topology``, ``graph_seed``, ``control`` and
    ``node_attribute``; these and the other keywords are those of `Model.rollout`.
    """
    shares_state = False
    if isinstance(initial, xr.Dataset):
        shares_state = STATE in initial and model.types is not None
        initial = agree(for_model(initial, model.features), model.names)
        if inputs["topology"] is None:
            initial = on_found_graph(model, initial)
    if model.members > 1:
        return _of_members(
            model,
            initial,
            check,
            steps=steps,
            dt=dt,
            history=history,
            node_code=node_code,
            ignore_weights=ignore_weights,
            **inputs,
        )
    start = _start(model, initial, steps, dt, history, ignore_weights, check, **inputs)
    predicted = _predict(model, start, node_code, check)
    ds = _as_dataset(model, initial, start, predicted)
    if model.calibration is not None or model.noise is not None:
        ds = with_uncertainty(model, ds)
    ds = ds.assign_coords(kept_coords(initial, ds, steps is None and dt is None))
    return with_shared_state(ds) if shares_state else ds


def _of_members(model: Any, initial: Any, check: bool, **options: Any) -> xr.Dataset:
    """The rollouts of the members of an ensemble side by side, with their spread."""
    each = [
        model.member(i).rollout(initial, **options, check=check and i == model.kept[0])
        for i in model.kept
    ]
    own = [STATE, MESSAGE, "finite"]
    own += [f"{n}_{name}" for n in (STATE, MESSAGE) for name in model.spec.node_types]
    own = [n for n in own if n in each[0]]
    together = xr.concat([e[own] for e in each], dim=xr.Variable(MEMBER, np.array(model.kept)))
    return with_uncertainty(model, each[0].drop_vars(own).merge(together, combine_attrs="override"))


# ---- what a rollout starts from ----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Start:
    """The inputs of a rollout, in physical units.

    ``arrays``: graph, times, controls and attributes, and states of which the first are the start.
    ``first`` (trajectory, node, feature): the states at time number ``begin``, from which the model
    integrates. ``past`` (trajectory, time, node, feature): where messages are delayed, the states before
    them. ``known``: those of them that are returned, with the first ones; None where they are not.
    """

    arrays: Arrays
    first: NDArray
    begin: int = 0
    past: NDArray | None = None
    known: NDArray | None = None


def _start(
    model: Any,
    initial: Any,
    steps: int | None,
    dt: float | None,
    history: Any,
    ignore_weights: bool,
    check: bool,
    *,
    topology: Any,
    graph_seed: int,
    control: Any,
    node_attribute: Any,
) -> _Start:
    parameters: Mapping[str, Any] | None = None
    labels = None
    known: NDArray | None = None
    if isinstance(initial, xr.Dataset):
        labels = labels_of(initial)

        def of_dataset(steps: int | None) -> Arrays:
            start = start_of_dataset(model, initial, steps, dt, control, node_attribute)
            if topology is None:
                return start
            return on_graph(start, topology, graph_seed, model.system, labels)

        arrays = of_dataset(steps)
        parameters = schema.parameters_of(initial)
        prefix = 0 if history is not None else model.prefix(arrays.graph, arrays.time)
        if prefix:
            step = float(arrays.time[1] - arrays.time[0])
            known = past_of_dataset(initial, step, prefix)
            arrays = of_dataset(initial.sizes[TIME] - 1 if steps is None else steps + prefix)
    else:
        if topology is None and model.graph is not None and model.graph.graphs == 1:
            topology = model.graph
        arrays = start_of_states(
            model, initial, steps, dt, topology, graph_seed, control, node_attribute
        )
    arrays = arrays_for_model(model, arrays, ignore_weights=ignore_weights)
    if check:
        warn_outside("the rollout", model.outside(arrays, parameters))
    if known is not None:
        return _Start(arrays, known[:, -1], known.shape[1] - 1, known[:, :-1], known)
    prefix = model.prefix(arrays.graph, arrays.time)
    if not prefix:
        return _Start(arrays, arrays.x[:, 0])
    past = history_for(history, arrays.x, prefix, labels)
    if past is None:
        raise InvalidData(
            "messages are delayed, and the states before the start are not known",
            got="initial states alone",
            allowed=f"history= of at least {prefix} states before them, one step apart",
            fix="give history=, or a dataset, whose first times are the history",
        )
    return _Start(arrays, arrays.x[:, 0], past=past)


# ---- the rollout itself ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Predicted:
    """``state``, ``message`` (trajectory, time, node, ...) in physical units; ``finite`` (trajectory,)."""

    state: NDArray
    message: NDArray
    finite: NDArray
    kernel: str


def _predict(model: Any, start: _Start, node_code: Any, check: bool) -> _Predicted:
    """Integrate from the start, in z units, and return physical units."""
    arrays, past, begin = start.arrays, start.past, start.begin
    node_type = arrays.node_type
    in_time: dict[str, NDArray] = {}
    if arrays.edge_weight is not None:
        in_time["edge_weight"] = arrays.edge_weight[..., begin:, :]
    if past is not None:
        in_time["history"] = model.state_scale.apply(past)
    program = model.bind(kernel=_kernel(model, arrays, past is not None))
    z = model.state_scale.apply(start.first, node_type)
    graph = graph_for_program(model, arrays.graph)
    u = scaled(model.control_scale, arrays.u, node_type)
    attribute = scaled(model.attribute_scale, arrays.attribute, node_type)
    attribute = with_codes(model, arrays, attribute, node_code)
    if begin and u is not None:
        u = u[:, begin:]
    if check and past is None:
        substeps = stable_substeps(
            program, model.theta, model.trained, model.time_scale, arrays, z, u, attribute, graph
        )
        if substeps != model.spec.substeps:
            finer = replace(model, spec=model.spec.replace(substeps=substeps, stride=1))
            program = finer.bind(kernel=program.kernel if model.engine == "torch" else "auto")
    columns = columns_of(model.unit_norm, model.features, model.types)

    def unit(state: NDArray) -> NDArray:
        physical = model.state_scale.undo(state, node_type)
        return model.state_scale.apply(normalise(physical, columns, node_type), node_type)

    # Messages that are ODE states would start anew, delayed ones lose their past, and a stride goes over
    # several intervals.
    by_intervals = columns and not model.spec.carried and past is None
    by_intervals = by_intervals and program.spec.stride == 1
    result = (partial(rollout_by_intervals, program) if by_intervals else program.rollout)(
        model.theta,
        z,
        graph,
        arrays.time[begin:] / model.time_scale,
        *([unit] if by_intervals else []),
        graph_of=arrays.graph_of,
        u=u,
        attribute=attribute,
        **in_time,
    )
    if begin:
        states = np.concatenate([in_time["history"], result.state], axis=1)
        lacking = np.zeros((*states.shape[:3], result.message.shape[-1]))
        result = replace(result, state=states.astype(result.state.dtype), message=lacking)
    message = result.message
    if model.spec.family == "mpnode" and model.spec.messages == "emitted":
        sent = u if model.spec.sender_controls else None
        message = _emitted(model, result.state, attribute, sent, node_type)
        message = message.astype(result.state.dtype)
    state = model.state_scale.undo(result.state, node_type)
    if columns:
        state = normalise(state, columns, node_type)
    # A start is known; it is returned bit for bit, for comparisons and continued rollouts.
    state[:, : begin + 1] = arrays.x[:, :1] if start.known is None else start.known
    return _Predicted(state.astype(model.theta.dtype), message, result.finite, program.kernel)


def _kernel(model: Any, arrays: Arrays, with_past: bool) -> str:
    """The kernel of this rollout: "auto", or one that has weights in time and delayed messages."""
    in_time = arrays.edge_weight is not None
    if model.engine != "torch" or not (in_time or with_past):
        return "auto"
    from .engines.torch.engine import choose_kernel, resolve_device
    from .engines.torch.kernels import name_of

    device = resolve_device(model.device or "auto")
    return name_of(
        choose_kernel(model.spec, "auto", device, weights_in_time=in_time, delayed=with_past)
    )


def _emitted(
    model: Any,
    z: NDArray,
    attribute: NDArray | None,
    control: NDArray | None,
    node_type: NDArray | None,
) -> NDArray:
    """The emitted messages (trajectory, time, node, message) of states z; all in z units."""
    if model.types is None:
        spec = model.spec
        return emitted(model.weights, z, attribute, spec.circular, control, spec.invariant)
    out = np.zeros((*z.shape[:-1], model.spec.message))
    for number, name in enumerate(model.types.names):
        here = np.flatnonzero(node_type == number)
        of_type = {
            tensor.removeprefix(f"{name}/"): value
            for tensor, value in model.weights.items()
            if tensor.startswith(f"{name}/")
        }
        channels, controls, attributes = (
            getattr(model.types, n)[number] for n in ("channels", "controls", "attributes")
        )
        out[:, :, here] = emitted(
            of_type,
            z[:, :, here, :channels],
            None if attribute is None or not attributes else attribute[..., here, :attributes],
            (),
            None if control is None or not controls else control[:, :, here, :controls],
        )
    return out


# ---- the dataset -------------------------------------------------------------------------------


def _as_dataset(model: Any, initial: Any, start: _Start, predicted: _Predicted) -> xr.Dataset:
    """The prediction with the names and units of the model, and the graph that was used."""
    arrays = start.arrays
    ds = schema.unpack(
        replace(arrays, x=predicted.state, mask=None),
        features=model.features,
        units=model.units,
        controls=model.controls or None,
        attributes=model.attributes or None,
        time_unit=model.time_unit,
        message=predicted.message,
        about={
            "kind": "rollout",
            "system": model.system,
            "engine": model.engine,
            "kernel": predicted.kernel,
            "topology": list(arrays.graph.source),
            **times_used(initial),
        },
    )
    if start.begin:
        ds[STATE].attrs["predicted_from"] = float(arrays.time[start.begin + 1])
    if model.spec.circular:
        ds = ds.assign_coords({PERIOD: (FEATURE, list(model.periods))})
    if model.unit_norm:
        names = (group for group in model.unit_norm)
        if model.types is not None:
            names = (tuple(f.split(".", 1)[1] for f in group) for group in names)
        ds = with_unit_norm(ds, *dict.fromkeys(names))
    ds["finite"] = (TRAJECTORY, predicted.finite, {"long_name": "no value overflowed"})
    return ds
