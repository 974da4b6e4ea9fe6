"""``Animation``: a matplotlib animation that Jupyter shows as a player, and the writers of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.animation import FuncAnimation

from ..errors import EngineUnavailable, InvalidOption, shown_value

# Ending of a file -> the writer of matplotlib that makes it.
WRITERS = {".gif": "pillow", ".png": "pillow", ".webp": "pillow"} | dict.fromkeys(
    (".mp4", ".webm", ".mkv", ".mov", ".avi"), "ffmpeg"
)
# matplotlib encodes H.264 by default, which WebM does not hold, and leaves the pixels of other codecs
# to ffmpeg, which takes a format that VP9 does not encode.
_WEBM: dict[str, Any] = {"codec": "libvpx-vp9", "extra_args": ["-pix_fmt", "yuv420p"]}


class Animation(FuncAnimation):
    """A matplotlib animation whose notebook representation is a JavaScript player."""

    def __init__(self, figure: Any, *args: Any, **keywords: Any) -> None:
        super().__init__(figure, *args, **keywords)
        self.figure = figure
        import matplotlib

        # These backends print open figures below a cell: a second copy that stands still.
        if "inline" in matplotlib.get_backend():
            self._close()

    def _repr_html_(self) -> str:
        self._close()
        return self.to_jshtml()

    def _close(self) -> None:
        import matplotlib.pyplot as plt

        plt.close(self.figure)

    def save(  # type: ignore[override]
        self, filename: Any, writer: Any = None, **keywords: Any
    ) -> None:
        """Write the animation; the ending says how: .gif, .html, .mp4, .webm, and others of ffmpeg.

        ``writer`` and other keywords: as of `matplotlib.animation.Animation.save`. ffmpeg is the
        program, or that of the package imageio-ffmpeg. Raises `InvalidOption` for an ending that no
        writer makes, `EngineUnavailable` where the writer is not installed.
        """
        if writer is not None or not isinstance(filename, str | Path):
            super().save(filename, writer=writer, **keywords)
            return
        path = Path(filename)
        name = writer_of(path)
        if name == "html":
            path.write_text(self.to_jshtml(), encoding="utf-8")
            return
        import matplotlib

        settings: Any = {}
        if name == "ffmpeg":
            settings["animation.ffmpeg_path"] = ffmpeg()
            if path.suffix.lower() == ".webm":
                keywords = _WEBM | keywords
        with matplotlib.rc_context(settings):
            super().save(path, writer=name, **keywords)


def writer_of(path: Path) -> str:
    """The writer for the ending of ``path``: "html", "pillow" or "ffmpeg".

    Raises `InvalidOption` for an ending that none writes, and `EngineUnavailable` where the writer is
    not installed.
    """
    ending = path.suffix.lower()
    if ending == ".html":
        return "html"
    name = WRITERS.get(ending)
    if name is None:
        raise InvalidOption(
            f"an animation cannot be written as {path.suffix or 'a file without an ending'}",
            got=shown_value(str(path)),
            allowed=", ".join((".html", *WRITERS)),
            fix="animation.gif",
        )
    if not _installed(name):
        raise EngineUnavailable(
            f"{path.suffix} needs the program {name}, which is not installed",
            got=shown_value(str(path)),
            allowed=", ".join((".html", *(e for e, w in WRITERS.items() if _installed(w)))),
            fix="install ffmpeg, or pip install imageio-ffmpeg, or write "
            f"{path.with_suffix('.gif').name}"
            if name == "ffmpeg"
            else f"install {name}",
        )
    return name


def ffmpeg() -> str | None:
    """The program ffmpeg: that of matplotlib's settings, else of imageio-ffmpeg; None without both."""
    import matplotlib
    from matplotlib.animation import writers

    if writers.is_available("ffmpeg"):
        return str(matplotlib.rcParams["animation.ffmpeg_path"])
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # not installed; without a program for this machine
        return None


def _installed(name: str) -> bool:
    from matplotlib.animation import writers

    return ffmpeg() is not None if name == "ffmpeg" else bool(writers.is_available(name))
