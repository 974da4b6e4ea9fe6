"""What a start of Julia is given, checked before it: executable, version, folders.

A failure of the start itself ends in the output of another program; here it names the variable of
this package that is to be changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from ....errors import CannotWrite, EngineUnavailable, NotEnoughDisk, one_line
from ....files.writing import make_folder, reserve
from .notice import notice
from .options import PREFIX, JuliaOptions

# The versions of juliapkg.json, of which 1.10.8 ran: (major, minor) and the first patch.
MADE_FOR, FIRST_PATCH = (1, 10), 3
UNTESTED = PREFIX + "UNTESTED"
_SECONDS = 60


def check_start(options: JuliaOptions) -> None:
    """Raise `EngineUnavailable` where the worker of ``options`` cannot start.

    Looks at the executable and its version, at the project, and at the folders that are written to.
    """
    if options.project is not None and not Path(options.project).is_dir():
        raise EngineUnavailable(
            "the Julia project is not there",
            got=f"{PREFIX}PROJECT={options.project}",
            allowed="a folder with a Project.toml that has PythonCall and the packages",
            fix=f"correct {PREFIX}PROJECT (--project), or leave it out: a project is made",
        )
    executable = options.executable
    if executable is None and options.project is not None:
        executable = shutil.which("julia")
    if executable is not None:
        check_version(executable)
    if options.project is None:
        _check_folder("ENVIRONMENT", options.environment)
        _check_folder("DEPOT", (options.depot or "").split(os.pathsep)[0] or None)


def check_version(executable: str) -> None:
    """Raise `EngineUnavailable` unless a file is a Julia of a version that the package is made for.

    PYMPNODE_JULIA_UNTESTED=1 lets other versions pass, with a notice.
    """
    name = f"{PREFIX}EXECUTABLE={executable}"
    fix = f"set {PREFIX}EXECUTABLE (--executable) to a julia of version 1.10, or leave it out"
    path = shutil.which(executable)
    if path is None:
        lacking = "a file without the right to run it" if os.path.isfile(executable) else "no file"
        if os.path.isdir(executable):
            lacking = "a folder"
        raise EngineUnavailable(
            "there is no julia to run", got=f"{name}: {lacking}", allowed="a program", fix=fix
        )
    try:
        found = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
        output = found.stdout + found.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        output = f"{type(error).__name__}: {error}"
    version = re.match(r"\s*julia version (\d+)\.(\d+)\.(\d+)", output)
    if version is None:
        raise EngineUnavailable(
            "the program is no julia",
            got=f"{name}; {path} --version says {one_line(output, 120)!r}",
            allowed='"julia version 1.10.x"',
            fix=fix,
        )
    major, minor, patch = map(int, version.groups())
    if (major, minor) == MADE_FOR and patch >= FIRST_PATCH:
        return
    shown = f"{major}.{minor}.{patch}"
    if os.environ.get(UNTESTED, "").lower() in ("1", "yes", "true"):
        notice(
            f"Julia {shown} never ran with this package ({UNTESTED} is set): results are unproven"
        )
        return
    raise EngineUnavailable(
        "the package is not made for this version of Julia",
        got=f"{name}: version {shown}",
        allowed=f"1.10.{FIRST_PATCH} and later 1.10; 1.10.8 ran",
        fix=f"{fix}; {UNTESTED}=1 starts it all the same, with a {PREFIX}PROJECT of your own",
    )


def _check_folder(option: str, folder: str | None) -> None:
    """Raise `EngineUnavailable` where a folder that was given cannot be made or written to."""
    if folder is None:
        return
    path = Path(folder).expanduser().absolute()
    try:
        make_folder(path)
        reserve(path, 1)
    except (CannotWrite, NotEnoughDisk, OSError) as error:
        # A read-only depot that is complete serves: nothing is written there.
        if path.is_dir() and any(path.iterdir()):
            return
        reason = error.message if isinstance(error, CannotWrite | NotEnoughDisk) else error
        raise EngineUnavailable(
            "a folder of the Julia engine cannot be written",
            got=f"{PREFIX}{option}={folder}: {one_line(reason)}",
            allowed="a folder that can be made and written to",
            fix=f"set {PREFIX}{option} (--{option.lower()}) to another folder; or prepare an "
            f"installation elsewhere and use it with {PREFIX}EXECUTABLE and {PREFIX}PROJECT, which "
            "are never written to",
        ) from error
