"""`pympnode identify`."""

from __future__ import annotations

from typing import Any

import click

from . import options as o
from .output import print_json


@click.command()
@click.argument("model", type=o.FILE)
@click.argument("data", type=o.FILE, required=False)
@click.option("--latex", is_flag=True, help="Print LaTeX instead of plain text.")
@click.option("--save", type=o.FILE, metavar="FILE", help="Also write what is printed to FILE.")
@click.option(
    "--library",
    type=o.choice("polynomial", "difference", "sine", "hill"),
    multiple=True,
    show_default="all",
    help="A family of candidates; may be repeated.",
)
@click.option("--degree", type=int, show_default="3", help="Of polynomials of one node.")
@click.option(
    "--tolerance",
    type=float,
    show_default="0.5",
    help="The fewest terms whose error is at most 1 + TOLERANCE times the smallest.",
)
@click.option("--samples", type=int, show_default="500", help="States of the whole network.")
@click.option("--seed", type=int, show_default="0", help="Seed of their choice.")
@o.with_options(o.PARENTS, o.FORCE, o.CONFIG, o.JSON)
@click.pass_context
def identify(context: click.Context, as_json: bool, **_: Any) -> None:
    """Equations of the network model MODEL (a file or a run folder), at states of DATA.

    Without DATA the system of the model is simulated. Needs pip install 'pympnode[identify]'.

    \b
    Example:
      pympnode identify runs/kuramoto test.nc
      pympnode identify runs/kuramoto --latex --save equations.tex
    """
    given = o.gather(context)
    as_latex, target = given.pop("latex", False), given.pop("save", None)
    o.check_target(context, option="save")
    from .. import _api

    model = _api.load(given.pop("model"))
    found = _api.identify(model, given.pop("data", None), **given)
    text = found.latex if as_latex else found.text
    if target is not None:
        from pathlib import Path

        from ..files.writing import make_folder, writing

        path = Path(target)
        make_folder(path.parent)
        with writing(path):
            path.write_text(text + "\n", encoding="utf-8")
    if as_json:
        facts = {
            "text": found.text,
            "latex": found.latex,
            "terms": [
                {"feature": t.feature, "part": t.part, "text": t.text, "coefficient": t.coefficient}
                for t in found.terms
            ],
            "field_error": dict(found.field_error),
            "pair_error": None if found.pair_error is None else dict(found.pair_error),
        }
        print_json({"save": target, **facts})
    else:
        click.echo(text)
