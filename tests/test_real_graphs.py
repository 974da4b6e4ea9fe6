"""Graphs of other programs: edges, names and weights of files and objects, nothing misread in silence."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import pympnode
from pympnode.errors import (
    FileDamaged,
    InvalidGraph,
    InvalidOption,
    MissingFile,
    PympnodeError,
    PympnodeWarning,
    UnknownName,
)
from pympnode.networks.readers import LabelledGraph, read_graph


def edges(read: LabelledGraph) -> dict[tuple[Any, Any], float]:
    """The directed edges by name, with weight 1 where there are none."""
    weight = np.ones(read.graph.edges) if read.weight is None else read.weight
    sender, receiver = read.graph.sender.tolist(), read.graph.receiver.tolist()
    return {
        (read.labels[a], read.labels[b]): w
        for a, b, w in zip(sender, receiver, weight.tolist(), strict=True)
    }


def both_ways(given: dict[tuple[Any, Any], float]) -> dict[tuple[Any, Any], float]:
    return given | {pair[::-1]: w for pair, w in given.items()}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def weighted(source: Any, **options: Any) -> LabelledGraph:
    """A graph that is read without a warning: its weights are used."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = read_graph(source, **options)
    assert read.weight is not None and read.graph.weight is read.weight
    return read


# ---- edge lists: each variant names the same three edges ----------------------------------------

NAMED = both_ways({("b", "a"): 2.5, ("a", "c"): -1.0, ("c", "d"): 4.0})
LISTS = {
    "plain.txt": "b a 2.5\na c -1\nc d 4\n",
    "comments.txt": "# made by hand\n% more\n// and more\n\nb a 2.5\na c -1.0\n# in between\nc d 4\n",
    "header.csv": "source,target,weight\nb,a,2.5\na,c,-1\nc,d,4\n",
    "other_order.csv": "weight,to,from\n2.5,a,b\n-1,c,a\n4,d,c\n",
    "header_unnamed.csv": "left,right,strength of it\nb,a,2.5\na,c,-1\nc,d,4\n",
    "pandas_index.csv": ",source,target,weight\n0,b,a,2.5\n1,a,c,-1\n2,c,d,4\n",
    "excel.csv": "\ufeffFrom;To;Weight\nb;a;2.5\na;c;-1\nc;d;4\n",
    "tabs.tsv": "b\ta\t2.5\na\tc\t-1\nc\td\t4\n",
    "windows.txt": "b a 2.5\r\na c -1\r\nc d 4\r\n",
    "networkx.edgelist": "b a {'weight': 2.5}\na c {'weight': -1}\nc d {'weight': 4}\n",
    "quoted.csv": '"source","target","weight"\n"b","a",2.5\n"a","c",-1\n"c","d",4\n',
}


@pytest.mark.parametrize("name", LISTS)
def test_edge_lists(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(LISTS[name].encode())
    read = weighted(path)
    assert edges(read) == NAMED
    assert read.labels == ("b", "a", "c", "d"), "in the order of the file"


def test_a_compressed_list_and_a_path_as_text(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "list.txt.gz", "wt") as stream:
        stream.write(LISTS["plain.txt"])
    assert edges(weighted(str(tmp_path / "list.txt.gz"))) == NAMED


def test_numbers_are_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    read = read_graph(write(tmp_path / "a.txt", "10 2\n2 1\n3 10\n1 4\n"), nodes=10)
    assert read.labels == tuple(range(1, 11)) and read.graph.total_nodes == 10
    assert edges(read) == both_ways(dict.fromkeys([(10, 2), (2, 1), (3, 10), (1, 4)], 1.0))
    with pytest.warns(PympnodeWarning, match="1 to 10, leave out 5"):
        assert read_graph(tmp_path / "a.txt").labels == (1, 2, 3, 4, 10)


def test_numbers_from_one_or_from_zero(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "1 2\n2 3\n")
    assert read_graph(path).labels == (1, 2, 3)
    assert read_graph(path, nodes=3).labels == (1, 2, 3)
    with pytest.raises(InvalidGraph, match="may begin at 0 or at 1") as raised:
        read_graph(path, nodes=4)
    assert "first_node=1" in str(raised.value.allowed)
    assert read_graph(path, nodes=4, first_node=0).labels == (0, 1, 2, 3)
    assert read_graph(path, nodes=4, first_node=1).labels == (1, 2, 3, 4)
    with pytest.raises(InvalidGraph, match="end is not a node"):
        read_graph(path, nodes=2)
    assert read_graph(write(tmp_path / "b.txt", "0 2\n"), nodes=4).labels == (0, 1, 2, 3)
    with pytest.raises(InvalidOption, match="first_node"):
        read_graph(path, first_node=2)


def test_codes_keep_their_zeros(tmp_path: Path) -> None:
    """A county's code "01001" is not the number 1001."""
    read = read_graph(write(tmp_path / "a.csv", "source,target\n01001,01003\n01003,13001\n"))
    assert read.labels == ("01001", "01003", "13001")


def test_names_of_the_data_order_the_nodes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "b a\na c\n")
    read = read_graph(path, nodes=np.array(["a", "b", "c", "lonely"]))
    assert read.labels == ("a", "b", "c", "lonely")
    assert edges(read) == both_ways({("b", "a"): 1.0, ("a", "c"): 1.0})
    assert read.graph.sender.tolist() == [1, 2, 0, 0]
    with pytest.raises(InvalidGraph, match="nodes that nodes= does not name") as raised:
        read_graph(path, nodes=["a", "B", "c"])
    assert "'b'" in str(raised.value.got)
    with pytest.raises(InvalidGraph, match="names a node twice"):
        read_graph(path, nodes=["a", "b", "c", "a"])
    # Numbers of one are text of the other.
    numbers = write(tmp_path / "n.txt", "2 1\n1 3\n")
    assert read_graph(numbers, nodes=["3", "2", "1"]).graph.in_degree.tolist() == [1, 1, 2]
    assert read_graph(numbers, nodes=[3, 2, 1]).graph.in_degree.tolist() == [1, 1, 2]
    with pytest.raises(InvalidGraph, match="another number of nodes"):
        read_graph(path, nodes=4)


def test_a_direction_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a b\nb a\nb c\n")
    with pytest.raises(InvalidGraph, match="directed or undirected") as raised:
        read_graph(path)
    assert "1 pairs in both orders" in str(raised.value.got)
    assert set(edges(read_graph(path, directed=True))) == {("a", "b"), ("b", "a"), ("b", "c")}
    undirected = read_graph(path, directed=False)
    assert undirected.weight is None and undirected.graph.edges == 4
    two = write(tmp_path / "b.txt", "a b 1\nb a 2\nb c 3\n")
    with pytest.raises(InvalidGraph, match="two weights"):
        read_graph(two, directed=False)
    assert edges(weighted(two, directed=True))["b", "a"] == 2


@pytest.mark.parametrize(
    ("comment", "directed"),
    [
        ("# Directed graph (each unordered pair of nodes is saved once)", True),
        ("# Undirected graph: x.txt", False),
        ("% asym unweighted", True),
        ("% sym positive", False),
    ],
)
def test_a_file_that_says_its_direction(comment: str, directed: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", f"{comment}\n0 1\n1 2\n")
    assert read_graph(path).graph.edges == (2 if directed else 4)
    with pytest.warns(PympnodeWarning, match="calls itself"):
        read_graph(path, directed=not directed)
    with pytest.raises(InvalidGraph, match="bipartite"):
        read_graph(write(tmp_path / "b.txt", "% bip\n1 2\n"))


def test_edge_lists_that_cannot_be_read(tmp_path: Path) -> None:
    def refused(text: str, match: str, **options: Any) -> None:
        with pytest.raises((InvalidGraph, InvalidOption), match=match) as raised:
            read_graph(write(tmp_path / "a.csv", text), **options)
        assert raised.value.got is not None and raised.value.allowed is not None

    refused("", "no edges")
    refused("# nothing\n", "no edges")
    refused("a,b\nc\n", "differ in their number of columns")
    refused("a\nb\n", "names two nodes")
    refused("a,b,strong\nb,c,weak\n", "columns of the edge list are not known")
    refused("1,2,1,1082040961\n2,3,1,1082155839\n", "columns of the edge list are not known")
    refused("source,target,weight\na,b,\n", "not a number")
    refused("source;target;weight\na;b;1,5\n", "not a number")
    refused("source,target,weight\na,b,nan\nb,c,1\n", "no weight")
    refused("source,target\na,\n", "no end")
    refused("a,b,1\n", "there is no such column", columns=(0, 5))
    with pytest.raises(UnknownName, match="unknown column"):
        read_graph(write(tmp_path / "a.csv", "a,b\n"), columns=("from", "to"))
    refused("a,b\n", "names sender, receiver", columns=(0,))
    with pytest.raises(MissingFile):
        read_graph(tmp_path / "missing.csv")
    with pytest.raises(InvalidOption, match="format") as raised:
        read_graph(write(tmp_path / "a.graph", "a b\n"))
    assert "edge_list" in str(raised.value.fix)
    assert read_graph(tmp_path / "a.graph", format="edge_list").labels == ("a", "b")


def test_columns_by_choice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "source,target,distance,km\na,b,1,2\nb,c,1,3\n")
    with pytest.warns(
        PympnodeWarning, match="not read from the edge list: column 'distance', 'km'"
    ):
        assert read_graph(path).weight is None
    with pytest.warns(PympnodeWarning, match="column 'distance'") as found:
        read = read_graph(path, weight="km")
    assert edges(read)["b", "c"] == 3 and len(found) == 1
    assert edges(weighted(path, columns=("source", "target", "km")))["a", "b"] == 2
    times = write(tmp_path / "b.txt", "1 2 5 1082040961\n2 3 6 1082155839\n")
    assert edges(weighted(times, columns=(0, 1, 2)))[2, 3] == 6
    assert read_graph(times, columns=(0, 1)).weight is None


# ---- GML, GraphML and others --------------------------------------------------------------------


def labelled_graph() -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_weighted_edges_from([("b", "a", 2.5), ("a", "c", -1.0), ("c", "b", 4.0)])
    return graph


DIRECTED = {("b", "a"): 2.5, ("a", "c"): -1.0, ("c", "b"): 4.0}


@pytest.mark.parametrize(
    ("ending", "writer"),
    [("gml", nx.write_gml), ("graphml", nx.write_graphml), ("gexf", nx.write_gexf)],
)
def test_files_of_networkx(ending: str, writer: Any, tmp_path: Path) -> None:
    writer(labelled_graph(), tmp_path / f"a.{ending}")
    read = weighted(tmp_path / f"a.{ending}")
    assert edges(read) == DIRECTED and read.labels == ("b", "a", "c")
    assert edges(read_graph(tmp_path / f"a.{ending}", weight=False)) == dict.fromkeys(DIRECTED, 1.0)
    with pytest.raises(UnknownName, match="attribute of edges"):
        read_graph(tmp_path / f"a.{ending}", weight="wieght")


FOUR = '*Vertices 4\n1 "a" 0.1 0.2 ellipse\n2 b\n3 "c d"\n4 "e"\n'
ARC, EDGE = {("a", "b"): 5.0}, both_ways({("c d", "e"): 2.0})
LISTED = dict.fromkeys([("a", "b"), ("a", "c d"), ("a", "e")], 1.0)
PAJEK = {
    "arcs and edges": ("*Arcs\n1 2 5\n*Edges\n3 4 2 c Blue\n", ARC | EDGE),
    "edges and arcs": ("% a comment\n*edges\n3 4 2\n\n*arcs\n1 2 5\n", ARC | EDGE),
    "empty arcs": ("*Arcs\n*Edges\n3 4 2\n", EDGE),
    "list of arcs": ("*Arcslist\n1 2 3 4\n", LISTED),
    "list of edges": ("*Edgeslist\n1 2 3 4\n", both_ways(LISTED)),
    "matrix": ("*Matrix\n0 5 0 0\n0 0 0 0\n0 0 0 2.0\n0 0 2.0 0\n", ARC | EDGE),
    "one relation": ('*Arcs :1 "likes"\n1: 1 2 5\n*Partition p\n', ARC),
    "a weight left out": ("*Arcs\n1 2 5 [1-3]\n2 4\n", ARC | {("b", "e"): 1.0}),
}


@pytest.mark.parametrize("name", PAJEK)
def test_pajek(name: str, tmp_path: Path) -> None:
    """See findings/networkx_pajek_sections.sh."""
    text, expected = PAJEK[name]
    read = read_graph(write(tmp_path / "a.net", FOUR + text))
    assert edges(read) == expected and read.labels == ("a", "b", "c d", "e")


def test_pajek_of_networkx_and_labels_that_are_no_names(tmp_path: Path) -> None:
    graph = labelled_graph()
    nx.write_pajek(graph, tmp_path / "a.net")
    assert edges(weighted(tmp_path / "a.net")) == DIRECTED
    nx.write_pajek(graph.to_undirected(), tmp_path / "b.net")
    assert edges(weighted(tmp_path / "b.net")) == both_ways(DIRECTED)
    assert read_graph(tmp_path / "a.net", weight=False).weight is None
    with pytest.raises(UnknownName, match="attribute of edges"):
        read_graph(tmp_path / "a.net", weight="wieght")
    for vertices in ("*Vertices 3\n", '*Vertices 3\n1 "v"\n2 "v"\n3 "w"\n'):
        read = read_graph(write(tmp_path / "c.net", vertices + "*Arcs\n1 2\n"))
        assert read.labels == (1, 2, 3) and edges(read) == {(1, 2): 1.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("*Vertices 5 2\n*Edges\n1 4\n", "two-mode"),
        ("*Vertices 2\n*Arcs :1\n1 2\n*Arcs :2\n1 2\n", "several relations"),
        ("*Vertices 2\n*Arcs\n1 2\n*Vertices 2\n", "several networks"),
        ("*Vertices 2\n*Arcs\n1 3\n", "line 3: '1 3'"),
        ("*Vertices 2\n*Arcs\n1 2 strong\n", "line 3: '1 2 strong'"),
        ("*Vertices 2\n*Matrix\n0 1 1\n", "line 3"),
        ("*Arcs\n", "no \\*Vertices"),
    ],
)
def test_pajek_that_cannot_be_read(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidGraph, match=words):
        read_graph(write(tmp_path / "a.net", text))


def test_numbers_in_files_are_numbers(tmp_path: Path) -> None:
    """networkx 3.6 reads nodes 2, 0, 1 of GraphML as texts, in the order of the file."""
    graph = nx.Graph([(2, 0), (0, 1)])
    for name, writer in (("a.graphml", nx.write_graphml), ("a.gml", nx.write_gml)):
        writer(graph, tmp_path / name)
        read = read_graph(tmp_path / name)
        assert read.labels == (0, 1, 2)
        assert edges(read) == both_ways({(2, 0): 1.0, (0, 1): 1.0})


def test_weights_of_graphml_have_a_default(tmp_path: Path) -> None:
    text = (
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
        '<key id="w" for="edge" attr.name="weight" attr.type="double"><default>2.5</default></key>'
        '<graph edgedefault="directed"><node id="a"/><node id="b"/><node id="c"/>'
        '<edge source="a" target="b"/>{}</graph></graphml>'
    )
    one = '<edge source="b" target="c"><data key="w">1</data></edge>'
    read = weighted(write(tmp_path / "a.graphml", text.format("")))
    assert edges(read) == {("a", "b"): 2.5}
    read = weighted(write(tmp_path / "b.graphml", text.format(one)))
    assert edges(read) == {("a", "b"): 2.5, ("b", "c"): 1.0}


def test_gml_without_labels_with_parallel_edges_and_accents(tmp_path: Path) -> None:
    plain = write(
        tmp_path / "a.gml", "graph [ node [ id 5 ] node [ id 1 ] edge [source 5 target 1]]"
    )
    assert read_graph(plain).labels == (1, 5)
    parallel = (
        'graph [ directed 1 node [ id 1 label "a" ] node [ id 2 label "é" ]\n'
        "edge [ source 1 target 2 value 1 ] edge [ source 1 target 2 value 4 ] ]"
    )
    with pytest.warns(PympnodeWarning) as found:
        read = read_graph(write(tmp_path / "b.gml", parallel))
    assert edges(read) == {("a", "é"): 5.0}
    assert "1 of 2 directed edges are parallel" in str(found[0].message)
    (tmp_path / "latin.gml").write_bytes(parallel.encode("latin-1"))
    with pytest.warns(PympnodeWarning):
        assert read_graph(tmp_path / "latin.gml").labels == ("a", "é")
    same = 'graph [ node [ id 1 label "a" ] node [ id 2 label "a" ] edge [ source 1 target 2 ] ]'
    assert read_graph(write(tmp_path / "c.gml", same)).labels == (1, 2)
    for bad in ("graph [ node [ id 1 ", "no gml at all"):
        with pytest.raises(FileDamaged, match="cannot be read as GML"):
            read_graph(write(tmp_path / "d.gml", bad))


def test_names_of_graphml_of_igraph(tmp_path: Path) -> None:
    """igraph 1.0 writes the ids n0, n1, ...; the names are an attribute."""
    text = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="v_name" for="node" attr.name="name" attr.type="string"/>
  <key id="e_weight" for="edge" attr.name="weight" attr.type="double"/>
  <graph id="G" edgedefault="directed">
    <node id="n0"><data key="v_name">y</data></node>
    <node id="n1"><data key="v_name">x</data></node>
    <edge source="n0" target="n1"><data key="e_weight">3</data></edge>
  </graph>
</graphml>"""
    read = weighted(write(tmp_path / "a.graphml", text))
    assert read.labels == ("y", "x") and edges(read) == {("y", "x"): 3.0}
    mixed = text.replace('<edge source="n0"', '<edge directed="false" source="n0"')
    with pytest.raises(FileDamaged, match="directed=false"):
        read_graph(write(tmp_path / "b.graphml", mixed))


def test_sparse_matrices_and_their_files(tmp_path: Path) -> None:
    from scipy.io import mmwrite

    matrix = sparse.coo_array(([2.0, 0.0, -3.0], ([0, 1, 2], [1, 2, 0])), shape=(4, 4))
    wanted = {(0, 1): 2.0, (2, 0): -3.0}
    for kind in (matrix, matrix.tocsr(), sparse.csc_matrix(matrix)):
        read = weighted(kind)
        assert edges(read) == wanted and read.labels == (0, 1, 2, 3)
    sparse.save_npz(tmp_path / "a.npz", matrix.tocsr())
    assert edges(weighted(tmp_path / "a.npz")) == wanted
    symmetric = sparse.coo_array(matrix + matrix.T)
    mmwrite(tmp_path / "a.mtx", symmetric, symmetry="symmetric")
    assert edges(weighted(tmp_path / "a.mtx")) == both_ways(wanted)
    named = weighted(matrix, nodes=list("wxyz"))
    assert edges(named) == {("w", "x"): 2.0, ("y", "w"): -3.0}
    repeated = sparse.coo_array(([1.0, 4.0], ([0, 0], [1, 1])), shape=(2, 2))
    with pytest.warns(PympnodeWarning):
        assert edges(read_graph(repeated)) == {(0, 1): 5.0}
    for bad, match in ((matrix * np.nan, "no weight"), (matrix * 1j, "not a number")):
        with pytest.raises(InvalidGraph, match=match):
            read_graph(bad)
    with pytest.raises(InvalidGraph, match="square"):
        read_graph(sparse.coo_array(np.ones((2, 3))))
    with pytest.raises(InvalidGraph, match="another number of nodes"):
        read_graph(matrix, nodes=5)


# ---- arrays -------------------------------------------------------------------------------------


def test_an_edge_index_is_directed_and_pairs_are_not() -> None:
    index = np.array([[0, 1, 2, 3], [1, 2, 3, 0]])
    assert set(edges(read_graph(index))) == {(0, 1), (1, 2), (2, 3), (3, 0)}
    assert read_graph(index, directed=False).graph.edges == 8
    assert set(edges(read_graph(index.T))) == set(both_ways(dict.fromkeys(zip(*index.tolist()), 1)))
    assert read_graph(index, nodes=6).labels == (0, 1, 2, 3, 4, 5)
    assert read_graph(index.T.tolist(), directed=True).graph.edges == 4
    weights = [(0, 1, 2.5), (1, 2, 0.5), (2, 3, 1.0), (0, 3, 1.0)]
    assert edges(weighted(weights)) == both_ways({(a, b): w for a, b, w in weights})


@pytest.mark.parametrize(
    ("array", "layouts"),
    [
        ([[0, 1], [1, 0]], ("edge_index", "edge_list", "adjacency")),
        ([[0, 1], [1, 2]], ("edge_index", "edge_list", "adjacency")),
        ([[0, 1, 2], [1, 2, 0]], ("edge_index", "edge_list")),
        ([[0, 1, 5], [1, 2, 6], [2, 0, 7]], ("edge_list", "adjacency")),
    ],
)
def test_an_array_of_several_meanings_is_asked_for(array: Any, layouts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidGraph, match="several ways") as raised:
        read_graph(np.array(array))
    for layout in layouts:
        assert f'layout="{layout}"' in str(raised.value.fix)
    assert ("adjacency" in str(raised.value.fix)) == ("adjacency" in layouts)


def test_the_layout_decides() -> None:
    two = np.array([[0, 1], [2, 3]])
    assert set(edges(read_graph(two, layout="edge_index"))) == {(0, 2), (1, 3)}
    assert set(edges(read_graph(two, layout="edge_list", directed=True))) == {(0, 1), (2, 3)}
    with pytest.raises(InvalidGraph, match="self loops"):
        read_graph(two, layout="adjacency")
    assert edges(weighted(two, layout="adjacency", self_loops="keep"))[1, 0] == 2
    assert edges(weighted(two, layout="adjacency", self_loops="drop")) == {(0, 1): 1, (1, 0): 2}
    with pytest.raises(UnknownName, match="layout"):
        read_graph(two, layout="edges")
    with pytest.raises(InvalidGraph, match="no edge_index"):
        read_graph(np.zeros((5, 5), int), layout="edge_index")


def test_weights_of_zero_warn() -> None:
    """See findings/pandapower_graph_weights.sh."""
    graph = nx.MultiGraph()
    graph.add_weighted_edges_from([("a", "b", 2.0), ("b", "c", 0.0)])
    with pytest.warns(PympnodeWarning, match="2 of 4 directed edges have weight 0"):
        assert edges(read_graph(graph)) == both_ways({("a", "b"): 2.0, ("b", "c"): 0.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_graph(graph, weight=False).weight is None


def test_numbers_from_one_in_arrays_are_asked_for() -> None:
    index = np.array([[1, 2, 3, 4], [2, 3, 4, 1]])
    with pytest.raises(InvalidGraph, match="no edge has node 0"):
        read_graph(index)
    assert read_graph(index, first_node=1).labels == (1, 2, 3, 4)
    assert read_graph(index, first_node=1, nodes=list("abcd")).labels == tuple("abcd")
    assert read_graph(index, nodes=5).labels == (0, 1, 2, 3, 4)
    for bad in (index + 0.5, -index, index.astype(str), np.zeros((2, 2, 2)), [[0, 1], [2]]):
        with pytest.raises(InvalidGraph):
            read_graph(bad)


def test_dense_matrices() -> None:
    ring = nx.to_numpy_array(nx.cycle_graph(5))
    assert (
        read_graph(ring).graph.same(pympnode.Graph.from_adjacency(ring))
        and read_graph(ring).weight is None
    )
    ring[0, 1] = np.nan
    with pytest.raises(InvalidGraph, match="missing entries"):
        read_graph(ring)
    with pytest.raises(InvalidGraph, match="not a number"):
        read_graph(np.ones((4, 4)) * 1j - 1j * np.eye(4))


# ---- objects of other libraries -----------------------------------------------------------------


def test_networkx_graphs() -> None:
    graph = nx.Graph()
    graph.add_edge(2, 0)
    graph.add_edge(0, 1)
    assert edges(read_graph(graph)) == both_ways({(2, 0): 1.0, (0, 1): 1.0})
    assert read_graph(graph).labels == (0, 1, 2), "not in the order of insertion"
    many = nx.MultiDiGraph([("a", "b"), ("a", "b"), ("b", "a")])
    with pytest.warns(PympnodeWarning) as found:
        assert edges(read_graph(many)) == {("a", "b"): 2.0, ("b", "a"): 1.0}
    # networkx 3.6: to_numpy_array sums parallel edges, Graph(multigraph) keeps the last one.
    twice = nx.MultiGraph()
    twice.add_edge("a", "b", weight=1.0)
    twice.add_edge("b", "a", weight=2.0)
    assert "weight holds how many" in str(found[0].message)
    with pytest.warns(PympnodeWarning) as found:
        assert edges(read_graph(twice)) == both_ways({("a", "b"): 3.0})
    assert "their weights are summed" in str(found[0].message)
    graph[2][0]["weight"] = 1.5
    with pytest.raises(InvalidGraph, match="not every edge"):
        read_graph(graph)
    assert read_graph(graph, weight=False).weight is None
    with pytest.raises(InvalidOption, match="undirected"):
        read_graph(graph, directed=True, weight=False)
    with pytest.raises(InvalidGraph, match="self loops"):
        read_graph(nx.Graph([("a", "a"), ("a", "b")]))
    grid = read_graph(nx.grid_2d_graph(2, 2))
    assert grid.labels == ("(0, 0)", "(0, 1)", "(1, 0)", "(1, 1)")


def test_pandas_frames() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"weight": [2.5, 4.0], "target": ["a", "c"], "source": ["b", "a"]})
    assert edges(weighted(table)) == both_ways({("b", "a"): 2.5, ("a", "c"): 4.0})
    matrix = pandas.DataFrame([[0, 2], [0, 0]], index=["x", "y"], columns=["x", "y"])
    assert edges(weighted(matrix)) == {("x", "y"): 2.0}
    # Columns in another order than rows are matched by name.
    assert edges(weighted(matrix[["y", "x"]])) == {("x", "y"): 2.0}


def test_torch_geometric() -> None:
    geometric = pytest.importorskip("torch_geometric")
    import torch

    index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    data = geometric.data.Data(edge_index=index, num_nodes=4)
    assert edges(read_graph(data)) == both_ways({(0, 1): 1.0, (1, 2): 1.0})
    assert read_graph(data).labels == (0, 1, 2, 3)
    data.edge_attr = torch.tensor([[2.0], [2.0], [3.0], [3.0]])
    assert edges(weighted(data)) == both_ways({(0, 1): 2.0, (1, 2): 3.0})
    assert read_graph(index[:, :3]).graph.edges == 3, "a tensor of three edges is an edge_index"
    # torch_geometric 2.8: from_networkx numbers nodes as they were inserted, also whole numbers.
    graph = nx.Graph()
    graph.add_edge(2, 0, weight=2.0)
    graph.add_edge(0, 1, weight=3.0)
    theirs = geometric.utils.from_networkx(graph)
    assert edges(weighted(theirs)) == both_ways({(0, 1): 2.0, (1, 2): 3.0})
    assert edges(weighted(graph)) == both_ways({(2, 0): 2.0, (0, 1): 3.0})
    with pytest.raises(InvalidGraph, match="no edge_index"):
        read_graph(geometric.data.HeteroData())
    with pytest.raises(InvalidGraph, match="no edge_index"):
        read_graph(geometric.data.Data(x=torch.zeros(3, 1)))


def test_igraph(tmp_path: Path) -> None:
    igraph = pytest.importorskip("igraph")
    graph = igraph.Graph.TupleList([("b", "a", 1.5), ("a", "c", 2.5)], weights=True)
    assert edges(weighted(graph)) == both_ways({("b", "a"): 1.5, ("a", "c"): 2.5})
    graph.write_graphml(str(tmp_path / "a.graphml"))
    assert edges(weighted(tmp_path / "a.graphml")) == both_ways({("b", "a"): 1.5, ("a", "c"): 2.5})
    graph.write_gml(str(tmp_path / "a.gml"))
    assert edges(weighted(tmp_path / "a.gml")) == both_ways({("b", "a"): 1.5, ("a", "c"): 2.5})
    assert read_graph(igraph.Graph([(0, 2), (2, 1)], directed=True)).labels == (0, 1, 2)
    numbers = write(tmp_path / "n.txt", "3 1\n1 2\n")
    read = read_graph(igraph.Graph.Read_Ncol(str(numbers), directed=False))
    assert read.labels == (1, 2, 3) and edges(read) == both_ways({(3, 1): 1.0, (1, 2): 1.0})
    nx.write_gml(nx.Graph([(5, 1)]), tmp_path / "b.gml")
    assert read_graph(igraph.Graph.Read_GML(str(tmp_path / "b.gml"))).labels == (1, 5)


def test_a_read_graph_in_a_dataset(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    read = read_graph(write(tmp_path / "a.txt", "d a\na b\nb c\n"), nodes=names)
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 1))
    ds = pympnode.from_arrays(x, dt=0.1, topology=read.graph)
    found = {(names[a], names[b]) for a, b in zip(ds.sender.values, ds.receiver.values)}
    assert found == set(both_ways(dict.fromkeys([("d", "a"), ("a", "b"), ("b", "c")], 1)))
    assert "labels 'a', 'b', 'c', ..." in repr(read)


def test_keywords_of_other_sources_are_refused() -> None:
    for options in ({"format": "gml"}, {"header": True}, {"columns": (0, 1)}):
        with pytest.raises(InvalidOption, match="belongs to files"):
            read_graph(nx.path_graph(3), **options)
    with pytest.raises(UnknownName, match="self_loops"):
        read_graph(nx.path_graph(3), self_loops="remove")
    with pytest.raises(InvalidGraph, match="Graph already"):
        read_graph(pympnode.Graph.from_edges([(0, 1)]))


def test_missing_names_in_a_frame_are_refused_and_floats_are_numbers() -> None:
    for lacking in (None, np.nan, pd.NA):
        frame = pd.DataFrame({"source": ["a", lacking], "target": ["b", "c"]})
        with pytest.raises(InvalidGraph, match="an edge has no end"):
            pympnode.read_graph(frame, directed=True)
    floats = pd.DataFrame({"source": [1.0, 2.0], "target": [2, 3]})
    assert pympnode.read_graph(floats, directed=True).labels == (1, 2, 3)


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("topology", "nets/graph.gml", r"pympnode\.read_graph"),
        ("topology", Path("graph.gml"), r"pympnode\.read_graph"),
        ("topology", {0: [1]}, r"networkx\.Graph"),
        ("edges", np.array([[0, 1, 2, 0], [1, 2, 3, 3]]), r"edge_index\.T"),
        ("edges", [(0, 1, 0.5, 7), (1, 2, 0.5, 7), (2, 3, 1.0, 7), (0, 3, 1.0, 7)], "attribute="),
    ],
)
def test_advice_names_what_helps(keyword: str, value: Any, words: str) -> None:
    with pytest.raises(PympnodeError, match=words):
        pympnode.from_arrays(np.zeros((3, 4, 1)), dt=1.0, **{keyword: value})
