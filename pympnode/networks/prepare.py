"""Preparation: datasets of any origin made ready for training: checked, split, in z units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import FEATURE, Missing
from ..datasets.record import record
from ..datasets.split import labels_of
from ..errors import InvalidData
from ..training.group import ALONE, Group
from ..training.ranges import warn_user
from . import schema
from .agreement import Names, agree
from .arrays import Arrays
from .attributes import tell_attributes
from .circular import TURN, tell_jumps, unwrapped
from .edge_weights import for_training, with_scaled_attribute, with_scaled_delay
from .missing import interpolated
from .node_types import NodeTypes, by_type, part, shared, types_of
from .normalise import Moments, Normalisation, NormalisationByType, natural_time
from .outliers import outliers_in_words
from .partition import Part
from .unit_norm import Groups

Scale = Normalisation | NormalisationByType


class Scales(NamedTuple):
    """Normalisations of a start model."""

    state: Scale
    control: Scale | None
    attribute: Scale | None
    edge_attribute: Normalisation | None


@dataclass(frozen=True, eq=False)
class Prepared:
    """Training data. ``physical`` and ``scaled`` hold the same datasets in both units, without the
    trajectories marked "test"; ``train`` and ``validation`` number their trajectories one dataset
    after the other. ``parameters`` are those that all datasets share, ``parameter_spans`` the
    smallest and largest value of those that differ. ``node_types`` and the numbers of features, controls
    and attributes of each are () where all nodes have one type; names and units are those of all types
    in one list, "type.name"."""

    physical: list[Arrays]
    scaled: list[Arrays]
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    state: Scale
    control: Scale | None
    attribute: Scale | None
    edge_attribute: Normalisation | None
    features: tuple[str, ...]
    units: tuple[str, ...]
    controls: tuple[str, ...]
    attributes: tuple[str, ...]
    edge_attributes: tuple[str, ...]
    parameters: dict[str, Any]
    parameter_spans: dict[str, tuple[Any, Any]]
    graphs: tuple[str, ...]
    system: str
    time_unit: str
    time_scale: float
    periods: tuple[float, ...]
    node_types: tuple[str, ...] = ()
    type_channels: tuple[int, ...] = ()
    type_controls: tuple[int, ...] = ()
    type_attributes: tuple[int, ...] = ()
    unit_norm: Groups = ()


class Physical(NamedTuple):
    """Datasets as checked arrays in their own units, with angles made continuous; ``names`` and ``types``
    are those of all of them."""

    datasets: list[xr.Dataset]
    arrays: list[Arrays]
    names: Names
    types: NodeTypes | None
    periods: tuple[float, ...]


def physical_of(
    datasets: Sequence[xr.Dataset],
    *,
    missing: Missing,
    names: Names | None = None,
    types: NodeTypes | None = None,
    ignore_weights: bool = False,
    start: Any = None,
    quiet: bool = False,
) -> Physical:
    """The first half of `prepare`. ``types``: those of data of which these are a part. ``quiet``: without
    warnings of what was said of the whole data before."""
    if not datasets:
        raise InvalidData("there are no datasets", got="an empty list", allowed="at least one")
    whose = "dataset 0" if names is None else "the start model"
    for ds in datasets:
        schema.validate(ds, missing=missing)
    start_is_fresh = names is None
    if types is None:
        datasets, types = _of_types(datasets, names, start)
    else:
        datasets = [by_type(ds) for ds in datasets]
    names = _names_of(datasets, types) if names is None else names
    if types is None:
        _check_count(datasets, names, whose)
    datasets = [agree(ds, names, whose, reordering=True) for ds in datasets]
    if types is not None:
        for number, ds in enumerate(datasets):
            schema.check_types(ds, types, whose if number else "the other data")
    physical = [schema.arrays_of(ds, missing=missing, types=types, quiet=quiet) for ds in datasets]
    physical = for_training(physical, ignore_weights=ignore_weights, start=start)
    each_type = each_type_of(physical, names)
    if start_is_fresh:
        for arrays_of_type, of_type in each_type:
            tell_attributes(arrays_of_type, of_type.attributes)
    ignored = dict.fromkeys(name for ds in datasets for name in schema.own_variables(ds))
    if ignored and not quiet:
        warn_user(
            f"the data hold variables that a model does not use: {', '.join(ignored)}. Constants of "
            "nodes go into node_attribute, quantities that change in time into state or control"
        )
    periods = names.periods or (0.0,) * len(names.features)
    if types is not None and any(periods):
        raise InvalidData(
            "circular features need nodes of one type",
            got=", ".join(n for n, period in zip(names.features, periods) if period),
            allowed="no circular features beside several types of nodes",
            fix="leave circular= out, and give the angles continuous in time: np.unwrap(x, axis=1)",
        )
    for number, ds in enumerate(datasets):
        jumping = (
            ""
            if quiet
            else " ".join(
                filter(
                    None,
                    (
                        tell_jumps(one, arrays_of_type[number].x, of_type.periods or periods)
                        for one, (arrays_of_type, of_type) in zip(_parts(ds, types), each_type)
                        if one is not None
                    ),
                )
            )
        )
        if jumping:
            warn_user(jumping)
        if any(periods) and len(periods) == physical[number].x.shape[-1]:
            physical[number] = replace(physical[number], x=_continuous(physical[number], periods))
    _agree(datasets, physical)
    return Physical(list(datasets), physical, names, types, periods)


def _check_count(datasets: Sequence[xr.Dataset], names: Names, whose: str) -> None:
    """Raise `InvalidData` for data with more or fewer features than ``names``."""
    for ds in datasets:
        if ds.sizes[FEATURE] != len(names.features):
            raise InvalidData(
                f"the data have another number of features than {whose}",
                got=f"{ds.sizes[FEATURE]}: {', '.join(map(str, ds[FEATURE].values))}"
                if FEATURE in ds.coords
                else ds.sizes[FEATURE],
                allowed=f"{len(names.features)}: {', '.join(names.features)}",
                fix="give data of the same quantities",
            )


def prepare(
    datasets: Sequence[xr.Dataset],
    *,
    split: float,
    seed: int,
    missing: Missing,
    training_noise: float,
    dtype: str,
    scales: Scales | None,
    time_scale: float | None = None,
    names: Names | None = None,
    ignore_weights: bool = False,
    start: Any = None,
    no_inputs: Sequence[str] = (),
    totals: Totals | None = None,
    part: Part | None = None,
) -> Prepared:
    """Check, split and normalise; ``scales`` and ``time_scale`` of a start model are kept when
    given. ``scaled`` counts time in units of the time scale. ``names`` are those of a start model; by
    default the first dataset's, and the others are put in their order and units. ``ignore_weights``
    leaves out the weights and attributes of edges. ``start`` is a start model. ``no_inputs``: features
    that the model does not take; their scale is that of their change. ``totals`` of larger data, of
    which ``datasets`` are a part, decide the scales. ``part``: the one dataset is that of a part of a
    graph (`partition_data.divide`); scales are those of the whole."""
    datasets, physical, names, types, periods = physical_of(
        datasets,
        missing=missing,
        names=names,
        ignore_weights=ignore_weights,
        start=start,
    )
    physical, marks = _without_test(physical, [labels_of(ds, split, seed) for ds in datasets])
    physical = [replace(each, part=part) for each in physical]
    group = ALONE if part is None else part.group
    labels = np.concatenate(marks)
    state, control, attribute, of_edges = scales or (None, None, None, None)
    if state is None:
        each_type = each_type_of(physical, names)
        for arrays_of_type, of_type in each_type:
            for text in outliers_in_words(arrays_of_type, of_type.features):
                warn_user(text)
    if scales is None and totals is None:
        totals = Totals.of(physical, names).over(group)
    if state is None:
        assert totals is not None
        state = _of_angles(_by_type(totals.state), periods)
    if control is None and physical[0].u is not None:
        control = _by_type((totals or Totals.of(physical, names).over(group)).control)
    if attribute is None and physical[0].attribute is not None:
        attribute = _by_type((totals or Totals.of(physical, names).over(group)).attribute)
    given = [a.graph.attribute for a in physical if a.graph.attribute is not None]
    given = [values for values in given if len(values) or part is not None]
    if of_edges is None and given:
        of_edges = _fit(given, group=group)
    if time_scale is None:
        time_scale = _time_scale(physical, state, labels, group)
    if scales is None and types is None and no_inputs:
        columns = [names.features.index(name) for name in no_inputs if name in names.features]
        state = _scaled_by_change(state, columns, physical, labels, time_scale)
    scaled, at = [], 0
    found_scales = Scales(state, control, attribute, of_edges)
    for number, arrays in enumerate(physical):
        here = labels[at : at + arrays.trajectories] == "train"
        # One of several processes has the numbers of one process where it is the first.
        noise = (training_noise, np.random.default_rng([seed, 3, number + group.rank]))
        scaled.append(scaled_arrays(arrays, found_scales, time_scale, dtype, here, noise))
        at += arrays.trajectories
    first = datasets[0]
    found = Names.of(first) if types is None else names
    facts = record(first)
    parameters, spans = _parameters(datasets)
    graphs = tuple(text for ds in datasets for text in record(ds).get("topology", ()))
    return Prepared(
        physical,
        scaled,
        np.flatnonzero(labels == "train"),
        np.flatnonzero(labels == "validation"),
        state,
        control,
        attribute,
        of_edges,
        found.features,
        found.units,
        found.controls,
        found.attributes,
        physical[0].graph.attribute_names,
        parameters,
        spans,
        graphs,
        str(facts.get("system", "")),
        found.time_unit,
        time_scale,
        periods,
        node_types=types.names if types else (),
        type_channels=types.channels if types else (),
        type_controls=types.controls if types else (),
        type_attributes=types.attributes if types else (),
        unit_norm=names.unit_norm,
    )


def scaled_arrays(
    arrays: Arrays,
    scales: Scales,
    time_scale: float,
    dtype: str,
    train: NDArray[np.bool_],
    noise: tuple[float, np.random.Generator],
) -> Arrays:
    """Arrays in z units and in units of the time scale; what is missing is interpolated.

    ``noise``: its standard deviation in z units, and the generator of that of the trajectories ``train``
    (trajectory,).
    """
    known = arrays.x
    if arrays.mask is not None:
        known = interpolated(known, arrays.time, arrays.mask)
    x = scales.state.apply(known, arrays.node_type)
    if noise[0]:
        drawn = noise[1].standard_normal(x[train].shape)
        x[train] += noise[0] * (drawn if arrays.types is None else drawn * arrays.real)
    graph = with_scaled_attribute(arrays.graph, scales.edge_attribute)
    return replace(
        arrays,
        x=x.astype(dtype),
        time=arrays.time / time_scale,
        graph=with_scaled_delay(graph, time_scale),
        u=None
        if arrays.u is None or scales.control is None
        else scales.control.apply(arrays.u, arrays.node_type),
        attribute=None
        if arrays.attribute is None or scales.attribute is None
        else scales.attribute.apply(arrays.attribute, arrays.node_type),
    )


def _of_types(
    datasets: Sequence[xr.Dataset], names: Names | None, start: Any
) -> tuple[list[xr.Dataset], NodeTypes | None]:
    """The datasets with variables for each type, and their types; None for one type, whose datasets
    are those of one type. The types of a start model are kept."""
    if names is not None:
        types = start.types if start is not None else None
        return [by_type(ds) if types else ds for ds in datasets], types
    datasets = [by_type(ds) for ds in datasets]
    several = [types_of(ds) for ds in datasets]
    if not any(several):
        return datasets, None
    if not all(several):
        raise InvalidData(
            "data with types of nodes and data without cannot train together",
            got=f"dataset {several.index(())} has state(trajectory, time, node, feature)",
            allowed=", ".join(dict.fromkeys(f"state_{n}" for of in several for n in of)),
            fix='name the type of its nodes: ds["node_type"] = ("node", [...])',
        )
    types = NodeTypes.of(datasets)
    if len(types.names) > 1:
        return datasets, types
    # Nodes were selected until one type was left.
    return [shared(ds).merge(part(ds, types.names[0])) for ds in datasets], None


def _names_of(datasets: Sequence[xr.Dataset], types: NodeTypes | None) -> Names:
    """The names of the first dataset, and of each type those of the first that has it."""
    if types is None:
        return Names.of(datasets[0])
    found: dict[str, Names] = {}
    for ds in datasets:
        for name in types_of(ds):
            if name not in found:
                found[name] = Names.of(part(ds, name))
    return Names.of_types({name: found[name] for name in types.names})


def each_type_of(arrays: Sequence[Arrays], names: Names) -> list[tuple[list[Arrays], Names]]:
    """Arrays of the nodes of each type, and its names; of one type what is given, without a halo.

    Of datasets without nodes of a type there are arrays without nodes.
    """
    if not names.by_type:
        return [([each.of_own_nodes for each in arrays], names)]
    by_dataset = [each.of_each_type() for each in arrays]
    return [
        ([some[number] for some in by_dataset], of_type)
        for number, (_, of_type) in enumerate(names.by_type)
    ]


def _parts(ds: xr.Dataset, types: NodeTypes | None) -> list[xr.Dataset | None]:
    """The dataset of each type; None where there are no nodes of it."""
    if types is None:
        return [ds]
    own = types_of(ds)
    return [part(ds, name) if name in own else None for name in types.names]


def _by_type(scales: list[Normalisation]) -> Scale:
    return scales[0] if len(scales) == 1 else NormalisationByType(tuple(scales))


def _continuous(arrays: Arrays, periods: tuple[float, ...]) -> NDArray:
    """States whose circular features do not jump; what is missing is passed over."""
    if arrays.mask is None:
        return unwrapped(arrays.x, periods)
    known = unwrapped(np.where(arrays.mask, arrays.x, np.nan), periods)
    return np.where(arrays.mask, known, arrays.x)


def _of_angles(scale: Scale, periods: tuple[float, ...]) -> Scale:
    """``scale`` with radians as the z scores of circular features."""
    if not any(periods):
        return scale
    turn = np.asarray(periods)
    return Normalisation(
        np.where(turn > 0, 0.0, scale.mean), np.where(turn > 0, turn / TURN, scale.scale)
    )


def _time_scale(
    arrays: list[Arrays], state: Scale, labels: NDArray[np.str_], group: Group
) -> float:
    """`natural_time` of the trajectories that train."""
    x, time, at = [], [], 0
    for each in arrays:
        here = labels[at : at + each.trajectories] == "train"
        at += each.trajectories
        if here.any():
            each = each.of_own_nodes
            plain = each.mask is None and each.types is None
            known = each.x if plain else each.known
            x.append(state.apply(known[here], each.node_type))
            time.append(each.time)
    return natural_time(x, time if x else [a.time for a in arrays], group)


def _scaled_by_change(
    scale: Scale,
    columns: list[int],
    arrays: list[Arrays],
    labels: NDArray[np.str_],
    time_scale: float,
) -> Scale:
    """``scale`` with that of ``columns`` such that their derivatives have a root mean square of 1.

    The level of a feature that is no input says nothing of the size of its errors: positions of bodies that
    travel far would have hardly any weight in the loss beside their velocities.
    """
    rates, at = [], 0
    for each in arrays:
        here = labels[at : at + each.trajectories] == "train"
        at += each.trajectories
        x = each.x if each.mask is None else np.where(each.mask, each.x, np.nan)
        rate = np.diff(x[here][..., columns], axis=1) / np.diff(each.time)[:, None, None]
        rates.append(rate.reshape(-1, len(columns)))
    square = np.square(np.concatenate(rates))
    found = np.sqrt(np.nanmean(square, axis=0)) * time_scale if len(square) else np.zeros(0)
    new = np.array(scale.scale)
    # Constant features, and those that change by more than they spread, keep their scale.
    usable = np.isfinite(found) & (found > 1e-3 * new[columns]) & (found < new[columns])
    new[columns] = np.where(usable, found, new[columns])
    return Normalisation(scale.mean, new)


def _without_test(
    arrays: list[Arrays], labels: list[NDArray[np.str_]]
) -> tuple[list[Arrays], list[NDArray[np.str_]]]:
    """What is marked "test" is not there: neither scales nor ranges may know of it."""
    kept, marks = [], []
    for each, label in zip(arrays, labels):
        here = np.flatnonzero(label != "test")
        if here.size:
            kept.append(each if here.size == label.size else each.select(here))
            marks.append(label[here])
    if not kept:
        raise InvalidData(
            "there is nothing to train on",
            got='every trajectory is marked "test"',
            allowed='some marked "train"',
            fix='ds["split"] = ("trajectory", ["train", ...])',
        )
    return kept, marks


def _parameters(
    datasets: Sequence[xr.Dataset],
) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """Parameters that all datasets share, and (smallest, largest) of those that differ."""
    given = [schema.parameters_of(ds) for ds in datasets]
    shared, spans = dict(given[0]), {}
    for name in given[0]:
        values = [np.asarray(each[name]) for each in given if name in each]
        if len(values) == 1 or any(v.shape != values[0].shape for v in values):
            continue
        if any(not np.array_equal(v, values[0]) for v in values):
            del shared[name]
            spans[name] = (np.min(values, axis=0), np.max(values, axis=0))
    return shared, spans


def _fit(values: list[NDArray], group: Group = ALONE) -> Normalisation:
    moments = _moments(values)
    return _normalisation(None if moments is None else moments.over(group))


def _moments(
    values: list[NDArray], masks: list[NDArray | None] | None = None, *, part: bool = False
) -> Moments | None:
    """Of the known values of some arrays (..., feature); None without any array."""
    if not values:  # nodes of this type have none
        return None
    if part:
        mask = None if masks is None else masks[0]
        return Moments.of_part(values[0] if mask is None else np.where(mask, values[0], np.nan))
    width = values[0].shape[-1]
    rows = []
    for number, value in enumerate(values):
        flat = np.asarray(value, dtype=np.float64).reshape(-1, width)
        mask = masks[number] if masks is not None else None
        if mask is not None:
            flat = np.where(mask.reshape(-1, width), flat, np.nan)
        rows.append(flat)
    together = np.concatenate(rows)
    mask = np.isfinite(together)
    return Moments.of(together, mask=None if mask.all() else mask)


def _normalisation(moments: Moments | None) -> Normalisation:
    return Normalisation.identity(0) if moments is None else moments.normalisation()


@dataclass(frozen=True, eq=False)
class Totals:
    """Moments of all values of some data, by type of nodes: of states, of controls, and of attributes of nodes;
    None for a type that has none."""

    states: list[Moments | None]
    controls: list[Moments | None]
    attributes: list[Moments | None]

    @classmethod
    def of(cls, arrays: Sequence[Arrays], names: Names, *, part: bool = False) -> Totals:
        """Of arrays in physical units. ``part``: of one that is a part of the data, see `Moments.of_part`."""
        types = [some for some, _ in each_type_of(arrays, names)]
        # The last control of a trajectory is never used and may be missing.
        controls = [[a.u[:, :-1] for a in some if a.u is not None] for some in types]
        attributes = [[a.attribute for a in some if a.attribute is not None] for some in types]
        return cls(
            [_moments([a.x for a in some], [a.mask for a in some], part=part) for some in types],
            [_moments(some, part=part) for some in controls],
            [_moments(some, part=part) for some in attributes],
        )

    def joined(self, other: Totals, *, varied: bool) -> Totals:
        """Those of both parts of the data; ``varied``: whether attributes differ by trajectory."""

        def add(ours: list[Moments | None], others: list[Moments | None]) -> list[Moments | None]:
            return [
                b if a is None else a if b is None else a.joined(b) for a, b in zip(ours, others)
            ]

        return Totals(
            add(self.states, other.states),
            add(self.controls, other.controls),
            add(self.attributes, other.attributes) if varied else self.attributes,
        )

    def over(self, group: Group) -> Totals:
        """Those of the parts of all processes together."""

        def all_of(ours: list[Moments | None]) -> list[Moments | None]:
            return [one if one is None else one.over(group) for one in ours]

        return Totals(all_of(self.states), all_of(self.controls), all_of(self.attributes))

    @property
    def state(self) -> list[Normalisation]:
        """Scales of states, by type."""
        return [_normalisation(one) for one in self.states]

    @property
    def control(self) -> list[Normalisation]:
        """Scales of controls, by type."""
        return [_normalisation(one) for one in self.controls]

    @property
    def attribute(self) -> list[Normalisation]:
        """Scales of attributes, by type."""
        return [_normalisation(one) for one in self.attributes]


def _agree(datasets: Sequence[xr.Dataset], arrays: list[Arrays]) -> None:
    """Datasets that train together must agree in everything but size, graphs and length."""

    def widths(a: Arrays) -> tuple[int, int, int]:
        u = 0 if a.u is None else a.u.shape[-1]
        b = 0 if a.attribute is None else a.attribute.shape[-1]
        return a.x.shape[-1], u, b

    first = widths(arrays[0])
    for number, each in enumerate(arrays[1:], start=1):
        if widths(each) != first:
            raise InvalidData(
                f"dataset {number} cannot train together with dataset 0",
                got=f"(features, controls, attributes) = {widths(each)}",
                allowed=str(first),
                fix="give datasets with the same features and inputs",
            )
        # Uneven grids have a step an interval, and nothing to agree on.
        even = each.even and arrays[0].even
        dt, wanted = (float(np.diff(a.time).mean()) for a in (each, arrays[0]))
        if even and not np.isclose(dt, wanted, rtol=1e-6):
            raise InvalidData(
                f"dataset {number} has another time step than dataset 0",
                got=f"{dt:.6g}",
                allowed=f"{wanted:.6g}",
                fix="simulate both with the same dt, or interpolate with ds.interp(time=...)",
            )
