"""What every script here shares: where results go, and ``--smoke``, which runs all of it in seconds."""

from __future__ import annotations

import argparse
import atexit
import tempfile
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def parse(parser: argparse.ArgumentParser, **small: Any) -> argparse.Namespace:
    """The options of a script with ``smoke`` (bool) and ``results`` (folder of tables) added.

    ``small``: defaults of options under ``--smoke``; what the command line gives still wins. Results
    of such a run go to a temporary folder, which is removed at the end: the code that writes them runs,
    and the measured ones stay.
    """
    parser.add_argument(
        "--smoke", action="store_true", help="smallest sizes, in seconds; no results are kept"
    )
    if parser.parse_known_args()[0].smoke:
        folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        atexit.register(folder.cleanup)
        parser.set_defaults(**small, results=Path(folder.name))
    else:
        parser.set_defaults(results=RESULTS)
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    return options
