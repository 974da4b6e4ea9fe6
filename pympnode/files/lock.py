"""A lock file: one process at a time writes to a folder."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import CannotWrite, RunLocked
from .writing import make_folder, write_error


def hold_folder(path: Path, what: str, *, fix: str) -> FileLock:
    """The lock file ``path``, acquired without waiting; `FileLock.release` lets go of it.

    The operating system releases it too when the process ends, also when it is killed. ``what``
    names the folder in the message. Raises `RunLocked` where another process, or another lock of
    this one, holds it, and `CannotWrite` where none can be made.
    """
    make_folder(path.parent)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise CannotWrite(
            f"the lock file of {what} {str(path.parent)!r} is no file",
            got=f"{path.name!r}: {'a link' if path.is_symlink() else 'a folder or a device'}",
            allowed="a file, or nothing",
            fix=f"move {str(path)!r} away, or name another folder",
        )
    # Not by thread: a run may be closed in another thread than the one that opened it.
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunLocked(
            f"another process writes to {what} {str(path.parent)!r}",
            got=f"its lock file {path.name!r} is held",
            allowed="one writer at a time",
            fix=fix,
        ) from error
    except (OSError, NotImplementedError) as error:  # a drive without locks: NotImplementedError
        raise write_error(path, error) from error
    return lock
