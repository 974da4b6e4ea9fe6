# Loss and gradient of a share by adaptive solves.

"The Lux layer of some graphs, kept, with its state."
function kept_field(p::Program{T}, topology) where {T}
    length(p.fields) > 8 && empty!(p.fields)
    return get!(p.fields, topology) do
        f = field(p.spec, topology, T)
        (f, Lux.testmode(Lux.initialstates(MersenneTwister(0), f)))
    end
end

function neural_solver(p::Program, f, dt)
    p.horizon && return HorizonSolver(f, dt, p.adjoint; p.tolerance)
    return StepSolver(f, dt, p.adjoint; p.tolerance)
end

"What an adaptive solve needs of a share: the solver, x, u, mask, the layer state and the matrices."
function neural_window(p::Program{T}, s::Share, horizon) where {T}
    d = p.data[s.dataset]
    f, st = kept_field(p, d.topology)
    part(a, times) = stack(a[:, :, t:(t + times - 1), b] for (b, t) in zip(s.which, s.start))
    x, u = part(d.x, horizon + 1), part(d.u, horizon)
    mask = size(d.mask, 1) == 0 ? d.mask[:, :, 1:1, 1:1] : part(d.mask, horizon + 1)
    dt = diff(d.time[s.start[1]:(s.start[1] + horizon)])
    st = hold(st; b = repeat(d.attribute; outer = (1, 1, length(s.which))))
    return neural_solver(p, f, dt), x, u, mask, st, matrices_of(f.P, d.graph[s.which])
end

"Adds the gradient of a share to `gradient`; its loss."
function neural_gradient!(gradient, p::Program{T}, theta, s::Share, horizon, scale) where {T}
    solver, x, u, mask, st, P = neural_window(p, s, horizon)
    # the adjoint of a solve takes the parameters as one vector and returns a plain one
    ps = ComponentArray(parameters(solver.field, T.(theta)))
    loss, pullback = Zygote.pullback(ps) do ps
        neural_huber(neural_rollout(solver, x[:, :, 1, :], u, ps, st, P), x, mask, T(scale))
    end
    back = NamedTuple(ComponentArray(getdata(only(pullback(one(loss)))), getaxes(ps)))
    gradient .+= flat(solver.field, back, T)
    return Float64(loss)
end

"The loss of a share."
function neural_loss(p::Program{T}, theta, s::Share, horizon, scale) where {T}
    solver, x, u, mask, st, P = neural_window(p, s, horizon)
    ps = parameters(solver.field, T.(theta))
    return Float64(neural_huber(neural_rollout(solver, x[:, :, 1, :], u, ps, st, P), x, mask, T(scale)))
end
