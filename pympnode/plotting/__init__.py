"""Pictures of datasets, rollouts, training runs and evaluations.

Every function takes ``ax=`` (or ``axes=``) and returns the axes that it drew on, labelled with the
names and units of the dataset, in colours that colour-blind readers distinguish. ``figsize=`` is the
size of a new figure in inches; the text of one narrower than 5 inches, as for a column of a paper, has 8
points. ``matplotlib.pyplot.savefig("a.png")`` writes the last picture to a file. Pictures that compare
take ``(predicted, truth)``; the prediction may go on after the truth. ``ds.pympnode.plot`` has them as
methods. matplotlib is imported with the first picture.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Public function -> its module, imported on first use. The modules are those of both halves, and
# lazy_loader, which the other packages use, imports submodules of one package alone.
_MODULE_OF = {
    "prediction": "..networks.plots.trajectories",
    "parity": "..networks.plots.trajectories",
    "phase_portrait": "..networks.plots.phase",
    "message_norms": "..networks.plots.messages",
    "training_curves": ".training",
    "error_over_time": "..networks.plots.errors",
    "error_by_degree": "..networks.plots.errors",
    "error_by_type": "..networks.plots.errors",
    "observables": "..networks.plots.observed",
    "comparison": "..networks.plots.comparisons",
    "graph_state": "..networks.plots.graph_drawing",
    "grid_state": "..networks.plots.grid_drawing",
    "quadrotor_paths": "..networks.plots.quadrotor_paths",
    "quadrotor_forces": "..networks.plots.quadrotor_flight",
    "animate_quadrotors": "..networks.plots.quadrotor_flight",
    "animate": "..networks.plots.animation",
    "particle_trajectories": "..particles.plots.trajectories",
    "conservation": "..particles.plots.trajectories",
    "scaling": "..particles.plots.trajectories",
    "animate_particles": "..particles.plots.trajectories",
    "hierarchy_of": "..particles.plots.cells",
    "particle_error_over_time": "..particles.plots.errors",
    "error_over_particles": "..particles.plots.errors",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
