"""The conversation with the worker process, against a stand-in that needs no Julia."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from julia_stand_in import COMMAND, ROOT

from pympnode.errors import EngineUnavailable, InvalidOption, JuliaRuntimeError
from pympnode.networks.engines.julia.client import JuliaClient
from pympnode.networks.engines.julia.options import JuliaOptions
from pympnode.networks.engines.julia.protocol import INLINE

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the protocol needs Unix sockets")


@pytest.fixture
def client() -> Iterator[JuliaClient]:
    made = JuliaClient(JuliaOptions(), COMMAND)
    yield made
    made.close()


@pytest.fixture(scope="module")
def living() -> Iterator[JuliaClient]:
    """A client whose worker several tests share: their calls leave it as it was."""
    made = JuliaClient(JuliaOptions(), COMMAND)
    yield made
    made.close()


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process has ended (a zombie has)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            try:
                os.kill(pid, 0)
                state = "R"
            except ProcessLookupError:
                return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("size", [0, 1, INLINE // 8 + 5, 3 * INLINE])
def test_arrays_cross_unchanged(living: JuliaClient, dtype: str, size: int) -> None:
    array = (np.arange(size * 2).reshape(size, 2) % 7).astype(dtype)
    back = living.call("echo", a=array, nested={"b": [array.T, 1.5, "text", None, True]})
    np.testing.assert_array_equal(back["a"], array)
    assert back["a"].dtype == array.dtype and back["a"].flags.writeable
    np.testing.assert_array_equal(back["nested"]["b"][0], array.T)
    assert back["nested"]["b"][1:] == [1.5, "text", None, True]


def test_the_arena_grows_and_is_used_again(client: JuliaClient) -> None:
    answers = []
    for size in (INLINE, 10, 4 * INLINE, 2 * INLINE, 16 * INLINE):
        array = np.random.default_rng(size).standard_normal(size)
        answers.append((array, client.call("echo", a=array)["a"]))
    for sent, received in answers:  # an answer must not be overwritten by a later one
        np.testing.assert_array_equal(sent, received)


def test_objects_do_not_cross(living: JuliaClient) -> None:
    with pytest.raises(TypeError):
        living.call("echo", a=np.array([object()]))
    with pytest.raises(TypeError):
        living.call("echo", a=object())
    assert living.call("ping") == {}


def test_an_error_is_typed_and_the_worker_lives_on(living: JuliaClient) -> None:
    living.start()
    pid = living.pid
    with pytest.raises(JuliaRuntimeError, match="Refused: the first line") as caught:
        living.call("raises", kind="Refused", text="the first line\nand more")
    assert "and more" in caught.value.trace and "and more" in Path(caught.value.log).read_text()
    assert isinstance(caught.value, RuntimeError)
    with pytest.raises(InvalidOption, match="d is 0"):
        living.call("raises", kind="InputError", text="d is 0")
    assert living.pid == pid and living.call("ping") == {}


def test_a_worker_that_dies_is_replaced(client: JuliaClient) -> None:
    client.start()
    first = client.pid
    with pytest.raises(JuliaRuntimeError, match="signal 9") as caught:
        client.call("die")
    assert "Segmentation fault" in str(caught.value)
    assert "Segmentation fault" in caught.value.trace
    assert client.call("ping") == {} and client.pid not in (None, first)
    assert client.generation == 2
    os.kill(client.pid or 0, signal.SIGKILL)  # between calls
    time.sleep(0.2)
    assert client.call("ping") == {} and client.generation == 3


def test_interrupt_ends_the_call_and_keeps_the_worker(
    client: JuliaClient, ctrl_c_after: Callable[[float], None]
) -> None:
    client.start()
    pid = client.pid
    ctrl_c_after(0.5)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.call("lasts", seconds=30)
    assert time.monotonic() - began < 15
    assert client.pid == pid and client.call("echo", a=1) == {"a": 1}


def test_second_interrupt_ends_a_worker_that_does_not_listen(
    client: JuliaClient, ctrl_c_after: Callable[[float], None]
) -> None:
    client.start()
    pid = client.pid or 0
    for after in (0.5, 1.0):
        ctrl_c_after(after)
    with pytest.raises(KeyboardInterrupt):
        client.call("hangs", seconds=60)
    assert gone(pid) and client.call("ping") == {}


def test_one_client_serves_many_threads(client: JuliaClient) -> None:
    answers: dict[int, object] = {}

    def ask(number: int) -> None:
        array = np.full(INLINE, number)
        answers[number] = client.call("echo", a=array)["a"]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        assert np.all(answers[number] == number)


CHILD = """
import sys, os, time
sys.path[:0] = [{root!r}, {tests!r}]
from julia_stand_in import COMMAND
from pympnode.networks.engines.julia.client import JuliaClient
from pympnode.networks.engines.julia.options import JuliaOptions
import numpy as np
client = JuliaClient(JuliaOptions(), COMMAND)
client.call("echo", a=np.zeros(1 << 20))
print(client.pid, flush=True)
{then}
"""


@pytest.mark.parametrize(
    "then",
    ["os.kill(os.getpid(), 9)", "client.call('hangs', seconds=60)", "sys.exit(0)"],
    ids=["killed", "killed in a call", "exits"],
)
def test_the_worker_ends_with_its_parent(then: str) -> None:
    script = CHILD.format(root=str(ROOT), tests=str(Path(__file__).parent), then=then)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    if "hangs" in then:
        time.sleep(0.5)
        parent.kill()
    parent.wait(20)
    parent.stdout.close()
    assert gone(pid)


def test_shared_memory_has_no_name(client: JuliaClient) -> None:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        pytest.skip("no /dev/shm here")
    before = set(folder.iterdir())
    client.call("echo", a=np.zeros(1 << 20))
    left = {path.name for path in set(folder.iterdir()) - before}
    assert not [name for name in left if "pympnode" in name or name.startswith("psm_")]
    maps = Path(f"/proc/{client.pid}/maps").read_text()
    assert "memfd:pympnode-julia" in maps


def test_programs_are_released_with_the_next_call(client: JuliaClient) -> None:
    client.start()
    client.release(client.generation, 7)
    client.release(client.generation - 1, 8)
    assert client.call("ping") == {}
    assert client._release == []
    gc.collect()


def test_a_worker_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "cannot start")
    with pytest.raises(EngineUnavailable, match="could not load library"):
        JuliaClient(JuliaOptions(), COMMAND).start()


@pytest.mark.parametrize(
    ("failure", "options", "advice"),
    [
        ("ModuleNotFoundError No module named 'juliacall'", {}, "pympnode[julia]"),
        ("PermissionError [Errno 13] Permission denied: 'x'", {}, "PYMPNODE_JULIA_ENVIRONMENT"),
        ("OSError [Errno 30] Read-only file system: 'x'", {}, "PYMPNODE_JULIA_DEPOT"),
        ("Exception could not find Julia", {"offline": True}, "offline"),
        ("URLError <urlopen error timed out>", {}, "PYMPNODE_JULIA_EXECUTABLE"),
        ("JuliaError PythonCall not found", {"project": "/p", "executable": "/j"}, "/p"),
        ("JuliaError something else", {}, "pympnode julia status"),
    ],
)
def test_the_advice_fits_the_failure(
    monkeypatch: pytest.MonkeyPatch, failure: str, options: dict, advice: str
) -> None:
    monkeypatch.setenv("STAND_IN", f"fails: {failure}")
    with pytest.raises(EngineUnavailable) as caught:
        JuliaClient(JuliaOptions(**options), COMMAND).start()
    assert advice in str(caught.value)
    assert failure.split(" ", 1)[1][:15] in str(caught.value) or "juliacall" in failure


def test_the_worker_imports_no_torch() -> None:
    """What the real worker imports of this package, without juliacall.

    Importing `pympnode` registers ``ds.pympnode`` and with it loads xarray: about 0.25 s and 55 MB
    more than NumPy alone, beside the seconds and hundreds of MB of Julia itself.
    """
    code = (
        "import sys, json, pympnode\n"
        "from pympnode.networks.engines.julia import worker, operations, protocol\n"
        "print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    loaded = set(json.loads(out.stdout))
    assert not loaded & {"torch", "netCDF4", "matplotlib", "scipy", "numba", "networkx", "tqdm"}
