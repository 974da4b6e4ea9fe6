"""Graphs of files as edges: GML, GraphML, GEXF, Pajek, Matrix Market, SciPy .npz, edge lists."""

from __future__ import annotations

import ast
import csv
import gzip
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FileDamaged, InvalidGraph, InvalidOption, MissingFile, unknown_name
from ...training.ranges import warn_user
from . import objects
from .labelled import RawGraph
from .pajek import parse_pajek

NAMES = ("name", "label")  # attributes of nodes that hold their names
_SENDERS = ("source", "src", "from", "sender", "start", "origin", "node1", "u", "i")
_RECEIVERS = ("target", "dst", "to", "receiver", "end", "destination", "node2", "v", "j")
_WEIGHTS = ("weight", "weights", "w", "value", "strength")
_COMMENTS = ("#", "%", "//")
_DELIMITERS = ("\t", ",", ";")


@dataclass(frozen=True)
class TableOptions:
    """Of an edge list: its columns, whether its first line is a header, its direction, weights."""

    columns: Sequence[Any] | None
    header: bool | None
    directed: bool | None
    weight: Any


# ---- formats that carry labels ------------------------------------------------------------------


def read_gml(path: Path, options: TableOptions) -> RawGraph:
    """The nodes in the order of the file; "label" names them where every node has another one."""
    import networkx as nx

    # networkx 3.6 reads GML as ASCII alone, with other characters as entities.
    text = _text(path).encode("ascii", "xmlcharrefreplace").decode()
    try:
        try:
            graph = nx.parse_gml(text, label="id")
        except nx.NetworkXError as error:
            if "duplicated" not in str(error):
                raise
            # A file with parallel edges that does not announce them, as Newman's celegansneural.gml.
            graph = nx.parse_gml(
                re.sub(r"\bgraph(\s*)\[", r"graph\1[ multigraph 1", text, count=1), label="id"
            )
    except Exception as error:  # networkx raises NetworkXError, KeyError, ValueError, ...
        raise _damaged(path, "GML", error) from error
    return objects.from_networkx(graph, options.weight, ("label", "name"))


def read_graphml(path: Path, options: TableOptions) -> RawGraph:
    """ "name" or "label" names the nodes where every node has another one, else the ids of the file."""
    return _by_networkx(path, "GraphML", "read_graphml", options)


def read_gexf(path: Path, options: TableOptions) -> RawGraph:
    return _by_networkx(path, "GEXF", "read_gexf", options)


def read_pajek(path: Path, options: TableOptions) -> RawGraph:
    return parse_pajek(_text(path), options.weight)


def _by_networkx(path: Path, kind: str, reader: str, options: TableOptions) -> RawGraph:
    import networkx as nx

    try:
        graph = getattr(nx, reader)(path)
    except Exception as error:
        raise _damaged(path, kind, error) from error
    # networkx 3.6 keeps the default of a GraphML key beside the graph, and leaves the edges without.
    for name, value in graph.graph.get("edge_default", {}).items():
        for *_, data in graph.edges(data=True):
            data.setdefault(name, value)
    return objects.from_networkx(graph, options.weight, NAMES)


def read_matrix_market(path: Path, options: TableOptions) -> RawGraph:
    """Row sends to column; the symmetric half that the file leaves out is filled in."""
    from scipy.io import mmread
    from scipy.sparse import coo_array

    try:
        matrix = mmread(path)
    except Exception as error:
        raise _damaged(path, "Matrix Market", error) from error
    return objects.from_sparse(coo_array(matrix), options.weight)


def read_npz(path: Path, options: TableOptions) -> RawGraph:
    """A matrix that ``scipy.sparse.save_npz`` wrote."""
    from scipy.sparse import load_npz

    try:
        matrix = load_npz(path)
    except Exception as error:
        raise _damaged(path, "a sparse matrix of SciPy", error) from error
    return objects.from_sparse(matrix, options.weight)


# ---- edge lists ---------------------------------------------------------------------------------


def read_edge_list(path: Path, options: TableOptions) -> RawGraph:
    """A line for each edge: two names, and a weight; comments, header and delimiter are recognised."""
    lines, remark = [], None
    for number, line in enumerate(_text(path).splitlines(), 1):
        text = line.strip("\r\n ")
        if not text:
            continue
        if text.startswith(_COMMENTS):
            remark = _remarked_direction(text) if remark is None else remark
        else:
            lines.append((number, text))
    if not lines:
        raise InvalidGraph("the file has no edges", got=path.name, allowed="a line for each edge")
    rows = _cells(lines, path)
    directed = options.directed
    if directed is None:
        directed = remark
    elif remark is not None and remark != directed:
        warn_user(
            f"{path.name} calls itself {'directed' if remark else 'undirected'}, and is read as "
            f"directed={directed}"
        )
    given = TableOptions(options.columns, options.header, directed, options.weight)
    first = rows[0]
    if options.header if options.header is not None else _is_header(rows):
        return edges_of_table(first, rows[1:], given, path.name)
    return edges_of_table(None, rows, given, path.name)


def edges_of_table(
    header: list[str] | None, rows: list[list[str]], options: TableOptions, source: str
) -> RawGraph:
    """The edges of a table, a row for each. Raises InvalidGraph, InvalidOption, UnknownName."""
    width = len(header) if header is not None else len(rows[0]) if rows else 2
    sender, receiver, weight = _columns(header, width, rows, options, source)
    senders = [row[sender].strip() for row in rows]
    receivers = [row[receiver].strip() for row in rows]
    if not all(senders) or not all(receivers):
        raise InvalidGraph(
            "an edge has no end",
            got=f"an empty cell in {source}",
            allowed="two names for each edge",
        )
    values = None
    if weight is not None:
        try:
            values = [float(row[weight]) for row in rows]
        except ValueError as error:
            raise InvalidGraph(
                "a weight of an edge is not a number",
                got=str(error),
                allowed="numbers with a decimal point",
                fix="columns=(0, 1) leaves the weights out; columns= names other ones",
            ) from error
    # In the order of their first appearance, line by line.
    order = dict.fromkeys(name for pair in zip(senders, receivers, strict=True) for name in pair)
    number = {label: i for i, label in enumerate(order)}
    first = np.array([number[name] for name in senders], np.int64)
    second = np.array([number[name] for name in receivers], np.int64)
    directed = options.directed
    if not directed:
        first, second, values = _once(first, second, values, list(order), directed, source)
    return RawGraph(first, second, list(order), values, bool(directed), f"edge list {source}")


def _once(
    first: Any, second: Any, values: Any, labels: list[str], directed: bool | None, source: str
) -> tuple[Any, Any, Any]:
    """Undirected edges, each once. Raises InvalidGraph where a listed reverse says "directed"."""
    listed: dict[tuple[int, int], Any] = {}
    for at, pair in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        listed.setdefault(pair, None if values is None else values[at])
    both = [pair for pair in listed if pair[0] < pair[1] and pair[::-1] in listed]
    if not both:
        return first, second, values
    a, b = (repr(labels[end]) for end in both[0])
    if directed is None:
        raise InvalidGraph(
            "the edge list may be directed or undirected",
            got=f"{len(both)} pairs in both orders, the first {a}, {b} and {b}, {a}",
            allowed="directed=True or directed=False",
            fix="directed=True where an edge is an influence in one direction; directed=False where "
            "the file lists each undirected edge twice",
        )
    if any(listed[pair] != listed[pair[::-1]] for pair in both):
        raise InvalidGraph(
            "an undirected edge has two weights",
            got=f"{source} lists {a}, {b} with another weight than {b}, {a}",
            allowed="one weight for each pair",
            fix="directed=True keeps both",
        )
    reverse = {pair[::-1] for pair in both}
    keep = np.array([pair not in reverse for pair in zip(first.tolist(), second.tolist())])
    kept = None if values is None else np.asarray(values)[keep]
    return first[keep], second[keep], kept


def _columns(
    header: list[str] | None,
    width: int,
    rows: list[list[str]],
    options: TableOptions,
    source: str,
) -> tuple[int, int, int | None]:
    """Numbers of the columns of sender, receiver and weight."""
    if options.columns is not None:
        if len(options.columns) not in (2, 3):
            raise InvalidOption(
                "columns= names sender, receiver and weight",
                got=repr(options.columns),
                allowed="two or three names or numbers of columns",
            )
        found = [_column(one, header, width) for one in options.columns]
        return found[0], found[1], found[2] if len(found) == 3 else None
    names = [name.strip().lower() for name in header] if header is not None else []
    sender = next((names.index(name) for name in _SENDERS if name in names), None)
    receiver = next((names.index(name) for name in _RECEIVERS if name in names), None)
    if sender is not None and receiver is not None:
        weight = next((names.index(name) for name in _WEIGHTS if name in names), None)
        if isinstance(options.weight, str):
            weight = _column(options.weight, header, width)
        elif options.weight is False:
            weight = None
        # A column without a name is the index that pandas writes.
        unread = {i for i in range(width) if names[i]} - {sender, receiver, weight}
        if unread:
            assert header is not None
            text = ", ".join(repr(header[i]) for i in sorted(unread))
            warn_user(f"{source}: not read from the edge list: column {text}")
        return sender, receiver, weight
    if width == 2 or (width == 3 and options.weight is not False and _numeric(rows, 2)):
        return 0, 1, 2 if width == 3 else None
    if width == 3 and options.weight is False:
        return 0, 1, None
    raise InvalidGraph(
        "the columns of the edge list are not known",
        got=f"{width} columns" + (f": {', '.join(header or rows[0])}"[:120]),
        allowed="two names of nodes, and a weight",
        fix="columns=(0, 1) or columns=(0, 1, 2) names sender, receiver and weight, by number or by "
        "the header; a matrix is read with pandas and passed as a frame",
    )


def _column(one: Any, header: list[str] | None, width: int) -> int:
    if isinstance(one, int | np.integer) and not isinstance(one, bool):
        if not 0 <= one < width:
            raise InvalidOption(
                "there is no such column", got=int(one), allowed=f"0 to {width - 1}"
            )
        return int(one)
    names = [name.strip() for name in header or []]
    if one not in names:
        raise unknown_name("column", one, names or ["numbers: the list has no header"])
    return names.index(one)


def _cells(lines: list[tuple[int, str]], path: Path) -> list[list[str]]:
    """The cells of each line, all lines of one width."""
    first = lines[0][1]
    delimiter = next((one for one in _DELIMITERS if one in first.split("{")[0]), None)
    rows: list[list[str]] = []
    for number, text in lines:
        plain, weight = _dict_at_end(text)
        if delimiter is None:
            cells = plain.split()
        else:
            (cells,) = csv.reader([plain], delimiter=delimiter)
        cells = [*cells, *weight]
        if rows and len(cells) != len(rows[0]):
            raise InvalidGraph(
                "lines of the edge list differ in their number of columns",
                got=f"line {number} of {path.name} has {len(cells)}, those above {len(rows[0])}",
                allowed="one number of columns; comments begin with #, % or //",
                fix="names that hold the delimiter stand in double quotes",
            )
        if len(cells) < 2:
            raise InvalidGraph(
                "a line of an edge list names two nodes",
                got=f"line {number} of {path.name}: {text[:60]!r}",
                allowed="two names, and a weight",
            )
        rows.append(cells)
    return rows


def _dict_at_end(text: str) -> tuple[str, list[str]]:
    """The line without a dict of attributes, which networkx.write_edgelist appends, and the weight."""
    match = re.search(r"\s(\{.*\})$", text)
    if match is None:
        return text, []
    try:
        found = ast.literal_eval(match[1])
    except (ValueError, SyntaxError):
        return text, []
    weight = next((found[name] for name in objects.WEIGHT_NAMES if name in found), None)
    return text[: match.start()], [] if weight is None else [str(weight)]


def _is_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: by their names, or by text above numbers."""
    first, rest = rows[0], rows[1:]
    names = {cell.strip().lower() for cell in first}
    if names & set(_SENDERS) and names & set(_RECEIVERS):
        # "i, j" may be two nodes; letters are names of columns above numbers only.
        if any(len(name) > 1 for name in names & {*_SENDERS, *_RECEIVERS}):
            return True
    if not rest:
        return False
    return any(
        not _is_number(first[column]) and _numeric(rest, column) for column in range(len(first))
    )


def _numeric(rows: list[list[str]], column: int) -> bool:
    return bool(rows) and all(_is_number(row[column]) for row in rows)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _remarked_direction(comment: str) -> bool | None:
    """Whether a comment calls the graph directed, as files of SNAP and KONECT do; None for no word."""
    text = comment.lower()
    if re.match(r"%+\s*bip\b", text):
        raise InvalidGraph(
            "the file holds a bipartite graph, whose two kinds of nodes share their numbers",
            got=comment[:60],
            allowed="nodes of one kind",
        )
    if re.match(r"%+\s*asym\b|#\s*directed graph", text):
        return True
    if re.match(r"%+\s*sym\b|#\s*undirected graph", text):
        return False
    return None


# ---- files --------------------------------------------------------------------------------------

READERS: dict[str, Callable[[Path, TableOptions], RawGraph]] = {
    "gml": read_gml,
    "graphml": read_graphml,
    "gexf": read_gexf,
    "pajek": read_pajek,
    "matrix_market": read_matrix_market,
    "npz": read_npz,
    "edge_list": read_edge_list,
}
_ENDINGS = {
    ".gml": "gml",
    ".graphml": "graphml",
    ".xml": "graphml",
    ".gexf": "gexf",
    ".net": "pajek",
    ".mtx": "matrix_market",
    ".npz": "npz",
    **dict.fromkeys(
        (".txt", ".csv", ".tsv", ".tab", ".dat", ".edges", ".edgelist", ".el", ".ncol", ".wel"),
        "edge_list",
    ),
}


def read_file(path: Path, kind: str | None, options: TableOptions) -> RawGraph:
    """The edges of a file, by its ending or by ``kind``; it may be compressed with gzip."""
    if not path.is_file():
        raise MissingFile(
            f"there is no file {str(path)!r}",
            got="a folder" if path.is_dir() else str(path),
            allowed="an existing file of a graph",
            fix="check the path",
        )
    if kind is None:
        ending = (Path(path.stem) if path.suffix == ".gz" else path).suffix.lower()
        kind = _ENDINGS.get(ending)
        if kind is None:
            raise InvalidOption(
                "the format of the graph is not known by the ending of its file",
                got=path.name,
                allowed=", ".join(_ENDINGS),
                fix=f"format= names it: {', '.join(READERS)}",
            )
    elif kind not in READERS:
        raise unknown_name("format", kind, READERS)
    return READERS[kind](path, options)


def _text(path: Path) -> str:
    """The text of a file, also a compressed one: UTF-8, with the mark of Excel or without, or Latin-1."""
    opened = gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")
    with opened as stream:
        data = stream.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _damaged(path: Path, kind: str, error: Exception) -> FileDamaged:
    first = str(error).splitlines()[0] if str(error) else ""
    return FileDamaged(
        f"{path.name!r} cannot be read as {kind}",
        got=f"{type(error).__name__}: {first}"[:160],
        allowed=f"a whole file of {kind}",
        fix="format= names another format; a file that mixes directed and undirected edges is split",
    )
