"""Sphinx extension: writes pages from the notebooks in examples/, the tables in benchmarks/results/ and
the --help texts of the command line, the pages of the papers, and a gallery of notebooks and pages with
pictures.

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
from paper_pages import paper_pages

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = Path(__file__).resolve().parent.parent / "_generated"
MAX_LINES = 40  # of a text output

# Pages of tables: name -> (title, files of benchmarks/results without .md). A file that no page names
# is on the page "other".
TOPICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "learning": (
        "Learning networks: presets, classes, transfer",
        (
            "learning",
            "any_pair",
            "presets",
            "finetune",
            "ensemble",
            "generalisation",
            "long_recording",
            "power_grid",
            "quadrotors",
            "connectome",
        ),
    ),
    "kernels": (
        "Speed of networks: kernels, simulation, Julia",
        ("kernel", "pairwise", "scaling", "scaling_out", "large_graph", "data_generation", "julia"),
    ),
    "particles": (
        "Particles: simulation, graphs, training",
        (
            "nbody_simulator",
            "nbody_hierarchy",
            "nbody_networks",
            "nbody_training",
            "large_particles",
            "solar_system",
        ),
    ),
    "published": ("Published tables, repeated in short runs", ("experiments/*",)),
    "other": ("Other measurements", ()),
}

# Pages with a picture: picture -> (page, title, what it shows).
SHOWN = {
    "kuramoto.png": ("tutorial", "A first model", "Ten oscillators, learned and predicted"),
    "power_grid.png": ("power_grids", "Power grids", "The swing of one grid, learned for others"),
    "county_forecast.png": (
        "howto/real_data", "Your first real dataset", "Cases by county, from tables to a forecast",
    ),
    "quadrotors.png": ("howto/quadrotors", "Quadrotors", "Six quadrotors that carry a load"),
    "quadrotor_prediction.png": (
        "howto/quadrotors", "Learned quadrotors", "Three seconds ahead, through the door",
    ),
    "nbody_rollout.png": ("howto/particles", "Particles", "A hundred particles, 100 steps ahead"),
    "pair_messages.png": ("howto/messages", "Messages", "What a learned message depends on"),
    "unknown_graph.png": ("howto/unknown_graphs", "Unknown graphs", "A graph learned from states"),
    "solar_system.png": (
        "howto/solar_system", "The solar system", "The law and the masses, from orbits",
    ),
    "connectome.png": ("howto/connectome", "A connectome", "Weights between regions, and fMRI"),
    "node_codes.png": ("howto/node_codes", "Codes of nodes", "Frequencies that were not measured"),
}  # fmt: skip


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
    wanted["notebooks.md"] = gallery_page(list(wanted))
    wanted |= figures_pages() | paper_pages()
    wanted["command_line.md"] = command_line_page()
    for old in OUT.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        _put(OUT / name, text.encode())


def _put(path: Path, data: bytes) -> None:
    """Write a file if its content changed, atomically: another build may read it at the same time."""
    path.parent.mkdir(exist_ok=True)  # pictures are written before the pages
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_bytes(data)
        os.replace(beside, path)


def gallery_page(notebooks: list[str]) -> str:
    """Cards with a picture: of each notebook its first one, and of the pages in `SHOWN`."""
    text = "# Gallery\n\n"
    if notebooks:
        text += (
            "## Notebooks\n\nThe notebooks in `examples/` with the outputs of their last run.\n\n"
            + grid([notebook_card(name) for name in notebooks])
        )
        listed = "\n".join(f"/_generated/{name[:-3]}" for name in notebooks)
        text += f"\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{listed}\n```\n"
    else:
        text += "This checkout has no notebooks; the scripts in `examples/` need none.\n"
    text += "\n## Pages with pictures\n\n"
    return text + grid(
        [
            card(f"../{page}", title, about, f"../images/{picture}")
            for picture, (page, title, about) in SHOWN.items()
        ]
    )


def notebook_card(name: str) -> str:
    """The card of a notebook: its title, and its first picture if it has one."""
    path = ROOT / "examples" / f"{name[:-3]}.ipynb"
    text = notebook_page(path, OUT)
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    picture = re.search(r"!\[output of the cell above\]\((\S+)\)", text)
    return card(name[:-3], title[1] if title else name, "", picture[1] if picture else None)


def card(page: str, title: str, about: str, picture: str | None) -> str:
    """A card of sphinx-design that links to a page."""
    options = [f":link: {page}", ":link-type: doc"]
    if picture:
        options += [f":img-top: {picture}", f":img-alt: {title}"]
    return f":::{{grid-item-card}} {title}\n" + "\n".join(options) + f"\n\n{about}\n:::\n"


def grid(cards: list[str]) -> str:
    """Cards in three columns, in one on a telephone."""
    return "::::{grid} 1 2 3 3\n:gutter: 3\n\n" + "\n".join(cards) + "::::\n"


def figures_pages() -> dict[str, str]:
    """The tables of benchmarks/results/, one page a topic, and a page that lists these."""
    results = ROOT / "benchmarks" / "results"
    left = [*sorted(results.glob("*.md")), *sorted(results.glob("experiments/*.md"))]
    pages: dict[str, str] = {}
    for topic, (title, names) in TOPICS.items():
        paths = [p for name in names for p in sorted(results.glob(f"{name}.md"))]
        left = [path for path in left if path not in paths]
        if topic == "other":
            paths = left
        if paths:
            pages[f"figures_{topic}.md"] = (
                "\n\n".join(
                    [
                        f"# {title}\n\nThe path below each table names its file; {_REPEATS.get(topic, _SCRIPT)}",
                        *(figure_text(path) for path in paths),
                    ]
                )
                + "\n"
            )
    listed = "\n".join(f"/_generated/{name[:-3]}" for name in pages)
    pages["figures.md"] = (
        "# Benchmark results\n\nThe tables in `benchmarks/results/`, as the scripts in `benchmarks/` "
        f"wrote them.\n\n```{{toctree}}\n:maxdepth: 2\n\n{listed}\n```\n"
    )
    return pages


_SCRIPT = "the script of that name in `benchmarks/` repeats it."
_REPEATS = {"published": "`pympnode experiment run NAME`, with the name of the file, repeats it."}


def figure_text(path: Path) -> str:
    """A table of benchmarks/results/ as a section, with the path of its file."""
    text = path.read_text(encoding="utf-8").strip()
    if not text.startswith("#"):
        text = f"# {path.stem.replace('_', ' ').capitalize()}\n\n{text}"
    for picture in re.findall(r"!\[[^\]]*\]\(([\w.]+)\)", text):
        _put(OUT / picture, (path.parent / picture).read_bytes())
    # A page has one title, so the titles of the tables go one level down.
    text = re.sub(r"^(#+) ", r"#\1 ", text, flags=re.MULTILINE)
    return f"{text}\n\n(`{path.relative_to(ROOT).as_posix()}`)"


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
