"""Products of particle networks are those of torch, whichever library computes them."""

from __future__ import annotations

import pytest
import torch

from pympnode.particles.engine import products

# Sums of up to 1000 products in single precision: 1000 times 2^-24 of their sizes, three layers deep.
TOLERANCE = 3 * 1000 * 2.0**-24


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 300, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear_is_that_of_torch_with_its_derivatives(rows, dtype) -> None:
    draw = torch.Generator().manual_seed(rows)

    def leaf(*shape):
        return torch.randn(*shape, generator=draw, dtype=dtype).requires_grad_()

    x, wide, bias = leaf(rows, 96), leaf(100, 130), leaf(100)
    assert wide[:, 10:106].numel() >= products._MIN_WEIGHTS

    def derivatives(linear):
        # Columns of a wider matrix, as the first layers are.
        y = linear(x, wide[:, 10:106], bias)
        first = torch.autograd.grad((y**3).sum(), (x, wide, bias), create_graph=True)
        second = torch.autograd.grad(sum((d**2).sum() for d in first), (x, wide, bias))
        return y, *first, *second

    for a, b in zip(derivatives(products.linear), derivatives(torch.nn.functional.linear)):
        size = float(b.detach().abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE * size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_products_are_those_of_torch(dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(256, 30, generator=draw).to(dtype) for _ in range(2))
    weight, bias = torch.randn(20, 30, generator=draw).to(dtype), torch.ones(20, dtype=dtype)
    rtol = 2.0**-7 if dtype == torch.bfloat16 else TOLERANCE
    atol = 30 * rtol
    for got, wanted in (
        (products.product(x, weight), x.double() @ weight.double().t()),
        (products.outer_product(x, y), x.double().t() @ y.double()),
        (
            products.affine_relu(x, weight, bias),
            torch.relu(x.double() @ weight.double().t() + bias.double()),
        ),
    ):
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), wanted, rtol=rtol, atol=atol)


def test_rows_are_rounded_up_to_few_shapes() -> None:
    assert [products.padded(n) for n in (0, 1, 128, 129)] == [0, 128, 128, 256]
