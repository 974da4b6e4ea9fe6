"""VectorField: the vector field of a model as a `torch.nn.Module`, in physical units; see `Model.module`.

It is written in operations of torch alone, so that it goes into other training loops and solvers, and
through ``torch.export`` into a file that runs without this package.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..config import whole
from ..errors import InvalidModel, InvalidOption, shown_value
from ..graph import Graph
from .edge_weights import graph_for_model, with_attributes
from .own_module import PREFIX, check_weights, inputs_of, template_of
from .rollout_start import graph_for
from .weights import layout_of


class VectorField(nn.Module):
    """dx/dt of a model, in the units of x per unit of time of the data.

    Parameters have the names of ``model.weights``; the z scores are buffers (``state_mean``,
    ``state_scale``, ...). ``model``: the `Model` that it was made of, whose other facts
    `Model.from_module` takes. Raises `InvalidModel` for ensembles, several types of nodes, delays and
    codes of nodes.
    """

    state_mean: Tensor
    state_scale: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        _refuse(model)
        spec = model.spec
        self.model = model
        self.spec = spec
        self.time_scale = float(model.time_scale)
        self._take(layout_of(spec).unpack(model.theta))
        dtype = torch.from_numpy(model.theta).dtype
        for name in ("state", "control", "attribute", "edge_attribute"):
            scale = getattr(model, f"{name}_scale")
            if scale is not None:
                for part in ("mean", "scale"):
                    values = torch.from_numpy(getattr(scale, part).copy()).to(dtype)
                    self.register_buffer(f"{name}_{part}", values)

    def _take(self, weights: Mapping[str, np.ndarray]) -> None:
        for name, value in weights.items():
            self.register_parameter(name, nn.Parameter(torch.from_numpy(np.array(value))))

    def weights(self) -> dict[str, np.ndarray]:
        """The weights that the module has now, by the names of `Model.weights`."""
        return {n: value.detach().cpu().numpy().copy() for n, value in self.named_parameters()}

    def forward(
        self,
        state: Tensor,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        control: Tensor | None = None,
        node_attribute: Tensor | None = None,
        edge_attribute: Tensor | None = None,
    ) -> Tensor:
        """The time derivative of ``state``, of its shape.

        ``state`` (..., node, feature), where messages are ODE states with their components behind
        the features (see `initial`); ``edge_index`` (2, edge) int64, senders in row 0 and receivers
        in row 1, numbered from 0 (not for models without messages); ``edge_weight`` (edge,) or (...,
        edge), 1 by default; ``control`` (..., node, control); ``node_attribute`` (node, attribute) or
        (..., node, attribute); ``edge_attribute`` (edge, attribute). All in physical units.
        `edges` has the tensors of a graph.
        """
        channels = self.spec.channels
        z = (state[..., :channels] - self.state_mean) / self.state_scale
        message = state[..., channels:]
        u = self._scaled("control", control)
        b = self._scaled("attribute", node_attribute)
        if b is not None and b.dim() < z.dim():
            b = b.expand(*z.shape[:-1], b.shape[-1])
        c = self._scaled("edge_attribute", edge_attribute)
        slope = self._slope(z, message, u, b, edge_index, edge_weight, c)
        per = 1.0 / self.time_scale
        dx = slope[..., :channels] * (self.state_scale * per)
        return torch.cat([dx, slope[..., channels:] * per], dim=-1)

    def initial(self, x: Tensor, node_attribute: Tensor | None = None) -> Tensor:
        """The state at the start: ``x`` (..., node, feature), and behind it the first messages where
        messages are ODE states."""
        spec = self.spec
        if not spec.carried:
            return x
        if spec.first_message == "zero":
            return torch.cat([x, x.new_zeros(*x.shape[:-1], spec.message)], dim=-1)
        b = self._scaled("attribute", node_attribute)
        if b is not None and b.dim() < x.dim():
            b = b.expand(*x.shape[:-1], b.shape[-1])
        inputs = _joined(
            self._inputs((x - self.state_mean) / self.state_scale, range(spec.channels)), b
        )
        if spec.first_message == "linear":
            return torch.cat([x, self._linear("first_", inputs)], dim=-1)
        hidden = torch.tanh(self._linear("first_layer_1_", inputs))
        return torch.cat([x, self._linear("first_layer_2_", hidden)], dim=-1)

    def edges(self, graph: Any, nodes: int | None = None) -> dict[str, Tensor]:
        """``edge_index``, ``edge_weight`` and ``edge_attribute`` of a graph, for `forward`.

        ``graph``: a `Graph`, or with the number of ``nodes`` whatever names one, as in
        `Model.rollout`. Of several graphs the nodes are numbered through. Learned weights of the model
        are those of the edges of its training graph. Raises what `Model.rollout` raises for it.
        """
        if not isinstance(graph, Graph):
            if nodes is None:
                raise InvalidOption(
                    "a graph that is named needs the number of its nodes",
                    got=shown_value(graph, 80),
                    allowed="a pympnode.Graph, or edges(topology, nodes=5)",
                )
            graph = graph_for(graph, whole("nodes", nodes), 42, self.model.system)
        graph = graph_for_model(self.model, graph)
        graph = with_attributes(graph, self.model.edge_attributes, warn=False)
        like = self.state_mean
        found = {"edge_index": torch.from_numpy(np.stack([graph.sender, graph.receiver]))}
        if graph.weight is not None:
            found["edge_weight"] = torch.from_numpy(graph.weight.copy()).to(like)
        if graph.attribute is not None:
            found["edge_attribute"] = torch.from_numpy(graph.attribute.copy()).to(like)
        return {name: tensor.to(like.device) for name, tensor in found.items()}

    # ---- the field in z units -----------------------------------------------------------------

    def _scaled(self, name: str, values: Tensor | None) -> Tensor | None:
        wanted = getattr(self, f"{name}_mean", None)
        width = 0 if wanted is None else wanted.shape[0]
        got = 0 if values is None else values.shape[-1]
        if got != width and not (name == "edge_attribute" and values is None):
            raise InvalidModel(
                f"the model takes another number of components of {name}",
                got=got,
                allowed=width,
                fix=f"give {name} with {width} components" if width else f"leave {name} out",
            )
        if values is None or wanted is None:
            return None
        return (values - wanted) / getattr(self, f"{name}_scale")

    def _slope(
        self,
        z: Tensor,
        m: Tensor,
        u: Tensor | None,
        b: Tensor | None,
        edge_index: Tensor | None,
        weight: Tensor | None,
        c: Tensor | None,
    ) -> Tensor:
        spec = self.spec
        if spec.family == "node":
            rows = [part.flatten(-2).unsqueeze(-2) for part in (z, u, b) if part is not None]
            return self._mlp(torch.cat(rows, dim=-1)).reshape(z.shape)
        own = _joined(self._without(z, spec.invariant), u, b)
        if spec.family == "l2s":
            code = torch.tanh(self._linear("encoder_", own))
            h = code
            for _ in range(spec.depth):
                sent = torch.tanh(self._linear("message_", h))
                received = self._received(sent, edge_index, weight)
                h = torch.tanh(self._linear("update_", received)) + h
            return self._linear("decoder_", h + code)
        if spec.messages == "emitted":
            sent = _joined(self._without(z, spec.invariant), u if spec.sender_controls else None, b)
            hidden = torch.tanh(self._linear("emit_layer_1_", sent))
            received = self._received(self._linear("emit_layer_2_", hidden), edge_index, weight)
        elif spec.messages == "pairwise":
            received = self._pairs(z, u, b, edge_index, weight, c)
        elif spec.messages == "state":
            received = self._received(m, edge_index, weight)
        elif spec.messages == "self":
            received = m
        else:
            received = z.new_zeros(*z.shape[:-1], spec.message)
        if spec.coupling == "mixed":
            return self._mlp(torch.cat([own, received], dim=-1))
        out = self._mlp(own)
        if not spec.gain:
            return out + received
        gain = out[..., spec.states :].unflatten(-1, (spec.states, spec.message))
        return out[..., : spec.states] + (gain * received.unsqueeze(-2)).sum(dim=-1)

    def _pairs(
        self,
        z: Tensor,
        u: Tensor | None,
        b: Tensor | None,
        edge_index: Tensor | None,
        weight: Tensor | None,
        c: Tensor | None,
    ) -> Tensor:
        spec = self.spec
        sender, receiver = _ends(edge_index)
        if spec.edge_attributes and c is None:
            raise InvalidModel(
                "the messages of this model take attributes of edges",
                got="no edge_attribute",
                allowed=f"edge_attribute (edge, {spec.edge_attributes})",
            )
        at = _joined(self._without(z, spec.relative), b)
        to = _joined(self._without(z, spec.relative), u, b)
        if c is not None:
            c = c.expand(*z.shape[:-2], *c.shape[-2:])

        def message(into: Tensor, out: Tensor) -> Tensor:
            inputs = [at.index_select(-2, into), to.index_select(-2, out)]
            if spec.relative:
                difference = z.index_select(-2, out) - z.index_select(-2, into)
                inputs.append(self._inputs(difference, spec.relative))
            hidden = torch.tanh(self._linear("pair_layer_1_", _joined(*inputs, c)))
            hidden = torch.tanh(self._linear("pair_layer_2_", hidden))
            return self._linear("pair_layer_3_", hidden)

        sent = message(receiver, sender)
        if spec.antisymmetric:
            sent = sent - message(sender, receiver)
        return self._sums(sent, receiver, weight, z.shape[-2])

    def _received(self, sent: Tensor, edge_index: Tensor | None, weight: Tensor | None) -> Tensor:
        sender, receiver = _ends(edge_index)
        return self._sums(sent.index_select(-2, sender), receiver, weight, sent.shape[-2])

    def _sums(self, message: Tensor, receiver: Tensor, weight: Tensor | None, nodes: Any) -> Tensor:
        """What the nodes receive of messages (..., edge, p)."""
        spec = self.spec
        if weight is not None:
            message = message * weight.unsqueeze(-1)
        shape = (*message.shape[:-2], nodes, message.shape[-1])
        total = message.new_zeros(shape)
        if spec.aggregation == "max":
            index = receiver.unsqueeze(-1).expand_as(message)
            return total.scatter_reduce(-2, index, message, "amax", include_self=False)
        total = total.index_add(-2, receiver, message)
        if spec.aggregation == "sum":
            return total / spec.divisor
        # The mean over the edges that come in, never over the sum of their weights.
        count = message.new_zeros(nodes).index_add(0, receiver, message.new_ones(receiver.shape[0]))
        return total / count.clamp(min=1.0).unsqueeze(-1)

    def _inputs(self, x: Tensor, channels: Iterable[int]) -> Tensor:
        """Channels as inputs: of those that are angles the sine and the cosine, after the others."""
        channels = list(channels)
        angles = [c for c in channels if c in self.spec.circular]
        plain = [c for c in channels if c not in self.spec.circular]
        if not angles:
            return x[..., plain]
        return torch.cat([x[..., plain], torch.sin(x[..., angles]), torch.cos(x[..., angles])], -1)

    def _without(self, x: Tensor, left_out: tuple[int, ...]) -> Tensor:
        return self._inputs(x, [c for c in range(self.spec.channels) if c not in left_out])

    def _linear(self, name: str, values: Tensor) -> Tensor:
        weight, bias = getattr(self, f"{name}weight"), getattr(self, f"{name}bias")
        return nn.functional.linear(values, weight, bias)

    def _mlp(self, values: Tensor) -> Tensor:
        for number in range(1, self.spec.depth + 1):
            values = torch.tanh(self._linear(f"layer_{number}_", values))
        return self._linear(f"layer_{self.spec.depth + 1}_", values)


class OwnVectorField(VectorField):
    """`VectorField` of a model that is a module of the user, which is ``inner``, in z units."""

    def _take(self, weights: Mapping[str, np.ndarray]) -> None:
        check_weights(self.spec, weights)
        self.inner = copy.deepcopy(template_of(self.spec))
        with torch.no_grad():
            for name, parameter in self.inner.named_parameters():
                parameter.data = torch.from_numpy(np.array(weights[PREFIX + name]))
        self.inner.to(torch.from_numpy(self.model.theta).dtype)

    def weights(self) -> dict[str, np.ndarray]:
        """See `VectorField`."""
        named = self.inner.named_parameters()
        return {PREFIX + name: value.detach().cpu().numpy().copy() for name, value in named}

    def _slope(
        self,
        z: Tensor,
        m: Tensor,
        u: Tensor | None,
        b: Tensor | None,
        edge_index: Tensor | None,
        weight: Tensor | None,
        c: Tensor | None,
    ) -> Tensor:
        index = torch.stack(_ends(edge_index))
        batch, nodes = z.shape[:-2].numel(), z.shape[-2]
        if z.dim() > 2:  # all graphs as one
            step = nodes * torch.arange(batch, device=index.device).view(-1, 1)
            index = torch.stack([(end + step).flatten() for end in index])
            if weight is not None:
                weight = weight.expand(*z.shape[:-2], weight.shape[-1]).flatten()
            c = None if c is None else c.expand(*z.shape[:-2], *c.shape[-2:]).flatten(0, -2)

        def flat(values: Tensor | None) -> Tensor | None:
            return None if values is None else values.reshape(-1, values.shape[-1])

        given = {"edge_weight": weight, "edge_attribute": c, "control": flat(u)}
        given["node_attribute"] = flat(b)
        taken = {name: given[name] for name in inputs_of(self.inner) if given[name] is not None}
        return self.inner(flat(z), index, **taken).reshape(z.shape)


def vector_field_of(model: Any) -> VectorField:
    """The module of a `Model`; see there."""
    return (OwnVectorField if model.spec.family == "own" else VectorField)(model)


def theta_of(module: Any) -> tuple[Any, np.ndarray]:
    """The `Model` that a `VectorField` was made of, and the weights that it has now (size,).

    Raises `InvalidOption` for other modules.
    """
    if not isinstance(module, VectorField):
        raise InvalidOption(
            "from_module takes what model.module() returned",
            got=shown_value(type(module).__name__),
            allowed="a pympnode VectorField",
            fix="train(data=ds, model=module) makes a Model of a module of your own",
        )
    layout = layout_of(module.spec)
    weights = module.weights()
    dtype = next(iter(weights.values())).dtype if weights else np.dtype("float32")
    if dtype not in (np.dtype("float32"), np.dtype("float64")):
        weights = {name: value.astype(np.float32) for name, value in weights.items()}
        dtype = np.dtype("float32")
    return module.model, layout.pack(weights, dtype=dtype)


def _refuse(model: Any) -> None:
    spec = model.spec
    reason, fix = None, "model.rollout predicts with it"
    if model.members > 1:
        reason, fix = f"an ensemble of {model.members} members", "take one: model.member(0)"
    elif spec.node_types:
        reason = f"nodes of the types {', '.join(spec.node_types)}"
    elif model.delayed:
        reason = "delays: the field depends on states of the past"
    elif spec.codes:
        reason = "learned codes of nodes, which belong to the training graph"
    elif spec.learned_edges:
        reason = "weights of edges that are still being learned"
    elif spec.family == "node" and spec.circular:
        reason = "features on a circle in a neural ODE of the whole system"
    if reason is not None:
        raise InvalidModel(
            "this model has no module of its vector field",
            got=reason,
            allowed="one model of nodes of one type, without delays and codes",
            fix=fix,
        )


def _joined(*parts: Tensor | None) -> Tensor:
    given = [part for part in parts if part is not None]
    return given[0] if len(given) == 1 else torch.cat(given, dim=-1)


def _ends(edge_index: Tensor | None) -> tuple[Tensor, Tensor]:
    if edge_index is None:
        raise InvalidModel(
            "the nodes of this model send messages, and the edges are not given",
            got="no edge_index",
            allowed="edge_index (2, edge): senders and receivers",
            fix="module(state, **module.edges(graph))",
        )
    return edge_index[0], edge_index[1]
