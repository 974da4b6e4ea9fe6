"""`pympnode julia install` and `pympnode julia status`, a click group for the command line."""

from __future__ import annotations

import json
from typing import Any

import click

from ....errors import PympnodeError
from .install import describe, install
from .notice import set_notice
from .options import JuliaOptions


@click.group()
def julia() -> None:
    """Install the Julia engine, show its status."""


@julia.command("install")
@click.option("--executable", help="Your julia, instead of a downloaded one.")
@click.option("--project", help="Your Julia project with the packages and PythonCall.")
@click.option("--environment", help="Folder for the Julia project that juliapkg manages.")
@click.option("--depot", help="Folder for Julia's packages.")
@click.option("--threads", default=None, help='Julia threads, a number or "auto".')
@click.option("--offline", is_flag=True, default=None, help="Download nothing.")
def install_command(**given: Any) -> None:
    """Download Julia and the packages (once, 10 to 30 minutes) and let engine="auto" use them."""
    set_notice(lambda text: click.echo(text))
    try:
        options = JuliaOptions().with_variables()
        values = {**options.as_dict(), **{n: v for n, v in given.items() if v is not None}}
        record = install(JuliaOptions.from_mapping(values))
    except PympnodeError as error:
        raise click.ClickException(str(error)) from error
    finally:
        set_notice(None)
    click.echo(f"installed: {record}")


@julia.command("status")
@click.option("--start", is_flag=True, help="Start Julia and show its versions.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status_command(start: bool, as_json: bool) -> None:
    """Show whether Julia is installed for this environment, and its options."""
    try:
        facts = describe(start=start)
    except PympnodeError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(facts, indent=2, sort_keys=True))
        return
    for name, value in facts.items():
        click.echo(f"{name:<12} {value}")
    if not facts["installed"]:
        click.echo('run `pympnode julia install` to let engine="auto" use it')
