"""
    Kuramoto(graph, frequency; coupling=1/3)

`d` independent phase oscillators a node: `θ_i' = ω + coupling * sum over senders j of sin(θ_j - θ_i)`,
feature by feature. `frequency` (radians a unit time) is shared by the nodes (`d`) or differs
(`d × node`). Its control, one a node, is added to every frequency of the node.
"""
struct Kuramoto <: System
    graph::SimpleDiGraph{Int}
    frequency::Matrix{Float64}
    coupling::Float64
end
function Kuramoto(graph::AbstractGraph, frequency; coupling = 1 / 3)
    n = nv(graph)
    each = frequency isa AbstractMatrix ? Matrix{Float64}(frequency) : repeat(collect(Float64, frequency), 1, n)
    check(size(each, 2) == n, "frequency is $(size(each)), the graph has $n nodes")
    return Kuramoto(directed(graph), each, coupling)
end

"The directed graph that an undirected one is."
directed(graph::SimpleDiGraph) = graph
directed(graph::AbstractGraph) = SimpleDiGraph(graph)

feature_count(s::Kuramoto) = size(s.frequency, 1)

function wiring(s::Kuramoto)
    vertex!(dv, v, received, p, t) = (dv .= p .+ received; nothing)
    edge!(e, sender, receiver, p, t) = (e .= p[1] .* sin.(sender .- receiver); nothing)
    both_ways = all(e -> has_edge(s.graph, dst(e), src(e)), edges(s.graph))
    graph = both_ways ? SimpleGraph(s.graph) : s.graph      # half the sines
    return Wiring(graph, vertex!, edge!, s.frequency, fill(s.coupling, 1, ne(graph)), both_ways)
end

function drive!(p, s::Kuramoto, u)
    d, n = size(s.frequency)
    check(size(u, 1) == 1, "there are $(size(u, 1)) controls a node, Kuramoto takes 1")
    for k in 1:n, i in 1:d
        p[(k - 1) * d + i] = s.frequency[i, k] + u[1, k]
    end
    return p
end
