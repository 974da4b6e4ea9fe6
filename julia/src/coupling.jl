# The effect of received messages on a node. Each layer maps (s, a) — `[x; u; b]`, received messages — to the
# derivative of the `D` features of the ODE state.

"The network reads the received messages beside the state: the published model."
struct Mixed{M} <: LuxCore.AbstractLuxWrapperLayer{:mlp}
    mlp::M
end
(c::Mixed)((s, a), ps, st) = c.mlp(vcat(s, a), ps, st)

"The network reads the state alone; the derivative is affine in the received messages."
struct Superposed{M} <: LuxCore.AbstractLuxWrapperLayer{:mlp}
    mlp::M
end
function (c::Superposed)((s, a), ps, st)
    o, st = c.mlp(s, ps, st)
    return superpose(o, a), st
end

"""
    superpose(o, a)

`o_i + sum over q of o_{D + i p + q} a_q` (`i`, `q` from zero) of `o` (`D (1 + p) × n × B`) and `a`
(`p × n × B`).
"""
function superpose(o, a)
    p, n, B = size(a)
    D = size(o, 1) ÷ (1 + p)
    gains = reshape(o[(D + 1):end, :, :], p, D, n, B)
    return o[1:D, :, :] .+ reshape(sum(gains .* reshape(a, p, 1, n, B); dims = 1), D, n, B)
end

function coupling_layer(s::ModelSpec)
    mixed = s.coupling === :mixed
    outputs = states(s) * (mixed ? 1 : 1 + s.message)
    hidden = [Dense(s.hidden => s.hidden, tanh) for _ in 2:(s.depth)]
    mlp = Chain(Dense(own_inputs(s) + (mixed ? s.message : 0) => s.hidden, tanh), hidden...,
        Dense(s.hidden => outputs))
    return mixed ? Mixed(mlp) : Superposed(mlp)
end
