# One evaluation of the message passing field on samples × features, and its pullback: first the received
# messages, then their effect on the node.

"What the evaluations of one gradient write: `calls` of them on `samples` samples."
struct MessagePassingTape{T}
    spec::ModelSpec
    main::Perceptron{T}
    first::Perceptron{T}
    emit::Perceptron{T}
    E::Matrix{T}         # samples × p, what is sent, or its cotangent
    A::Array{T, 3}       # samples × p × calls, what is received, where the network does not read it
    O::Array{T, 3}       # samples × D (1 + p) × calls, what the network answers, likewise
    dA::Matrix{T}        # samples × p
    dO::Matrix{T}        # samples × D (1 + p)
end

function MessagePassingTape{T}(spec, samples, calls) where {T}
    l, p, apart = layout(spec), spec.message, superposed(spec)
    outputs = apart ? l.main[end].outputs : 0
    return MessagePassingTape{T}(spec, perceptron(T, samples, l.main, calls),
        perceptron(T, samples, l.first, 1), perceptron(T, samples, l.emit, calls), zeros(T, samples, p),
        zeros(T, samples, p, apart ? calls : 0), zeros(T, samples, outputs, apart ? calls : 0),
        zeros(T, samples, p), zeros(T, samples, outputs))
end

messages_of(s::ModelSpec, z) = features(z, (s.channels + 1):states(s))

"The message state at the start, below the states `z[:, 1:d]`."
function start!(z, tape::MessagePassingTape, W, w::Window)
    s = tape.spec
    carried(s) == 0 && return nothing
    m = messages_of(s, z)
    has_first(s) || return (fill!(m, 0); nothing)
    X = tape.first[1]
    copyto!(features(X.A, 1:(s.channels), 1), features(z, 1:(s.channels)))
    copyto!(features(X.A, (s.channels + 1):seen_inputs(s), 1), w.attribute)
    apply!(m, tape.first, W.first, 1)
    return nothing
end
function start_pullback!(dz, tape::MessagePassingTape, W, gW)
    has_first(tape.spec) && pullback!(gW.first, messages_of(tape.spec, dz), tape.first, W.first, 1)
    return nothing
end

"`dz` of `z` (`samples × D`) as call `c`, under the controls of interval `t`."
function evaluate!(dz, z, tape::MessagePassingTape, W, w::Window, t, c)
    s = tape.spec
    own_inputs!(tape.main[1].A, z, s, w, t, c)
    a = superposed(s) ? view(tape.A, :, :, c) :
        features(tape.main[1].A, (own_inputs(s) + 1):(own_inputs(s) + s.message), c)
    arriving!(a, z, tape, W, w, c)
    if superposed(s)
        o = view(tape.O, :, :, c)
        apply!(o, tape.main, W.main, c)
        superpose!(dz, o, a)
    else
        apply!(dz, tape.main, W.main, c)
    end
    return nothing
end

function own_inputs!(A, z, s::ModelSpec, w::Window, t, c)
    copyto!(features(A, 1:(s.channels), c), features(z, 1:(s.channels)))
    s.controls > 0 &&
        copyto!(features(A, (s.channels + 1):(s.channels + s.controls), c), view(w.control, :, :, t))
    s.attributes > 0 &&
        copyto!(features(A, (s.channels + s.controls + 1):own_inputs(s), c), w.attribute)
    return nothing
end

function arriving!(a, z, tape::MessagePassingTape, W, w::Window, c)
    s = tape.spec
    if s.messages === :state
        receive!(a, messages_of(s, z), w.columns)
    elseif s.messages === :self
        copyto!(a, messages_of(s, z))
    elseif s.messages === :zero
        fill!(a, 0)
    else
        X = tape.emit[1].A
        copyto!(features(X, 1:(s.channels), c), features(z, 1:(s.channels)))
        s.attributes > 0 && copyto!(features(X, (s.channels + 1):seen_inputs(s), c), w.attribute)
        apply!(tape.E, tape.emit, W.emit, c)
        receive!(a, tape.E, w.columns)
    end
    return nothing
end

"Adds to `dy` the cotangent of `z`, and to `gW` that of the weights, for the cotangent `dk` of call `c`."
function evaluate_pullback!(dy, dk, tape::MessagePassingTape, W, gW, w::Window, c)
    s = tape.spec
    if superposed(s)
        superpose_pullback!(tape.dO, tape.dA, dk, view(tape.O, :, :, c), view(tape.A, :, :, c))
        pullback!(gW.main, tape.dO, tape.main, W.main, c)
        da = tape.dA
    else
        pullback!(gW.main, dk, tape.main, W.main, c)
        da = features(tape.main[1].dA, (own_inputs(s) + 1):(own_inputs(s) + s.message))
    end
    dx = features(dy, 1:(s.channels))
    add!(dx, true, features(tape.main[1].dA, 1:(s.channels)))
    if s.messages === :state
        receive_pullback!(messages_of(s, dy), da, w.columns)
    elseif s.messages === :self
        add!(messages_of(s, dy), true, da)
    elseif s.messages === :emitted
        fill!(tape.E, 0)
        receive_pullback!(tape.E, da, w.columns)
        pullback!(gW.emit, tape.E, tape.emit, W.emit, c)
        add!(dx, true, features(tape.emit[1].dA, 1:(s.channels)))
    end
    return nothing
end

"`dz_i = o_i + sum over q of o_{D + i p + q} a_q` (`i`, `q` from zero), on samples × features."
function superpose!(dz, o, a)
    S, D, p = size(dz, 1), size(dz, 2), size(a, 2)
    copyto!(dz, features(o, 1:D))
    @inbounds for i in 1:D, q in 1:p
        at, to, by = (D + (i - 1) * p + q - 1) * S, (i - 1) * S, (q - 1) * S
        @simd ivdep for k in 1:S
            dz[to + k] = muladd(o[at + k], a[by + k], dz[to + k])
        end
    end
    return nothing
end
function superpose_pullback!(dO, dA, dk, o, a)
    S, D, p = size(dk, 1), size(dk, 2), size(a, 2)
    copyto!(features(dO, 1:D), dk)
    fill!(dA, 0)
    @inbounds for i in 1:D, q in 1:p
        at, to, by = (D + (i - 1) * p + q - 1) * S, (i - 1) * S, (q - 1) * S
        @simd ivdep for k in 1:S
            dO[at + k] = dk[to + k] * a[by + k]
            dA[by + k] = muladd(dk[to + k], o[at + k], dA[by + k])
        end
    end
    return nothing
end
