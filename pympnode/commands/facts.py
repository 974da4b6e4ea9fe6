"""`pympnode systems`, `pympnode info` and `pympnode doctor`."""

from __future__ import annotations

from typing import Any

import click

from . import options as o
from .output import print_json, table


@click.command()
@click.argument("name", required=False)
@o.with_options(o.JSON)
def systems(name: str | None, as_json: bool) -> None:
    """List the systems, or show one NAME with its states and parameters.

    \b
    Example:
      pympnode systems
      pympnode systems kuramoto --json
    """
    from ..systems.registry import get, names

    if name is None:
        facts = [_system(get(each)) for each in names()]
        if as_json:
            print_json(facts)
            return
        head = ("name", "what", "state", "nodes")
        table(head, [
            (f["name"], f["title"], " ".join(v["name"] for v in f["state"]), str(f["nodes"]))
            for f in facts
        ])  # fmt: skip
        return
    fact = _system(get(name))
    if as_json:
        print_json(fact)
        return
    click.echo(f"{fact['name']}: {fact['title']}\nsource: {fact['source']}")
    click.echo(f"default: {fact['nodes']} nodes, {fact['steps']} steps of {fact['dt']}\n")
    rows = [("state", v["name"], v["unit"], _start_text(v["start"])) for v in fact["state"]]
    rows += [("control", v["name"], v["unit"], "") for v in fact["controls"]]
    rows += [("parameter", p["name"], p["unit"], p["source"]) for p in fact["parameters"]]
    rows += [("observable", v["name"], v["unit"], "") for v in fact["observables"]]
    table(("", "name", "unit", "about"), rows)


def _start_text(start: Any) -> str:
    return start if isinstance(start, str) else f"from {start}"


def _system(system: Any) -> dict[str, Any]:
    from ..halves import half_of_system

    half = half_of_system(system)

    def start(variable: Any) -> list[float] | str:
        if half.has_horizons and variable.name == "position":
            return "anywhere in the box"
        if system.simulates_itself:  # starts are not uniform in ranges
            return "drawn by the system"
        return list(variable.start)

    def variables(given: Any) -> list[dict[str, Any]]:
        return [{"name": v.name, "unit": v.unit, "start": start(v)} for v in given]

    return {
        "name": system.name,
        "title": system.title,
        "source": system.source,
        "body": system.body,
        "state": variables(system.state),
        "controls": variables(system.controls),
        "parameters": [
            {"name": n, "unit": p.unit, "dims": list(p.dims), "source": p.source}
            for n, p in system.parameters.items()
        ],
        "observables": [
            {"name": n, "unit": getattr(v, "unit", "1")} for n, v in system.observables.items()
        ],
        "nodes": system.default_nodes,
        "dt": system.dt,
        "steps": system.steps,
    }


@click.command()
@click.argument("file", type=o.FILE)
@o.with_options(o.JSON)
def info(file: str, as_json: bool) -> None:
    """Say what FILE is: a model, a dataset, an evaluation, a checkpoint or a run folder.

    \b
    Example:
      pympnode info runs/kuramoto/model.nc
    """
    from .files import describe

    facts = describe(file)
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            click.echo(f"{name}:")
            for inner, each in value.items():
                click.echo(f"  {inner:<18} {each}")
        else:
            click.echo(f"{name:<20} {value}")


@click.command()
@o.with_options(o.JSON)
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check what pympnode needs here; exit status 1 when something is broken.

    \b
    Example:
      pympnode doctor
    """
    from dataclasses import asdict

    from ..doctor import examine

    findings = examine()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(finding.line())
    if any(finding.status == "broken" for finding in findings):
        context.exit(1)
