"""
    Program(spec, datasets=[]; adjoint=:discrete, T=Float32, tolerance=1e-6, horizon=false)

A model bound to data. What it answers is a function of one flat parameter vector (see [`layout`](@ref)):
[`loss_and_gradient`](@ref), [`batch_loss`](@ref), [`rollout`](@ref), [`vector_field`](@ref).

`adjoint` names how it is solved and differentiated: `:discrete`, steps of fixed size (`spec.solver`) and
the hand-written adjoint; or `:interpolating`, `:backsolve`, `:gauss`, adaptive Tsit5 at `tolerance` with
that adjoint of SciMLSensitivity, restarted at every interval or, with `horizon`, solved once.
"""
struct Program{T}
    spec::ModelSpec
    data::Vector{Dataset{T}}
    adjoint::Symbol
    tolerance::Float64
    horizon::Bool
    spaces::Dict{Tuple{Int, Int}, Any}
    fields::Dict{Any, Any}
end

function Program(spec::ModelSpec, data = Dataset[]; adjoint::Symbol = :discrete, T::Type = Float32,
        tolerance = 1e-6, horizon = false)
    one_of("adjoint", adjoint, ADJOINTS)
    check(tolerance > 0, "tolerance is $tolerance, it must be positive")
    program = Program{T}(spec, Dataset{T}[], adjoint, tolerance, horizon, Dict(), Dict())
    foreach(d -> bind!(program, d), data)
    return program
end

"`bind!(program, dataset)`: add data; trajectories are numbered through all of them."
function bind!(p::Program, d::Dataset)
    s = p.spec
    got = (size(d.x, 1), size(d.u, 1), size(d.attribute, 1))
    check(got == (s.channels, s.controls, s.attributes), "the data have $(got[1]) features, $(got[2]) ",
        "controls and $(got[3]) attributes; the model has $(s.channels), $(s.controls), $(s.attributes)")
    push!(p.data, d)
    return p
end

"""
    loss_and_gradient(program, theta, which, start, horizon) -> loss, gradient

The Huber loss (δ = 1) of the rollouts of `horizon` intervals of the trajectories `which`, each from its
time `start`, summed over features and times after the first and averaged over nodes and trajectories; and
its gradient, a vector like `theta`.
"""
function loss_and_gradient(p::Program{T}, theta::AbstractVector, which, start, horizon::Integer) where {T}
    check_theta(p, theta)
    mine = shares(p, which, start)
    scale = 1 / sum(s -> sample_count(p, s), mine)
    loss, gradient = 0.0, zeros(T, length(theta))
    for s in mine
        check_window(p, s, horizon)
        loss += p.adjoint === :discrete ? discrete_gradient!(gradient, p, theta, s, horizon, scale) :
                neural_gradient!(gradient, p, theta, s, horizon, scale)
    end
    return loss, gradient
end

"`batch_loss(program, theta, which, start, horizon)`: the loss alone."
function batch_loss(p::Program{T}, theta::AbstractVector, which, start, horizon::Integer) where {T}
    check_theta(p, theta)
    mine = shares(p, which, start)
    scale = 1 / sum(s -> sample_count(p, s), mine)
    return sum(mine; init = 0.0) do s
        check_window(p, s, horizon)
        p.adjoint === :discrete ? discrete_loss(p, theta, s, horizon, scale) :
        neural_loss(p, theta, s, horizon, scale)
    end
end

check_theta(p::Program, theta) = check(length(theta) == parameter_count(p.spec), "theta has ",
    "$(length(theta)) numbers, the model has $(parameter_count(p.spec))")
