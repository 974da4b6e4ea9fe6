"""Properties of this machine that the code depends on, and the options of every compiled function."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import config, types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model

from .....files.compiling_once import part, whole

# Not "nnan" and "ninf": a rollout that overflows must come back as nan or inf.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp", "afn"}
_OPTIONS = {"error_model": "numpy", "nogil": True}


def compiled(function: Callable[..., Any]) -> Any:
    """A part of the kernel (`compiling_once.part`) with fast arithmetic."""
    return part(fastmath=_FASTMATH, **_OPTIONS)(function)


def exact(function: Callable[..., Any]) -> Any:
    """A part whose arithmetic the compiler may not reorder.

    For sums: under "reassoc" two compilations of one function, on its own and inside a caller, may
    round differently, so that a resumed run would not repeat an uninterrupted one.
    """
    return part(fastmath=False, **_OPTIONS)(function)


def entry(function: Callable[..., Any]) -> Any:
    """A function that Python calls, exact, cached on disk where a cache folder can be written."""
    return whole(fastmath=False, **_OPTIONS)(function)


class Reference(types.Type):
    """A pointer to a named tuple that an outer function holds."""

    def __init__(self, held: Any) -> None:
        super().__init__(name=f"Reference({held})")
        self.held = held


@register_model(Reference)
class _ReferenceModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Reference) -> None:
        super().__init__(manager, kind, manager.lookup(kind.held).get_value_type().as_pointer())


@infer_getattr
class _ReferenceAttribute(AttributeTemplate):
    key = Reference

    def generic_resolve(self, reference: Reference, name: str) -> Any:  # type: ignore[override]
        held = reference.held
        return held.types[held.fields.index(name)] if name in held.fields else None


@lower_getattr_generic(Reference)
def _load_field(context, builder, kind, value, name):  # type: ignore
    number = kind.held.fields.index(name)
    field = builder.load(cgutils.gep_inbounds(builder, value, 0, number))
    return impl_ret_borrowed(context, builder, kind.held.types[number], field)


@intrinsic
def reference(typingctx, held):  # type: ignore
    """A pointer to the named tuple ``held``, valid until the caller returns; None for None.

    Its fields are read as those of the tuple. A tuple itself goes into every call as all numbers of
    all its arrays, three hundred arguments, which takes long to compile.
    """
    if isinstance(held, types.NoneType):
        return held(held), lambda context, builder, signature, arguments: arguments[0]

    def generate(context, builder, signature, arguments):  # type: ignore
        return cgutils.alloca_once_value(builder, arguments[0])

    return Reference(held)(held), generate


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
