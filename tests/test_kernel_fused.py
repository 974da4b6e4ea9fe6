"""The fused Triton program against autograd: on a GPU where there is one, else interpreted."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fused_cases import SERVED, SHAPES, SINGLE
from kernel_windows import OPTIONS, random_theta, random_window

from pympnode.engines.torch import fused
from pympnode.engines.torch.engine import KERNELS, choose_kernel
from pympnode.engines.torch.fused_kernel.plan import sizes_of
from pympnode.errors import EngineUnavailable
from pympnode.models.layout import layout_of
from pympnode.models.spec import ModelSpec

with_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)
DTYPES = ("torch.float64", "torch.float32")
# Sums of some hundred numbers in another order, over 8 or 24 stages that follow each other; the
# plain tanh of torch and one made of an exponential differ by two roundings.
TOLERANCE = {"torch.float64": 1e-13, "torch.float32": 5e-6}


def _run(task: str, *, interpret: bool) -> dict[str, Any]:
    """What `fused_cases` finds in a process of its own."""
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "TRITON_INTERPRET": str(int(interpret)),
        "PYTHONPATH": os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, str(here / "fused_cases.py"), task],
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
    there = torch.cuda.is_available()
    return _run("cuda" if there else "cpu", interpret=not there)


@with_triton
def test_compiles_for_a_gpu_and_keeps_its_tiles_in_registers() -> None:
    compiled = _run("compile", interpret=False)
    assert compiled["target"] == "sm_90a"
    # The 16 columns of a small graph; a multiprocessor lends a program 227 KiB.
    assert compiled["shared"] <= 227 * 1024
    assert compiled["stack"] == 0


@with_triton
@pytest.mark.parametrize("option", SERVED)
def test_agrees_with_autograd(found: dict[str, Any], option: str) -> None:
    for dtype in DTYPES if option in SINGLE else DTYPES[:1]:
        _check(found[f"{option}, {dtype}"], dtype)


@with_triton
@pytest.mark.parametrize("coupling", ["mixed", "superposed"])
def test_a_lost_trajectory_stays_alone(found: dict[str, Any], coupling: str) -> None:
    case = found[f"lost, {coupling}"]
    assert case["others"] < 1e-13
    assert not case["finite"] and not case["loss"]


@with_triton
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_a_batch(found: dict[str, Any], shape: str) -> None:
    case = found[f"{shape}, torch.float64"]
    _check(case, "torch.float64")
    assert case["repeats"]


def _check(case: dict[str, Any], dtype: str) -> None:
    for name in ("loss", "gradient", "rollout"):
        assert case[name] < TOLERANCE[dtype], name


@pytest.mark.parametrize("option", SERVED)
def test_every_parameter_has_a_place_of_its_own(option: str) -> None:
    spec = ModelSpec(channels=3, message=2, hidden=20).replace(**OPTIONS[option])
    places, spare = sizes_of(spec).position, sizes_of(spec).total - 1
    inside = places[places != spare]
    assert len(set(inside.tolist())) == len(inside)
    assert inside.min() >= 0 and inside.max() < spare
    first = sum(
        int(np.prod(shape))
        for name, shape in layout_of(spec).shapes.items()
        if name.startswith("first_")
    )
    assert len(inside) == layout_of(spec).size - first


def test_says_what_it_does_not_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused.importlib.util, "find_spec", lambda name: object())
    assert fused.supports(ModelSpec()) is None
    for options, word in (
        ({"family": "l2s"}, "l2s"),
        ({"family": "node"}, "node"),
        ({"solver": "tsit5"}, "tsit5"),
        ({"stride": 2}, "stride"),
        ({"depth": 3}, "depth"),
        ({"hidden": 65}, "hidden"),
        ({"coupling": "superposed", "message": 40}, "registers"),
    ):
        assert word in str(fused.supports(ModelSpec(**options))), options
    monkeypatch.setattr(fused.importlib.util, "find_spec", lambda name: None)
    assert fused.supports(ModelSpec()) == "triton is not installed"


def test_only_where_asked_for_and_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "triton" in KERNELS
    for device in ("cpu", "cuda"):
        assert choose_kernel(ModelSpec(), "auto", device) is not fused
    monkeypatch.setattr(fused, "supports", lambda spec: None)
    assert choose_kernel(ModelSpec(), "triton", "cuda") is fused
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(EngineUnavailable, match="CUDA device only"):
        choose_kernel(ModelSpec(), "triton", "cpu")


def test_a_graph_that_is_too_large(rng: np.random.Generator) -> None:
    spec = ModelSpec(channels=1, hidden=4)
    window = random_window(spec, rng, [65], [0], 1, torch.float32)
    with pytest.raises(EngineUnavailable, match="65 nodes"):
        fused.rollout(spec, random_theta(spec, rng, torch.float32), window)
