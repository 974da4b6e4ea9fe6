"""The command line: `pympnode COMMAND ...`.

Exit status: 0 success, also where the reader of a pipe has ended (`| head`); 1 an error of the data,
the options or the files, printed on stderr as got, allowed and fix; 2 an invalid command line; 130
after Ctrl-C, after which ``--run`` can be continued. With ``--json`` an error is JSON on stderr.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from typing import Any

import click

from .errors import PympnodeError, PympnodeWarning, alias
from .version import __version__

# Command -> its function and its line in the list; printing the list imports no command.
COMMANDS = {
    "simulate": ("commands.simulation:simulate", "Simulate a system and write a dataset."),
    "train": ("commands.training:train", "Train a simulator of a system, or of given data."),
    "finetune": ("commands.training:finetune", "Train on from a model."),
    "sweep": ("commands.sweeping:sweep", "Train the cells of a grid; stop the worse ones early."),
    "evaluate": ("commands.prediction:evaluate", "Errors of a model, beside simple baselines."),
    "rollout": ("commands.prediction:rollout", "Predict with a model."),
    "identify": ("commands.identifying:identify", "Equations of a trained network model."),
    "plot": ("commands.pictures:plot", "Draw a picture of data, predictions or training."),
    "experiment": (
        "commands.experiments:experiment",
        "Published tables and figures: list, show, run, table.",
    ),
    "systems": ("commands.facts:systems", "List the systems, or show one."),
    "info": ("commands.facts:info", "Describe a file."),
    "doctor": ("commands.facts:doctor", "Check what pympnode needs on this computer."),
    "julia": (
        "networks.engines.julia.commands:julia",
        "The Julia engine: install it, show its status.",
    ),
    "completion": ("commands.completion:completion", "Print the completion script of a shell."),
}


class Commands(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(f"{__package__}.{module}"), name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            more = f" Did you mean {close[0]!r}?" if close else " See pympnode --help."
            raise click.UsageError(f"No such command {args[0]!r}.{more}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pympnode")
def cli() -> None:
    """Learned simulators of networked dynamical systems.

    \b
    Example:
      pympnode simulate kuramoto --trajectories 100 --seed 7 --out test.nc
      pympnode train kuramoto --topology BA --run runs/kuramoto
      pympnode evaluate runs/kuramoto test.nc
      pympnode rollout runs/kuramoto test.nc --out predicted.nc
      pympnode plot prediction predicted.nc test.nc --out prediction.png
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    sys.exit(status_of(arguments))


def status_of(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status that `main` ends with."""
    as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            code = cli.main(arguments, prog_name="pympnode", standalone_mode=False)
        except click.ClickException as error:
            if isinstance(error, click.NoSuchOption):
                error = _with_alias(error)
            _show_click_error(error, as_json)
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            return 130
        except PympnodeError as error:
            _show_error(error, as_json)
            return 1
        except OSError as error:
            _show_error(error, as_json)
            return 1
        except SystemExit:
            # click puts this wrapper, whose name is no longer public, around stdout and ends with
            # status 1 where the reader of the pipe has ended.
            if "PacifyFlushWrapper" in type(sys.stdout).__name__:
                return 0
            raise
    return code if isinstance(code, int) else 0


def _show_error(error: Exception, as_json: bool) -> None:
    if not as_json:
        click.echo(f"error: {error}", err=True)
        return
    facts = {"kind": type(error).__name__, "message": getattr(error, "message", str(error))}
    for name in ("got", "allowed", "fix"):
        if (value := getattr(error, name, None)) is not None:
            facts[name] = str(value)
    click.echo(json.dumps({"error": facts}, indent=2), err=True)


def _show_click_error(error: click.ClickException, as_json: bool) -> None:
    if not as_json:
        error.show()
        return
    facts = {"kind": type(error).__name__, "message": error.format_message()}
    click.echo(json.dumps({"error": facts}, indent=2), err=True)


def _with_alias(error: click.NoSuchOption) -> click.NoSuchOption:
    """The error, with the option that other libraries call like the one that does not exist."""
    if error.ctx is None:
        return error
    options = {o.lstrip("-").replace("-", "_"): o for p in error.ctx.command.params for o in p.opts}
    known = alias(error.option_name.lstrip("-"), options)
    if known is None:
        return error
    # click itself shows possibilities that are spelled alike only.
    text = f"No such option {error.option_name!r}. Did you mean {options[known]!r}?"
    return click.NoSuchOption(error.option_name, text, ctx=error.ctx)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any
) -> None:
    """Warnings of the package in one plain line; others in the format of Python."""
    if issubclass(category, PympnodeWarning):
        click.echo(f"warning: {message}", err=True)
    else:
        click.echo(warnings.formatwarning(message, category, filename, lineno), err=True, nl=False)


if __name__ == "__main__":
    main()
