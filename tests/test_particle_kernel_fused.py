"""The fused edge sum is the plain one: on a GPU where there is one, else interpreted."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pympnode.engines.torch.particles import edge_fused
from pympnode.engines.torch.particles.edge_fused import FusedEdgeSum, halves, plan_of
from pympnode.engines.torch.particles.program import ParticleProgram
from pympnode.errors import EngineUnavailable, UnknownName
from pympnode.models.particle_spec import ParticleScales, ParticleSpec

with_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)
THERE = torch.cuda.is_available()
# Sums of some hundred numbers in another order; on a GPU the sums of float32 have the last bits of
# three passes of tf32 besides.
TOLERANCE = {"torch.float64": 1e-13, "torch.float32": 2e-5 if THERE else 2e-6}


def _run(*task: str, interpret: bool) -> dict[str, Any]:
    """What `edge_fused_cases` finds in a process of its own."""
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "TRITON_INTERPRET": str(int(interpret)),
        "PYTHONPATH": os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, str(here / "edge_fused_cases.py"), *task],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Differences of every case."""
    return _run("cuda" if THERE else "cpu", interpret=not THERE)


@with_triton
def test_values_and_gradients_are_those_of_the_plain_sum(found: dict[str, Any]) -> None:
    compared = {name: case for name, case in found.items() if "torch" in name}
    assert len(compared) == 29
    for name, case in compared.items():
        tolerance = TOLERANCE[name.split(", ")[-2]]
        assert case["value"] < tolerance and case["gradient"] < tolerance, (name, case)
        assert case["repeats"], name


@with_triton
def test_bf16_rounds_factors_alone(found: dict[str, Any]) -> None:
    case = found["rounded"]
    # The same factors: on a GPU sums in another order may round one of 64 to its other neighbour.
    assert case["value"] < (2**-10 if THERE else 1e-6)
    # The geometry and its slope are factors too, cut to 2^-7 each, of the gradient of its weight.
    assert case["gradient"] < 2**-6
    assert 1e-5 < case["plain"] < 2**-6


@with_triton
def test_messages_received_minus_messages_sent(found: dict[str, Any]) -> None:
    assert found["balanced"]["value"] < 1e-13 and found["balanced"]["gradient"] < 1e-13


@with_triton
def test_an_overflow_stays_with_its_receivers(found: dict[str, Any]) -> None:
    case = found["lost"]
    assert 0 < case["gone"] < case["of"] and case["same"]
    assert case["others"] < 1e-13
    assert len(found["far"]) == 4
    for case, tolerance in zip(found["far"], 2 * (1e-13, 2e-6)):
        assert case["same"] and case["gone"], case
        assert case["below"] > 0 and case["large"] > 0, case
        assert case["others"] < tolerance, case


@with_triton
def test_fused_models_equal_the_reference_nbody_model_files(reference_dir: Path) -> None:
    cases = _run("models", str(reference_dir), "cuda" if THERE else "cpu", interpret=not THERE)
    assert cases
    for name, case in cases.items():
        assert case["loss"] < 1e-10 and case["gradient"] < 1e-10, name


@with_triton
@pytest.mark.parametrize("width, precision", [(64, "tf32x3"), (150, "bf16")])
def test_compiles_for_a_gpu(width: int, precision: str) -> None:
    compiled = _run("compile", str(width), precision, interpret=False)
    for program in ("sum", "slope"):
        case = compiled[program]
        assert case["target"] == "sm_90a"
        assert case["shared"] <= 227 * 1024  # what a multiprocessor lends a program
        assert case["products"] > 0  # matrix units, not single multiplications
    if width == 64:
        assert compiled["sum"]["stack"] == 0


@pytest.mark.parametrize(
    "width, expected",
    [(1, (16, 1)), (16, (16, 1)), (17, (32, 1)), (64, (64, 1)), (80, (64, 16)), (100, (128, 1)),
     (150, (128, 32)), (256, (256, 1))],
)  # fmt: skip
def test_two_blocks_hold_a_width(width: int, expected: tuple[int, int]) -> None:
    assert halves(width) == expected


def test_plans_cover_nodes_and_edges() -> None:
    crowded, sparse = plan_of(64, 64, 100, 9900), plan_of(64, 64, 10**6, 10**6)
    assert crowded.pieces > 1 and sparse.pieces == 1
    assert sparse.nodes > crowded.nodes
    assert plan_of(150, 150, 10, 0).pieces == 1


def test_says_what_it_does_not_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_fused.importlib.util, "find_spec", lambda name: object())
    assert edge_fused.supports(ParticleSpec()) is None
    for options, word in (
        ({"family": "hogn"}, "second derivatives"),
        ({"edge_width": 257}, "257"),
        ({"node_width": 300}, "300"),
    ):
        assert word in str(edge_fused.supports(ParticleSpec(**options))), options
    monkeypatch.setattr(edge_fused.importlib.util, "find_spec", lambda name: None)
    assert edge_fused.supports(ParticleSpec()) == "triton is not installed"


def test_only_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_fused, "supports", lambda spec: None)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(EngineUnavailable, match="runs on a CUDA device"):
        ParticleProgram(ParticleSpec(), ParticleScales(), 0.01, device="cpu", kernel="fused")
    program = ParticleProgram(ParticleSpec(), ParticleScales(), 0.01, device="cpu")
    assert program.kernel == "compiled"
    with pytest.raises(UnknownName, match="tf32x3"):
        FusedEdgeSum("tf32x2")


def test_a_geometry_with_a_gradient_takes_the_plain_sum() -> None:
    geometry = torch.ones(3, 2, requires_grad=True)
    ends = torch.zeros(3, dtype=torch.long)
    values = torch.ones(1, 4)
    out = FusedEdgeSum()(
        values, values, geometry, torch.ones(4, 2), torch.ones(4, 4), torch.ones(4),
        ends, ends, torch.relu,
    )  # fmt: skip
    (slope,) = torch.autograd.grad(out.sum(), geometry)
    assert slope.abs().min() > 0
