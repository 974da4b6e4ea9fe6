"""A worker without Julia: the real loop and the real operations over a bridge written in Python.

The bridge takes what Julia would: arrays with their axes reversed, one-based numbers. It answers with
the torch engine, so that everything on the Python side of the bridge is tested against golden files.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
COMMAND = [
    sys.executable,
    "-c",
    f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(HERE)!r}]; "
    "from julia_stand_in import main; main(sys.argv[1:])",
]


class Refused(Exception):
    """Stands for a Julia error."""


class Stopped(Exception):
    """Stands for an interruption in Julia."""


class Bridge:
    """What `MessagePassingNODE.Bridge` answers, from torch."""

    def __init__(self, control: Any) -> None:
        self.control = control

    def watch(self, address: int) -> None:
        assert address == self.control.address

    def versions(self) -> dict[str, Any]:
        return {"julia": "none", "threads": 1}

    def program(self, **options: Any) -> Any:
        return Program(options)

    def bind(self, program: Any, x: Any, time: Any, *graph_and_of: Any, **inputs: Any) -> None:
        from pympnode.networks.schema import Arrays

        graph, of = unnumber(*graph_and_of)
        u, attribute, mask = (inputs[name] for name in ("u", "attribute", "mask"))
        program.data.append(
            Arrays(
                fortran(x),
                np.asarray(time),
                graph,
                of,
                None if u is None else fortran(u),
                None if attribute is None else fortran(attribute),
                None if mask is None else fortran(mask) > 0.5,
            )
        )

    def loss_and_gradient(self, program: Any, *args: Any) -> dict[str, Any]:
        value, gradient = program.made().loss_and_gradient(args[0], batch(*args[1:]))
        return {"loss": value, "gradient": gradient}

    def loss(self, program: Any, *args: Any) -> float:
        return program.made().loss(args[0], batch(*args[1:]))

    def rollout(
        self, program: Any, theta: Any, x0: Any, time: Any, *graph: Any, **inputs: Any
    ) -> Any:
        union, of = unnumber(*graph)
        rollout = program.made().rollout(
            theta, fortran(x0), union, np.asarray(time), graph_of=of, **given(inputs)
        )
        return np.concatenate([rollout.state, rollout.message], axis=-1).T

    def field(self, program: Any, theta: Any, z: Any, *graph: Any, **inputs: Any) -> Any:
        union, of = unnumber(*graph)
        return program.made().field(theta, fortran(z), union, graph_of=of, **given(inputs)).T

    def simulate(
        self, system: str, x0: Any, time: Any, *graph: Any, **options: Any
    ) -> dict[str, Any]:
        from pympnode.networks.integrate import integrate
        from pympnode.systems.registry import get

        u, tolerance = options.pop("u"), options.pop("tolerance")
        options.pop("maxiters")
        union, _ = unnumber(*graph, np.ones(1, np.int64))
        kind = get("kuramoto_controlled" if u is not None else system)
        values = {n: fortran(v) if isinstance(v, np.ndarray) else v for n, v in options.items()}
        made = integrate(
            kind.bind(union, kind.resolve_parameters(values, union)),
            fortran(x0),
            np.asarray(time),
            controls=None if u is None else fortran(u),
            rtol=tolerance,
            atol=tolerance,
            check=False,
        )
        code = np.where(made.status == 0, "Success", "Unstable")
        return {
            "x": made.x.T,
            "retcode": ",".join(code),
            "evaluations": made.evaluations,
            "accepted": made.steps,
            "rejected": made.rejected,
        }


class Program:
    """A model and its data, bound to torch when it is first asked."""

    def __init__(self, options: dict[str, Any]) -> None:
        from pympnode.networks.spec import ModelSpec

        self.dtype = options.pop("dtype")
        self.adjoint = options.pop("adjoint")
        options.pop("tolerance"), options.pop("horizon")
        self.spec = ModelSpec(**options)
        self.data: list[Any] = []
        self.bound: Any = None

    def made(self) -> Any:
        from pympnode.networks.engines.torch.engine import TorchEngine

        if self.bound is None:
            self.bound = TorchEngine().bind(
                self.spec, self.data, dtype=self.dtype, device="cpu", kernel="eager"
            )
        return self.bound


def fortran(array: Any) -> np.ndarray:
    """An array of Julia in the axis order of Python; it must have been passed without a copy."""
    assert array.flags.f_contiguous
    return array.T


def unnumber(sender: Any, receiver: Any, nodes: Any, of: Any) -> tuple[Any, np.ndarray]:
    from pympnode.graph import Graph

    for numbers in (sender, receiver, of):
        assert not numbers.size or numbers.min() >= 1
    return Graph(sender - 1, receiver - 1, nodes), of - 1


def batch(which: Any, start: Any, horizon: int) -> Any:
    from pympnode.networks.engines.base import Batch

    assert which.min() >= 1 and start.min() >= 1
    return Batch(which - 1, start - 1, horizon)


def given(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value is None else fortran(value) for name, value in inputs.items()}


def main(arguments: list[str]) -> None:
    connection, words, lifeline = (int(a) for a in arguments[:3])
    from pympnode.networks.engines.julia.worker import serve, watch_parent

    watch_parent(lifeline)
    from pympnode.networks.engines.julia.operations import Operations
    from pympnode.networks.engines.julia.protocol import Control, Link

    link, control = Link(socket.socket(fileno=connection)), Control(words)
    mode = os.environ.get("STAND_IN", "")
    if mode == "cannot start":
        sys.stderr.write("ERROR: could not load library\n")
        return
    if mode.startswith("fails: "):
        kind, _, text = mode.removeprefix("fails: ").partition(" ")
        link.send({"kind": "failed", "type": kind, "message": text, "trace": text})
        return

    class Testing(Operations):
        def echo(self, **values: Any) -> dict[str, Any]:
            return values

        def die(self) -> None:
            sys.stderr.write("signal (11): Segmentation fault\n")
            sys.stderr.flush()
            os.kill(os.getpid(), 9)

        def raises(self, kind: str, text: str) -> None:
            raise {"Refused": Refused, "InputError": type("InputError", (Exception,), {})}[kind](
                text
            )

        def lasts(self, seconds: float) -> str:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if control.asked:
                    raise type("Interrupted", (Exception,), {})
                time.sleep(0.01)
            return "slept"

        def hangs(self, seconds: float) -> None:
            time.sleep(seconds)

    def failure(error: BaseException) -> dict[str, str]:
        import traceback

        first = (str(error).splitlines() or [""])[0]
        return {"type": type(error).__name__, "message": first, "trace": traceback.format_exc()}

    operations = Testing(Bridge(control))
    operations.watch(control.address)
    link.send({"kind": "status", "text": "starting"})
    link.send({"kind": "ready", "facts": operations.versions()})
    serve(link, control, operations, failure)
