"""
    MessagePassingNODE

Message passing neural ordinary differential equations: every node `k` of a graph carries a state `x_k`
(`d` features) and a message `m_k` (`p` features), driven by one shared multilayer perceptron

    d/dt [x_k; m_k] = f([x_k; u_k; mean over the neighbours j of m_j]),    m_k(0) = 0.

What is sent, how it drives the node and where messages start may differ: see [`ModelSpec`](@ref). A
[`Program`](@ref) binds a model to data; [`train`](@ref) fits it; [`simulate`](@ref) makes data.

Every array in this package has the axes `(feature, node, time, trajectory)`, or a subset of them in
that order, so that a C-ordered NumPy array `(trajectory, time, node, feature)` is the same memory.
"""
module MessagePassingNODE

using ChainRulesCore: ChainRulesCore, NoTangent, @ignore_derivatives, unthunk
using ComponentArrays: ComponentArray, getaxes, getdata
using DiffEqFlux: NeuralODE
using Graphs: Graphs, AbstractGraph, SimpleDiGraph, SimpleGraph, add_edge!, complete_graph, dst, edges, has_edge,
    ne, nv, src
using LinearAlgebra: mul!, norm
using Lux: Lux, Chain, Dense, LuxCore
using NNlib: batched_mul, tanh_fast
using NetworkDynamics: AntiSymmetric, Directed, EdgeModel, Network, StateMask, VertexModel
using Optimisers: Optimisers
using OrdinaryDiffEqTsit5: ODEProblem, Tsit5, remake, solve
using PrecompileTools: @compile_workload, @setup_workload
using Random: AbstractRNG, MersenneTwister, shuffle
using SciMLBase: successful_retcode
using SciMLSensitivity: BacksolveAdjoint, GaussAdjoint, InterpolatingAdjoint, ZygoteVJP
using Zygote: Zygote

include("errors.jl")
include("interruption.jl")
include("topology.jl")
include("spec.jl")
include("layout.jl")
# systems and their ensembles
include("systems/system.jl")
include("systems/kuramoto.jl")
include("systems/gene.jl")
include("systems/lorenz.jl")
include("systems/heat.jl")
include("systems/pendulum.jl")
include("simulate.jl")
# steps of fixed size and their adjoint
include("tableau.jl")
include("columns.jl")
include("perceptron.jl")
include("window.jl")
include("message_passing_tape.jl")
include("graph_network_tape.jl")
include("discrete.jl")
# the same models as Lux layers in a NeuralODE
include("aggregate.jl")
include("messages.jl")
include("coupling.jl")
include("first_message.jl")
include("layers.jl")
include("neural.jl")
# programs: either kind of rollout, with data
include("program.jl")
include("shares.jl")
include("discrete_batch.jl")
include("neural_batch.jl")
include("prediction.jl")
include("normalisation.jl")
include("training.jl")
include("bridge.jl")
include("precompile.jl")

export InputError, Interrupted, Topology
export Kuramoto, GeneDynamics, CoupledLorenz, CoupledPendulum, HeatDiffusion, simulate
export ModelSpec, initial, layout, parameter_count, MessagePassingField, GraphNetworkField
export Dataset, Program, bind!, loss_and_gradient, batch_loss, rollout, vector_field
export Normalisation, fit_normalisation, normalise, denormalise, train

end
