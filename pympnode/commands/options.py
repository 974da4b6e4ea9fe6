"""Options that several commands share, and how the command line and a TOML file become keywords.

Options have the keyword names of `pympnode.train` and `pympnode.simulate`. The command line overrides
``--config``; an option in neither has the default of the function.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from ..config import path as path_of
from ..errors import FileDamaged, InvalidOption, MissingFile, unknown_name

Command = Callable[..., Any]
TABLES = {"topology_option": "topology_options", "parameter": "parameters", "setting": "settings"}
NOT_STORED = frozenset({"config", "save_config", "as_json", "quiet", "parents", "force"})


class Name(click.ParamType):
    """A name that a shell completes from the list that ``names()`` returns."""

    def __init__(self, name: str, names: Callable[[], Iterable[str]]) -> None:
        self.name, self.names = name, names

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self.names() if name.startswith(incomplete)]


class NumberOrName(click.ParamType):
    """A number, or a text that stands for one."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        try:
            return float(value)
        except (TypeError, ValueError):
            return str(value)


def _systems() -> Iterable[str]:
    from ..systems.registry import names

    return names()


def _topologies() -> Iterable[str]:
    from ..networks.graphs.topology import TOPOLOGIES

    return (*TOPOLOGIES, "learn", "learn each")


FILE = click.Path(path_type=str)
_option = click.option

# The names that options are restricted to. `tests/test_entry_points.py` compares them with the
# modules that define them, which import too much for a help text.
NETWORK_MODELS = ("mpnode", "l2s", "node")
PARTICLE_MODELS = (
    "hogn", "deltagn", "hierarchical_deltagn", "hierarchical_hogn", "nearest_deltagn",
)  # fmt: skip
NETWORK_MESSAGES = ("state", "zero", "self", "emitted", "pairwise")
PARTICLE_MESSAGES = ("directed", "antisymmetric", "symmetric", "radial")
PRESETS = ("fast", "paper")
AGGREGATIONS = ("mean", "sum", "max")
COUPLINGS = ("mixed", "superposed")
FIRST_MESSAGES = ("zero", "linear", "mlp")
SOLVERS = ("rk4", "tsit5", "euler")
OPTIMISERS = ("soap", "adam")
LOSSES = ("huber", "mse", "gaussian")
ENGINES = ("auto", "torch", "julia")
KERNELS = ("auto", "numba", "torch", "eager")
DTYPES = ("float32", "float64")
PARTITIONS = ("auto", "metis", "blocks")
# Not a closed set: "cuda:1" is a device too.
DEVICE = Name("device", lambda: ("auto", "cpu", "cuda"))


def choice(*names: str) -> click.Choice:
    """One of a closed set of names, which help shows and shells complete."""
    return click.Choice(names)


SYSTEM = [
    click.argument("system", required=False, type=Name("system", _systems)),
    _option(
        "--system",
        "system_option",
        type=Name("system", _systems),
        help="The system; also as SYSTEM.",
    ),
]
DATA = [
    _option("--nodes", type=int, show_default="of the system", help="Number of nodes."),
    _option(
        "--topology",
        type=Name("topology", _topologies),
        show_default="of the system",
        help="BA, ER, WS, ring, ... or a file of edges; learn: train learns the graph.",
    ),
    _option(
        "--edge-weight",
        nargs=2,
        type=float,
        metavar="LOW HIGH",
        help="Range of weights drawn for the edges.",
    ),
    _option(
        "--delay",
        type=NumberOrName(),
        help="Time from sender to receiver: a number; of train also learn.",
    ),
    _option("--topology-option", multiple=True, metavar="NAME=VALUE", help="Such as k=3."),
    _option("--graphs", type=int, show_default="1", help="Graphs drawn into one dataset."),
    _option(
        "--graph-seed",
        type=int,
        show_default="42",
        help="Seed of the graphs; 42 takes published ones.",
    ),
    _option("--parameter", multiple=True, metavar="NAME=VALUE", help="Physics, such as decay=0.5."),
    _option(
        "--trajectories",
        type=int,
        show_default="1000; fewer of particles",
        help="Number of trajectories.",
    ),
    _option("--steps", type=int, show_default="of the system", help="Time steps."),
    _option("--dt", type=float, show_default="of the system", help="Length of a time step."),
    _option(
        "--seed", type=int, show_default="0", help="Initial states, controls, noise and split."
    ),
    _option("--noise", type=float, show_default="0", help="Std of the measurement noise."),
    _option(
        "--split", type=float, show_default="0.7", help="Share of the trajectories that train."
    ),
]
PARTICLES = [
    _option(
        "--particles", type=int, show_default="100", help="Number of particles (gravity, coulomb)."
    ),
    _option("--dims", type=int, show_default="2", help="2 or 3 dimensions (gravity, coulomb)."),
]
SET = [
    _option("--set", "setting", multiple=True, metavar="NAME=VALUE",
            help="Any other keyword of the function, such as precision=bf16; may be repeated."),
]  # fmt: skip
MODEL = [
    _option(
        "--model",
        type=choice(*NETWORK_MODELS, *PARTICLE_MODELS),
        metavar="NAME",
        show_default="by the system and the number of particles",
        help=f"{', '.join(NETWORK_MODELS)}; of particles {', '.join(PARTICLE_MODELS)}.",
    ),
    _option("--message-size", type=int, help="Components of a message."),
    _option("--hidden", type=int, help="Width of the hidden layers."),
    _option("--depth", type=int, help="Number of hidden layers."),
    _option(
        "--aggregation",
        type=choice(*AGGREGATIONS),
        show_default="of the preset",
        help="How a node combines the messages that it receives.",
    ),
    _option(
        "--messages",
        type=choice(*NETWORK_MESSAGES, *PARTICLE_MESSAGES),
        metavar="NAME",
        show_default="of the preset",
        help=f"{', '.join(NETWORK_MESSAGES)}; of particles {', '.join(PARTICLE_MESSAGES)}.",
    ),
    _option(
        "--coupling",
        type=choice(*COUPLINGS),
        show_default="of the preset",
        help="How messages enter the equation of the receiver.",
    ),
    _option(
        "--first-message",
        type=choice(*FIRST_MESSAGES),
        show_default="of the preset",
        help="Messages at the first time, of messages that are states.",
    ),
    _option(
        "--solver",
        type=choice(*SOLVERS),
        show_default="rk4",
        help="Solver of the learned equation.",
    ),
    _option(
        "--substeps",
        type=int,
        show_default="as many as are stable",
        help="Solver steps in a time step.",
    ),
]
PARTICLE_MODEL = [
    _option("--levels", type=int, help="Levels of cells of particles; round(log4 N)."),
    _option("--neighbours", type=int, help="Neighbours of a particle (nearest_deltagn)."),
    _option("--edge-width", type=int, help="Width of the edge network of particles."),
    _option("--node-width", type=int, help="Width of the node network of particles."),
    _option(
        "--mass",
        type=choice("given", "learned"),
        show_default="given",
        help="Masses of particles: those of the data, or learned from trajectories.",
    ),
    _option("--fixed-mass", help="The particle whose mass is not learned; the heaviest."),
    _option("--augment", is_flag=True, help="Turn and mirror the states of particles."),
]
TRAINING = [
    _option("--data", type=FILE, multiple=True, help="Given data; may be repeated."),
    _option(
        "--missing",
        type=choice("error", "mask"),
        show_default="error",
        help="What NaN in the data means.",
    ),
    _option(
        "--chunks-in-memory",
        type=int,
        help="Read the data chunk by chunk; how many chunks are held.",
    ),
    _option("--ignore-weights", is_flag=True, help="Leave out the weights of edges."),
    _option("--window", type=float, help="Length of all windows of training, in units of time."),
    _option("--max-window", type=float, help="Length of the longest windows of training."),
    _option(
        "--matching",
        type=float,
        help="Share of the updates that fit derivatives, without rollouts.",
    ),
    _option(
        "--circular",
        multiple=True,
        metavar="FEATURE",
        help="A feature that is an angle or a phase; may be repeated.",
    ),
    _option(
        "--relative",
        multiple=True,
        metavar="FEATURE",
        help="A feature of which pairwise messages take differences only; may be repeated.",
    ),
    _option(
        "--invariant",
        multiple=True,
        metavar="FEATURE",
        help="A feature of which the whole model takes differences only, with emitted messages "
        "nothing; may be repeated.",
    ),
    _option("--antisymmetric", is_flag=True, help="Pairwise messages of opposite sign."),
    _option("--linear-path", is_flag=True, help="A linear path beside the network of a node."),
    _option(
        "--delay-start",
        type=float,
        show_default="3 time steps",
        help="Time at which learned delays begin.",
    ),
    _option(
        "--partition",
        type=choice(*PARTITIONS),
        help="Divide the nodes of one graph among the processes of torchrun.",
    ),
    _option(
        "--node-codes", type=int, help="Numbers that are learned for each node as its attributes."
    ),
    _option(
        "--normalisation",
        type=choice("keep", "refit"),
        show_default="keep",
        help="With a start model.",
    ),
    _option(
        "--preset",
        type=choice(*PRESETS),
        show_default="fast",
        help="The best that was measured, or the published configuration.",
    ),
    _option("--epochs", type=int, help="Length of the run in epochs, or"),
    _option("--updates", type=int, help="in updates, or"),
    _option("--time-budget", help="in time: 600 or 10m."),
    _option("--members", type=int, help="Train an ensemble of that many."),
    _option("--batch-size", type=int, help="Trajectories, or states of particles, in an update."),
    _option(
        "--optimiser",
        type=choice(*OPTIMISERS),
        show_default="soap; adam of the preset paper",
        help="The rule that updates the weights.",
    ),
    _option(
        "--loss",
        type=choice(*LOSSES),
        show_default="huber; mse of particles",
        help="The loss of rollouts of networks, or of steps of particles.",
    ),
    _option("--learning-rate", type=float, help="Highest learning rate."),
    _option(
        "--retry-diverged",
        is_flag=True,
        help="A run that diverges goes back once, at half the rate.",
    ),
    _option("--engine", type=choice(*ENGINES), show_default="auto", help="What computes."),
    _option(
        "--kernel",
        type=choice(*KERNELS),
        show_default="auto",
        help="The implementation of the engine torch.",
    ),
    _option("--device", type=DEVICE, show_default="auto", help="auto, cpu, cuda, cuda:1, ..."),
    _option("--dtype", type=choice(*DTYPES), show_default="float32", help="Precision of training."),
    _option(
        "--progress",
        "progress",
        type=choice("auto", "on", "off"),
        show_default="auto",
        help="The bar on stderr, or a line a minute where it is no terminal; off for neither.",
    ),
    _option("--run", type=FILE, help="Folder to keep the run in; the same call continues it."),
]
ONE_RUN = [
    _option("--extend", type=int, help="Epochs to add to the finished run in --run."),
    _option("--out", type=FILE, help="File for the trained model."),
]
PARENTS = [_option("--parents", is_flag=True, help="Make the folder of --out where it is missing.")]
FORCE = [_option("--force", is_flag=True, help="Replace the file of --out where there is one.")]
CONFIG = [
    _option("--config", type=FILE, help="Options from a TOML file; those given here go first."),
    _option("--save-config", type=FILE, help="Write the options of this call as TOML."),
]
JSON = [_option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")]


def with_options(*groups: Iterable[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """A decorator that adds the options of ``groups`` in the order given."""

    def decorate(function: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


def gather(context: click.Context) -> dict[str, Any]:
    """The options of a call by keyword: the command line over ``--config``; None is left out.

    Writes ``--save-config``. Raises `UnknownName` for a key of the file that is no option.
    """
    given = {}
    for name, value in context.params.items():
        stated = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if name in NOT_STORED or value is None or value == () or not stated:
            continue
        given[name] = value
    if "system_option" in given:
        given.setdefault("system", given.pop("system_option"))
    for option, table in TABLES.items():
        if option in given:
            given[table] = pairs(given.pop(option), "set" if option == "setting" else option)
    path = context.params.get("config")
    merged = {**(read_config(path, context) if path else {})}
    for name, value in given.items():
        if name in TABLES.values():
            value = {**merged.get(name, {}), **value}
        merged[name] = value
    # Options in the file belong to the topology of the file, not to that of the command line.
    if "topology" in given and "topology_options" not in given:
        merged.pop("topology_options", None)
    for name in merged.get("settings", {}):
        if name in context.params or name in TABLES.values():
            flags = [p.opts[0] for p in context.command.params if p.name == name]
            flag = flags[0] if flags and flags[0].startswith("-") else "it"
            raise click.UsageError(f"--set {name}: {name} is an option too; give {flag}")
    target = context.params.get("save_config")
    if target:
        write_config(target, merged)
    return merged


def data_keywords(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of `pympnode.simulate` and `train`: a topology with its options, edges of a file,
    and what ``--set`` names."""
    words = dict(options)
    words.update(words.pop("settings", {}))
    extra = words.pop("topology_options", None)
    topology = words.get("topology")
    if extra and topology is None:
        raise click.UsageError("--topology-option needs --topology, such as --topology BA")
    if isinstance(topology, str) and Path(topology).is_file():
        words["topology"] = edges(topology)
    elif isinstance(topology, str) and (set(topology) & set("./\\~")):
        raise MissingFile(
            f"there is no file of edges {topology!r}",
            got=f"--topology {topology}",
            allowed="a file with two node numbers a line, or one of " + ", ".join(_topologies()),
            fix="check the path",
        )
    elif extra:
        words["topology"] = (topology, extra)
    return words


def check_target(context: click.Context, *, replaces: bool = False, option: str = "out") -> None:
    """Look at the file of ``option`` before anything is computed.

    A missing folder is made with ``--parents``, or after a question in a terminal; a file that is
    there is replaced with ``--force``, after a question, or where a command ``replaces`` its file.
    Raises `MissingFile`, `InvalidOption`.
    """
    out = context.params.get(option)
    if out is None:
        return
    path = path_of(option, out)
    folder = path.parent
    if not folder.exists() and not context.params.get("parents"):
        if not _confirmed(f"there is no folder {str(folder)!r}; make it?"):
            raise MissingFile(
                f"the folder of --{option} is not there: {str(folder)!r}",
                got=f"--{option} {out}",
                allowed="a file in a folder that is there",
                fix="give --parents to make it, or check the path",
            )
    if path.is_file() and not replaces and not context.params.get("force"):
        if not _confirmed(f"there is a file {out!r}; replace it?"):
            raise InvalidOption(
                f"the file of --{option} is there already: {out!r}",
                got=f"--{option} {out}",
                allowed="a file that is not there yet",
                fix="give --force to replace it, or another name",
            )


def _confirmed(question: str) -> bool:
    """The answer of a person at a terminal; no where there is none."""
    return sys.stdin.isatty() and sys.stderr.isatty() and click.confirm(question, err=True)


def edges(path: str) -> list[tuple[int, int]]:
    """Undirected pairs of nodes from a text file: two whole numbers a line, # for comments."""
    found = []
    for number, line in enumerate(_text_of(path, "two whole numbers a line").splitlines(), 1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            a, b = (int(word) for word in words)
        except ValueError as error:
            raise FileDamaged(
                f"line {number} of {path!r} is no edge",
                got=repr(line[:60]),
                allowed="two whole numbers, separated by a space or a comma",
                fix="number nodes from 0, one pair a line",
            ) from error
        found.append((a, b))
    return found


def _text_of(path: str, content: str) -> str:
    """The text of a file that is ``content``. Raises `MissingFile`, `FileDamaged`."""
    try:
        return path_of("a path", path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MissingFile(
            f"there is no file {path!r}",
            got=path,
            allowed=content,
            fix="write the options of a call with --save-config"
            if content.startswith("a TOML")
            else "check the path",
        ) from error
    except UnicodeDecodeError as error:
        raise FileDamaged(
            f"{path!r} is not a text in UTF-8",
            got=str(error),
            allowed=content,
            fix="save it as plain text in UTF-8",
        ) from error
    except OSError as error:  # a folder, no permission
        raise FileDamaged(
            f"{path!r} cannot be read", got=str(error), allowed=content, fix="check the path"
        ) from error


def pairs(texts: Iterable[str], option: str) -> dict[str, Any]:
    """Values by name from texts NAME=VALUE; a value is parsed as JSON, or is text."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            flag = "--" + option.replace("_", "-")
            raise click.UsageError(f"{flag} takes NAME=VALUE, such as {flag} k=3, not {text!r}")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value
    return found


def read_config(path: str, context: click.Context) -> dict[str, Any]:
    """The options in a TOML file, each of the type of its option."""
    import tomllib

    try:
        values = tomllib.loads(_text_of(path, "a TOML file with the options of this command"))
    except tomllib.TOMLDecodeError as error:
        raise FileDamaged(
            f"{path!r} is not TOML", got=str(error), allowed="lines such as epochs = 20"
        ) from error
    known = {p.name: p for p in context.command.params if p.name and p.name not in NOT_STORED}
    for name in ("system_option", *TABLES):
        known.pop(name, None)
    tables = [table for option, table in TABLES.items() if option in context.params]
    found = {}
    for name, value in values.items():
        if name in tables:
            if not isinstance(value, dict):
                raise InvalidOption(
                    f"{name} in {path!r} is a table", got=repr(value), allowed=f"[{name}]"
                )
            found[name] = value
            continue
        if name not in known:
            raise unknown_name(f"option in {path!r}", name, [*sorted(known), *tables])
        parameter = known[name]
        if getattr(parameter, "multiple", False) and not isinstance(value, list):
            value = [value]
        found[name] = parameter.type_cast_value(context, value)
    return found


def write_config(path: str, options: Mapping[str, Any]) -> None:
    """Write options as TOML, for ``--config``."""
    import tomli_w

    from ..files.netcdf import write_bytes

    plain = {name: list(v) if isinstance(v, tuple) else v for name, v in options.items()}
    tables = {name: plain.pop(name) for name in list(plain) if isinstance(plain[name], dict)}
    write_bytes(Path(path), tomli_w.dumps({**plain, **tables}).encode())
