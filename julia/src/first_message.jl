# The message state at the start of a rollout, from `[x; b]` (`seen × n × B`).

"Messages start at zero: the published model."
struct ZeroMessage <: LuxCore.AbstractLuxLayer
    p::Int
end
(l::ZeroMessage)(s, ps, st) =
    @ignore_derivatives(fill!(similar(s, l.p, size(s, 2), size(s, 3)), 0)), st

function first_layer(s::ModelSpec)
    has_first(s) || return ZeroMessage(carried(s))
    s.first_message === :linear && return Dense(seen_inputs(s) => s.message)
    return Chain(Dense(seen_inputs(s) => s.hidden, tanh), Dense(s.hidden => s.message))
end
