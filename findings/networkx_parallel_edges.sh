#!/usr/bin/env bash
# Parallel edges of networkx: one function keeps one weight, another the sum.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet networkx==3.6.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import networkx
import numpy

print("networkx", networkx.__version__)
print("Two edges between a and b, of weight 1 and 2. Expected: one rule for what a simple graph of them weighs.")
many = networkx.MultiGraph()
many.add_edge("a", "b", weight=2.0)
many.add_edge("a", "b", weight=1.0)
kept = networkx.Graph(many)["a"]["b"]["weight"]
matrix = networkx.to_numpy_array(many)[0, 1]
largest = networkx.to_numpy_array(many, multigraph_weight=max)[0, 1]
undirected = networkx.DiGraph()
undirected.add_edge("a", "b", weight=2.0)
undirected.add_edge("b", "a", weight=1.0)
reciprocal = undirected.to_undirected()["a"]["b"]["weight"]
print("Graph(multigraph)          ", kept)
print("to_numpy_array(multigraph) ", matrix)
print("... multigraph_weight=max  ", largest)
print("DiGraph with a-b 2, b-a 1, to_undirected()", reciprocal)
assert kept == 1.0 and matrix == 3.0 and reciprocal == 1.0, "another rule"
print("Seen: conversion keeps the edge that was added last (1), the matrix has the sum (3).")
PYTHON
