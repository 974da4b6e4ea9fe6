"""Progress is shown in terminals and notebooks, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

import pympnode
from pympnode.training import progress

SMALL: dict[str, Any] = dict(
    system="kuramoto", nodes=5, topology="ring", trajectories=12, steps=6, hidden=4, kernel="eager"
)
CODE = f"import pympnode; pympnode.train(**{SMALL!r}, epochs=3)"


def test_silent_where_the_output_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    pympnode.train(**SMALL, epochs=3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_bar_with_loss_and_time_left_in_a_terminal() -> None:
    import fcntl
    import struct
    import termios

    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", CODE], stdout=writer, stderr=writer)
    os.close(writer)
    seen = b""
    while True:
        try:
            part = os.read(reader, 4096)
        except OSError:  # what Linux says when the other side closed
            break
        if not part:
            break
        seen += part
    assert process.wait(timeout=60) == 0
    text = seen.decode()
    assert "kuramoto" in text and "loss=" in text and "best=" in text and "100%" in text


class Recorder(progress.Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.updates: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def update(self, done: int, facts: dict[str, Any]) -> None:
        self.updates.append(done)
        assert {"epoch", "loss", "best"} <= facts.keys()


def test_the_paper_preset_shows_its_expected_time_first(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(progress, "default", lambda: recorder)
    result = pympnode.train(**{**SMALL, "hidden": None}, preset="paper", epochs=2)
    assert len(recorder.notes) == 1 and "about" in recorder.notes[0]
    assert recorder.updates == list(range(1, result.updates + 1))
    recorder.notes.clear()
    pympnode.train(**SMALL, epochs=1)
    assert recorder.notes == []


def test_plain_text_in_a_notebook_without_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    assert isinstance(progress.default(), progress.Bar)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    import tqdm

    assert progress._tqdm() is tqdm.tqdm


def test_one_bar_serves_trainings_and_datasets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    pympnode.simulate("gravity", particles=4, trajectories=3, steps=2, progress=True)
    text = capsys.readouterr().err
    assert "gravity" in text and "3/3" in text and "trajectory/s" in text
    assert isinstance(progress.progress_of(None), progress.Silent)
    assert isinstance(progress.progress_of(True), progress.Bar)
