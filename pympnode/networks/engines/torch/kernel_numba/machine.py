"""What the compiler is told: vector width of this machine, options of every compiled function."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from numba import config, types
from numba.extending import intrinsic

# Not "nnan" and "ninf": a rollout that overflows must come back as nan or inf.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp", "afn"}


def compiled(function: Callable[..., Any]) -> Any:
    """``numba.njit``, kept on disk between runs where a cache folder can be written."""
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": _FASTMATH, "nogil": True}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder it may write to
        return numba.njit(**options)(function)


@intrinsic
def apart(typingctx):  # type: ignore
    """Keep the function that calls this out of its callers' code.

    Everything inlined into one function took four times as long to compile and ran no faster.
    """

    def generate(context, builder, signature, arguments):  # type: ignore
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


@cache
def _features() -> tuple[int, int]:
    """Bytes of a vector register, and how many there are."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return 16, 32
    has = _enabled()
    if {"avx512f", "avx512vl"} <= has:
        return 64, 32
    return (32, 16) if "avx2" in has else (16, 16)


def _enabled() -> set[str]:
    """What numba compiles for: this machine's features, unless its environment says otherwise."""
    given = config.CPU_FEATURES  # type: ignore[attr-defined]
    if given is not None:
        return {name[1:] for name in given.split(",") if name.startswith("+")}
    if config.CPU_NAME == "generic":  # type: ignore[attr-defined]
        return set()
    return {name for name, here in llvm.get_host_cpu_features().items() if here}


def lanes(itemsize: int) -> int:
    """Numbers of ``itemsize`` bytes in one vector register."""
    return _features()[0] // itemsize


def registers() -> int:
    """Vector registers of this machine."""
    return _features()[1]


def panel_width(dtype: np.dtype) -> int:
    """Columns that a product works on at once: two vectors."""
    return 2 * lanes(np.dtype(dtype).itemsize)
