"""Exceptions of this package for errors of the worker process."""

from __future__ import annotations

from typing import Any

from ....errors import (
    EngineUnavailable,
    InvalidOption,
    JuliaRuntimeError,
    NotEnoughMemory,
    PympnodeError,
)
from .options import PREFIX, JuliaOptions

NO_JULIACALL = 'pip install "pympnode[julia]", then pympnode julia install'


def of_call(kind: str, message: str, trace: str, log: str) -> BaseException:
    """The exception for a call that failed in a worker that keeps running."""
    if kind == "Interrupted":
        return KeyboardInterrupt()
    if kind == "InputError":
        return InvalidOption(message, got="refused by the Julia engine")
    if kind in ("OutOfMemoryError", "MemoryError"):
        return NotEnoughMemory("Julia ran out of memory", got=message, fix="use a smaller batch")
    return JuliaRuntimeError(
        f"{kind}: {message}" if message else kind,
        fix=f"the whole trace is in {log}",
        trace=trace,
        log=log,
    )


def of_death(code: int | None, log: str, tail: str) -> JuliaRuntimeError:
    """The exception for a worker that ended during a call."""
    ending = (
        "ended"
        if code is None
        else f"ended by signal {-code}"
        if code < 0
        else f"ended with {code}"
    )
    fix = "call again: another process is started"
    if code == -9:
        fix += "; signal 9 often means that memory ran out"
    logged = first_error(tail)
    return JuliaRuntimeError(
        f"the Julia process {ending}" + (f": {logged}" if logged else ""),
        got=f"its log: {log}",
        fix=fix,
        trace=tail,
        log=log,
    )


def first_error(text: str) -> str:
    """The first line of a log that looks like an error, "" if there is none."""
    for line in text.splitlines():
        if line.startswith(("ERROR", "signal", "[", "Traceback")) or "Error" in line:
            return line.strip()[:200]
    return ""


def of_start(kind: str, message: str, trace: str, log: str, options: JuliaOptions) -> PympnodeError:
    """The exception for a worker that could not start, with advice by the user's options."""
    text = f"{kind}: {message}\n{trace}"
    found: dict[str, Any] = {
        "got": f"{kind}: {message}"[:500] if kind else first_error(trace) or log
    }
    if kind == "ModuleNotFoundError" and "juliacall" in message:
        found = {"got": "juliacall is not installed", "fix": NO_JULIACALL}
    elif any(w in text for w in ("Read-only file system", "PermissionError", "EACCES", "EROFS")):
        found["fix"] = (
            f"give folders that can be written: {PREFIX}ENVIRONMENT (the Julia project) and "
            f"{PREFIX}DEPOT (the packages); or prepare both once and use them with "
            f"{PREFIX}EXECUTABLE and {PREFIX}PROJECT, which are never written to"
        )
    elif options.project:
        found["fix"] = (
            f"the project {options.project} must hold PythonCall and the packages of "
            "pympnode/juliapkg.json at their bounds; or leave the project out"
        )
    elif options.offline:
        found["fix"] = (
            "offline, Julia and the packages must be installed already: run `pympnode julia install` "
            f"where there is a network with {PREFIX}DEPOT and {PREFIX}ENVIRONMENT on a shared disk, "
            "or copy these folders"
        )
    elif any(
        w in text
        for w in (
            "could not find Julia",
            "URLError",
            "urlopen",
            "DownloadError",
            "Could not resolve",
            "RequestError",
            "timed out",
        )
    ):
        found["fix"] = (
            f"downloads need a network; without one set {PREFIX}EXECUTABLE=/path/to/julia "
            f"and {PREFIX}DEPOT, with {PREFIX}OFFLINE=yes"
        )
    else:
        found["fix"] = f"see {log}; `pympnode julia status` shows the options"
    return EngineUnavailable("the Julia engine cannot be started", **found)
