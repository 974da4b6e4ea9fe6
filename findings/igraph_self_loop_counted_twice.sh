#!/usr/bin/env bash
# An undirected self loop is 2 in igraph's dense adjacency matrix, 1 in its sparse one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet igraph==1.0.0 networkx==3.6.1 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import igraph
import networkx
import numpy

print("igraph", igraph.__version__, "networkx", networkx.__version__)
print("One graph, edges 0-1 and 1-1. Expected: one matrix from all functions.")
edges = [(0, 1), (1, 1)]
theirs = numpy.array(igraph.Graph(edges).get_adjacency().data)
sparse = numpy.asarray(igraph.Graph(edges).get_adjacency_sparse().todense())
other = networkx.to_numpy_array(networkx.Graph(edges), dtype=int)
print("igraph get_adjacency        ", theirs.tolist())
print("igraph get_adjacency_sparse ", sparse.tolist())
print("networkx to_numpy_array     ", other.tolist())
assert theirs[1, 1] == 2 and sparse[1, 1] == 1 and other[1, 1] == 1, "they agree now"
print("Seen: get_adjacency counts both ends of a loop, get_adjacency_sparse and networkx count it once.")
PYTHON
