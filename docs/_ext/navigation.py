"""The navigation of pages with source code, made once for each depth of folders.

No such page is in the navigation, so that it differs by the relative links alone; making it for each of
them was a seventh of the time to build.
"""

from __future__ import annotations

from typing import Any

_MADE: dict[Any, str] = {}


def _share(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    if not page.startswith("_modules/"):
        return
    make = context["toctree"]

    def toctree(**options: Any) -> str:
        key = (id(app), page.count("/"), tuple(sorted(options.items())))
        if key not in _MADE:
            _MADE[key] = make(**options)
        return _MADE[key]

    context["toctree"] = toctree


def setup(app: Any) -> dict[str, Any]:
    # Before the theme, which reads it in the same event.
    app.connect("html-page-context", _share, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
