#!/usr/bin/env bash
# read_pajek gives all links the direction of the first section, and reads lists of neighbours as weights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet networkx==3.6.1 igraph==1.0.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import igraph
import networkx as nx

print("networkx", nx.__version__, "igraph", igraph.__version__)
print("Arcs have a direction, edges have none. Expected: the sections in either order say the same; an arc list")
print("1 2 3 4 is 1 -> 2, 1 -> 3, 1 -> 4.")
vertices = '*Vertices 4\n1 "a"\n2 "b"\n3 "c"\n4 "d"\n'
files = {
    "arcs, then edges": "*Arcs\n1 2\n*Edges\n3 4\n",
    "edges, then arcs": "*Edges\n3 4\n*Arcs\n1 2\n",
    "empty arcs, edges": "*Arcs\n*Edges\n3 4\n",
    "arc list": "*Arcslist\n1 2 3 4\n",
    "two relations": '*Arcs :1 "likes"\n1 2\n*Arcs :2 "knows"\n3 4\n',
}
read = {}
for name, text in files.items():
    with open("a.net", "w") as file:
        file.write(vertices + text)
    graph = nx.read_pajek("a.net")
    read[name] = (graph.is_directed(), [(a, b, *d.values()) for a, b, d in graph.edges(data=True)])
    print(f"{name:17} networkx", "directed" if read[name][0] else "undirected", read[name][1])
    try:
        other = igraph.Graph.Read_Pajek("a.net")
        pairs = [("abcd"[a], "abcd"[b]) for a, b in other.get_edgelist()]
        print(f"{'':17} igraph  ", "directed" if other.is_directed() else "undirected", pairs)
    except igraph.InternalError:
        print(f"{'':17} igraph   refuses the file")
assert read["arcs, then edges"] == (True, [("a", "b"), ("c", "d")]), "the edge c-d has both directions now"
assert read["edges, then arcs"][0] is False and read["empty arcs, edges"] == (True, [("c", "d")])
assert read["arc list"] == (True, [("a", "b", 3.0)]) and ("*Arcs", ":2") in read["two relations"][1]
print("Seen: the first section decides for all links, even where it is empty; an arc list loses its neighbours")
print("but one, and the second becomes a weight; the header of a second relation becomes an edge.")
PYTHON
