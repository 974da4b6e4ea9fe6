"""Worker processes that make trajectories of a folder's recipe; see `worker.py` for their side."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from ..errors import IntegrationFailed


def computed(folder: Path, jobs: list[int], workers: int) -> Iterator[int]:
    """Numbers of the trajectories as they are finished; raises what a worker met."""
    if not jobs:
        return
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    crew = [
        subprocess.Popen(
            [sys.executable, "-m", "pympnode.particles.worker", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(workers)
    ]
    answers: queue.Queue[tuple[subprocess.Popen, str]] = queue.Queue()
    for one in crew:
        threading.Thread(target=_listen, args=(one, answers), daemon=True).start()
    todo = iter(jobs)
    try:
        for one in crew:
            _ask(one, next(todo, None))
        for _ in jobs:
            one, line = answers.get()
            done = _answer(one, line)
            _ask(one, next(todo, None))
            yield done
    finally:
        for one in crew:
            one.kill()
            one.wait()
            for stream in (one.stdin, one.stdout, one.stderr):
                if stream is not None:
                    stream.close()


def _listen(one: subprocess.Popen, answers: queue.Queue) -> None:
    assert one.stdout is not None
    try:
        for line in one.stdout:
            answers.put((one, line))
    except ValueError:
        return  # closed at the end of the run
    answers.put((one, ""))


def _ask(one: subprocess.Popen, index: int | None) -> None:
    assert one.stdin is not None
    if index is None:
        one.stdin.close()
        return
    one.stdin.write(json.dumps({"trajectory": index}) + "\n")
    one.stdin.flush()


def _answer(one: subprocess.Popen, line: str) -> int:
    if not line:
        assert one.stderr is not None
        raise RuntimeError(f"a worker process ended: {one.stderr.read()[-2000:]}")
    answer = json.loads(line)
    if "error" in answer:
        raise IntegrationFailed(answer["error"], got=answer.get("got"), fix=answer.get("fix"))
    return int(answer["done"])
