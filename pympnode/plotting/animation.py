"""``Animation``: a matplotlib animation that Jupyter shows as a player."""

from __future__ import annotations

from matplotlib.animation import FuncAnimation


class Animation(FuncAnimation):
    """A matplotlib animation whose notebook representation is a JavaScript player."""

    def _repr_html_(self) -> str:
        return self.to_jshtml()
