"""Compile a program of many functions once: `part` for its functions, `whole` for its entry.

numba optimises each function by itself and once more inside every function that calls it, translates
each to machine code each time, and gives each a wrapper that converts Python's arguments. For a program
of thirty functions that call one another six deep, all but the outermost result is thrown away; it is
most of the time to compile. Here a part is lowered to LLVM code and left; the whole links each part
once, and that is optimised and translated. Only the whole can be called from Python, and it alone is
kept on disk.

Parts neither create nor keep arrays: reference counting is off. Where a numba has other internals than
0.60 to 0.68, all functions are compiled as `compiling.njit` does it, with the same result.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .compiling import njit

try:
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import Compiler
    from numba.core.compiler_machinery import PassManager

    SUPPORTED = all(
        hasattr(JITCodeLibrary, name)
        for name in ("finalize", "add_linking_library", "get_pointer_to_function", "codegen")
    )
except ImportError:  # a numba to come
    Compiler, JITCodeLibrary, SUPPORTED = object, object, False  # type: ignore


def part(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator for a function that only parts and wholes call. ``options``: those of ``numba.njit``."""
    if not SUPPORTED:
        return njit(**options)
    return njit(cached=False, pipeline_class=_PartCompiler, _nrt=False, **options)


def whole(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator for a function that Python calls: `compiling.njit`, of which each part is compiled once."""
    if not SUPPORTED:
        return njit(**options)
    return njit(pipeline_class=_WholeCompiler, _nrt=False, **options)


_NEEDLESS = {
    "WithLifting", "InlineClosureLikes", "RewriteDynamicRaises", "MakeFunctionToJitFunction",
    "InlineInlinables", "FindLiterallyCalls", "LiteralUnroll", "LiteralPropagationSubPipelinePass",
    "InlineOverloads", "NopythonRewrites", "NoPythonSupportedFeatureValidation",
}  # fmt: skip
"""Passes for what a part has none of: closures, ``with``, literals, expressions of whole arrays."""


def _without_needless_passes(manager: Any) -> Any:
    """The passes of ``manager`` without those that change nothing here: each is followed by an analysis
    of the whole function."""
    kept = PassManager(manager.pipeline_name)
    kept.passes = [entry for entry in manager.passes if entry[0].__name__ not in _NEEDLESS]
    kept.finalize()
    return kept


class _NoEnvironment:
    """In place of the code generator: a part has no machine code whose environment could be set."""

    def set_env(self, name: str, environment: Any) -> None:
        pass


class _Part(JITCodeLibrary):
    """LLVM code of one function, neither linked nor optimised with what it calls."""

    @property
    def codegen(self) -> Any:
        return _NoEnvironment()

    def finalize(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0  # as where numba makes no wrapper


class _Whole(JITCodeLibrary):
    """Links the parts that its own parts call, each once."""

    def add_linking_library(self, library: Any) -> None:
        if library in self._linking_libraries:
            return
        super().add_linking_library(library)
        if isinstance(library, _Part):
            for called in library._linking_libraries:
                self.add_linking_library(called)


class _PartCompiler(Compiler):
    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):  # type: ignore
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        library = _Part(targetctx.codegen(), "part")
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)

    def define_pipelines(self):  # type: ignore
        return [_without_needless_passes(manager) for manager in super().define_pipelines()]


class _WholeCompiler(Compiler):
    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):  # type: ignore
        flags.no_cfunc_wrapper = True
        library = _Whole(targetctx.codegen(), "whole")
        library.enable_object_caching()
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)

    def compile_extra(self, func: Any) -> Any:
        with _no_collection():
            return super().compile_extra(func)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without garbage collection: millions of small objects are made, and every full collection goes
    through all objects of the process too."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
