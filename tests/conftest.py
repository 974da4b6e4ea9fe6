"""Where the golden files are, and what every test may use."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from golden_files import SELECTION

if TYPE_CHECKING:
    from process_groups import Groups

# Before torch and NumPy are imported: tests are small, and where another program keeps a core busy two
# threads that wait for each other are fifty times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np


def pytest_configure(config: pytest.Config) -> None:
    """Tests send Ctrl-C; a runner in the background may have been started with it ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def ctrl_c_after() -> Iterator[Callable[[float], None]]:
    """``ctrl_c_after(seconds)`` sends SIGINT to this process, unless the test has ended by then."""
    timers: list[threading.Timer] = []

    def send(seconds: float) -> None:
        timers.append(threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)))
        timers[-1].start()

    yield send
    for timer in timers:
        timer.cancel()


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """The folder of golden numbers, or where it is absent the selection in ``tests/golden``.

    Tests of files that the selection lacks skip with the reason (see `golden_files`).
    """
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "reference"
    folder = Path(os.environ.get("PYMPNODE_REFERENCE_DIR", default))
    return folder if folder.is_dir() else SELECTION


@pytest.fixture(scope="session")
def groups() -> Iterator[Groups]:
    """Groups of processes, all forked from one that has imported the package (see `process_groups`)."""
    from process_groups import Groups

    with Groups() as found:
        yield found


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
