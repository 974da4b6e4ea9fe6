# Roll out with Runge–Kutta steps of fixed size, differentiated by a hand-written discrete adjoint: the exact
# gradient of the discrete rollout, without a solver or an AD tape, in memory that is allocated once.

"Everything one gradient writes, for `samples` samples and `steps` intervals."
struct Workspace{T, F}
    tape::F
    steps::Int           # number of intervals there is memory for
    calls::Int           # number of stored evaluations there is memory for
    Z::Array{T, 3}       # samples × D × (steps + 1), states on the grid
    K::Array{T, 3}       # samples × D × stages, stage derivatives (forward), their cotangents (backward)
    y::Matrix{T}         # samples × D, the argument of a stage, or its cotangent
    dz::Matrix{T}        # samples × D, the state, or its cotangent
end

tape_of(::Type{T}, s::ModelSpec, samples, calls) where {T} =
    s.family === :l2s ? GraphNetworkTape{T}(s, samples, calls) : MessagePassingTape{T}(s, samples, calls)

function Workspace(::Type{T}, s::ModelSpec, samples, steps, calls) where {T}
    tape, D, stages = tape_of(T, s, samples, calls), states(s), stage_count(tableau(s))
    return Workspace{T, typeof(tape)}(tape, steps, calls, zeros(T, samples, D, steps + 1),
        zeros(T, samples, D, stages), zeros(T, samples, D), zeros(T, samples, D))
end

"Evaluations of the field in `steps` intervals."
calls_of(s::ModelSpec, steps) = steps * s.substeps * stage_count(tableau(s))

"Floating-point numbers that a tape keeps for one sample and one evaluation."
function kept(s::ModelSpec)
    l = layout(s)
    s.family === :l2s && return own_inputs(s) + 3 + (4 * s.depth + 1) * (s.hidden + 1)
    extra = superposed(s) ? s.message + l.main[end].outputs : 0
    return sum(p.inputs + 1 for p in [l.main; l.emit]) + extra
end

"The weights of every layer, and room for their gradient."
weights(s::ModelSpec, theta) = map(places -> augmented(places, theta), layout(s))
zero_like(W) = map(part -> zero.(part), W)

"""
    forward!(space, window, W; taped=true)

States on the grid of the window in `space.Z`. With `taped` every evaluation is kept for the adjoint;
without it they share one place.
"""
function forward!(space::Workspace{T}, w::Window{T}, W; taped = true) where {T}
    s, tab = space.tape.spec, tableau(space.tape.spec)
    d, z, stages = s.channels, space.dz, stage_count(tab)
    copyto!(features(z, 1:d), view(w.target, :, :, 1))
    start!(z, space.tape, W, w)
    copyto!(view(space.Z, :, :, 1), z)
    call = 0
    for t in eachindex(w.dt)
        checkpoint()
        h = w.dt[t] / s.substeps
        for _ in 1:(s.substeps)
            for i in 1:stages
                copyto!(space.y, z)
                for j in 1:(i - 1)
                    a = T(tab.a[i, j])
                    a == 0 || add!(space.y, h * a, view(space.K, :, :, j))
                end
                call += 1
                evaluate!(view(space.K, :, :, i), space.y, space.tape, W, w, t, taped ? call : 1)
            end
            for i in 1:stages
                add!(z, h * T(tab.b[i]), view(space.K, :, :, i))
            end
        end
        copyto!(view(space.Z, :, :, t + 1), z)
    end
    return nothing
end

"""
    adjoint!(gW, space, window, W) -> loss

Adds to `gW` the gradient of the Huber loss of the rollout that `forward!` left in `space`.
"""
function adjoint!(gW, space::Workspace{T}, w::Window{T}, W) where {T}
    s, tab = space.tape.spec, tableau(space.tape.spec)
    stages, dz = stage_count(tab), space.dz
    loss = 0.0
    fill!(dz, 0)
    call = calls_of(s, length(w.dt))
    for t in reverse(eachindex(w.dt))
        checkpoint()
        loss += huber_cotangent!(dz, space.Z, w, t + 1, s.channels)
        h = w.dt[t] / s.substeps
        for _ in 1:(s.substeps)
            # z' = z + h sum_i b_i k_i; y_i = z + h sum_j a_ij k_j
            for i in 1:stages
                scale!(view(space.K, :, :, i), h * T(tab.b[i]), dz)
            end
            for i in stages:-1:1
                fill!(space.y, 0)
                evaluate_pullback!(space.y, view(space.K, :, :, i), space.tape, W, gW, w, call)
                call -= 1
                add!(dz, true, space.y)
                for j in 1:(i - 1)
                    a = T(tab.a[i, j])
                    a == 0 || add!(view(space.K, :, :, j), h * a, space.y)
                end
            end
        end
    end
    start_pullback!(dz, space.tape, W, gW)
    return loss
end

"Adds the cotangent of the loss at time `t` to the states in `dz` and returns that loss (δ = 1)."
function huber_cotangent!(dz, Z, w::Window{T}, t, d) where {T}
    masked, total = size(w.mask, 2) > 0, 0.0
    for i in 1:d
        z, x, c = view(Z, :, i, t), view(w.target, :, i, t), view(dz, :, i)
        total += masked ? masked_huber!(c, z, x, view(w.mask, :, i, t), w.scale) : huber!(c, z, x, w.scale)
    end
    return Float64(w.scale) * total
end

function huber!(c, z, x, scale::T) where {T}
    total = zero(T)
    @inbounds @simd for k in eachindex(c, z, x)
        r = z[k] - x[k]
        a = abs(r)
        total += ifelse(a < 1, r * r / 2, a - T(0.5))
        c[k] += scale * clamp(r, -one(T), one(T))
    end
    return Float64(total)
end
function masked_huber!(c, z, x, mask, scale::T) where {T}
    total = zero(T)
    @inbounds @simd for k in eachindex(c, z, x, mask)
        r = z[k] - x[k]
        a = abs(r)
        total += mask[k] * ifelse(a < 1, r * r / 2, a - T(0.5))
        c[k] += mask[k] * scale * clamp(r, -one(T), one(T))
    end
    return Float64(total)
end

"The Huber loss of the states in `space`, no gradient."
function window_loss(space::Workspace, w::Window)
    space.y .= 0
    return sum(t -> huber_cotangent!(space.y, space.Z, w, t, space.tape.spec.channels), 2:(length(w.dt) + 1);
        init = 0.0)
end
