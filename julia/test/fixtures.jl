# What the test files share: two graphs, the family of models, and finite differences.
using LinearAlgebra: dot, norm
using Random: MersenneTwister, randperm
using Graphs: SimpleDiGraph, SimpleGraph, add_edge!, adjacency_matrix, complete_graph
using MessagePassingNODE: MessagePassingNODE as MP, Bridge

const N, D, C, BATCH = 6, 2, 1, 4

function graph_of(n, pairs)
    graph = SimpleGraph(n)
    foreach(((i, j),) -> add_edge!(graph, i, j), pairs)
    return graph
end
const ONE = graph_of(N, [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 1), (2, 5)])
const TWO = graph_of(N, [(1, 2), (2, 3), (4, 5)])            # node 6 is isolated
const BOTH = Topology([ONE, TWO])
const MIXED = [1, 2, 2, 1]                                    # the graph of each trajectory
const GRID = [0.0, 0.05, 0.1, 0.15, 0.2]

const FAMILY = [(; messages, coupling, first_message)
                for messages in (:state, :zero, :self, :emitted), coupling in (:mixed, :superposed),
                first_message in (:zero, :linear, :mlp) if messages !== :emitted || first_message === :zero]

spec_of(; kw...) = ModelSpec(; channels = D, controls = C, attributes = 1, message = 3, hidden = 8, kw...)

"Data, a program and a vector of parameters, all in Float64."
function problem(spec; grid = GRID, topology = BOTH, graph = MIXED, masked = false, kw...)
    x = randn(MersenneTwister(4), D, N, length(grid), BATCH)
    u = randn(MersenneTwister(5), spec.controls, N, length(grid), BATCH)
    attribute = randn(MersenneTwister(6), spec.attributes, N)
    some = masked ? (; mask = Float64.(rand(MersenneTwister(8), D, N, length(grid), BATCH) .> 0.3)) : (;)
    data = Dataset(x, grid, topology; graph, u, attribute, some...)
    theta = initial(MersenneTwister(2), spec, Float64)
    theta .+= 0.1 .* randn(MersenneTwister(3), length(theta))         # biases start at zero
    return Program(spec, [data]; T = Float64, kw...), theta, data
end
whole(p, theta) = loss_and_gradient(p, theta, 1:BATCH, ones(Int, BATCH), length(p.data[1].time) - 1)
whole_loss(p, theta) = batch_loss(p, theta, 1:BATCH, ones(Int, BATCH), length(p.data[1].time) - 1)

directional(f, theta, v; h = 1e-5) = (f(theta .+ h .* v) - f(theta .- h .* v)) / 2h
relative(a, b) = norm(a .- b) / norm(b)
message_of(f) = try
    f()
    ""
catch e
    sprint(showerror, e)
end
