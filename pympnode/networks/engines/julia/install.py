"""Installation of the Julia engine for this Python environment, and its status."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from ....errors import EngineUnavailable
from . import installed
from .client import JuliaClient
from .executable import check_start
from .failures import NO_JULIACALL
from .notice import notice
from .options import JuliaOptions
from .sources import julia_sources


def install(options: JuliaOptions) -> Path:
    """Start a worker, for which juliapkg downloads Julia and the packages, and record the success.

    Returns the path of the record. Raises `EngineUnavailable` with advice where it fails.
    """
    if importlib.util.find_spec("juliacall") is None:
        raise EngineUnavailable(
            "the Julia engine needs juliacall", got="not installed", fix=NO_JULIACALL
        )
    check_start(options)
    notice(
        "fetching Julia and about 350 packages into this environment; the first time this takes "
        "10 to 30 minutes and 4 GB, most of it compiling"
    )
    client = JuliaClient(options)
    try:
        client.start()
        facts = client.facts
    finally:
        client.close()
    return installed.write(options, facts)


def describe(*, start: bool = False) -> dict[str, Any]:
    """The status and options of the Julia engine by name; with ``start`` also its versions."""
    record = installed.read()
    options = installed.options()
    facts: dict[str, Any] = {
        "installed": record is not None,
        "record": record["path"] if record else None,
        "juliacall": juliacall_version(),
        "sources": str(julia_sources()),
        **options.as_dict(),
    }
    if record:
        facts["versions"] = record["facts"]
    if start:
        client = JuliaClient(options)
        try:
            facts["versions"] = client.start().facts
        finally:
            client.close()
    return facts


def juliacall_version() -> str | None:
    """The version of juliacall, None where it is not installed. Imports nothing."""
    try:
        return importlib.metadata.version("juliacall")
    except importlib.metadata.PackageNotFoundError:
        return None
