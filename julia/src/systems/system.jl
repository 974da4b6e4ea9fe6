"""
A dynamical system on a graph. [`wiring`](@ref) gives its vertex and edge functions and their parameters;
`feature_count(sys)` the features of a node, `node_count(sys)` the nodes.
"""
abstract type System end

node_count(s::System) = nv(s.graph)

"""
The two halves of a network: `vertex!(dv, v, received, p, t)` and `edge!(e, sender, receiver, p, t)`, with
the parameters of every vertex (`parameter × node`) and of every edge (`parameter × edge`, in the order of
`edges(graph)`). With `antisymmetric` the graph is undirected and the message back is the negative.
"""
struct Wiring{G, V, E}
    graph::G
    vertex!::V
    edge!::E
    vertex::Matrix{Float64}
    edge::Matrix{Float64}
    antisymmetric::Bool
end

"""
    VectorField(sys)

`field(dx, x, p, t)` on `feature × node` matrices, through NetworkDynamics, with its parameters
`field.p`. It holds buffers: every thread needs its own.
"""
struct VectorField{F}
    f!::F
    p::Vector{Float64}
    shape::Tuple{Int, Int}
end
(field::VectorField)(dx, x, p, t) = field.f!(dx, x, p, t)

function VectorField(sys::System)
    w, d, n = wiring(sys), feature_count(sys), node_count(sys)
    p = [vec(w.vertex); vec(w.edge)]
    ne(w.graph) == 0 && return VectorField(apart(w, d, n), p, (d, n))
    vertex = VertexModel(; f = w.vertex!, g = StateMask(1:d), dim = d, pdim = size(w.vertex, 1))
    coupling = w.antisymmetric ? AntiSymmetric(w.edge!) : Directed(w.edge!)
    edge = EdgeModel(; g = coupling, outdim = d, pdim = size(w.edge, 1))
    network = Network(w.graph, vertex, edge)
    f!(dx, x, p, t) = (network(vec(dx), vec(x), p, t); nothing)
    return VectorField(f!, p, (d, n))
end

# nodes that nobody sends to: NetworkDynamics wants at least one edge
function apart(w::Wiring, d, n)
    nothing_received = zeros(d)
    return function (dx, x, p, t)
        rows = reshape(p, :, n)
        for k in 1:n
            w.vertex!(view(dx, :, k), view(x, :, k), nothing_received, view(rows, :, k), t)
        end
        return nothing
    end
end

"`drive!(p, sys, u)`: write the controls `u` (`control × node`) of an interval into the parameters."
drive!(p, sys::System, u) =
    throw(InputError("$(nameof(typeof(sys))) takes no controls; leave them out"))

"A number for every node: one number, or `node` of them."
per_node(value::Real, n) = fill(Float64(value), n)
function per_node(value::AbstractVector, n)
    check(length(value) == n, "there are $(length(value)) values for $n nodes")
    return collect(Float64, value)
end
