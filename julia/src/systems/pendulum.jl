"""
    CoupledPendulum(graph; m=1, l=1.5, k=2, g=9.81)

Pendula joined by springs, as published for two; state (angle, angular velocity) in SI units:
`a_i'' = [m (l a_i'^2 - g) sin a_i + k l sum over senders j of (sin a_j - sin a_i)] / (m l cos a_i)`.
"""
struct CoupledPendulum <: System
    graph::SimpleDiGraph{Int}
    m::Float64
    l::Float64
    k::Float64
    g::Float64
end
CoupledPendulum(graph::AbstractGraph; m = 1.0, l = 1.5, k = 2.0, g = 9.81) =
    CoupledPendulum(directed(graph), m, l, k, g)

"Two pendula."
CoupledPendulum(; kw...) = CoupledPendulum(complete_graph(2); kw...)

feature_count(::CoupledPendulum) = 2

function pendulum_vertex!(dv, v, received, p, t)
    m, l, g = p[1], p[2], p[3]
    dv[1] = v[2]
    dv[2] = (m * (l * v[2]^2 - g) * sin(v[1]) + received[2]) / (m * l * cos(v[1]))
    return nothing
end
function pendulum_edge!(e, sender, receiver, p, t)
    e[1] = 0
    e[2] = p[1] * (sin(sender[1]) - sin(receiver[1]))
    return nothing
end

wiring(s::CoupledPendulum) = Wiring(s.graph, pendulum_vertex!, pendulum_edge!,
    repeat([s.m, s.l, s.g], 1, nv(s.graph)), fill(s.k * s.l, 1, ne(s.graph)), false)
