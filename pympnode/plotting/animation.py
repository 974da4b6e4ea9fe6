"""A trajectory that moves: the graph, with its colours over time, shown as a player in Jupyter."""

from __future__ import annotations

from matplotlib.animation import FuncAnimation


class Animation(FuncAnimation):
    """A matplotlib animation that a notebook shows as a player without further words."""

    def _repr_html_(self) -> str:
        return self.to_jshtml()
