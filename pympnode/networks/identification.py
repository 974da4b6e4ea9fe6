"""identify_model: sparse regression on the vector field of a trained model; see `pympnode.identify`.

Brunton, Proctor, Kutz (PNAS 2016): sparse identification of nonlinear dynamics; the optimisers are those of
pysindy (de Silva et al., JOSS 2020; Kaptanoglu et al., JOSS 2022).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ..config import arguments, least, listing, mapping, one_of
from ..config import positive as above_zero
from ..errors import EngineUnavailable, InvalidData, InvalidModel, InvalidOption, shown_value
from ..graph import Graph
from ..systems.registry import names
from . import schema
from .agreement import agree
from .candidates import (
    LIBRARY,
    NODE,
    PAIR,
    Candidate,
    column,
    node_candidates,
    pair_candidates,
    user_candidates,
)
from .edge_weights import arrays_for_model
from .identified import IdentifiedEquations, system_of
from .model import Model
from .velocities import for_model

ROWS = 30_000  # rows of the regression are enough, however large the graph is
MOST_CANDIDATES = 150  # the number of fits grows with its square
MOST_ADDED = 12  # terms of an equation that are added one by one
PAIRS = 40  # receivers, and senders, of the pairs at which h is compared
ROUNDING = 1e-6  # relative errors below are those of weights in float32
CHUNK = 100_000  # edges times states that are evaluated at a time

Found = tuple[tuple[Candidate, float], ...]


def library_of(name: str, value: Any) -> list[str]:
    """A check of `arguments`: names of families of candidates."""
    chosen = [value] if isinstance(value, str) else listing(name, value)
    return [one_of(name, one, LIBRARY) for one in chosen]


def functions_of(name: str, value: Any) -> dict[str, Callable[..., Any]]:
    """A check of `arguments`: functions by the text that stands for them."""
    found = mapping(name, value)
    for text, function in found.items():
        if not isinstance(text, str) or not callable(function):
            raise InvalidOption(
                f"{name} has functions by the text that stands for them",
                got=f"{shown_value(text)}: {shown_value(function)}",
                allowed='{"tanh(x_j)": lambda i, j: np.tanh(j[..., 0])}',
            )
    return found


@arguments(
    library=library_of,
    degree=least(1),
    node_terms=functions_of,
    pair_terms=functions_of,
    tolerance=above_zero,
    samples=least(10),
    seed=least(0),
)
def identify_model(
    model: Model,
    ds: xr.Dataset,
    *,
    library: Sequence[str],
    degree: int,
    node_terms: Mapping[str, Callable[..., Any]] | None,
    pair_terms: Mapping[str, Callable[..., Any]] | None,
    tolerance: float,
    optimiser: Any,
    samples: int,
    seed: int,
) -> IdentifiedEquations:
    """See `pympnode.identify`."""
    if not isinstance(model, Model):
        data_of_model(model)
    if optimiser is not None and not (
        hasattr(optimiser, "fit") and not isinstance(optimiser, type)
    ):
        raise InvalidOption(
            "optimiser is an optimiser of pysindy",
            got=shown_value(optimiser),
            allowed="an object with fit(x, y) and coef_, such as pysindy.STLSQ(threshold=0.1)",
        )
    check_model(model)
    sindy = pysindy()
    schema.validate(ds, missing="mask")
    ds = agree(for_model(ds, model.features), model.names)
    arrays = schema.pack(ds, missing="mask")
    model.check(arrays)
    arrays = arrays_for_model(model, arrays)
    check_graphs(arrays)
    points = _Points.of(model, arrays, samples, seed)
    bounds = points.bounds
    positive = (bounds[:, 0] >= 0).tolist()

    def candidates(differences: bool) -> list[Candidate]:
        # Products are counted before they are made.
        products = math.comb(len(model.features) + degree, len(model.features))
        if "polynomial" in library and products > MOST_CANDIDATES:
            raise _too_many(f"more than {products - 1}", model, degree)
        chosen = (model.features, model.spec.circular, library)
        others = (*model.controls, *model.attributes)
        found = node_candidates(
            model.features, others, model.spec.circular, library, degree, positive
        )
        found += user_candidates(NODE, node_terms or {})
        if arrays.graph.edges:
            found += pair_candidates(*chosen, positive, differences)
            found += user_candidates(PAIR, pair_terms or {})
        if len(found) > MOST_CANDIDATES:
            raise _too_many(str(len(found)), model, degree)
        return found

    differences = "difference" in library
    first = _Columns.of(candidates(differences), points)
    second: _Columns | None = None
    found: list[Found] = []
    errors: dict[str, float] = {}
    for number, feature in enumerate(model.features):
        best, error = _regress(first, points, number, sindy, optimiser, tolerance)
        # x_j alone is x_i and x_j - x_i in a library of differences: the one with fewer terms is taken.
        linear = differences and "polynomial" in library and any(
            c.part == PAIR and c.text in (f"{name}_i", f"({name}_j - {name}_i)")
            for c, _ in best for name in model.features
        )  # fmt: skip
        if linear:
            second = second or _Columns.of(candidates(False), points)
            other, other_error = _regress(second, points, number, sindy, optimiser, tolerance)
            if len(other) < len(best) and other_error <= max((1 + tolerance) * error, ROUNDING):
                best, error = other, other_error
        found.append(best)
        errors[feature] = error
    graph = arrays.graph[int(arrays.graph_of[0])]
    attributes = {}
    if arrays.attribute is not None:
        values = arrays.attribute if arrays.attribute.ndim == 2 else arrays.attribute[0]
        attributes = {name: values[:, n].astype(float) for n, name in enumerate(model.attributes)}
    known = arrays.known[:, 0]
    start = np.stack([np.nanmin(known, axis=(0, 1)), np.nanmax(known, axis=(0, 1))], axis=-1)
    equations = tuple(found)
    return IdentifiedEquations(
        features=model.features,
        candidates=equations,
        system=system_of(
            f"identified {model.system}".strip(),
            model.features,
            equations,
            units=model.units,
            controls=model.controls,
            attributes=attributes,
            start=np.where(np.isfinite(start), start, bounds),
            topology=graph,
            dt=float(np.median(np.diff(arrays.time))),
            steps=len(arrays.time) - 1,
        ),
        field_error=errors,
        pair_error=_pair_errors(model, points, equations, seed),
        weighted=graph.weight is not None,
    )


def _too_many(count: str, model: Model, degree: int) -> InvalidOption:
    return InvalidOption(
        "too many candidate terms",
        got=f"{count} of {len(model.features)} features with degree={degree}",
        allowed=f"up to {MOST_CANDIDATES}",
        fix='a smaller library=("difference", "sine") or degree=1, with node_terms= and pair_terms=',
    )


def data_of_model(model: Any) -> dict[str, Any]:
    """Keywords of `pympnode.simulate` for data like those of the training.

    Raises `InvalidModel` for particles, and `InvalidOption` where the data must be given.
    """
    if not isinstance(model, Model):
        raise InvalidModel(
            "equations are identified from models of networks",
            got=type(model).__name__,
            allowed="a pympnode.Model",
        )
    check_model(model)
    trained = model.trained
    if model.system not in names() or trained.weight or trained.control or trained.attribute:
        raise InvalidOption(
            "the data of this model cannot be simulated from its file",
            got="weights, controls or attributes of its data" if model.system else "no system",
            allowed="identify(model, data)",
            fix="give the data of its training",
        )
    return dict(
        system=model.system,
        nodes=trained.nodes[0],
        topology=model.graph,
        parameters=trained.parameters,
        trajectories=30,
        dt=float(np.mean(trained.dt)),
    )


def pysindy() -> Any:
    """The package pysindy. Raises `EngineUnavailable` where it is not installed."""
    try:
        import pysindy
    except ImportError as error:
        raise EngineUnavailable(
            "identify needs the package pysindy",
            got=str(error),
            allowed="pysindy >= 2 installed beside pympnode",
            fix="pip install 'pympnode[identify]'",
        ) from error
    return pysindy


def check_model(model: Model) -> None:
    """Raise `InvalidModel` for models whose field is not F(x_i) + sum_j w_ij h(x_i, x_j)."""
    spec = model.spec
    reason, fix = None, ""
    if spec.carried:
        reason = "messages that are ODE states: the derivative depends on them, not on x alone"
        fix = 'train(messages="pairwise", aggregation="sum")'
    elif spec.family in ("l2s", "node"):
        reason = f'model="{spec.family}", whose derivative is no sum over pairs of nodes'
        fix = 'train(messages="pairwise", aggregation="sum")'
    elif spec.family == "mpnode" and spec.messages != "zero" and spec.aggregation != "sum":
        reason = (
            f"aggregation={spec.aggregation!r}: a function of x_i alone may belong to F or to h, "
            "as the mean of what comes in does not depend on the number of senders"
            if spec.aggregation == "mean"
            else f"aggregation={spec.aggregation!r}, which is no sum over pairs"
        )
        fix = 'train(aggregation="sum") on graphs whose nodes have different degrees'
    elif spec.edge_attributes:
        reason, fix = "attributes of edges, which no candidate takes", "a model without them"
    elif model.unit_norm:
        reason, fix = "features whose norm is kept at 1", "a model without unit_norm"
    if reason:
        raise InvalidModel(
            "no equations of nodes and pairs can be identified from this model",
            got=reason,
            allowed="messages that are evaluated and summed, or no messages",
            fix=fix,
        )
    model.module()  # refuses several types of nodes, delays, codes and ensembles


def check_graphs(arrays: schema.Arrays) -> None:
    """Raise `InvalidData` where all nodes have the same degree, or weights vary in time."""
    if arrays.edge_weight is not None:
        raise InvalidData(
            "equations are identified on graphs that are constant in time",
            got="edge_weight (time, edge)",
            allowed="constant weights",
        )
    degrees = arrays.graph.in_weight
    if arrays.graph.edges and np.ptp(degrees) <= 1e-9 * np.abs(degrees).max():
        raise InvalidData(
            "all nodes have the same degree: a function of x_i alone may belong to F or to h, and no data of "
            "these graphs decide",
            got=f"sums of weights {degrees[0]:.4g} at all nodes",
            allowed="graphs whose nodes have different degrees (or several graphs)",
            fix='give data= of another graph, such as topology="BA"; the model rolls out on any graph',
        )


@dataclass(frozen=True)
class _Points:
    """States at which the field is evaluated: by graph, inputs (n, node, variable) and derivatives (n, node,
    feature), and whether each of the n is held out of the fit."""

    graphs: tuple[Graph, ...]
    inputs: tuple[NDArray, ...]
    rates: tuple[NDArray, ...]
    held: tuple[NDArray[np.bool_], ...]
    features: int

    @classmethod
    def of(cls, model: Model, arrays: schema.Arrays, samples: int, seed: int) -> _Points:
        rng = np.random.default_rng(seed)
        x = arrays.known
        whole_states = np.argwhere(np.isfinite(x).all(axis=(2, 3)))
        count = min(samples, len(whole_states), max(10, ROWS // x.shape[2]))
        if count < 4:
            raise InvalidData(
                "too few states of all nodes",
                got=f"{count} (trajectory, time) without missing values",
                allowed=">= 4",
                fix="give more data",
            )
        chosen = whole_states[rng.permutation(len(whole_states))[:count]]
        # A third is held out: whole trajectories, where there are several.
        order = rng.permutation(len(x))
        apart = set(order[: max(1, len(x) // 3)].tolist())
        held = np.array([int(t) in apart for t, _ in chosen])
        if not 2 <= held.sum() <= count - 2:
            held = np.arange(count) % 3 == 0
        module = model.module().double()
        parts: dict[str, list[Any]] = {"graphs": [], "inputs": [], "rates": [], "held": []}
        for number in np.unique(arrays.graph_of[chosen[:, 0]]):
            here = arrays.graph_of[chosen[:, 0]] == number
            trajectory, time = chosen[here].T
            graph = arrays.graph[int(number)]
            states = x[trajectory, time]
            given, inputs = {}, [states]
            if model.controls and arrays.u is not None:
                given["control"] = arrays.u[trajectory, time].astype(float)
            if model.attributes and arrays.attribute is not None:
                b = arrays.attribute.astype(float)
                given["node_attribute"] = (
                    b[trajectory] if b.ndim == 3 else np.broadcast_to(b, (len(states), *b.shape))
                )
            inputs += given.values()
            parts["graphs"].append(graph)
            parts["inputs"].append(np.concatenate(inputs, axis=-1))
            parts["rates"].append(_rates(module, model, states, graph, given))
            parts["held"].append(held[here])
        return cls(**{k: tuple(v) for k, v in parts.items()}, features=len(model.features))

    @property
    def bounds(self) -> NDArray:
        """(feature, 2): the smallest and the largest value of the states."""
        x = np.concatenate(
            [i[..., : self.features].reshape(-1, self.features) for i in self.inputs]
        )
        return np.stack([x.min(axis=0), x.max(axis=0)], axis=-1)

    def rows(self, values: Sequence[NDArray], held: bool) -> NDArray:
        """Values (n, node) by graph as one vector, of the states that are held out or of the others."""
        return np.concatenate([v[h == held].ravel() for v, h in zip(values, self.held)])


def _rates(
    module: Any, model: Model, states: NDArray, graph: Graph, given: Mapping[str, NDArray]
) -> NDArray[np.float64]:
    """The model's derivatives at states (n, node, feature)."""
    edges = {}
    if not (model.spec.family == "mpnode" and model.spec.messages == "zero"):
        edges = module.edges(graph)
    size = max(1, CHUNK // max(1, graph.edges, graph.total_nodes))
    found = []
    with torch.no_grad():
        for begin in range(0, len(states), size):
            part = slice(begin, begin + size)
            inputs = {k: torch.from_numpy(np.array(v[part])) for k, v in given.items()}
            found.append(module(torch.from_numpy(states[part]), **edges, **inputs).numpy())
    rates = np.concatenate(found)
    if not np.isfinite(rates).all():
        raise InvalidModel(
            "the derivatives of the model are not finite at states of the data",
            got=f"{int((~np.isfinite(rates)).sum())} of {rates.size} derivatives",
            allowed="a model whose training did not diverge",
        )
    return rates


@dataclass(frozen=True)
class _Columns:
    """Candidates at the fitted and at the other states, (row, candidate), over ``scale``: their root mean
    squares, so that a coefficient is the size of a term."""

    candidates: tuple[Candidate, ...]
    fitted: NDArray
    held: NDArray
    scale: NDArray

    @classmethod
    def of(cls, candidates: Sequence[Candidate], points: _Points) -> _Columns:
        sides: tuple[list[NDArray], list[NDArray]] = ([], [])
        kept = []
        for one in candidates:
            values = [
                column(one, inputs, points.features, graph)
                for inputs, graph in zip(points.inputs, points.graphs)
            ]
            fitted = points.rows(values, False)
            if np.any(fitted):  # a column of zeros has no coefficient
                kept.append(one)
                sides[0].append(fitted)
                sides[1].append(points.rows(values, True))
        fitted, held = (np.stack(side, axis=-1) for side in sides)
        scale = np.sqrt(np.mean(fitted**2, axis=0))
        return cls(tuple(kept), fitted / scale, held / scale, scale)


def _regress(
    columns: _Columns, points: _Points, number: int, sindy: Any, optimiser: Any, tolerance: float
) -> tuple[Found, float]:
    """The terms of one feature's derivative, and their relative error at the states that were held out."""
    rates = [r[..., number] for r in points.rates]
    y, y_held = points.rows(rates, False), points.rows(rates, True)
    size = float(np.sqrt(np.mean(y**2)))
    spread = float(np.std(np.concatenate([y, y_held])))
    if size == 0.0:
        return (), 0.0
    if optimiser is not None:
        optimiser.fit(columns.fitted, (y / size)[:, None])
        coefficients = np.asarray(optimiser.coef_, dtype=np.float64).reshape(-1)
        if coefficients.size != len(columns.scale) or not np.isfinite(coefficients).all():
            raise InvalidOption(
                "the optimiser has not one finite coefficient for each candidate",
                got=shown_value(coefficients),
                allowed=f"{len(columns.scale)} numbers in coef_",
            )
        supports = [(np.flatnonzero(coefficients), coefficients)]
    else:
        supports = _path(columns.fitted, y / size, sindy)
    scored = []
    for chosen, values in supports:
        left = y_held / size - columns.held[:, chosen] @ values[chosen]
        scored.append((float(np.sqrt(np.mean(left**2))), chosen, values))
    allowed = max((1 + tolerance) * min(error for error, _, _ in scored), ROUNDING)
    error, chosen, values = min(
        (one for one in scored if one[0] <= allowed), key=lambda one: (len(one[1]), one[0])
    )
    if optimiser is None and chosen.size:  # all states determine the coefficients
        both = np.concatenate([columns.fitted, columns.held])[:, chosen]
        target = np.concatenate([y, y_held]) / size
        values = values.copy()
        values[chosen] = np.linalg.lstsq(both, target, rcond=None)[0]
    found = tuple(
        (columns.candidates[n], float(values[n] * size / columns.scale[n])) for n in chosen
    )
    return found, error * size / spread if spread else error


def _path(x: NDArray, y: NDArray, sindy: Any) -> list[tuple[NDArray, NDArray]]:
    """Sets of candidates, from all to none and from one to `MOST_ADDED`, and their coefficients by least squares."""
    # The triangle of a QR decomposition has the same least-squares problem in as many rows as columns.
    q, r = np.linalg.qr(x)
    rows = np.sqrt(len(x))
    r, target = r / rows, q.T @ y / rows
    count = x.shape[1]
    # Removed one by one, a constant may go before two functions that make one; added one by one, not.
    removing = sindy.SSR(criteria="model_residual", alpha=1e-10, max_iter=max(1, count - 1))
    adding = sindy.FROLS(alpha=1e-10, max_iter=min(count, MOST_ADDED))
    history: list[NDArray] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ill-conditioned sets, from which terms are removed
        for optimiser in (removing, adding):
            optimiser.fit(r, target[:, None])
            history += list(optimiser.history_)
    found = [(np.zeros(0, dtype=np.int64), np.zeros(count))]
    for coefficients in history:
        chosen = np.flatnonzero(np.asarray(coefficients).reshape(-1))
        values = np.zeros(count)
        values[chosen] = np.linalg.lstsq(r[:, chosen], target, rcond=None)[0]
        found.append((chosen, values))
    return found


def _pair_errors(
    model: Model, points: _Points, found: Sequence[Found], seed: int
) -> dict[str, float] | None:
    """The relative error of h against the network's, both with zero mean over senders."""
    spec = model.spec
    superposed = spec.family == "mpnode" and spec.coupling == "superposed"
    if not superposed or spec.messages == "zero" or not any(g.edges for g in points.graphs):
        return None
    inputs = np.concatenate([i.reshape(-1, i.shape[-1]) for i in points.inputs])
    rng = np.random.default_rng(seed)
    i = inputs[rng.integers(len(inputs), size=PAIRS)][:, None].repeat(PAIRS, axis=1)
    j = inputs[rng.integers(len(inputs), size=PAIRS)][None].repeat(PAIRS, axis=0)
    both = torch.from_numpy(np.stack([j, i], axis=-2).reshape(PAIRS * PAIRS, 2, -1))
    features, controls = points.features, len(model.controls)
    given = {}
    if controls:
        given["control"] = both[..., features : features + controls]
    if model.attributes:
        given["node_attribute"] = both[..., features + controls :]
    module = model.module().double()
    edge = torch.tensor([[0], [1]])
    with torch.no_grad():
        # Node 0 sends to node 1: what the edge adds is h, as messages enter linearly.
        joined = module(both[..., :features], edge, **given)
        alone = module(both[..., :features], edge[:, :0], **given)
    learned = (joined - alone)[:, 1].numpy().reshape(PAIRS, PAIRS, features)
    errors = {}
    for number, feature in enumerate(model.features):
        h = np.zeros((PAIRS, PAIRS))
        for candidate, coefficient in found[number]:
            if candidate.part == PAIR:
                h += coefficient * candidate.values(i[..., :features], j[..., :features])
        wanted = learned[..., number] - learned[..., number].mean(axis=1, keepdims=True)
        difference = h - h.mean(axis=1, keepdims=True) - wanted
        size = float(np.sqrt(np.mean(wanted**2)))
        errors[feature] = float(np.sqrt(np.mean(difference**2))) / size if size else 0.0
    return errors
