#!/usr/bin/env bash
# Weights of create_nxgraph are lengths, 0 for transformers: a dense adjacency has no transformers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pandapower==3.5.6 networkx==3.6.1 numpy==2.4.6 pandas==2.3.3
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import networkx as nx
import numpy as np
import pandapower
import pandapower.networks
from pandapower.topology import create_nxgraph
from scipy.sparse.csgraph import connected_components

print("pandapower", pandapower.__version__, "networkx", nx.__version__)
print("The New England grid is connected: 35 lines and 11 transformers. Expected: so is the adjacency of its graph.")
net = pandapower.networks.case39()
graph = create_nxgraph(net)
adjacency = nx.to_numpy_array(graph)
islands, _ = connected_components(adjacency)
print("networkx:", graph.number_of_edges(), "edges,", nx.number_connected_components(graph), "component")
print("numpy:   ", np.count_nonzero(adjacency) // 2, "edges,", islands, "components")
zeros = sum(data["weight"] == 0 for *_, data in graph.edges(data=True))
print("edges of weight 0:", zeros, "of", len(net.trafo), "transformers")
two = pandapower.create_empty_network()
buses = [pandapower.create_bus(two, vn_kv=110) for _ in range(3)]
for first, second in ((0, 1), (0, 1), (1, 2)):
    pandapower.create_line(two, buses[first], buses[second], 10.0, "149-AL1/24-ST1A 110.0")
pair = nx.to_numpy_array(create_nxgraph(two))
print("weights of two parallel lines of 10 km:", pair[0, 1], "and of one:", pair[1, 2])
assert graph.number_of_edges() == 46 and nx.is_connected(graph)
assert zeros == len(net.trafo) and islands == 11, "transformers have a weight now"
assert pair[0, 1] == 20 and pair[1, 2] == 10
print("Seen: weight is the length in km, 0 for transformers and switches. The dense adjacency falls into 11 pieces, and the")
print("strong connection of two parallel lines counts as one of twice the length.")
PYTHON
