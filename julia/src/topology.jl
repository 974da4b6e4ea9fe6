"""
    Topology(sender, receiver, nodes)
    Topology(graphs)

Any number of directed graphs side by side. `nodes` holds the node count of each; `sender` and `receiver`
are one-based and count through all of them, an edge staying within its graph. From Graphs.jl: one graph,
or a vector of them (an undirected edge runs both ways).

Fields: `nodes`; `first`, the rows before those of each graph; `pointer`, such that the edges into row `r`
are `pointer[r]:(pointer[r + 1] - 1)`; `sender`, numbered within its own graph.
"""
struct Topology
    nodes::Vector{Int}
    first::Vector{Int}
    pointer::Vector{Int}
    sender::Vector{Int}
end

function Topology(sender::AbstractVector{<:Integer}, receiver::AbstractVector{<:Integer},
        nodes::AbstractVector{<:Integer})
    rows = sum(nodes)
    check(length(sender) == length(receiver), "there are $(length(sender)) senders and ",
        "$(length(receiver)) receivers; an edge has one of each")
    check(all(in(1:rows), sender) && all(in(1:rows), receiver), "edges must join nodes of 1:$rows")
    first = cumsum(nodes) .- nodes
    order = sortperm(collect(zip(receiver, sender)))
    pointer = ones(Int, rows + 1)
    for r in receiver
        pointer[r + 1] += 1
    end
    pointer[2:end] .= 1 .+ cumsum(pointer[2:end] .- 1)
    home(row) = searchsortedlast(first, row - 1)
    local_sender = zeros(Int, length(sender))
    for (e, from) in enumerate(order)
        g = home(receiver[from])
        check(1 ≤ sender[from] - first[g] ≤ nodes[g], "an edge joins two graphs")
        local_sender[e] = sender[from] - first[g]
    end
    return Topology(collect(Int, nodes), collect(Int, first), pointer, local_sender)
end

function Topology(graphs::AbstractVector{<:AbstractGraph})
    sender, receiver, nodes, before = Int[], Int[], Int[], 0
    for g in graphs
        for e in edges(g isa SimpleDiGraph ? g : SimpleDiGraph(g))
            push!(sender, before + src(e))
            push!(receiver, before + dst(e))
        end
        push!(nodes, nv(g))
        before += nv(g)
    end
    return Topology(sender, receiver, nodes)
end
Topology(graph::AbstractGraph) = Topology([graph])

graph_count(t::Topology) = length(t.nodes)
row(t::Topology, g, k) = t.first[g] + k
edges_into(t::Topology, r) = t.pointer[r]:(t.pointer[r + 1] - 1)
in_degree(t::Topology, r) = t.pointer[r + 1] - t.pointer[r]

"""
    edge_weight(topology, r, aggregation, divisor) -> number

What each message into row `r` is multiplied by: one over the number of neighbours (`:mean`), or one over
the constant `divisor` (`:sum`).
"""
edge_weight(t::Topology, r, aggregation, divisor) =
    aggregation === :mean ? 1 / max(in_degree(t, r), 1) : 1 / divisor

"""
    aggregation_matrix(topology, g, aggregation, divisor, T) -> Matrix{T}

`P` (`n × n`) of graph `g` such that column `k` of `m * P` is what node `k` receives of the messages `m`
(`p × n`). A node without neighbours receives zero.
"""
function aggregation_matrix(t::Topology, g, aggregation, divisor, ::Type{T}) where {T}
    P = zeros(T, t.nodes[g], t.nodes[g])
    for k in axes(P, 2)
        r = row(t, g, k)
        for e in edges_into(t, r)
            P[t.sender[e], k] += T(edge_weight(t, r, aggregation, divisor))
        end
    end
    return P
end

"The directed graph `g` without its self loops, and which nodes have one (zeros and ones)."
function digraph(t::Topology, g::Integer)
    graph, loops = SimpleDiGraph(t.nodes[g]), zeros(t.nodes[g])
    for k in 1:t.nodes[g], e in edges_into(t, row(t, g, k))
        j = t.sender[e]
        j == k ? (loops[k] = 1) : add_edge!(graph, j, k)
    end
    return graph, loops
end
