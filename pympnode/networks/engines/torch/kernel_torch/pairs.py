"""Messages of pairs of nodes and their adjoint, chunk by chunk of edges.

e = W3 tanh(W2 tanh(W1 [x_k; b_k; x_j; u_j; b_j; c_jk] + b1) + b2) + b3. The first layer is a sum over
the two ends: its products are computed per node, and an edge only adds two rows. A sum of messages is
W3 times the sum of the second layer, so that W3 is applied per node too; the maximum needs it per edge.
An edge is left with one product of H x H numbers.
"""

from __future__ import annotations

import torch

from ....spec import ModelSpec
from .edges import Aggregate, Chunk, Edges, EdgeWeights
from .kinds import Kinds
from .logistic import Linear, Network


class _Buffers:
    """Memory of a chunk of ``size`` evaluations, ``wide`` (.., unit * H) and ``flat`` (.., H)."""

    def __init__(self, memory: torch.Tensor, size: int, unit: int, hidden: int) -> None:
        blocks = memory[:, : size * unit * hidden]
        self.wide = list(blocks.view(3, size, unit * hidden))
        self.flat = list(blocks.view(3, size * unit, hidden))
        self.lanes = list(blocks.view(3, size, unit, hidden))


class PairMessages:
    """What the columns receive of the messages of pairs; buffers of one batch's edges.

    With several types of nodes each has layers of its own: those of the receiver compute the message,
    of hidden numbers to which the sender's part of the first layer adds.
    """

    def __init__(self, spec: ModelSpec, edges: Edges, kinds: Kinds, like: torch.Tensor) -> None:
        self.spec, self.edges, self.kinds = spec, edges, kinds
        hidden, rows, unit = spec.hidden, edges.rows, edges.unit
        new = like.new_empty
        # Both ends multiply the same rows [x; u; b]; the receiver's controls have weights of zero.
        self.ends = like.new_zeros(kinds.count, 2, spec.sender_inputs, hidden)
        self.node = new(2, rows, unit * hidden)
        self.node_bar = new(2, rows, unit * hidden)
        self.output_bar = new(rows, unit * hidden)
        self.ends_total = torch.zeros_like(self.ends)
        memory = new(3, edges.chunk_size * unit * hidden)
        sizes = {chunk.size for chunk in edges.chunks}
        self.buffers = {size: _Buffers(memory, size, unit, hidden) for size in sizes}
        self.of_edge = new(edges.chunk_size, hidden) if spec.edge_attributes else None
        if edges.largest:
            self.aggregate = Aggregate(edges, like, spec.message)
            self.message = new(2, edges.chunk_size, unit * spec.message)

    def use(self, networks: list[Network], weights: EdgeWeights) -> None:
        """Set the weights of the next sweep."""
        spec, self.weights = self.spec, weights
        self.layers: list[list[Linear]] = [network.pair for network in networks]
        # Weights are transposed, (inputs, outputs): a row of a product is a column of the batch here.
        stop = spec.receiver_inputs + spec.sender_inputs
        self.of_attribute, self.biases = [], []
        for ends, layers in zip(self.ends, self.layers):
            back = layers[0].back
            ends[0, : spec.channels] = back[: spec.channels]
            ends[0, spec.channels + spec.controls :] = back[spec.channels : spec.receiver_inputs]
            ends[1] = back[spec.receiver_inputs : stop]
            self.of_attribute.append(back[stop:])
            self.biases.append([layer.forward[:, -1].contiguous() for layer in layers])
        self.ends_total.zero_()
        if self.edges.largest:
            self.aggregate.weights = weights

    # ---- forward ------------------------------------------------------------------------------

    def receive(self, inputs: torch.Tensor, kept: torch.Tensor, out: torch.Tensor) -> None:
        """``out`` (p, S) = the messages received at ``inputs`` [x; u; b].

        ``kept`` is what `back` needs: the sums of the second layer (S, H), or the edges of the maximum.
        """
        self._ends(inputs)
        if self.edges.largest:
            self.aggregate.begin(kept)
            for chunk in self.edges.chunks:
                _, second = self._hidden(chunk)
                self.aggregate.add(chunk, self._message(chunk, second))
            self.aggregate.end(out)
            return
        sums = kept.view(self.edges.rows, -1).zero_()
        for chunk in self.edges.chunks:
            buffers = self._hidden(chunk)[0]
            self.weights.multiply(chunk, buffers.wide[1])
            sums.index_add_(0, chunk.target, buffers.wide[1])
        if self.edges.row_factor is not None:
            sums.mul_(self.edges.row_factor)
        for (kind, part), values in zip(self.kinds, self.kinds.parts(out)):
            torch.mm(self.layers[kind][2].back.t(), kept[part].t(), out=values)
            values.addr_(self.biases[kind][2], self.weights.total[part])

    def _ends(self, inputs: torch.Tensor) -> None:
        """The first layer's products of both ends of edges, before they are added."""
        columns = inputs.t()
        hidden = self.spec.hidden
        for kind, part in self.kinds:
            ends, bias = self.ends[kind], self.biases[kind][0]
            of_receiver, of_sender = (node.view(-1, hidden)[part] for node in self.node)
            torch.addmm(bias, columns[part], ends[0], out=of_receiver)
            torch.mm(columns[part], ends[1], out=of_sender)

    def _hidden(self, chunk: Chunk) -> tuple[_Buffers, torch.Tensor]:
        """Both hidden layers of a chunk, in the first two of its buffers; and the second one."""
        buffers = self.buffers[chunk.size]
        first, second, _ = buffers.wide
        torch.index_select(self.node[0], 0, chunk.receiver, out=first)
        torch.index_select(self.node[1], 0, chunk.sender, out=second)
        first.add_(second)
        if chunk.attribute is not None:
            assert self.of_edge is not None
            weight, of_edge = self.of_attribute[chunk.kind], self.of_edge[: chunk.size]
            torch.mm(chunk.attribute, weight, out=of_edge)
            buffers.lanes[0].add_(of_edge.unsqueeze(1))
        torch.sigmoid(first, out=first)
        flat, bias = buffers.flat[1], self.biases[chunk.kind][1]
        torch.addmm(bias, buffers.flat[0], self.layers[chunk.kind][1].back, out=flat)
        torch.sigmoid(flat, out=flat)
        return buffers, flat

    def _message(self, chunk: Chunk, second: torch.Tensor) -> torch.Tensor:
        """The messages (evaluations, unit * p) of a chunk."""
        message = self.message[0, : chunk.size]
        flat, bias = message.view(-1, self.spec.message), self.biases[chunk.kind][2]
        torch.addmm(bias, second, self.layers[chunk.kind][2].back, out=flat)
        return message

    # ---- adjoint ------------------------------------------------------------------------------

    def back(
        self,
        received_bar: torch.Tensor,
        inputs: torch.Tensor,
        kept: torch.Tensor,
        inputs_bar: torch.Tensor,
    ) -> None:
        """``inputs_bar`` = cotangent of ``inputs``; adds the gradients of the three layers."""
        weights = self.weights
        self._ends(inputs)
        self.node_bar.zero_()
        bias_bar = None
        if self.edges.largest:
            self.aggregate.begin_back(received_bar, kept)
        else:
            flat = self.output_bar.view(-1, self.spec.hidden)
            for (kind, part), bar in zip(self.kinds, self.kinds.parts(received_bar)):
                third_layer = self.layers[kind][2]
                third_layer.sum[:, :-1].addmm_(bar, kept[part])
                third_layer.sum[:, -1].addmv_(bar, weights.total[part])
                torch.mm(bar.t(), third_layer.back.t(), out=flat[part])
            if self.edges.row_factor is not None:
                self.output_bar.mul_(self.edges.row_factor)
            if weights.bar is not None:
                # Learned weights: models with one type of nodes only.
                bias_bar = torch.mv(received_bar.t(), self.biases[0][2]).view(self.edges.rows, -1)
                bias_bar = bias_bar.sum(dim=1)
        for chunk in self.edges.chunks:
            first_layer, second_layer, _ = self.layers[chunk.kind]
            buffers, second = self._hidden(chunk)
            bar = buffers.flat[2]
            if self.edges.largest:
                self._back_of_maximum(chunk, second, bar)
            else:
                wide = buffers.wide[2]
                torch.index_select(self.output_bar, 0, chunk.target, out=wide)
                if weights.bar is not None:
                    assert bias_bar is not None
                    of_weight = torch.linalg.vecdot(wide, buffers.wide[1])
                    of_weight.add_(bias_bar.index_select(0, chunk.target))
                    weights.bar[chunk.where].add_(of_weight)
                weights.multiply(chunk, wide)
            torch.ops.aten.sigmoid_backward.grad_input(bar, second, grad_input=bar)
            second_layer.sum[:, :-1].addmm_(bar.t(), buffers.flat[0])
            second_layer.sum[:, -1].add_(bar.sum(dim=0))
            # The second layer is not needed any more: its buffer takes the cotangent of the first.
            torch.mm(bar, second_layer.back.t(), out=second)
            torch.ops.aten.sigmoid_backward.grad_input(second, buffers.flat[0], grad_input=second)
            self.node_bar[0].index_add_(0, chunk.receiver, buffers.wide[1])
            self.node_bar[1].index_add_(0, chunk.sender, buffers.wide[1])
            if chunk.attribute is not None:
                assert self.of_edge is not None
                of_edge = torch.sum(buffers.lanes[1], dim=1, out=self.of_edge[: chunk.size])
                of_attribute = first_layer.sum[:, -1 - self.spec.edge_attributes : -1]
                of_attribute.addmm_(of_edge.t(), chunk.attribute)
        self._back_of_ends(inputs, inputs_bar)

    def _back_of_maximum(self, chunk: Chunk, second: torch.Tensor, bar: torch.Tensor) -> None:
        """``bar`` = cotangent of the second layer; adds the gradient of the third."""
        layer = self.layers[chunk.kind][2]
        message_bar = self.message[1, : chunk.size]
        self.aggregate.back(chunk, self._message(chunk, second), message_bar)
        flat = message_bar.view(-1, self.spec.message)
        layer.sum[:, :-1].addmm_(flat.t(), second)
        layer.sum[:, -1].add_(flat.sum(dim=0))
        torch.mm(flat, layer.back.t(), out=bar)

    def _back_of_ends(self, inputs: torch.Tensor, inputs_bar: torch.Tensor) -> None:
        hidden = self.spec.hidden
        for (kind, part), bar, values in zip(
            self.kinds, self.kinds.parts(inputs_bar), self.kinds.parts(inputs)
        ):
            receiver_bar, sender_bar = (end.view(-1, hidden)[part] for end in self.node_bar)
            self.ends_total[kind, 0].addmm_(values, receiver_bar)
            self.ends_total[kind, 1].addmm_(values, sender_bar)
            self.layers[kind][0].sum[:, -1].add_(receiver_bar.sum(dim=0))
            torch.mm(self.ends[kind, 0], receiver_bar.t(), out=bar)
            bar.addmm_(self.ends[kind, 1], sender_bar.t())

    def finish(self) -> None:
        """Add the gradient of the first layer's products, summed over all stages, to that layer."""
        spec = self.spec
        stop = spec.receiver_inputs
        for layers, ends in zip(self.layers, self.ends_total):
            total = layers[0].sum
            receiver, sender = (end.t() for end in ends)
            total[:, : spec.channels].add_(receiver[:, : spec.channels])
            total[:, spec.channels : stop].add_(receiver[:, spec.channels + spec.controls :])
            total[:, stop : stop + spec.sender_inputs].add_(sender)
