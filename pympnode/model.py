"""Model: a trained simulator. It rolls out, evaluates its vector field, saves and loads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from . import schema, storage
from .data.normalise import Normalisation
from .errors import FileDamaged, InvalidData, InvalidModel, InvalidOption
from .graphs.graph import Graph
from .models.layout import layout_of
from .models.spec import ModelSpec
from .ranges import TrainingRange, warn_outside

if TYPE_CHECKING:
    from .engines.base import Program
    from .mixed import LearnedNode

KIND = "model"


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A learned simulator of a networked system.

    ``theta`` (size,) the weights as one vector (`models.layout` names its parts), or (member, size)
    of an ensemble, whose rollouts have a dim "member"; ``state_scale``,
    ``control_scale``, ``attribute_scale`` the z-scores between physical units and the network;
    ``features``, ``units`` of the state; ``system`` the name of the system it was trained on, or ""
    for given data; ``trained`` what it has seen; ``about`` provenance for the files.
    """

    spec: ModelSpec
    theta: NDArray
    state_scale: Normalisation
    features: tuple[str, ...]
    units: tuple[str, ...]
    trained: TrainingRange
    control_scale: Normalisation | None = None
    attribute_scale: Normalisation | None = None
    controls: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    system: str = ""
    engine: str = "torch"
    device: str = "auto"
    time_unit: str = "1"
    about: Mapping[str, Any] = field(default_factory=dict)

    # ---- using it -----------------------------------------------------------------------------

    @property
    def members(self) -> int:
        """Number of members of the ensemble; 1 for a single model."""
        return len(self.theta) if self.theta.ndim == 2 else 1

    def member(self, number: int) -> Model:
        """One member of an ensemble as a model of its own."""
        if not 0 <= number < self.members:
            raise InvalidOption(
                "there is no such member", got=number, allowed=f"0 to {self.members - 1}"
            )
        return replace(self, theta=self.theta[number]) if self.theta.ndim == 2 else self

    @property
    def weights(self) -> dict[str, NDArray]:
        """The weights by name, (outputs, inputs) each; those of an ensemble are stacked."""
        if self.theta.ndim == 2:
            each = [self.member(i).weights for i in range(self.members)]
            return {name: np.stack([w[name] for w in each]) for name in each[0]}
        return layout_of(self.spec).unpack(self.theta)

    def rollout(
        self,
        initial: xr.Dataset | xr.DataArray | NDArray,
        *,
        steps: int | None = None,
        dt: float | None = None,
        topology: Any = None,
        graph_seed: int = 42,
        control: NDArray | None = None,
        node_attribute: NDArray | None = None,
        check: bool = True,
    ) -> xr.Dataset:
        """Predict from initial states.

        ``initial``: a dataset, whose first states, graphs, controls and coordinates are taken; or
        initial states (node, feature) or (trajectory, node, feature) in physical units, with
        ``topology`` (a name, a graph, edges, ...) unless there is one node. ``steps`` time steps of
        ``dt`` (defaults: those of the dataset, or of the training data). ``control`` (trajectory,
        time, node, control) is held over each step.

        Returns a dataset of `state` and `message` (trajectory, time, node, ...) with the graph that
        was used and ``finite(trajectory)``, False where a prediction overflowed. Warns
        `OutsideTrainingRange` with the numbers unless ``check=False``. Raises `InvalidData`.
        """
        if self.members > 1:
            options = dict(
                steps=steps,
                dt=dt,
                topology=topology,
                graph_seed=graph_seed,
                control=control,
                node_attribute=node_attribute,
            )
            each = [
                self.member(i).rollout(initial, **options, check=check and i == 0)  # type: ignore[arg-type]
                for i in range(self.members)
            ]
            own = [n for n in (schema.STATE, schema.MESSAGE, "finite") if n in each[0]]
            dim = xr.Variable("member", np.arange(self.members))
            together = xr.concat([e[own] for e in each], dim=dim)
            return each[0].drop_vars(own).merge(together, combine_attrs="override")
        parameters = None
        if isinstance(initial, xr.Dataset):
            arrays = self._given(initial, steps, dt, control, node_attribute)
            parameters = parameters_of(initial)
            if topology is not None:
                arrays = self._regraph(arrays, topology, graph_seed)
        else:
            arrays = self._from_initial(
                initial, steps, dt, topology, graph_seed, control, node_attribute
            )
        if check:
            warn_outside("the rollout", self.outside(arrays, parameters))
        program = self.bind()
        result = program.rollout(
            self.theta,
            self.state_scale.apply(arrays.x[:, 0]),
            arrays.graph,
            arrays.time,
            graph_of=arrays.graph_of,
            u=self._scaled(self.control_scale, arrays.u),
            attribute=self._scaled(self.attribute_scale, arrays.attribute),
        )
        state = self.state_scale.undo(result.state)
        # A start is known; that it returns bit for bit matters to whoever compares or continues.
        state[:, 0] = arrays.x[:, 0]
        predicted = replace(arrays, x=state.astype(self.theta.dtype), mask=None)
        ds = schema.unpack(
            predicted,
            features=self.features,
            units=self.units,
            controls=self.controls or None,
            attributes=self.attributes or None,
            time_unit=self.time_unit,
            message=result.message,
            about={
                "kind": "rollout",
                "system": self.system,
                "engine": self.engine,
                "kernel": program.kernel,
                "topology": list(arrays.graph.source),
            },
        )
        ds["finite"] = (schema.TRAJECTORY, result.finite, {"long_name": "no value overflowed"})
        if isinstance(initial, xr.Dataset) and steps is None:
            keep = {name: c for name, c in initial.coords.items() if set(c.dims) <= set(ds.dims)}
            ds = ds.assign_coords(keep)
        return ds

    def vector_field(
        self,
        x: NDArray,
        m: NDArray | None = None,
        u: NDArray | None = None,
        graph: Any = None,
        *,
        node_attribute: NDArray | None = None,
    ) -> tuple[NDArray, NDArray]:
        """(dx/dt, dm/dt) in physical units of x per time unit.

        ``x`` (trajectory, node, feature) physical; ``m`` (trajectory, node, message), zero by
        default, where messages are ODE states; ``u`` (trajectory, node, control) physical;
        ``graph`` whatever names or is a graph (not needed for one node). Raises `InvalidData`.
        """
        x = np.asarray(x)
        if x.ndim != 3:
            raise InvalidData(
                "x has the wrong shape",
                got=x.shape,
                allowed=f"(trajectory, node, {len(self.features)}): (trajectory, node, feature)",
                fix="one trajectory is x[None]",
            )
        nodes = x.shape[1]
        m = np.zeros((*x.shape[:2], self.spec.carried)) if m is None else np.asarray(m)
        for name, values, width in (("m", m, self.spec.carried), ("u", u, self.spec.controls)):
            wanted = (*x.shape[:2], width)
            got = None if values is None else values.shape
            if got != wanted and (width or got is not None):
                raise InvalidData(
                    f"{name} has the wrong shape",
                    got=got,
                    allowed=f"{wanted}: (trajectory, node, component)",
                )
        z = np.concatenate([self.state_scale.apply(x), m], axis=-1)
        slope = self.bind().field(
            self.theta,
            z,
            _one_graph(graph, nodes, self.system),
            u=self._scaled(self.control_scale, u),
            attribute=self._scaled(self.attribute_scale, node_attribute),
        )
        channels = self.spec.channels
        return slope[..., :channels] * self.state_scale.scale, slope[..., channels:]

    def as_node(self, system: Any = None) -> LearnedNode:
        """This model as a part: a node that it moves, beside simulated nodes of ``system``.

        ``system``: a `System` or its name, by default the one it was trained on; features and
        controls must be the same. `pympnode.couple` puts such nodes and simulated ones on one graph:

        ``couple([model.as_node(), "coupled_pendulum", model.as_node()], "path")``

        Raises `InvalidModel`, `InvalidOption`.
        """
        from .mixed import LearnedNode

        return LearnedNode.of(self, system)

    def initial_message(self, x: NDArray, node_attribute: NDArray | None = None) -> NDArray:
        """m(0) (trajectory, node, message) that belongs to x (trajectory, node, feature)."""
        x = np.asarray(x)
        none = Graph.single(np.zeros(0, np.int64), np.zeros(0, np.int64), x.shape[1])
        program = self.bind()
        result = program.rollout(
            self.theta,
            self.state_scale.apply(x),
            none,
            np.array([0.0, 1e-12]),
            attribute=self._scaled(self.attribute_scale, node_attribute),
            u=None if not self.spec.controls else np.zeros((len(x), 2, x.shape[1], self.spec.controls)),
        )
        return result.message[:, 0]

    def bind(self, arrays: list[schema.Arrays] | None = None, **options: Any) -> Program:
        """The program that runs this model on its engine."""
        from .engines import engine

        if self.members > 1 and arrays is None:
            raise InvalidModel(
                "an ensemble has no one vector field",
                got=f"{self.members} members",
                allowed="rollout, evaluate, save; or one member",
                fix="take model.member(0)",
            )
        options.setdefault("dtype", self.theta.dtype.name)
        options.setdefault("device", self.device)
        return engine(self.engine).bind(self.spec, arrays, **options)

    def to_engine(self, name: str) -> Model:
        """The same weights on another engine ("torch" or "julia")."""
        from .engines import engine

        reason = engine(name).supports(self.spec)
        if reason is not None:
            raise InvalidModel(f"the engine {name!r} cannot run this model", got=reason)
        return replace(self, engine=name)

    def outside(
        self, arrays: schema.Arrays, parameters: Mapping[str, Any] | None = None
    ) -> list[str]:
        """In words, with numbers: how some data lie outside what the model was trained on."""
        return self.trained.outside(
            self.features,
            arrays.x[:, 0],
            np.asarray(arrays.graph.nodes),
            np.asarray(arrays.graph.in_degree),
            np.diff(arrays.time),
            parameters,
            None if arrays.u is None else arrays.u[:, : len(arrays.time) - 1],
            arrays.attribute,
            (self.controls, self.attributes),
        )

    # ---- keeping it ---------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one netCDF file: named weights with checksums, configuration, normalisation."""
        storage.write_netcdf(self.to_dataset(), path, checksums=True)

    def to_dataset(self) -> xr.Dataset:
        """The model as a dataset: what `save` writes."""
        variables: dict[str, Any] = {}
        ensemble = ("member",) if self.theta.ndim == 2 else ()
        for name, value in self.weights.items():
            dims = (f"{name}_out", f"{name}_in")[: value.ndim - len(ensemble)]
            variables[name] = ((*ensemble, *dims), value)
        for name, scale in self._scales().items():
            if scale is not None:
                variables[f"{name}_mean"] = (f"{name}_component", scale.mean)
                variables[f"{name}_scale"] = (f"{name}_component", scale.scale)
        facts = {
            "kind": KIND,
            "spec": self.spec.as_dict(),
            "features": list(self.features),
            "units": list(self.units),
            "controls": list(self.controls),
            "attributes": list(self.attributes),
            "system": self.system,
            "time_unit": self.time_unit,
            "trained": _plain(self.trained.as_dict()),
            "about": _plain(self.about),
        }
        return schema.with_record(xr.Dataset(variables), **facts)

    @classmethod
    def from_dataset(cls, ds: xr.Dataset, source: str = "the dataset") -> Model:
        """The inverse of `to_dataset`. Raises `FileDamaged` when it is no model."""
        facts = schema.record(ds)
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
                for name in ("state", "control", "attribute")
            }
            return cls(
                spec=spec,
                theta=theta,
                state_scale=scales["state"],  # type: ignore[arg-type]
                control_scale=scales["control"],
                attribute_scale=scales["attribute"],
                features=tuple(facts["features"]),
                units=tuple(facts["units"]),
                controls=tuple(facts["controls"]),
                attributes=tuple(facts["attributes"]),
                system=facts["system"],
                time_unit=facts["time_unit"],
                trained=TrainingRange.from_dict(facts["trained"]),
                about=facts["about"],
            )
        except (KeyError, TypeError) as error:
            raise FileDamaged(
                f"{source} lacks parts of a model",
                got=f"{type(error).__name__}: {error}",
                allowed="a file written by model.save of this or an earlier version",
                fix="save the model again",
            ) from error

    def __repr__(self) -> str:
        from .display import model_lines

        return "\n".join(f"{name:<12} {text}" for name, text in model_lines(self).items())

    def _repr_html_(self) -> str:
        from .display import html_table, model_lines

        return html_table("pympnode.Model", model_lines(self))

    # ---- doors --------------------------------------------------------------------------------

    def _scales(self) -> dict[str, Normalisation | None]:
        return {
            "state": self.state_scale,
            "control": self.control_scale,
            "attribute": self.attribute_scale,
        }

    def _scaled(self, scale: Normalisation | None, values: NDArray | None) -> NDArray | None:
        return None if values is None or scale is None else scale.apply(values)

    def check(self, arrays: schema.Arrays, features: tuple[str, ...] | None = None) -> None:
        """Raise `InvalidData` unless the data have the features and inputs of this model."""
        channels = arrays.x.shape[-1]
        if channels != len(self.features):
            raise InvalidData(
                "the data have another number of features than the model",
                got=f"{channels}" + (f" ({', '.join(features)})" if features else ""),
                allowed=f"{len(self.features)} ({', '.join(self.features)})",
                fix="use data of the system that the model was trained on",
            )
        for name, values, wanted in (
            ("control", arrays.u, self.spec.controls),
            ("node_attribute", arrays.attribute, self.spec.attributes),
        ):
            got = 0 if values is None else values.shape[-1]
            if got != wanted:
                raise InvalidData(
                    f"the model takes another number of components of {name!r}",
                    got=got,
                    allowed=wanted,
                    fix=f"give {name} with {wanted} components" if wanted else f"drop {name}",
                )
        if self.spec.family == "node" and arrays.x.shape[2] != self.spec.bodies:
            raise InvalidData(
                "a neural ODE of the whole system has a fixed number of nodes",
                got=arrays.x.shape[2],
                allowed=self.spec.bodies,
                fix='use model="mpnode", which transfers to other sizes',
            )

    def _given(
        self,
        ds: xr.Dataset,
        steps: int | None,
        dt: float | None,
        control: NDArray | None,
        attribute: NDArray | None,
    ) -> schema.Arrays:
        if ds.sizes.get(schema.TIME) == 1:
            # A dataset of initial states alone: its one time becomes the first of the grid.
            step = dt or self.trained.dt[1]
            later = ds.assign_coords({schema.TIME: ds[schema.TIME] + step})
            ds = xr.concat([ds, later], dim=schema.TIME, data_vars="minimal")
            steps = steps or self.trained.steps
        arrays = schema.pack(ds, missing="mask")
        if steps is not None or dt is not None:
            length = steps if steps is not None else arrays.steps
            every = dt if dt is not None else float(np.diff(arrays.time)[-1])
            if dt is None and length <= arrays.steps:
                time = arrays.time[: length + 1]
            elif dt is None:
                more = arrays.time[-1] + every * np.arange(1, length - arrays.steps + 1)
                time = np.concatenate([arrays.time, more])
            else:
                time = arrays.time[0] + every * np.arange(length + 1)
            u = None if arrays.u is None else _held(arrays.u, len(time))
            arrays = replace(arrays, time=time, u=u, mask=None)
        if control is not None:
            trajectories, _, nodes, _ = arrays.x.shape
            u = controls_for(control, trajectories, len(arrays.time), nodes, self.spec.controls)
            arrays = replace(arrays, u=u)
        if attribute is not None:
            arrays = replace(arrays, attribute=np.asarray(attribute, dtype=np.float64))
        self.check(arrays, tuple(str(f) for f in ds[schema.FEATURE].values))
        return arrays

    def _from_initial(
        self,
        initial: xr.DataArray | NDArray,
        steps: int | None,
        dt: float | None,
        topology: Any,
        graph_seed: int,
        control: NDArray | None,
        attribute: NDArray | None,
    ) -> schema.Arrays:
        x = np.asarray(initial, dtype=np.float64)
        x = x[None] if x.ndim == 2 else x
        if x.ndim != 3 or x.shape[-1] != len(self.features) or 0 in x.shape:
            raise InvalidData(
                "initial states have the wrong shape",
                got=np.shape(initial),
                allowed=f"(node, {len(self.features)}) or (trajectory, node, {len(self.features)})",
                fix=f"the last axis holds the features {', '.join(self.features)}",
            )
        if not np.isfinite(x).all():
            raise InvalidData("initial states must be finite", got="NaN or infinity")
        steps = self.trained.steps if steps is None else steps
        if steps < 1:
            raise InvalidOption("a rollout has at least one step", got=steps, allowed=">= 1")
        time = (dt or self.trained.dt[1]) * np.arange(steps + 1, dtype=np.float64)
        graph = _graphs(topology, x.shape[1], graph_seed, self.system)
        of = np.arange(len(x), dtype=np.int64) % len(graph.nodes)
        u = control
        if u is not None:
            u = controls_for(u, len(x), len(time), x.shape[1], self.spec.controls)
        b = None if attribute is None else np.asarray(attribute, dtype=np.float64)
        arrays = schema.Arrays(x[:, None], time, graph, of, u, b)
        self.check(arrays)
        return arrays

    def _regraph(self, arrays: schema.Arrays, topology: Any, seed: int) -> schema.Arrays:
        graph = _graphs(topology, arrays.x.shape[2], seed, self.system)
        of = np.arange(arrays.trajectories, dtype=np.int64) % len(graph.nodes)
        return replace(arrays, graph=graph, graph_of=of)


def load(path: str | os.PathLike[str]) -> Model:
    """The model in a file written by `Model.save`.

    Raises `MissingFile`, or `FileDamaged` when the file is cut short, fails a checksum, or is no
    model.
    """
    raw = storage.read_netcdf(path)
    Model.from_dataset(raw, source=repr(str(path)))
    return Model.from_dataset(storage.read_netcdf(path, checksums=True), source=repr(str(path)))


def _graphs(topology: Any, nodes: int, graph_seed: int, system: str) -> Graph:
    from .graphs.topology import resolve

    if topology is None:
        if nodes > 1:
            raise InvalidOption(
                f"a rollout of {nodes} nodes needs to know who sends to whom",
                got="topology=None",
                allowed='topology="BA", ("BA", {"k": 3}), a networkx graph, edges, an adjacency',
                fix="pass topology=, or a dataset that holds its graph",
            )
        topology = "none"
    return resolve(topology, nodes, graphs=1, graph_seed=graph_seed, system=system or None)


def _one_graph(graph: Any, nodes: int, system: str) -> Graph:
    return graph if isinstance(graph, Graph) else _graphs(graph, nodes, 42, system)


def controls_for(
    control: Any, trajectories: int, times: int, nodes: int, width: int, *, held: bool = False
) -> NDArray[np.float64]:
    """Controls as (trajectory, time, node, control), checked.

    They may come without the first axis (the same for all) and without the last time, which is not
    used. ``held``: they may be of any length; the last value is held on. Raises `InvalidData`.
    """
    u = np.asarray(control, dtype=np.float64)
    if u.ndim == 3:
        u = np.broadcast_to(u, (trajectories, *u.shape))
    if u.ndim == 4 and (held or u.shape[1] == times - 1):
        u = _held(u, times)
    wanted = (trajectories, times, nodes, width)
    if u.shape != wanted:
        raise InvalidData(
            "controls have the wrong shape",
            got=np.shape(control),
            allowed=f"{wanted}: (trajectory, time, node, control); the last time is unused",
            fix="give one value for each interval" if width else "leave control= out",
        )
    bad = np.argwhere(~np.isfinite(u[:, :-1]))
    if bad.size:
        raise InvalidData(
            "controls must be finite",
            got="{} at trajectory {}, time {}, node {}, control {}".format(u[tuple(bad[0])], *bad[0]),
            allowed="finite numbers at all times but the last",
        )
    return u


def _held(u: NDArray, times: int) -> NDArray:
    """Controls over ``times`` points; the last known value is held on."""
    if u.shape[1] >= times:
        return u[:, :times]
    # The last time of a dataset is not used, and may be empty.
    known = u if np.isfinite(u[:, -1]).all() or u.shape[1] == 1 else u[:, :-1]
    last = np.repeat(known[:, -1:], times - known.shape[1], axis=1)
    return np.concatenate([known, last], axis=1)


def parameters_of(ds: xr.Dataset) -> dict[str, Any]:
    given = dict(schema.record(ds).get("parameters", {}))
    for name in ds.data_vars:
        if name not in schema.OWN_VARIABLES:
            given[str(name)] = ds[name].values
    return given


def _plain(value: Any) -> Any:
    """``value`` with arrays as lists, for JSON."""
    return json.loads(json.dumps(value, default=lambda v: np.asarray(v).tolist()))
