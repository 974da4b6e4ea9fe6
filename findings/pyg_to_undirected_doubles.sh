#!/usr/bin/env bash
# to_undirected of a graph that is undirected already doubles its weights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 torch_geometric==2.8.1 networkx==3.6.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
import torch_geometric
from torch_geometric.data import Data
from torch_geometric.transforms import ToUndirected
from torch_geometric.utils import is_undirected, to_networkx, to_undirected

print("torch_geometric", torch_geometric.__version__, "torch", torch.__version__)
print("One undirected edge of weight 2, stored in both directions. Expected: to_undirected changes nothing.")
edges, weight = torch.tensor([[0, 1], [1, 0]]), torch.tensor([2.0, 2.0])
data = Data(edge_index=edges, edge_attr=weight, num_nodes=2)
before = is_undirected(edges, weight)
_, once = to_undirected(edges, weight)
_, twice = to_undirected(edges, once)
transformed = ToUndirected()(data.clone()).edge_attr
ends = next(iter(to_networkx(data, edge_attrs=["edge_attr"], to_undirected=True).edges(data=True)))
print("is_undirected          ", before)
print("to_undirected          ", once.tolist())
print("the same once more     ", twice.tolist())
print("transforms.ToUndirected", transformed.tolist())
print("to_networkx(to_undirected=True)", ends[2]["edge_attr"])
assert before and once.tolist() == [4.0, 4.0] and twice.tolist() == [8.0, 8.0], "weights stay now"
assert transformed.tolist() == [4.0, 4.0] and ends[2]["edge_attr"] == 2.0, "another rule"
print("Seen: each call doubles the weights (reduce=\"add\" sums both directions); to_networkx keeps 2.")
PYTHON
