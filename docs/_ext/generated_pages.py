"""Sphinx extension: writes pages from the notebooks in examples/, the tables in benchmarks/results/ and
the --help texts of the command line.

The pages go to docs/_generated/ when a build starts. Notebooks are not executed: the pages show their
stored outputs.
"""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = Path(__file__).resolve().parent.parent / "_generated"
MAX_LINES = 40  # of a text output


def notebook_page(path: Path, out: Path) -> str:
    """A notebook as MyST markdown; writes its pictures to ``out``."""
    parts = []
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        if cell["cell_type"] != "code" or not source:
            continue
        magic = re.search(r"^\s*[%!]", source, re.MULTILINE)
        parts.append(f"```{'text' if magic else 'python'}\n{source}\n```")
        for place, output in enumerate(cell.get("outputs", [])):
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{path.stem}_{number}_{place}.png"
                _put(out / picture, base64.b64decode("".join(data["image/png"])))
                parts.append(f"![output of the cell above]({picture})")
                continue
            text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
            lines = re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n")
            if output["output_type"] != "error" and text and output.get("name") != "stderr":
                kept = lines[:MAX_LINES] + ["..."] * (len(lines) > MAX_LINES)
                parts.append("```text\n" + "\n".join(kept) + "\n```")
    parts.append(f"*The notebook itself is `examples/{path.name}`.*")
    return "\n\n".join(parts) + "\n"


def write_pages() -> None:
    """Write the pages in docs/_generated/ that changed, and delete those without a source."""
    OUT.mkdir(exist_ok=True)
    wanted: dict[str, str] = {}
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        wanted[f"{path.stem}.md"] = notebook_page(path, OUT)
    listed = "\n".join(f"/_generated/{name[:-3]}" for name in wanted)
    text = "# Notebooks\n\n"
    if wanted:
        text += (
            "The notebooks in `examples/` with the outputs of their last run.\n\n"
            f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
        )
    else:
        text += "This checkout has no notebooks; the scripts in `examples/` need none.\n"
    wanted["notebooks.md"] = text
    wanted["figures.md"] = figures_page()
    wanted["command_line.md"] = command_line_page()
    for old in OUT.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        _put(OUT / name, text.encode())


def _put(path: Path, data: bytes) -> None:
    """Write a file if its content changed, atomically: another build may read it at the same time."""
    if not path.exists() or path.read_bytes() != data:
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_bytes(data)
        os.replace(beside, path)


def figures_page() -> str:
    """All tables of benchmarks/results/ on one page."""
    parts = [
        "# Benchmark results\n\nThe tables in `benchmarks/results/`, as the scripts in `benchmarks/` wrote "
        "them. The path below each table names the file; the script of the same name repeats it."
    ]
    results = ROOT / "benchmarks" / "results"
    for path in (*sorted(results.glob("*.md")), *sorted(results.glob("experiments/*.md"))):
        text = path.read_text(encoding="utf-8").strip()
        if not text.startswith("#"):
            text = f"# {path.stem.replace('_', ' ')}\n\n{text}"
        # A page has one title, so the titles of the tables go one level down.
        parts.append(re.sub(r"^(#+) ", r"#\1 ", text, flags=re.MULTILINE))
        for picture in re.findall(r"!\[[^\]]*\]\(([\w.]+)\)", text):
            _put(OUT / picture, (path.parent / picture).read_bytes())
        parts.append(f"(`{path.relative_to(ROOT).as_posix()}`)")
    return "\n\n".join(parts) + "\n"


def command_line_page() -> str:
    """The --help text of each command."""
    from pympnode.cli import cli

    parts = ["# Command line\n\nThe output of `pympnode COMMAND --help`."]
    top = click.Context(cli, info_name="pympnode", terminal_width=92)
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        each = [(name, command, top)]
        if isinstance(command, click.Group):
            within = click.Context(command, top, info_name=name, terminal_width=92)
            each += [(f"{name} {n}", c, within) for n, c in command.commands.items()]
        for words, one, parent in each:
            own = click.Context(one, parent, info_name=words.split()[-1], terminal_width=92)
            parts.append(f"## pympnode {words}\n\n```text\n{one.get_help(own)}\n```")
    return "\n\n".join(parts) + "\n"


def setup(app: Any) -> dict[str, bool]:
    write_pages()
    return {"parallel_read_safe": True}
