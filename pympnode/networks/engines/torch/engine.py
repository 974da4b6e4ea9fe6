"""The torch engine: chooses device, dtype and kernel, and logs the choice with its reason."""

from __future__ import annotations

import importlib
import logging
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....errors import EngineUnavailable, unknown_name
from ....graph import Graph
from ...spec import ModelSpec
from .kernels import KERNELS, refuses_past

if TYPE_CHECKING:
    from ...arrays import Arrays
    from .program import TorchProgram

logger = logging.getLogger("pympnode.networks.engines.torch")

DTYPES = ("float32", "float64")


class TorchEngine:
    """Every MP-NODE job without Julia on the machine (see `engines.base.Engine`)."""

    name = "torch"

    def supports(self, spec: ModelSpec) -> str | None:
        """None: this engine runs every specification."""
        return None

    def integrate(
        self,
        system: Any,
        x0: NDArray[np.float64],
        graph: Graph,
        parameters: dict[str, Any],
        times: NDArray[np.float64],
        tolerance: float,
        *,
        controls: NDArray[np.float64] | None = None,
        check: bool = True,
    ) -> Any:
        """Solve a system in NumPy (see `networks.integrate`)."""
        from ...integrate import integrate

        field = system.bind(graph, system.resolve_parameters(parameters, graph))
        return integrate(
            field, x0, times, controls=controls, rtol=tolerance, atol=tolerance, check=check
        )

    def bind(
        self,
        spec: ModelSpec,
        arrays: list[Arrays] | None = None,
        *,
        dtype: str = "float32",
        device: str = "auto",
        kernel: str = "auto",
    ) -> TorchProgram:
        """A Program on ``device`` ("auto" takes the GPU when there is one)."""
        from .program import TorchProgram

        if dtype not in DTYPES:
            raise unknown_name("dtype", dtype, DTYPES)
        device = resolve_device(device)
        in_time = any(each.edge_weight is not None for each in arrays or ())
        delayed = bool(spec.delay or spec.learned_delays)
        delayed = delayed or any(each.graph.delay is not None for each in arrays or ())
        module = choose_kernel(
            spec, kernel, device, weights_in_time=in_time, delayed=delayed and spec.evaluated
        )
        return TorchProgram(spec, arrays, dtype=dtype, device=device, kernel=module)


def resolve_device(device: str) -> str:
    """The torch device for "auto", "cpu", "cuda", "cuda:1", ...

    Raises `EngineUnavailable` when torch cannot use it here.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except Exception as error:  # torch raises RuntimeError, AssertionError, AcceleratorError
        raise EngineUnavailable(
            f"torch cannot use the device {device!r} here",
            got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            allowed='"auto", "cpu"' + (', "cuda"' if torch.cuda.is_available() else ""),
            fix='an NVIDIA GPU is device="cuda"'
            if device.lower() in ("gpu", "nvidia")
            else 'leave device="auto", or install a torch wheel that supports the device',
        ) from error
    return device


def choose_kernel(
    spec: ModelSpec,
    kernel: str,
    device: str,
    *,
    weights_in_time: bool = False,
    delayed: bool = False,
) -> ModuleType:
    """The kernel module for ``kernel`` = "auto" | "numba" | "torch" | "eager".

    "auto" takes the compiled one on a CPU where numba imports, the hand-written adjoint in torch
    otherwise, and the plain one where neither runs the specification (L2S). The one in torch takes no
    weights of edges that vary in time and no delays. Raises `EngineUnavailable` for a kernel that does
    not run here.
    """
    if kernel != "auto" and kernel not in KERNELS:
        raise unknown_name("kernel", kernel, ("auto", *KERNELS))
    if kernel == "auto":
        order = ["numba", "torch", "eager"] if device == "cpu" else ["torch", "eager"]
    else:
        order = [kernel]
    reasons: list[str] = []
    for name in order:
        reason: str | None
        try:
            module = importlib.import_module(f".{KERNELS[name]}", __package__)
            reason = module.supports(spec) if hasattr(module, "supports") else None
        except ImportError as error:
            reason = f"it does not import: {error}"
        if reason is None:
            reason = refuses_past(module, spec, weights_in_time=weights_in_time, delayed=delayed)
        if reason is None and name == "numba" and device != "cpu":
            reason = "it runs on the CPU only"
        if reason is None:
            if reasons:
                logger.info("kernel %s (%s)", name, "; ".join(reasons))
            return module
        reasons.append(f"{name}: {reason}")
    raise EngineUnavailable(
        f"the kernel {kernel!r} cannot run this model",
        got="; ".join(reasons),
        allowed='kernel="auto" or "eager"',
        fix='leave kernel="auto"',
    )
