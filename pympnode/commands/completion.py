"""`pympnode completion`: the lines that teach a shell to complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    Example:
      eval "$(pympnode completion bash)"      # in ~/.bashrc
    """
    made = get_completion_class(shell)
    assert made is not None
    root = context.find_root().command
    script = made(root, {}, "pympnode", "_PYMPNODE_COMPLETE")
    # `source` asks bash for its version first, which fails where bash is not the one at hand.
    click.echo(script.source_template % script.source_vars())
