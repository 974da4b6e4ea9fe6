"""
    HeatDiffusion(graph; diffusivity)

Heat diffusion, one temperature a node: `x_i' = diffusivity * sum over senders j of (x_j - x_i)`.
"""
struct HeatDiffusion <: System
    graph::SimpleDiGraph{Int}
    diffusivity::Float64
end
HeatDiffusion(graph::AbstractGraph; diffusivity) = HeatDiffusion(directed(graph), Float64(diffusivity))

feature_count(::HeatDiffusion) = 1

heat_vertex!(dv, v, received, p, t) = (dv[1] = received[1]; nothing)
heat_edge!(e, sender, receiver, p, t) = (e[1] = p[1] * (sender[1] - receiver[1]); nothing)

wiring(s::HeatDiffusion) = Wiring(s.graph, heat_vertex!, heat_edge!, zeros(1, nv(s.graph)),
    fill(s.diffusivity, 1, ne(s.graph)), false)
