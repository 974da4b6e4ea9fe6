"""Errors of writing, by what the system reports: no space, no permission, removed, not answering.

All files of the package are written through `pympnode.files.netcdf` and within `writing`, so that a
failure is a `NotEnoughDisk` or a `CannotWrite` that names the folder and the bytes.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import CannotWrite, NotEnoughDisk, PympnodeError, one_line
from ..memory import format_bytes

_NO_SPACE = {
    number
    for name in ("ENOSPC", "EDQUOT", "EFBIG")
    if (number := getattr(errno, name, None)) is not None
}
_FIXES = {
    "EACCES": "give yourself the right to write there, or name another folder",
    "EPERM": "give yourself the right to write there, or name another folder",
    "EROFS": "the disk is read-only: name a folder on another one",
    "ENOENT": "the folder was removed or unmounted: make it again, or name another",
    "ENOTDIR": "a part of the path is a file: name another folder",
    "EEXIST": "a file has the name of the folder: move it away, or name another folder",
    "EISDIR": "a folder has the name of the file: move it away, or name another file",
    "ENAMETOOLONG": "give a shorter name",
    "EMFILE": "close files, or raise the limit of open files: ulimit -n",
    "ENFILE": "close files, or raise the limit of open files: ulimit -n",
}
_OTHER_FIX = "look after the disk or the network drive, or name a folder on another one"


def free_bytes(folder: Path) -> int | None:
    """Bytes free on the disk on which ``folder`` lies or will lie; None where it is not known."""
    existing = folder.absolute()
    try:
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        usage = shutil.disk_usage(existing)
    except OSError:
        return None
    return usage.free if usage.total > 0 else None  # some network drives report 0 of 0


def file_limit() -> int | None:
    """The most bytes that a file of this process may have (``ulimit -f``); None without a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else int(limit)


def not_enough_disk(what: str, folder: Path, needed: int | None, reason: str) -> NotEnoughDisk:
    """The error for ``what`` that does not fit on the disk of ``folder``; bytes needed and free."""
    free, limit = free_bytes(folder), file_limit()
    got = reason if needed is None else f"{needed:,} bytes to write ({format_bytes(needed)})"
    allowed = "an unknown number of bytes free"
    if free is not None:
        allowed = f"{free:,} bytes free ({format_bytes(free)})"
    if limit is not None:
        allowed += f", files of at most {limit:,} bytes (ulimit -f)"
    error = NotEnoughDisk(
        f"{what} does not fit on the disk of {str(folder)!r}: {reason}",
        got=got,
        allowed=allowed,
        fix="make space there (a quota counts too), or name a folder on another disk",
    )
    error.folder, error.needed, error.free = str(folder), needed, free
    return error


def write_error(path: Path, error: BaseException, needed: int | None = None) -> PympnodeError:
    """The typed error for one that was raised while ``path`` was written.

    ``needed``: bytes of the file. HDF5 reports "permission denied" or "HDF error" for any failure,
    so that the cause is sought by writing such a file without it.
    """
    if isinstance(error, PympnodeError):
        return error
    folder = path.parent
    if not isinstance(error, OSError) or type(error).__module__ != "builtins" or _is_vague(error):
        error = _tried(folder, needed) or error
    number = getattr(error, "errno", None)
    reason = os.strerror(number) if isinstance(number, int) and number > 0 else one_line(error)
    if number in _NO_SPACE:
        return not_enough_disk(repr(path.name), folder, needed, reason)
    free = free_bytes(folder)
    room = "" if free is None else f"; {free:,} bytes free"
    size = "" if needed is None else f"{needed:,} bytes to write; "
    found = CannotWrite(
        f"{path.name!r} cannot be written to {str(folder)!r}: {reason}",
        got=f"{size}{type(error).__name__}: {one_line(error)}",
        allowed=f"a folder that can be written{room}",
        fix=_FIXES.get(errno.errorcode.get(number or 0, ""), _OTHER_FIX),
    )
    found.folder, found.needed, found.free = str(folder), needed, free
    return found


def _is_vague(error: OSError) -> bool:
    # netCDF-C 4.9 says EACCES where HDF5 failed for any reason, and negative numbers of its own.
    return error.errno is None or error.errno < 0 or error.errno == errno.EACCES


def _tried(folder: Path, needed: int | None) -> OSError | None:
    """The error of making a file of ``needed`` bytes in ``folder`` and removing it; None without."""
    try:
        reserve(folder, max(needed or 0, 1 << 16))
    except OSError as error:
        return error
    return None


def reserve(folder: Path, size: int) -> None:
    """Make a file of ``size`` bytes in ``folder``, and remove it. Raises OSError."""
    path = folder / f".{secrets.token_hex(8)}.part"
    stream = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(stream, 0, size)
                return
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
        block = b"\0" * (1 << 16)
        for at in range(0, size, len(block)):
            os.write(stream, block[: size - at])
    finally:
        os.close(stream)
        with suppress(OSError):
            path.unlink()


def require_space(folder: Path, what: str, largest: int, total: int) -> None:
    """Raise `NotEnoughDisk` or `CannotWrite` unless files of ``total`` bytes, the largest of
    ``largest``, can be written to ``folder`` now."""
    limit = file_limit()
    if limit is not None and largest > limit:
        raise not_enough_disk(what, folder, largest, "a file may not grow that large")
    try:
        reserve(folder, total if limit is None else min(total, limit))
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise not_enough_disk(what, folder, total, os.strerror(error.errno or 0)) from error
        raise write_error(folder / what, error, total) from error


@contextmanager
def writing(path: Path, needed: int | None = None) -> Iterator[None]:
    """Within it, errors of the system are raised as `write_error` has them."""
    try:
        yield
    except PympnodeError:
        raise
    except OSError as error:
        raise write_error(path, error, needed) from error


def make_folder(path: Path) -> Path:
    """``path``, made with its parents where it is missing. Raises `CannotWrite`, `NotEnoughDisk`."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def own_folder(path: Path) -> Path:
    """`make_folder` of a folder that belongs to the package alone.

    Its old files are deleted; a link in its place would have those of another folder deleted, and
    raises `CannotWrite`.
    """
    if path.is_symlink():
        raise CannotWrite(
            f"{str(path)!r} is a link, and a folder is written to",
            got=f"a link to {one_line(os.readlink(path))!r}",
            allowed="a folder, or nothing",
            fix="remove the link; link the whole folder instead, or name another one",
        )
    return make_folder(path)


def remove_half_written(folder: Path, names: str = "*") -> None:
    """Remove what processes that were killed left half-written; the caller holds the lock."""
    with suppress(OSError):
        for left in folder.glob(f".{names}.part"):
            with suppress(OSError):
                left.unlink()
