"""Programs of compiled functions whose parts are optimised once, and tuples passed by pointer."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="compiled functions need numba")

from pympnode.files import compiling_once  # noqa: E402
from pympnode.files.compiling_once import part, whole  # noqa: E402
from pympnode.networks.engines.torch.kernel_numba.machine import (  # noqa: E402
    noinline,
    reference,
)


class Held(NamedTuple):
    values: Any
    factor: int


def program() -> Any:
    """4 sums of the products of values and their factor: three levels, the lowest called from two."""

    @part()
    def product(held, place):  # type: ignore
        noinline()
        return held.values[place] * held.factor

    @part()
    def total(held, nothing):  # type: ignore
        noinline()
        result = 0.0
        if nothing is None:
            for place in range(len(held.values)):
                result += product(held, place)
        return result

    @whole()
    def run(held, nothing):  # type: ignore
        pointer, none = reference(held), reference(nothing)
        return 4 * total(pointer, none) + 0 * product(pointer, 0)

    return run


def held() -> Held:
    return Held(np.arange(5.0), 3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))


def test_optimised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.codegen import CPUCodeLibrary

    held_once = program()
    numba.njit(lambda: 0)()  # numba's own libraries
    names = []
    optimise = CPUCodeLibrary._optimize_final_module

    def counted(library: Any) -> None:
        names.append(library.name)
        optimise(library)

    monkeypatch.setattr(CPUCodeLibrary, "_optimize_final_module", counted)
    assert held_once(held(), None) == 4 * 3 * 10
    assert names == ["whole"]


def test_same_result_where_numba_has_other_internals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling_once, "SUPPORTED", False)
    run, given = program(), held()
    run(given, None)
    before = sys.getrefcount(given.values)
    for _ in range(100):
        assert run(given, None) == 4 * 3 * 10
    after = sys.getrefcount(given.values)
    assert after == before  # arrays read through a pointer are borrowed
    assert given.values.tolist() == [0, 1, 2, 3, 4]


def test_arrays_stay_with_their_owner() -> None:
    run, given = program(), held()
    run(given, None)
    before = sys.getrefcount(given.values)
    for _ in range(100):
        run(given, None)
    after = sys.getrefcount(given.values)
    assert after == before


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_as_before(enabled: bool) -> None:
    try:
        if not enabled:
            gc.disable()
        program()(held(), None)
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_a_field_that_is_not_there_is_an_error() -> None:
    @whole()
    def run(held):  # type: ignore
        return reference(held).other

    with pytest.raises(numba.TypingError, match="other"):
        run(held())


@pytest.mark.slow
def test_one_file_of_machine_code_serves_gradients_and_rollouts(tmp_path: Path) -> None:
    """A second process loads what the first one compiled, and compiles nothing."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, torch
from kernel_windows import random_theta, random_window
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.spec import ModelSpec
rng = np.random.default_rng(0)
spec = ModelSpec(channels=3, message=2, hidden=20)
window = random_window(spec, rng, [4], [0], 2, torch.float32)
theta = random_theta(spec, rng, torch.float32)
compiled.loss_and_gradient(spec, theta, window), compiled.rollout(spec, theta, window)
statistics = compiled._modules()[3].run_tiles.stats
print(sum(statistics.cache_hits.values()), sum(statistics.cache_misses.values()))
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    found = [
        subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert [text.split() for text in found] == [["0", "1"], ["1", "0"]]
    assert len(list(tmp_path.rglob("*.nbc"))) == 1
