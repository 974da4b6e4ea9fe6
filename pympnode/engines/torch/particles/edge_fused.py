"""The edge sum as one Triton program: gather, two layers and the sum at the receivers in registers.

The same function as `plain_edge_sum` for ReLU and receivers in order; nothing as long as the edges
and as wide as the networks is stored, on the way back neither, where messages are made again. A node
that a message overflowed for is NaN in all columns. Gradients pass to the node values and the
weights, not to the geometry, and once only; what needs more takes the plain sum.

It was tested in Triton's interpreter and compiled for a device, and has not been run or measured on
one.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pympnode.errors import EngineUnavailable, unknown_name
from pympnode.models.particle_spec import ParticleSpec

from ..fused import interpreted
from .edge_sum import OnceDifferentiable

PRECISIONS = ("tf32x3", "ieee", "tf32", "bf16")
WIDEST = 256
MOST_FUNCTIONS = 16
NARROWEST = 16  # the least that a matrix unit multiplies
_FILL = 512  # programs that fill a device
_INTERPRETED = 3  # programs that walk the blocks where there is no device to ask


def supports(spec: ParticleSpec) -> str | None:
    """None, or why the fused sum cannot run the edges of ``spec``."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if spec.family != "deltagn":
        return f"family={spec.family!r} needs second derivatives, which the fused sum has not"
    widest = max(spec.edge_width, spec.node_width)
    if widest > WIDEST:
        return f"a width of {widest} does not fit, at most {WIDEST} does"
    if spec.geometry > MOST_FUNCTIONS:
        return f"{spec.geometry} functions of an edge are too many, {MOST_FUNCTIONS} are served"
    return None


def runs_on(device: torch.device) -> str | None:
    """None, or why the fused sum cannot run on a device."""
    if device.type == "cuda" or interpreted():
        return None
    return f"it runs on a CUDA device, and this is {device}"


class FusedEdgeSum(OnceDifferentiable):
    """`EdgeSum` by a Triton program (CUDA, ReLU, receivers in order).

    precision: of the products: "tf32x3" (three passes of the matrix units, as exact as float32 but
    for its last bits), "ieee" (no matrix units), "tf32" (factors rounded to 10 bits), "bf16"
    (factors rounded to 7 bits, sums in float32). Sums in float64 are always "ieee".
    deterministic: slopes of the sender's values are summed in a second walk over the edges in order
    of senders, instead of by atomic additions; None: what torch was told
    (`torch.use_deterministic_algorithms`). All else repeats bit by bit either way.
    """

    def __init__(self, precision: str = "tf32x3", *, deterministic: bool | None = None) -> None:
        if precision not in PRECISIONS:
            raise unknown_name("precision of the fused edge sum", precision, PRECISIONS)
        self.precision, self.deterministic = precision, deterministic

    def summed(self, *given: Tensor, balanced: bool) -> Tensor:
        """See `OnceDifferentiable`."""
        fixed = self.deterministic
        if fixed is None:
            fixed = torch.are_deterministic_algorithms_enabled()
        received = _EdgeSum.apply(*given, self.precision, fixed)
        if not balanced:
            return received
        # The same messages in order of their senders, with the two ends in each other's place.
        first, second, geometry, *layers, s, r = given
        s, order = torch.sort(s, stable=True)
        turned = second, first, geometry[order], *layers, r[order], s
        return received - _EdgeSum.apply(*turned, self.precision, fixed)


@dataclass(frozen=True)
class Plan:
    """How a sum is cut: ``nodes`` a block, ``edges`` a tile (``back`` on the way back), chunks of
    the first layer's columns, two blocks of message columns, ``pieces`` of a block, ``own`` columns
    a program on the way back."""

    nodes: int
    edges: int
    back: int
    chunk: int
    chunks: int
    left: int
    right: int
    pieces: int
    own: int
    warps: int

    def blocks(self, nodes: int) -> int:
        """Blocks that so many nodes make."""
        return -(-nodes // self.nodes)

    def constants(self, *, back: bool = False) -> dict[str, Any]:
        """What a program is compiled for."""
        return {
            "NODES": self.nodes,
            "EDGES": self.back if back else self.edges,
            "CHUNK": self.chunk,
            "CHUNKS": self.chunks,
            "LEFT": self.left,
            "RIGHT": self.right,
            "num_warps": max(self.warps, 8) if back and self.left >= 64 else self.warps,
            "num_stages": 2,
        }


def halves(width: int) -> tuple[int, int]:
    """Two powers of two that hold ``width`` columns with the least padding; 1: no second one."""
    whole = max(NARROWEST, 1 << (width - 1).bit_length())
    left = whole // 2
    if left < NARROWEST or width <= left:
        return whole, 1
    right = max(NARROWEST, 1 << (width - left - 1).bit_length())
    return (left, right) if left + right < whole else (whole, 1)


def plan_of(width: int, out: int, nodes: int, edges: int, size: int = 4) -> Plan:
    """The plan for layers of ``width`` and ``out`` columns of ``size`` bytes.

    Tiles and warps are those with which ptxas for compute capability 9.0 spills least: nothing
    forward at 64 columns of float32, some at 150.
    """
    left, right = halves(out)
    held = size * (left + right)
    tile = 64 if held < 1024 else 32
    back = 32 if held < 1024 else 16
    # Few edges a node: larger blocks fill their tiles.
    mean = edges / max(nodes, 1)
    block = 16 if mean >= 8 else 32 if mean >= 4 else 64
    blocks = -(-nodes // block)
    pieces = max(1, min(-(-_FILL // max(blocks, 1)), edges // max(blocks, 1) // (4 * tile)))
    most = halves(width)[0]
    chunk = min(32, most)
    own = min(64 if held < 512 else 32, most)
    warps = 4 if held < 512 else 8
    return Plan(block, tile, back, chunk, -(-width // chunk), left, right, pieces, own, warps)


def borders(end: Tensor, nodes: int, plan: Plan) -> Tensor:
    """First edge of each block of nodes, of edges in order of ``end``."""
    first = torch.arange(plan.blocks(nodes) + 1, device=end.device, dtype=end.dtype) * plan.nodes
    return torch.searchsorted(end, first)


def _launch(program: Any, grid: tuple[int, ...], like: Tensor, *numbers: Any, **fixed: Any) -> None:
    from triton.runtime.errors import OutOfResources

    try:
        with torch.cuda.device_of(like):  # Triton launches on the current device
            program[grid](*numbers, **fixed)
    except OutOfResources as error:
        raise EngineUnavailable(
            "the fused edge sum of this model does not fit this GPU",
            got=str(error),
            allowed="narrower networks, or float32",
            fix='give kernel="eager"',
        ) from error


class _EdgeSum(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, first, second, geometry, geometry_weight, weight, bias, s, r, precision, fixed
    ):
        from .edge_programs import sum_program

        if first.dtype == torch.float64:
            precision = "ieee"
        elif precision == "bf16" and interpreted():
            precision = "rounded"
        first, second, geometry = (a.contiguous() for a in (first, second, geometry))
        s, r, bias = s.contiguous(), r.contiguous(), bias.contiguous()
        nodes, (out, width), edges = second.shape[0], weight.shape, s.shape[0]
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(first, second, geometry, geometry_weight, weight, bias, s, r)
            ctx.options = precision, fixed
        if edges == 0 or nodes == 0:
            return first.new_zeros(nodes, out)
        plan = plan_of(width, out, nodes, edges, first.element_size())
        total = first.new_empty(plan.pieces, nodes, out)
        _launch(
            sum_program, (plan.blocks(nodes) * plan.pieces,), first,
            second, first, geometry, geometry_weight.t().contiguous(), weight.t().contiguous(),
            bias, r, s, borders(r, nodes, plan), total, nodes, plan.pieces,
            WIDTH=width, OUT=out, FUNCTIONS=geometry.shape[1], PRECISION=precision,
            **plan.constants(),
        )  # fmt: skip
        return total[0] if plan.pieces == 1 else total.sum(0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope):  # type: ignore[override]
        first, second, geometry, geometry_weight, weight, bias, s, r = ctx.saved_tensors
        precision, fixed = ctx.options
        layers = (geometry_weight.t().contiguous(), weight.t().contiguous(), weight.contiguous())
        slope = slope.contiguous()
        if s.shape[0] == 0:
            grads = [torch.zeros_like(a) for a in (first, second, geometry_weight, weight, bias)]
            of_first, of_second, of_geometry, of_weight, of_bias = grads
        else:
            of_first = torch.zeros_like(first)
            of_second, (of_weight, of_rows, of_bias) = _walk_back(
                second, first, geometry, layers, bias, r, s, slope,
                of_other=None if fixed else of_first, weights=True, precision=precision,
            )  # fmt: skip
            of_geometry = of_rows.t()
            if fixed:
                s, order = torch.sort(s, stable=True)
                of_first, _ = _walk_back(
                    first, second, geometry[order], layers, bias, s, r[order], slope,
                    of_other=None, weights=False, precision=precision,
                )  # fmt: skip
        return of_first, of_second, None, of_geometry, of_weight, of_bias, *[None] * 4


def _walk_back(
    owned: Tensor, other: Tensor, geometry: Tensor, layers: tuple[Tensor, Tensor, Tensor],
    bias: Tensor, owner: Tensor, other_end: Tensor, slope: Tensor,
    *, of_other: Tensor | None, weights: bool, precision: str,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:  # fmt: skip
    """Slopes of the values at the owning end (node, width), and of W, the geometry's weight
    transposed, and b where ``weights`` are wanted (owners are the receivers then)."""
    from .edge_programs import slope_program

    rows, into, weight = layers
    (out, width), functions = weight.shape, geometry.shape[1]
    nodes, edges = owned.shape[0], owner.shape[0]
    plan = plan_of(width, out, nodes, edges, owned.element_size())
    items = plan.blocks(nodes) * plan.pieces
    programs = min(items, _programs(owned.device))
    padded = max(NARROWEST, 1 << (functions - 1).bit_length())
    parts = programs if weights else 0
    of_owned = owned.new_empty(plan.pieces, nodes, width)
    of_weight = owned.new_empty(parts, out, width)
    of_rows = owned.new_empty(parts, padded, width)
    of_bias = owned.new_empty(parts, out)
    _launch(
        slope_program, (programs, -(-width // plan.own)), owned,
        owned, other, geometry, rows, into, weight, bias,
        owner, other_end, borders(owner, nodes, plan), slope,
        of_owned, of_owned if of_other is None else of_other, of_weight, of_rows, of_bias,
        nodes, items, plan.pieces, WIDTH=width, OUT=out,
        OWNER_RECEIVES=weights, WEIGHTS=weights, ADD_TO_OTHER=of_other is not None,
        FUNCTIONS=functions, PADDED=padded, OWN=plan.own, PRECISION=precision,
        **plan.constants(back=True),
    )  # fmt: skip
    sums = of_weight.sum(0), of_rows.sum(0)[:functions], of_bias.sum(0)
    return of_owned[0] if plan.pieces == 1 else of_owned.sum(0), sums


def _programs(device: torch.device) -> int:
    if device.type != "cuda":
        return _INTERPRETED
    return 2 * torch.cuda.get_device_properties(device).multi_processor_count
