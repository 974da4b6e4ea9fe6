"""Groups of processes for tests, forked from one that has imported the package.

A process of its own spends seconds of CPU time on imports, many times what a small training takes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pympnode

ROOT = Path(pympnode.__file__).parents[1]

# Preparing imports all that a training needs and starts no thread, which a fork would lose. A child
# ends without taking its interpreter down, which costs a second of CPU time; its exit code and its
# traceback are those of any script.
_SERVER = """
import json, os, signal, socket, sys, tempfile, time, traceback
import torch.distributed
import pympnode
from pympnode.networks.half import NETWORKS
from pympnode.networks.options import NetworkTraining
from pympnode.particles.half import PARTICLES
from pympnode.particles.options import ParticleTraining

short = dict(updates=1, device="cpu", trajectories=4, steps=2)
of_networks = NetworkTraining(nodes=4, topology="BA", kernel="torch", **short)
NETWORKS.prepare("kuramoto", None, of_networks, None)
PARTICLES.prepare("gravity", None, ParticleTraining(particles=3, kernel="eager", **short), None)

def forked(job):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    size, children = job["size"], []
    for rank in range(size):
        out = tempfile.TemporaryFile("w+")
        pid = os.fork()
        if pid == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            if size > 1:
                os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1",
                                  MASTER_PORT=str(port))
            os.environ.update(job["environment"])
            sys.argv[1:] = job["arguments"]
            return None
        children.append((pid, out))
    codes, late = {}, time.monotonic() + job["seconds"]
    while len(codes) < size:
        for pid, _ in children:
            if pid not in codes:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    codes[pid] = os.waitstatus_to_exitcode(status)
                elif time.monotonic() > late:
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    found = []
    for pid, out in children:
        out.seek(0)
        found.append((codes[pid], out.read()))
    return found

def ended(script):
    code = 1
    try:
        exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})
        code = 0
    except KeyboardInterrupt:
        traceback.print_exc()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    job = json.loads(line)
    found = forked(job)
    if found is None:
        ended(job["script"])
    print(json.dumps(found), flush=True)
os._exit(0)
"""


class Groups:
    """Starts groups of processes; a context, which ends the process that they are forked from."""

    def __init__(self) -> None:
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        environment = {n: v for n, v in os.environ.items() if n not in names}
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            env={**environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Groups:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(30)

    def run(self, size: int, script: str, *arguments: str, **environment: str) -> list[Any]:
        """The script in processes that meet; each with its exit code and output."""
        job = dict(
            size=size, script=script, arguments=arguments, environment=environment, seconds=300
        )
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        return [(code, text) for code, text in json.loads(self._server.stdout.readline())]
