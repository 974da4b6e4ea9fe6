"""Where the golden files are, and what every test may use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Tests send Ctrl-C; a runner in the background may have been started with it ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """The folder of golden numbers; tests that need it skip with the reason where it is absent."""
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "reference"
    folder = Path(os.environ.get("PYMPNODE_REFERENCE_DIR", default))
    if not folder.is_dir():
        pytest.skip(
            f"no golden files: {folder} is no folder (set PYMPNODE_REFERENCE_DIR to the one that is)"
        )
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
