"""``njit``: numba's, with a cache on disk wherever a folder can be written.

All compiled functions of the package are declared with it, so that the rule stands in one place.
numba itself keeps compiled code beside the source file, in the user's cache folder or in
``NUMBA_CACHE_DIR``; where it can write to none of them (a container, a shared installation without
a home folder), ``numba.njit(cache=True)`` raises RuntimeError at import. Here such functions are
kept in the folder for temporary files, or compiled anew in each process.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import config

_log = logging.getLogger("pympnode")


def njit(*, cached: bool = True, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: ``numba.njit(cache=True, **options)`` that runs where no cache can be written.

    ``cached=False`` is for functions whose code is kept with that of their callers.
    """
    if not cached:
        return numba.njit(**options)

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            compiled = numba.njit(cache=True, **options)(function)
        except (
            RuntimeError
        ):  # numba 0.60 to 0.68: "cannot cache function ...: no locator available"
            compiled = _with_temporary_cache(function, options)
        return _surviving_full_disks(_stamped(compiled, function))

    return decorate


def _stamped(compiled: Any, function: Callable[..., Any]) -> Any:
    """``compiled``, whose code on disk is used only while no source file of its folder has changed.

    numba 0.60 to 0.68 compares the file of the function alone. The code also holds that of functions
    of other files that it calls: an update of the package that changes only those would run old code.
    """
    file: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    stamp = getattr(file, "_source_stamp", None)
    if stamp is None:  # NUMBA_DISABLE_JIT=1, or no cache
        return compiled
    try:
        folders = Path(function.__code__.co_filename).parent, Path(__file__).parent
        file._source_stamp = (stamp, *map(sources_stamp, folders))
    except (AttributeError, OSError):  # a cache that allows no change, or sources in an archive
        pass
    return compiled


@cache
def sources_stamp(folder: Path) -> str:
    """A checksum of the source files in ``folder``."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def _with_temporary_cache(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    folder = temporary_cache()
    if folder is not None:
        given = config.CACHE_DIR  # type: ignore[attr-defined]
        # numba chooses the folder when a function is declared, not when it is compiled.
        config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:
            pass
        finally:
            config.CACHE_DIR = given  # type: ignore[attr-defined]
    return numba.njit(**options)(function)


@cache
def temporary_cache() -> Path | None:
    """The user's folder for compiled code among the temporary files; None where none can be made.

    A cache holds code that is run. The folder is used only where no other user can write to it.
    """
    try:
        shared = Path(tempfile.gettempdir()) / f"pympnode-numba-{_user()}"
        shared.mkdir(mode=0o700, exist_ok=True)
        if _is_private(shared):
            folder = shared
        else:
            folder = Path(tempfile.mkdtemp(prefix="pympnode-numba-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
    except OSError as error:
        _log.info("compiled code is not kept: no folder can be written (%s)", error)
        return None
    _log.info("compiled code is kept in %s: numba can write to no folder of its own", folder)
    return folder


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"


def _is_private(folder: Path) -> bool:
    """Whether it is a writable folder of this user that no other user can write to."""
    status = os.lstat(folder)  # a link may lead to a folder of another user
    if not stat.S_ISDIR(status.st_mode) or not os.access(folder, os.W_OK | os.X_OK):
        return False
    if not hasattr(os, "getuid"):  # Windows: the folder for temporary files is the user's
        return True
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def _surviving_full_disks(compiled: Any) -> Any:
    """``compiled``, which runs also where its machine code cannot be stored any more.

    numba 0.60 to 0.68 tests with an empty file whether a folder can be written. Under an exhausted
    quota, on a full disk, and in a folder that becomes read-only later, storing raises OSError in
    the middle of the call.
    """
    kept: Any = getattr(compiled, "_cache", None)
    store: Any = getattr(kept, "save_overload", None)
    if store is None:  # NUMBA_DISABLE_JIT=1, or no cache
        return compiled

    def save_overload(signature: Any, result: Any) -> None:
        try:
            store(signature, result)
        except OSError as error:
            _log.warning("compiled code is not kept: %s", error)
            kept.disable()

    try:
        kept.save_overload = save_overload
    except AttributeError:  # the cache of a numba that allows no change
        pass
    return compiled
