"""Free memory, checked before large arrays are allocated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import NotEnoughMemory

_MEMINFO = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")


def available_bytes(device: Any = "cpu") -> int | None:
    """Bytes free on a torch device or in main memory; None where the system does not report it.

    Main memory is what the system has left, or the limit of the container where that is lower.
    """
    kind = getattr(device, "type", str(device).split(":")[0])
    if kind == "cuda":
        import torch

        # The driver counts the blocks that torch keeps for its next tensors as used; they are free.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + kept)
    if kind != "cpu" or not _MEMINFO.exists():
        return None
    free = [
        int(line.split()[1]) * 1024
        for line in _MEMINFO.read_text().splitlines()
        if line.startswith("MemAvailable:")
    ]
    try:
        limit = int((_CONTAINER / "memory.max").read_text())  # "max" where there is no limit
        used = int((_CONTAINER / "memory.current").read_text())
        stat = dict(line.split() for line in (_CONTAINER / "memory.stat").read_text().splitlines())
        # Pages of files that were read count as used; the kernel drops them when memory is short.
        free.append(limit - used + int(stat["inactive_file"]))
    except (OSError, ValueError, KeyError):
        pass
    return min(free, default=None)


def require_bytes(needed: int, what: str, *, fix: str, device: Any = "cpu") -> None:
    """Raise NotEnoughMemory, with the bytes, when ``what`` needs more than is available.

    Below 16 MiB nothing is checked: the check takes longer than the graph of a small system.
    """
    if needed < 1 << 24:
        return
    free = available_bytes(device)
    if free is not None and needed > free:
        raise NotEnoughMemory(
            f"{what} does not fit in memory",
            got=f"{needed:,} bytes needed ({format_bytes(needed)})",
            allowed=f"{free:,} bytes available ({format_bytes(free)}) on {device}",
            fix=fix,
        )


def format_bytes(count: float) -> str:
    """A number of bytes for people: 1.5 GiB."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
