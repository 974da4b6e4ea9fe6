"""
    GeneDynamics(graph; decay=1, coupling=1, loops)

Michaelis–Menten gene regulation, one expression a node:
`x_i' = -decay x_i + coupling * sum over senders j of x_j^2 / (1 + x_j^2)`. `decay` is one number or one
a node; `loops` (`node`) is one where a node sends to itself, which the graph cannot say.
"""
struct GeneDynamics <: System
    graph::SimpleDiGraph{Int}
    decay::Vector{Float64}
    coupling::Float64
    loops::Vector{Float64}
end
GeneDynamics(graph::AbstractGraph; decay = 1.0, coupling = 1.0, loops = zeros(nv(graph))) =
    GeneDynamics(directed(graph), per_node(decay, nv(graph)), coupling, per_node(loops, nv(graph)))

feature_count(::GeneDynamics) = 1

hill(x) = x^2 / (1 + x^2)

function wiring(s::GeneDynamics)
    vertex!(dv, v, received, p, t) = (dv[1] = -p[1] * v[1] + p[2] * hill(v[1]) + received[1]; nothing)
    edge!(e, sender, receiver, p, t) = (e[1] = p[1] * hill(sender[1]); nothing)
    vertex = permutedims(hcat(s.decay, s.coupling .* s.loops))
    return Wiring(s.graph, vertex!, edge!, vertex, fill(s.coupling, 1, ne(s.graph)), false)
end
