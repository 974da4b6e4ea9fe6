"""
    CoupledLorenz(graph, H; σ=10, ρ=28, β=8/3)

Lorenz attractors (1963), each driven by a linear map of the others' states along the edges of `graph`:
`x_k' = lorenz(x_k) + H_kk x_k + sum over senders j of H_kj x_j`, with `H_kj = H[:, j, :, k]'`, that is
`H` has the axes (source feature, source node, feature, node).
"""
struct CoupledLorenz <: System
    graph::SimpleDiGraph{Int}
    H::Array{Float64, 4}
    σ::Float64
    ρ::Float64
    β::Float64
end
function CoupledLorenz(graph::AbstractGraph, H::AbstractArray{<:Real, 4}; σ = 10.0, ρ = 28.0, β = 8 / 3)
    n = nv(graph)
    check(size(H) == (3, n, 3, n), "H is $(size(H)), the graph needs $((3, n, 3, n))")
    return CoupledLorenz(directed(graph), Array{Float64}(H), σ, ρ, β)
end

"From the matrix `H` (`3k × 3k`) that acts on `vec` of the states."
CoupledLorenz(graph::AbstractGraph, H::AbstractMatrix; kw...) =
    CoupledLorenz(graph, reshape(permutedims(H), 3, nv(graph), 3, nv(graph)); kw...)

feature_count(::CoupledLorenz) = 3

function lorenz_vertex!(dv, v, received, p, t)
    x, y, z = v[1], v[2], v[3]
    dv[1] = p[1] * (y - x)
    dv[2] = x * (p[2] - z) - y
    dv[3] = x * y - p[3] * z
    for i in 1:3
        dv[i] += received[i] + p[3i + 1] * x + p[3i + 2] * y + p[3i + 3] * z
    end
    return nothing
end
function lorenz_edge!(e, sender, receiver, p, t)
    for i in 1:3
        e[i] = p[3i - 2] * sender[1] + p[3i - 1] * sender[2] + p[3i] * sender[3]
    end
    return nothing
end

function wiring(s::CoupledLorenz)
    block(j, k) = vec(s.H[:, j, :, k])          # row by row: H_kj[i, 1:3] are three in a row
    vertex = reduce(hcat, [[s.σ; s.ρ; s.β; block(k, k)] for k in 1:nv(s.graph)])
    edge = reduce(hcat, [block(src(e), dst(e)) for e in edges(s.graph)]; init = zeros(9, 0))
    return Wiring(s.graph, lorenz_vertex!, lorenz_edge!, vertex, edge, false)
end
