"""The kernels of the torch engine: their names and modules."""

from __future__ import annotations

from types import ModuleType

from ...spec import ModelSpec

# Keyword of the user to module in this package.
KERNELS = {"numba": "kernel_numba.run", "torch": "kernel_torch.run", "eager": "kernel_eager"}


def name_of(kernel: ModuleType) -> str:
    """The keyword of a kernel module: "numba", "torch" or "eager"."""
    return next(name for name, module in KERNELS.items() if kernel.__name__.endswith("." + module))


def refuses_past(
    module: ModuleType, spec: ModelSpec, *, weights_in_time: bool, delayed: bool
) -> str | None:
    """None, or why a kernel cannot run ``spec`` with delays or weights of edges that vary in time."""
    name = name_of(module)
    if name == "eager" or not (weights_in_time or delayed):
        return None
    if name == "numba":
        return module.refuses_past(spec, weights_in_time=weights_in_time, delayed=delayed)
    if weights_in_time:
        return "it takes no weights of edges that vary in time"
    return "it takes no delays"


def refuses_partition(kernel: str, spec: ModelSpec) -> str | None:
    """None, or why a kernel cannot run ``spec`` on a graph that is divided among processes."""
    if kernel != "torch":
        return f"the kernel {kernel!r}"
    if spec.family != "mpnode":
        return f"model={spec.family!r}"
    for text, given in (
        ("several types of nodes", spec.node_types),
        ("codes of nodes", spec.codes),
        ("learned weights of edges", spec.learned_edges),
        ("delays", spec.delay or spec.learned_delays),
    ):
        if given:
            return text
    return None
