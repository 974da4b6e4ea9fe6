"""Sphinx extension: equations as MathML, which browsers render without scripts, fonts or network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)


def _markup(tex: str, node: Any, inline: bool) -> str:
    try:
        return tex2mathml(tex, as_block=not inline)
    except MathError as error:
        logger.warning("cannot read the equation %r: %s", tex, error, location=node)
        return f"<code>{tex}</code>"


def _inline(writer: Any, node: Any) -> None:
    writer.body.append(_markup(node.astext(), node, True))
    raise nodes.SkipNode


def _block(writer: Any, node: Any) -> None:
    writer.body.append(f'<div class="math">{_markup(node.astext(), node, False)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True}
