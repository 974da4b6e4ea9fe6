"""Memory that is available here, and the one call that refuses what does not fit before it is taken.

`need` is called before every allocation whose size a number of the caller decides (``steps``, ``nodes``,
``graphs``, ``members``, ``hidden``, ``batch_size``, ``dt``, ...). What is available is the least of what
the system has left, of what the limits of the control groups (version 1 and 2) of this process leave,
and of what its own limit of address space (``ulimit -v``) leaves. Where the system reports none of
them (Windows, macOS) nothing is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from .errors import NotEnoughMemory, one_line

P = ParamSpec("P")
R = TypeVar("R")

_PROC = Path("/proc")
_CONTAINER = Path("/sys/fs/cgroup")
# Smaller needs are not compared: reading what is available takes longer than most small calls.
_SMALL = 1 << 24


def available_bytes(device: Any = "cpu") -> int | None:
    """Bytes free on a torch device or in main memory; None where the system does not report it."""
    kind = getattr(device, "type", str(device).split(":")[0])
    if kind == "cuda":
        import torch

        # The driver counts the blocks that torch keeps for its next tensors as used; they are free.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + kept)
    if kind != "cpu":
        return None
    found = [_system(), *_control_groups(), _address_space()]
    return min((max(free, 0) for free in found if free is not None), default=None)


def need(needed: int, what: str, fix: str, *, device: Any = "cpu") -> None:
    """Raise NotEnoughMemory, with the bytes, when ``what`` needs more than is available.

    needed: bytes beyond those that the process has already. fix: what to change, keywords by name.
    """
    if needed < _SMALL:
        return
    free = available_bytes(device)
    if free is not None and needed > free:
        raise NotEnoughMemory(
            f"{what} does not fit in memory",
            got=f"{needed:,} bytes needed ({format_bytes(needed)})",
            allowed=f"{free:,} bytes available ({format_bytes(free)}) on {device}",
            fix=fix,
        )


def guarded(function: Callable[P, R]) -> Callable[P, R]:
    """Make a MemoryError of NumPy or torch within ``function`` a NotEnoughMemory, for what no estimate
    covers, and leave out NumPy's warnings: overflow is looked for in the results.

    The function keeps its signature.
    """

    @wraps(function)
    def checked(*args: P.args, **keywords: P.kwargs) -> R:
        try:
            with np.errstate(all="ignore"):
                return function(*args, **keywords)
        except NotEnoughMemory:
            raise
        except (MemoryError, RuntimeError) as error:
            torch_ran_out = type(error).__name__ == "OutOfMemoryError" or (
                type(error) is RuntimeError and "allocate memory" in str(error)
            )
            if not (isinstance(error, MemoryError) or torch_ran_out):
                raise
            free = available_bytes()
            raise NotEnoughMemory(
                f"{function.__name__} ran out of memory",
                got=one_line(error) or "no size",
                allowed="unknown" if free is None else f"{free:,} bytes ({format_bytes(free)})",
                fix="ask for less: fewer or smaller graphs, trajectories, steps, batches, layers",
            ) from error

    return checked


def format_bytes(count: float) -> str:
    """A number of bytes for people: 1.5 GiB."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


# ---- what is available ----------------------------------------------------------------------------


def _system() -> int | None:
    """What the whole system has left."""
    return _of_table(_PROC / "meminfo", "MemAvailable:")


def _of_table(path: Path, name: str) -> int | None:
    """The bytes of a line such as "VmSize:  1024 kB"; None where there is none."""
    try:
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _address_space() -> int | None:
    """What ``ulimit -v`` leaves of the address space; None without a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    used = _of_table(_PROC / "self/status", "VmSize:")
    return None if limit == resource.RLIM_INFINITY or used is None else limit - used


def _control_groups() -> Iterator[int]:
    """What each limit of the control groups of this process, and of those above them, leaves."""
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, inside = (*line.split(":", 2), "", "")[:3]
        if not controllers:  # version 2 has one tree
            root, names = _CONTAINER, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = _CONTAINER / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the path may be that of the host, of which only the root is mounted.
        folder = root / inside.strip("/")
        folders = [folder, *folder.parents] if folder != root else [root]
        for each in folders:
            free = _left(each, *names)
            if free is not None:
                yield free
            if each == root:
                break


def _left(folder: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """What the limit of one control group leaves; None where it has none ("max")."""
    try:
        most, used = (int((folder / name).read_text()) for name in (limit, usage))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        # Pages of files that were read count as used; the kernel drops them when memory is short.
        return most - used + int(stat[reclaimable])
    except (OSError, ValueError, KeyError):
        return None
