"""The worker process: it runs Julia, and reads and answers one call at a time.

It imports juliacall and NumPy, and of this package only modules that need neither torch nor xarray.
It ends when its parent process closes the connection or ends. A forked child process waits for that,
because the worker itself cannot while Julia computes.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .protocol import Control, Link

STATUS_START = "starting Julia"
STATUS_PACKAGES = "loading the Julia packages"


def watch_parent(lifeline: int) -> None:
    """Fork a process that kills this one when ``lifeline`` reaches its end of file."""
    worker = os.getpid()
    if os.fork():
        os.close(lifeline)
        return
    # Copies of the connection must not stay open here: the parent would get no end of file when the
    # worker ends.
    os.closerange(0, lifeline)
    os.closerange(lifeline + 1, 4096)
    os.read(lifeline, 1)
    if os.getppid() == worker:
        os.kill(worker, signal.SIGKILL)
    os._exit(0)


def serve(link: Link, control: Control, operations: Any, failure: Callable[..., Any]) -> None:
    """Answer calls until the other end closes. ``failure``: exception -> plain values."""
    from .protocol import Closed

    while True:
        try:
            message = link.receive(copy=False)
        except Closed:
            return
        if message["kind"] == "quit":
            return
        control.running(message["number"])
        try:
            for number in message["release"]:
                operations.release(number)
            result = getattr(operations, message["operation"])(**message["arguments"])
            answer = {"kind": "done", "result": result}
        except BaseException as error:  # no error of Julia may end the worker
            answer = {"kind": "error", **failure(error)}
        del message
        try:
            link.send(answer)
        except Closed:
            return


def start_julia(sources: str, status: Callable[[str], None]) -> Any:
    """juliacall's Main with the bundled package loaded; ``status`` is called before each stage."""
    status(STATUS_START)
    import juliacall

    status(STATUS_PACKAGES)
    main = juliacall.Main
    # push!, not pushfirst!, which breaks the lookup of dependencies
    main.seval("path -> (push!(LOAD_PATH, path); nothing)")(sources)
    main.seval("import MessagePassingNODE")
    return main


def translator(main: Any) -> Callable[[BaseException], dict[str, str]]:
    """A function: exception -> its type, first line and trace, those of Julia for a Julia error."""
    import juliacall

    # A TaskFailedException wraps the exception that caused it, which is the one to report.
    main.seval(
        "pympnode_cause(e) = e isa TaskFailedException ? pympnode_cause(e.task.exception) : "
        "e isa CompositeException && !isempty(e) ? pympnode_cause(first(e)) : e"
    )
    name = main.seval("e -> string(nameof(typeof(pympnode_cause(e))))")
    text = main.seval("e -> sprint(showerror, pympnode_cause(e))")

    def failure(error: BaseException) -> dict[str, str]:
        trace = traceback.format_exc()
        if isinstance(error, juliacall.JuliaError):
            kind, message = str(name(error.exception)), str(text(error.exception))
            trace = f"{message}\n{error}\n{trace}"
        else:
            kind, message = type(error).__name__, str(error)
        line = (message.splitlines() or [""])[0].removeprefix(f"{kind}: ")
        return {"type": kind, "message": line, "trace": trace}

    return failure


def main(arguments: list[str]) -> None:
    """``arguments``: descriptors of the connection, the control words and the lifeline; sources."""
    connection, words, lifeline = (int(a) for a in arguments[:3])
    watch_parent(lifeline)
    from .protocol import Control, Link

    link = Link(socket.socket(fileno=connection))
    control = Control(words)

    def status(text: str) -> None:
        link.send({"kind": "status", "text": text})

    began = time.perf_counter()
    try:
        julia = start_julia(arguments[3], status)
        from .operations import Operations

        operations = Operations(julia.MessagePassingNODE.Bridge)
        operations.watch(control.address)
        failure = translator(julia)
        facts = operations.versions()
    except BaseException as error:
        trace = traceback.format_exc()
        sys.stderr.write(trace)
        first = (str(error).splitlines() or [""])[0]
        link.send(
            {"kind": "failed", "type": type(error).__name__, "message": first, "trace": trace}
        )
        return
    facts["seconds"] = time.perf_counter() - began
    link.send({"kind": "ready", "facts": facts})
    serve(link, control, operations, failure)
