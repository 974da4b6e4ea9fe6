"""The engines that the conformance suite runs over, and what makes one absent."""

from __future__ import annotations

import atexit
import functools
import os
from typing import Any

import pytest

REQUIRED = "PYMPNODE_REQUIRE_JULIA"
ENGINES = ["torch", "stand-in", "julia"]


@functools.cache
def _stand_in() -> Any:
    from julia_stand_in import COMMAND

    from pympnode.networks.engines.julia.client import JuliaClient
    from pympnode.networks.engines.julia.engine import JuliaEngine
    from pympnode.networks.engines.julia.options import JuliaOptions

    client = JuliaClient(JuliaOptions(), COMMAND)
    atexit.register(client.close)
    return JuliaEngine(client)


@functools.cache
def _julia() -> tuple[Any, str]:
    """The real engine, or the reason why there is none. Starts Julia only if it was requested."""
    from pympnode.errors import PympnodeError
    from pympnode.networks.engines.julia import installed
    from pympnode.networks.engines.julia.client import shared
    from pympnode.networks.engines.julia.engine import JuliaEngine
    from pympnode.networks.engines.julia.options import PREFIX

    asked = installed.read() is not None or os.environ.get(REQUIRED) == "1"
    if not asked and not any(name.startswith(PREFIX) for name in os.environ):
        return None, (
            "Julia is not installed for this environment: run `pympnode julia install`, or name "
            f"yours with {PREFIX}EXECUTABLE and {PREFIX}PROJECT"
        )
    try:
        shared().start()
    except PympnodeError as error:
        return None, f"no Julia answers: {error}"
    return JuliaEngine(), ""


def engine_under_test(name: str) -> Any:
    """The engine, or a skip with the reason; a failure where Julia is required."""
    if name == "torch":
        from pympnode.networks.engines.torch.engine import TorchEngine

        return TorchEngine()
    if name == "stand-in":
        if os.name != "posix":
            pytest.skip("the worker needs Unix sockets")
        return _stand_in()
    engine, reason = _julia()
    if engine is None:
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(f"{REQUIRED}=1 and {reason}")
        pytest.skip(reason)
    return engine
