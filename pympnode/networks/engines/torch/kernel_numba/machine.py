"""Properties of this machine that the code depends on, and the options of every compiled function."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import config, types
from numba.extending import intrinsic

from .....files.compiling import njit

# Not "nnan" and "ninf": a rollout that overflows must come back as nan or inf.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp", "afn"}


def compiled(function: Callable[..., Any]) -> Any:
    """``numba.njit`` with fast arithmetic, cached on disk where a cache folder can be written."""
    return _jit(function, _FASTMATH)


def exact(function: Callable[..., Any]) -> Any:
    """``numba.njit`` whose arithmetic the compiler may not reorder, cached like `compiled`.

    For sums. numba compiles a function once by itself and again inside each caller; the process that
    compiles runs the first version, a process that loads the cache runs the second. Under "reassoc"
    the two may round differently, so that a resumed run would not repeat an uninterrupted one.
    """
    return _jit(function, False)


def _jit(function: Callable[..., Any], fastmath: Any) -> Any:
    return njit(error_model="numpy", fastmath=fastmath, nogil=True)(function)


@intrinsic
def noinline(typingctx):  # type: ignore
    """Mark the function that calls this: it is not inlined into its callers.

    Everything inlined into one function took four times as long to compile and ran no faster.
    """

    def generate(context, builder, signature, arguments):  # type: ignore
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


@cache
def _vector_registers() -> tuple[int, int]:
    """Bytes of a vector register, and the number of registers."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return 16, 32
    features = _enabled_features()
    if {"avx512f", "avx512vl"} <= features:
        return 64, 32
    return (32, 16) if "avx2" in features else (16, 16)


def _enabled_features() -> set[str]:
    """Processor features that numba compiles for: this machine's, or those of its environment."""
    requested = config.CPU_FEATURES  # type: ignore[attr-defined]
    if requested is not None:
        return {name[1:] for name in requested.split(",") if name.startswith("+")}
    if config.CPU_NAME == "generic":  # type: ignore[attr-defined]
        return set()
    return {name for name, present in llvm.get_host_cpu_features().items() if present}


def lanes(itemsize: int) -> int:
    """Numbers of ``itemsize`` bytes in one vector register."""
    return _vector_registers()[0] // itemsize


def registers() -> int:
    """Vector registers of this machine."""
    return _vector_registers()[1]


def panel_width(dtype: np.dtype) -> int:
    """Columns that a product computes at once: two vectors.

    Two independent vectors per row hide the latency of a multiply-add; with eight rows their sixteen
    sums still fit the registers.
    """
    return 2 * lanes(np.dtype(dtype).itemsize)
