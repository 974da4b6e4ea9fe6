"""Work on a Dask cluster: pieces that do not depend on each other, as tasks of a client.

Dask sends functions and arrays between its own processes as pickle; nothing of it is written to a file
of this package. Workers need the same version of pympnode as the client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from .errors import EngineUnavailable, InvalidOption, ProcessLost, one_line, shown_value
from .version import __version__


def check_client(name: str, client: Any) -> Any:
    """``client``. Raises `InvalidOption` unless it is a `distributed.Client` that is connected."""
    missing = [part for part in ("submit", "cancel", "scheduler_info") if not hasattr(client, part)]
    status = getattr(client, "status", "")
    if missing or status != "running":
        raise InvalidOption(
            f"{name} is no client of a Dask cluster that is running",
            got=shown_value(client) if missing else f"a client that is {status}",
            allowed="a distributed.Client",
            fix="from distributed import Client; client = Client(), or Client('tcp://HOST:8786')",
        )
    return client


def client_of(
    scheduler: str | None = None, workers: int | None = None
) -> AbstractContextManager[Any]:
    """A client of the ``scheduler`` at an address, of a new `distributed.LocalCluster` of ``workers``
    processes, or None where neither is given; closed after the with block.

    Raises `EngineUnavailable` without Dask's distributed, `ProcessLost` where no scheduler answers.
    """
    if scheduler is None and workers is None:
        return nullcontext()
    if scheduler is not None and workers is not None:
        raise InvalidOption(
            "a scheduler has workers of its own",
            got=f"scheduler={scheduler!r} and workers={workers}",
            allowed="one of them",
            fix="leave workers out",
        )
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise EngineUnavailable(
            "tasks on several workers need Dask's distributed",
            got=one_line(error),
            fix='pip install "pympnode[cluster]"',
        ) from error
    if scheduler is None:
        # Threads would share the interpreter; a worker each has a memory limit of its own.
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        return _Local(Client(cluster), cluster)
    try:
        return Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise ProcessLost(
            "no Dask scheduler answers",
            got=f"{scheduler!r}: {one_line(error)}",
            allowed="the address of a scheduler, such as tcp://127.0.0.1:8786",
            fix="start one with `dask scheduler`, and workers with `dask worker ADDRESS`",
        ) from error


class _Local(AbstractContextManager[Any]):
    """A client and the local cluster that was started for it."""

    def __init__(self, client: Any, cluster: Any) -> None:
        self._client, self._cluster = client, cluster

    def __enter__(self) -> Any:
        return self._client

    def __exit__(self, *error: object) -> None:
        self._client.close()
        self._cluster.close()


def run_tasks(
    client: Any,
    call: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    on_done: Callable[[int, Any], None],
    after: Sequence[Iterable[int]] | None = None,
) -> None:
    """Call ``call(*arguments[i])`` for each i on the workers of ``client``, and here ``on_done(i,
    result)`` in the order in which they finish.

    ``after``: for each i the numbers of earlier calls that must have ended. A task whose worker died is
    done again on another; on Ctrl-C and on the first error the tasks that are left are cancelled.
    Raises what ``call`` or ``on_done`` raised, `ProcessLost` where workers die again and again and
    `EngineUnavailable` where they have another version of this package.
    """
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    versions = set(client.run(_version).values())
    if versions - {__version__}:
        raise EngineUnavailable(
            "the workers have another version of pympnode",
            got=", ".join(sorted(versions)),
            allowed=__version__,
            fix="install the same version on all machines",
        )
    futures: list[Any] = []
    try:
        for number, given in enumerate(arguments):
            before = [futures[i] for i in after[number]] if after is not None else []
            futures.append(client.submit(_after, call, given, before, pure=False))
        numbers = {future.key: number for number, future in enumerate(futures)}
        for future in as_completed(list(futures)):
            on_done(numbers[future.key], future.result())
            future.release()
    except KilledWorker as error:
        raise ProcessLost(
            "several workers died at the same task",
            got=one_line(error),
            allowed="workers with the memory that a task needs",
            fix="give workers more memory, or fewer threads each",
        ) from error
    finally:
        client.cancel([f for f in futures if not f.done()])


def _after(call: Callable[..., Any], given: tuple[Any, ...], before: list[Any]) -> Any:
    """``call(*given)``; Dask waits for the results ``before``."""
    return call(*given)


def _version() -> str:
    return __version__
