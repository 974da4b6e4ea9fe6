"""
Entry points for another process: plain arrays, numbers and strings in, dictionaries of them out.

Array axes are (feature, node, time, trajectory), so that a C-ordered NumPy array
(trajectory, time, node, feature) is the same memory. Numbers of nodes, graphs, trajectories and times are
one-based. What is absent is `nothing`. What cannot be served throws an `InputError`.
"""
module Bridge

using ..MessagePassingNODE: MessagePassingNODE as MP, CoupledLorenz, CoupledPendulum, Dataset, GeneDynamics,
    HeatDiffusion, InputError, Kuramoto, ModelSpec, Program, Topology, check, digraph
using LinearAlgebra: BLAS
using SciMLSensitivity: SciMLSensitivity

export versions, watch, simulate, program, bind, loss_and_gradient, loss, rollout, field

array(::Type{T}, a) where {T} = convert(Array{T}, a)
numbers(a) = vec(array(Int, a))
number_type(name) = name == "float64" ? Float64 :
                    name == "float32" ? Float32 : throw(InputError("dtype $name is not one of float32, float64"))

"Versions of what does the work, the threads it has, and where it found itself."
function versions()
    found = Dict{String, Any}("julia" => string(VERSION), "threads" => Threads.nthreads(),
        "blas_threads" => BLAS.get_num_threads(), "bindir" => Sys.BINDIR,
        "project" => something(Base.active_project(), ""), "depot" => join(DEPOT_PATH, ":"))
    for m in (MP, MP.Lux, MP.Zygote, SciMLSensitivity, MP.Graphs, MP.Optimisers)
        version = pkgversion(m)
        found[string(nameof(m))] = version === nothing ? "" : string(version)
    end
    return found
end

"See `MessagePassingNODE.watch`."
watch(address) = MP.watch(address)

topology(sender, receiver, nodes) = Topology(numbers(sender), numbers(receiver), numbers(nodes))

# ---- systems --------------------------------------------------------------------------------------------

const SYSTEMS = ("coupled_pendulum", "gene", "heat", "kuramoto", "lorenz")

# parameters from Python: arrays arrive with their axes reversed
value(a::Number) = a
value(a) = array(Float64, a)

function system(kind, graph, loops, options)
    o = NamedTuple(name => value(given) for (name, given) in pairs(options))
    kind == "kuramoto" && return Kuramoto(graph, o.frequency; o.coupling)
    kind == "gene" && return GeneDynamics(graph; o.decay, o.coupling, loops)
    kind == "heat" && return HeatDiffusion(graph; o.diffusivity)
    kind == "lorenz" && return CoupledLorenz(graph, o.coupling; σ = o.sigma, ρ = o.rho, β = o.beta)
    kind == "coupled_pendulum" && return CoupledPendulum(graph; m = o.mass, l = o.length, k = o.stiffness, g = o.gravity)
    throw(InputError("system $kind is not one of $(join(SYSTEMS, ", "))"))
end

"""
Trajectories of a named system on one graph, from `x0` (feature × node × trajectory), on the grid `time`,
with its parameters by name. Answers `x`, the `retcode` of every trajectory, and counts.
"""
function simulate(kind, x0, time, sender, receiver, nodes; u = nothing, tolerance = 1e-8, maxiters = 100_000,
        parameters...)
    graph, loops = digraph(topology(sender, receiver, nodes), 1)
    made = MP.simulate(system(String(kind), graph, loops, parameters), array(Float64, x0),
        vec(array(Float64, time)); u = u === nothing ? nothing : array(Float64, u), tolerance, maxiters)
    return Dict{String, Any}("x" => made.x, "retcode" => join(made.retcode, ","),
        "evaluations" => made.evaluations, "accepted" => made.accepted, "rejected" => made.rejected)
end

# ---- programs -------------------------------------------------------------------------------------------

"A model by the names of `ModelSpec`, to which data can be bound."
function program(; dtype = "float32", adjoint = "discrete", tolerance = 1e-6, horizon = false, options...)
    o = NamedTuple(name => plain(given) for (name, given) in pairs(options))
    for name in keys(o)
        check(name in fieldnames(ModelSpec), "the model has no option $name")
    end
    return Program(ModelSpec(; o...); adjoint = Symbol(adjoint), T = number_type(dtype),
        tolerance = Float64(tolerance), horizon = Bool(horizon))
end
plain(name::AbstractString) = Symbol(name)
plain(other) = other

float_type(::Program{T}) where {T} = T

"Bind a dataset; see `Dataset`."
function bind(p::Program, x, time, sender, receiver, nodes, graph; u = nothing, attribute = nothing, mask = nothing)
    T = float_type(p)
    given = (; u, attribute, mask)
    some = NamedTuple(name => array(T, a) for (name, a) in pairs(given) if a !== nothing)
    MP.bind!(p, Dataset(array(T, x), vec(array(Float64, time)), topology(sender, receiver, nodes);
        graph = numbers(graph), some...))
    return nothing
end

vector(p::Program, theta) = vec(array(float_type(p), theta))

"Loss and gradient at the flat vector `theta`; see `MessagePassingNODE.loss_and_gradient`."
function loss_and_gradient(p::Program, theta, which, start, horizon)
    # Without `invokelatest` the first call from a fresh worker compiles for seconds.
    loss, gradient = Base.invokelatest(MP.loss_and_gradient, p, vector(p, theta), numbers(which), numbers(start),
        Int(horizon))
    return Dict{String, Any}("loss" => loss, "gradient" => gradient)
end

"The loss alone."
loss(p::Program, theta, which, start, horizon) =
    Float64(MP.batch_loss(p, vector(p, theta), numbers(which), numbers(start), Int(horizon)))

# the inputs of a rollout that are not `nothing`
function inputs(p::Program, graph, u, attribute)
    T = float_type(p)
    some = (; graph = numbers(graph))
    u === nothing || (some = merge(some, (; u = array(T, u))))
    attribute === nothing || (some = merge(some, (; attribute = array(T, attribute))))
    return some
end

"States over messages (feature × node × time × trajectory)."
rollout(p::Program, theta, x0, time, sender, receiver, nodes, graph; u = nothing, attribute = nothing) =
    MP.rollout(p, vector(p, theta), array(float_type(p), x0), topology(sender, receiver, nodes),
        vec(array(Float64, time)); inputs(p, graph, u, attribute)...)

"The derivative of `z` (feature × node × trajectory)."
field(p::Program, theta, z, sender, receiver, nodes, graph; u = nothing, attribute = nothing) =
    MP.vector_field(p, vector(p, theta), array(float_type(p), z), topology(sender, receiver, nodes);
        inputs(p, graph, u, attribute)...)

end
