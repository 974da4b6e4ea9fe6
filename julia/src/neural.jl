# Rollouts through DiffEqFlux's NeuralODE: adaptive Tsit5, differentiated by SciMLSensitivity.

const ADJOINTS = (:discrete, :interpolating, :backsolve, :gauss)

"The SciMLSensitivity algorithm of a name."
function sensitivity(name::Symbol)
    name === :interpolating && return InterpolatingAdjoint(; autojacvec = ZygoteVJP())
    name === :backsolve && return BacksolveAdjoint(; autojacvec = ZygoteVJP())
    check(name === :gauss, "adjoint is $name; it must be one of $(join(ADJOINTS, ", "))")
    return GaussAdjoint(; autojacvec = ZygoteVJP())
end

"""
    StepSolver(field, dt, adjoint; tolerance=1e-6)

Roll out with a fresh Tsit5 solve for every interval of `dt` (a vector), the controls held in each: the
published way.
"""
struct StepSolver{F, N}
    field::F
    nodes::Vector{N}
end
function StepSolver(field, dt, adjoint; tolerance = 1e-6)
    T = eltype(field.P)
    made(h) = NeuralODE(field, (zero(T), T(h)), Tsit5(); save_everystep = false, save_start = false,
        abstol = T(tolerance), reltol = T(tolerance), sensealg = sensitivity(adjoint))
    return StepSolver(field, [made(h) for h in dt])
end

"""
    HorizonSolver(field, dt, adjoint; tolerance=1e-6)

Roll out with one Tsit5 solve over all intervals. Controls cannot change in it.
"""
struct HorizonSolver{F, N}
    field::F
    node::N
end
function HorizonSolver(field, dt, adjoint; tolerance = 1e-6)
    T = eltype(field.P)
    saveat = T[0; cumsum(dt)]
    return HorizonSolver(field, NeuralODE(field, (zero(T), last(saveat)), Tsit5(); saveat,
        abstol = T(tolerance), reltol = T(tolerance), sensealg = sensitivity(adjoint)))
end

"""
    neural_rollout(solver, x0, u, ps, st, P) -> z

States over messages, `D × n × (steps + 1) × B`, from `x0` (`d × n × B`). `u`
(`controls × n × steps × B`) holds; with no controls it has zero rows. `P`: the matrices of the
trajectories, see [`matrices_of`](@ref).
"""
function neural_rollout(solver::StepSolver, x0, u, ps, st, P)
    z = initial_state(solver.field, x0, ps, st)
    states = [z]
    for t in eachindex(solver.nodes)
        node, still = @ignore_derivatives begin
            checkpoint()
            (solver.nodes[t], hold(st; u = u[:, :, t, :], P))
        end
        sol, _ = node(z, ps, still)
        z = last(sol.u)
        states = vcat(states, [z])
    end
    return permutedims(stack(states), (1, 2, 4, 3))
end

function neural_rollout(solver::HorizonSolver, x0, u, ps, st, P)
    check(size(u, 1) == 0, "one solve over the horizon cannot hold $(size(u, 1)) controls a node; ",
        "solve interval by interval")
    z = initial_state(solver.field, x0, ps, st)
    sol, _ = solver.node(z, ps, @ignore_derivatives hold(st; P))
    return permutedims(stack(sol.u), (1, 2, 4, 3))
end

"Huber loss (δ = 1) of the states `z` on the times after the first, times `scale`."
function neural_huber(z, x, mask, scale)
    d, T = size(x, 1), eltype(x)
    r = abs.(z[1:d, :, 2:end, :] .- x[:, :, 2:end, :])
    small = @ignore_derivatives r .< one(T)
    each = ifelse.(small, r .^ 2 ./ 2, r .- T(0.5))
    return scale * (size(mask, 1) == 0 ? sum(each) : sum(mask[:, :, 2:end, :] .* each))
end
