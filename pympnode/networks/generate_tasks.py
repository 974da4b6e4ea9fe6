"""`generate` in pieces on a Dask cluster, with the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..config import whole
from ..errors import InvalidOption
from ..graph import Graph
from ..tasks import run_tasks
from .generate import BLOCK, Generated, check_request, generate

_TASKS_PER_THREAD = 4  # so that the last ones do not keep one worker busy while the others wait


def generate_over(
    client: Any,
    system: Any,
    graph: Graph,
    parameters: Any,
    trajectories: int,
    seed: int,
    *,
    first: int = 0,
    controls: Any = None,
    initial: Any = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Generated:
    """See `generate`: trajectory i depends on (seed, i) alone, whichever task computes it.

    ``client``: a `distributed.Client`. Raises what `generate` and `tasks.run_tasks` raise, and
    `InvalidOption` for a solver of another engine.
    """
    if options.pop("solve", None) is not None:
        raise InvalidOption(
            "the tasks of a cluster integrate by the embedded engine",
            got='client= with engine="julia"',
            allowed='engine="torch" or "auto" without a solver of its own',
            fix="leave client out, or the engine",
        )
    trajectories = whole("trajectories", trajectories, 1)
    lengths = {name: options.get(name) for name in ("steps", "dt") if options.get(name) is not None}
    check_request(
        system, graph, parameters=parameters, trajectories=trajectories, seed=seed,
        noise=options.get("noise", 0.0), **lengths,
    )  # fmt: skip
    threads = sum(client.nthreads().values()) or 1
    each = -(-trajectories // (threads * _TASKS_PER_THREAD))
    each = -(-each // BLOCK) * BLOCK
    firsts = list(range(0, trajectories, each))
    counts = [min(each, trajectories - first) for first in firsts]
    varied = controls is not None and np.ndim(controls) == 4
    pieces: list[Generated | None] = [None] * len(firsts)
    made = 0

    def on_done(number: int, piece: Generated) -> None:
        nonlocal made
        pieces[number] = piece
        made += counts[number]
        if progress is not None:
            progress(made, trajectories)

    def slice_of(values: Any, number: int) -> Any:
        return values[firsts[number] : firsts[number] + counts[number]]

    words = [
        {
            **options,
            "first": first + firsts[n],
            "controls": slice_of(controls, n) if varied else controls,
            "initial": None if initial is None else slice_of(initial, n),
        }
        for n in range(len(firsts))
    ]
    arguments = [(system, graph, parameters, counts[n], seed, words[n]) for n in range(len(firsts))]
    run_tasks(client, _piece, arguments, on_done)
    return joined_pieces([piece for piece in pieces if piece is not None])


def _piece(
    system: Any, graph: Graph, parameters: Any, trajectories: int, seed: int, words: dict[str, Any]
) -> Generated:
    return generate(system, graph, parameters, trajectories, None, seed, **words)


def joined_pieces(pieces: list[Generated]) -> Generated:
    """What several calls simulated, as one."""
    first = pieces[0]
    attribute = first.attribute
    if attribute is not None and attribute.ndim == 3:
        attribute = np.concatenate([p.attribute for p in pieces])  # type: ignore[misc]
    draws = first.draws
    if draws is not None:
        drawn = [p.draws["drawn"] for p in pieces]  # type: ignore[index]
        total = sum(drawn)
        trajectories = sum(len(p.x) for p in pieces)
        draws = {
            "drawn": total,
            "redrawn_share": 1 - trajectories / total,
            "flag_share": {
                # Counts of each piece; they are whole numbers.
                name: sum(
                    round(p.draws["flag_share"].get(name, 0.0) * n)  # type: ignore[index]
                    for p, n in zip(pieces, drawn)
                )
                / total
                for name in dict.fromkeys(k for p in pieces for k in p.draws["flag_share"])  # type: ignore[index]
            },
        }
    return replace(
        first,
        x=np.concatenate([p.x for p in pieces]),
        u=None if first.u is None else np.concatenate([p.u for p in pieces]),  # type: ignore[misc]
        graph_of=np.concatenate([p.graph_of for p in pieces]),
        attribute=attribute,
        evaluations=sum(p.evaluations for p in pieces),
        steps=sum(p.steps for p in pieces),
        rejected=sum(p.rejected for p in pieces),
        of_trajectory={
            name: np.concatenate([p.of_trajectory[name] for p in pieces])
            for name in first.of_trajectory
        },
        draws=draws,
    )
