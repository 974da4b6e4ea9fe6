"""Options of the worker process, and the environment variables that pass them to Julia."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ....errors import InvalidOption, unknown_name

PREFIX = "PYMPNODE_JULIA_"


@dataclass(frozen=True)
class JuliaOptions:
    """How Julia is started.

    ``executable``: path of the julia to use instead of the one that juliapkg finds or downloads.
    ``project``: folder of your Julia project with the packages and PythonCall, which juliapkg does
    not change. ``environment``: folder of juliapkg's project (default: inside the Python
    environment). ``depot``: folder of Julia's packages. ``threads``: a number or "auto".
    ``offline``: download nothing.

    The environment variables PYMPNODE_JULIA_EXECUTABLE, ... override the options that ``pympnode
    julia install`` recorded. Raises `InvalidOption`.
    """

    executable: str | None = None
    project: str | None = None
    environment: str | None = None
    depot: str | None = None
    threads: str = "1"
    offline: bool = False

    def __post_init__(self) -> None:
        threads = str(self.threads)
        if threads != "auto" and not (threads.isdigit() and int(threads) >= 1):
            raise InvalidOption(
                "threads of Julia is a number",
                got=repr(self.threads),
                allowed='1, 2, ... or "auto"',
                fix=f"set {PREFIX}THREADS=1",
            )
        object.__setattr__(self, "threads", threads)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> JuliaOptions:
        """Options by name. Raises `UnknownName`, `InvalidOption`."""
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                raise unknown_name("option of Julia", name, names)
        return cls(**dict(values))

    def with_variables(self, variables: Mapping[str, str] | None = None) -> JuliaOptions:
        """These options, overridden by PYMPNODE_JULIA_* variables."""
        variables = os.environ if variables is None else variables
        changes: dict[str, Any] = {}
        for field in fields(self):
            value = variables.get(PREFIX + field.name.upper())
            if value:
                changes[field.name] = _yes(field.name, value) if field.name == "offline" else value
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """The options by name."""
        return asdict(self)

    def variables(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of the worker: ``base`` and the variables of juliacall, juliapkg and Julia.

        Raises `InvalidOption` when a project is given and no julia can be found for it.
        """
        env = dict(os.environ if base is None else base)
        # Signals are handled by Julia, whose threads need that and whose crashes then leave a trace.
        # Ctrl-C does not reach the worker, which runs in a separate session.
        env["PYTHON_JULIACALL_HANDLE_SIGNALS"] = "yes"
        env["PYTHON_JULIACALL_THREADS"] = self.threads
        env["PYTHON_JULIACALL_STARTUP_FILE"] = "no"
        env["PYTHON_JULIACALL_AUTOLOAD_IPYTHON_EXTENSION"] = "no"
        env.setdefault("JULIA_CONDAPKG_BACKEND", "Null")
        # Julia's threads share the batch; the matrices of each are too narrow for threads of BLAS.
        env.setdefault("OPENBLAS_NUM_THREADS", "1")
        if self.offline:
            env["PYTHON_JULIAPKG_OFFLINE"] = "yes"
            env["JULIA_PKG_OFFLINE"] = "true"
        if self.depot:
            env["JULIA_DEPOT_PATH"] = self.depot
        if self.environment:
            env["PYTHON_JULIAPKG_PROJECT"] = os.path.abspath(self.environment)
        for name in ("PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT"):
            # juliacall requires both or neither, and refuses empty values
            if self.project or not env.get(name):
                env.pop(name, None)
        if self.project:
            executable = self.executable or shutil.which("julia", path=env.get("PATH"))
            if not executable:
                raise InvalidOption(
                    "project= needs executable= too",
                    got=f"project {self.project!r}, no executable, no julia on PATH",
                    allowed="both",
                    fix=f"set {PREFIX}EXECUTABLE=/path/to/julia",
                )
            env["PYTHON_JULIACALL_EXE"] = executable
            env["PYTHON_JULIACALL_PROJECT"] = os.path.abspath(self.project)
        elif self.executable:
            env["PYTHON_JULIAPKG_EXE"] = self.executable
        return env


def _yes(name: str, value: str) -> bool:
    known = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
    if value.lower() not in known:
        raise InvalidOption(
            f"{PREFIX}{name.upper()} is yes or no", got=repr(value), allowed="yes, no"
        )
    return known[value.lower()]
