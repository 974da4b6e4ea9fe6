"""Whatever a user gives to a public function ends in a result or in a `PympnodeError`.

Each call has a time limit and a limit of address space. The default run takes 200 calls; 10,000 are
behind ``-m slow``; ``PYMPNODE_FUZZ=n`` takes n.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

hypothesis = pytest.importorskip("hypothesis")
pytest.importorskip("pandas")
resource = pytest.importorskip("resource")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import pympnode  # noqa: E402
from pympnode.cli import COMMANDS, status_of  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import calls  # noqa: E402

SECONDS = 10
BYTES = 2 << 30
EXAMPLES = int(os.environ.get("PYMPNODE_FUZZ", "200"))

pytestmark = pytest.mark.skipif(
    not pathlib.Path("/proc/self/status").exists(), reason="limits of this test are those of Linux"
)


class TooLong(BaseException):
    """A call that took longer than `SECONDS`."""


def _late(*_: object) -> None:
    raise TooLong


def _in_use() -> int:
    text = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if "VmSize" in line) * 1024


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Within it: `BYTES` more of address space, `SECONDS` of time, no warnings."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = {number: signal.signal(number, _late) for number in (signal.SIGPROF, signal.SIGALRM)}
    resource.setrlimit(resource.RLIMIT_AS, (_in_use() + BYTES, hard))
    # Of computing; and by the clock for a call that waits, as long as other programs may take turns.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 12 * SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import matplotlib

    matplotlib.use("Agg")
    with contextlib.chdir(tmp_path_factory.mktemp("fuzz")):
        for name in calls.CALLS:  # models and data are made outside of the limits
            calls.keywords_of(name)
        yield


@st.composite
def arguments(draw: Any) -> tuple[str, tuple[tuple[str, int], ...]]:
    """A call, and keywords of it with the numbers of hostile values."""
    name = draw(st.sampled_from(sorted(calls.CALLS)))
    keywords = calls.keywords_of(name)
    some = draw(st.lists(st.sampled_from(keywords), min_size=1, max_size=2, unique=True))
    return name, tuple((k, draw(st.integers(0, calls.VALUES - 1))) for k in some)


def check(name: str, replaced: tuple[tuple[str, int], ...]) -> None:
    function, given_ = calls.CALLS[name]()
    keywords = dict(given_)
    for keyword, number in replaced:
        keywords[keyword] = calls.value(number, keyword)
    before = set(pympnode.systems.names())
    try:
        with limits():
            function(**keywords)
    except pympnode.PympnodeError as error:
        assert len(str(error)) < 6000
    except KeyboardInterrupt:
        raise AssertionError("interrupted") from None
    finally:
        for left in set(pympnode.systems.names()) - before:
            from pympnode.systems import registry

            registry._REGISTERED.pop(left, None)
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")


QUIET = dict(
    deadline=None, database=None, derandomize="PYMPNODE_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck), print_blob=False,
)  # fmt: skip


@settings(max_examples=EXAMPLES, **QUIET)
@given(arguments())
def test_public_functions(call: tuple[str, tuple[tuple[str, int], ...]]) -> None:
    check(*call)


@pytest.mark.slow
@settings(max_examples=10_000, **QUIET)
@given(arguments())
def test_public_functions_at_length(call: tuple[str, tuple[tuple[str, int], ...]]) -> None:
    check(*call)


# ---- experiments' TOML and the command line ------------------------------------------------------

_PLAIN = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([10**10, 10**30]),
        st.floats(), st.text(max_size=4), st.sampled_from(["gravity", "kuramoto", "mean", "x"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=max(10, EXAMPLES // 4), **QUIET)
@given(
    st.sampled_from(pympnode.experiments.names()),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10), _PLAIN), min_size=1, max_size=2),
)
def test_descriptions_of_experiments(name: str, edits: list[tuple[int, int, Any]]) -> None:
    """A published file with values of other kinds in it."""
    import tomllib

    from pympnode.experiments.catalogue import PUBLISHED
    from pympnode.experiments.description import from_mapping
    from pympnode.experiments.validity import check as check_experiment

    values = tomllib.loads((PUBLISHED / f"{name}.toml").read_text(encoding="utf-8"))
    for at, inner, value in edits:
        key = sorted(values)[at % len(values)]
        table = values[key]
        if isinstance(table, dict) and table and inner % 2:
            table[sorted(table)[inner % len(table)]] = value
        elif (
            isinstance(table, list)
            and table
            and isinstance(table[0], dict)
            and table[0]
            and inner % 2
        ):
            table[0][sorted(table[0])[inner % len(table[0])]] = value
        else:
            values[key] = value
    try:
        with limits():
            check_experiment(from_mapping(name, values))
    except pympnode.PympnodeError:
        pass


_WORDS = st.one_of(
    st.sampled_from(
        "kuramoto gravity --nodes --topology --trajectories --steps --seed --out --config --set "
        "--data --epochs --hidden --json --run --model ring BA 3 2 0 -1 x nan 1e400 10000000000 x.nc "
        "a=b k=[] --parameter --topology-option --split --dt --noise --members . /dev/null".split()
    ),
    st.text(  # no NUL, which no system passes on as an argument
        alphabet=st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=5
    ),
)


@settings(max_examples=max(10, EXAMPLES // 4), **QUIET)
@given(
    st.sampled_from(sorted(set(COMMANDS) - {"julia", "train", "finetune", "sweep", "doctor"})),
    st.lists(_WORDS, max_size=6),
)
def test_command_line(command: str, words: list[str]) -> None:
    """Exit status 0, 1 or 2, and no traceback."""
    quick = ["--trajectories", "2", "--steps", "2"] if command == "simulate" else []
    with limits():
        assert status_of([command, *words, *quick]) in (0, 1, 2)
