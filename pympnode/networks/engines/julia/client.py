"""``JuliaClient``: one worker process, started at first use, kept running, replaced when it ends."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ....errors import EngineUnavailable
from . import failures, installed
from .executable import check_start
from .notice import notice
from .options import JuliaOptions
from .protocol import Closed, Control, Link
from .sources import julia_sources

logger = logging.getLogger("pympnode.networks.engines.julia")

ROOT = str(Path(__file__).resolve().parents[4])
# The worker imports the same copy of the package; its folder stays on sys.path, where juliapkg looks
# for juliapkg.json, but last, so that it hides no other package.
SCRIPT = (
    "import sys; sys.path.insert(0, sys.argv[1]); import pympnode; "
    "sys.path.append(sys.path.pop(0)); "
    "from pympnode.networks.engines.julia.worker import main; main(sys.argv[2:])"
)


LOG_PREFIX, FAILED_PREFIX = "pympnode-julia-", "pympnode-julia-failed-"
KEPT_LOGS = 5  # of failed starts


class JuliaClient:
    """Calls to a worker process.

    ``options``: how Julia is started. ``command``: run instead of the real worker (by tests), with
    three descriptors and the folder of the Julia sources as further arguments.
    """

    def __init__(
        self, options: JuliaOptions | None = None, command: Sequence[str] | None = None
    ) -> None:
        self.options = options or installed.options()
        self._is_real = command is None
        self.command = list(command) if command else [sys.executable, "-c", SCRIPT, ROOT]
        self.generation = 0  # number of workers so far: programs of an older one are lost
        self.facts: dict[str, Any] = {}
        self.log = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._number = 0
        self._release: list[tuple[int, int]] = []
        self._lock = threading.RLock()
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """Process number of the worker, None where none runs."""
        return self._process.pid if self._is_running() and self._process else None

    # ---- calls --------------------------------------------------------------------------------

    def call(self, operation: str, **arguments: Any) -> Any:
        """The result of an operation of the worker (see `Operations`).

        Ctrl-C interrupts the call and raises KeyboardInterrupt, and the worker keeps running; a second
        Ctrl-C ends the worker. Raises `JuliaRuntimeError` for an error in Julia and for a worker that
        ends; the next call starts another. Raises `EngineUnavailable` where none can be started.
        """
        with self._lock:
            self.start()
            self._number += 1
            number = self._number
            released = [n for generation, n in self._release if generation == self.generation]
            self._release.clear()
            message = {
                "kind": "call",
                "number": number,
                "operation": operation,
                "arguments": arguments,
                "release": released,
            }
            try:
                self._link.send(message)
                answer = self._receive(number)
            except Closed:
                self._raise_death()
            except Interrupted:
                raise KeyboardInterrupt from None
            except KeyboardInterrupt:
                self.kill()  # in the middle of a frame: the next one could not be read
                raise
            if answer["kind"] == "error":
                logger.debug("the call %s failed:\n%s", operation, answer["trace"])
                self._append_log(answer["trace"])
                raise failures.of_call(answer["type"], answer["message"], answer["trace"], self.log)
            return answer["result"]

    def release(self, generation: int, program: int) -> None:
        """Release a program of the worker with the next call; sends no message, for finalisers."""
        self._release.append((generation, program))

    def _receive(self, number: int) -> dict[str, Any]:
        """The answer to call ``number``; Ctrl-C meanwhile interrupts the call."""
        interrupted = False
        waiting = select.poll()  # select fails for descriptors above 1,023
        waiting.register(self._link, select.POLLIN)
        while True:
            try:
                waiting.poll()
            except KeyboardInterrupt:
                if interrupted:
                    self.kill()
                    raise
                interrupted = True
                self._control.end(number)
                notice("interrupting Julia; press Ctrl-C again to end its process")
                continue
            answer = self._link.receive()
            if interrupted:
                raise Interrupted
            return answer

    # ---- the process --------------------------------------------------------------------------

    def start(self) -> JuliaClient:
        """Start the worker unless it runs. Raises `EngineUnavailable`."""
        with self._lock:
            if self._owner not in (0, os.getpid()):
                self._reset()  # after a fork: the worker belongs to the parent process
            if self._is_running():
                return self
            self._reset()
            try:
                self._launch()
            except BaseException:
                self.kill()
                self._keep_log()
                raise
            return self

    def _launch(self) -> None:
        if not hasattr(socket, "send_fds") or os.name != "posix":
            raise EngineUnavailable(
                "the Julia engine needs Unix sockets",
                got=sys.platform,
                allowed="Linux, macOS, or the Windows subsystem for Linux",
                fix='engine="torch" runs the same models here',
            )
        if self._is_real:
            check_start(self.options)
        environment = self.options.variables()
        sources = str(julia_sources())
        handle, self.log = tempfile.mkstemp(prefix=LOG_PREFIX, suffix=".log")
        connection, of_worker = socket.socketpair()
        watched, self._lifeline = os.pipe()
        self._control = Control()
        inherited = [of_worker.fileno(), self._control.fd, watched]
        notice(
            "starting Julia in a separate process (about 10 s; minutes the first time, when packages "
            f"are fetched and compiled; log: {self.log})"
        )
        began = time.perf_counter()
        self._owner, self._link = os.getpid(), Link(connection)
        try:
            self._process = subprocess.Popen(
                [*self.command, *map(str, inherited), sources],
                pass_fds=inherited,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
                start_new_session=True,  # Ctrl-C of the terminal reaches this process alone
            )
        finally:
            os.close(handle)
            of_worker.close()
            os.close(watched)
        self.generation += 1
        self._handshake(began)

    def _handshake(self, began: float) -> None:
        while True:
            try:
                message = self._link.receive()
            except Closed:
                self._keep_log()
                tail = self._tail()
                raise failures.of_start("", "", tail, self.log, self.options) from None
            if message["kind"] == "failed":
                self._keep_log()
                raise failures.of_start(
                    message["type"],
                    message["message"],
                    message["trace"] + self._tail(),
                    self.log,
                    self.options,
                )
            if message["kind"] == "ready":
                self.facts = message["facts"]
                self.facts["start_seconds"] = time.perf_counter() - began
                notice(f"Julia {self.facts.get('julia', '')} is ready")
                return
            notice(f"{message['text']} ({time.perf_counter() - began:.0f} s)")

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _raise_death(self) -> NoReturn:
        """Raise the error for a worker that ended during a call."""
        assert self._process is not None
        code: int | None
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = None
        error = failures.of_death(code, self.log, self._tail())
        self._reset()
        raise error

    def kill(self) -> None:
        """End the worker at once."""
        with self._lock:
            if self._process is not None and self._owner == os.getpid():
                self._process.kill()
                self._process.wait()
            self._reset()

    def close(self) -> None:
        """Let the worker finish and end; the next call starts another."""
        with self._lock:
            if self._owner == os.getpid() and self._is_running():
                assert self._process is not None
                with contextlib.suppress(Closed, OSError):
                    self._link.send({"kind": "quit"})
                try:
                    self._process.wait(5)
                    with contextlib.suppress(OSError):
                        os.unlink(self.log)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            self._reset()

    def _reset(self) -> None:
        """Close the connection to the worker and forget it."""
        if self._owner:
            self._link.close()
            self._control.close()
            with contextlib.suppress(OSError):
                os.close(self._lifeline)
        self._process, self._owner = None, 0

    def _keep_log(self) -> None:
        """Mark the log as that of a failed start, and remove all but the last of these."""
        log = Path(self.log)
        if not self.log or log.name.startswith(FAILED_PREFIX) or not log.is_file():
            return
        with contextlib.suppress(OSError):
            self.log = str(
                log.rename(log.with_name(log.name.replace(LOG_PREFIX, FAILED_PREFIX, 1)))
            )
        user = os.getuid() if hasattr(os, "getuid") else None
        found: list[tuple[int, Path]] = []
        for each in log.parent.glob(f"{FAILED_PREFIX}*.log"):
            with contextlib.suppress(OSError):
                status = each.lstat()
                if user is None or status.st_uid == user:
                    found.append((status.st_mtime_ns, each))
        for _, each in sorted(found)[:-KEPT_LOGS]:
            with contextlib.suppress(OSError):
                each.unlink()

    def _tail(self, size: int = 8000) -> str:
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, os.path.getsize(self.log) - size))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""

    def _append_log(self, text: str) -> None:
        with contextlib.suppress(OSError), open(self.log, "a", encoding="utf-8") as file:
            file.write(text + "\n")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C that interrupted a call whose answer has been read: the worker is still usable."""


_shared: JuliaClient | None = None


def shared() -> JuliaClient:
    """The client of this process; a new one when the options have changed."""
    global _shared
    wanted = installed.options()
    if _shared is None or _shared.options != wanted:
        if _shared is not None:
            _shared.close()
        _shared = JuliaClient(wanted)
    return _shared
