# The messages that a node receives. Each layer maps (s, m, P) — `[x; b]`, message states, aggregation matrices — to the
# received messages, `p × n × B`.

"Every node sends its own message state: the published model."
struct StateMessage <: LuxCore.AbstractLuxLayer end
(::StateMessage)((_, m, P), ps, st) = aggregate(m, P), st

"Nothing is sent: every node reads its own message state."
struct SelfMessage <: LuxCore.AbstractLuxLayer end
(::SelfMessage)((_, m, _), ps, st) = m, st

"Nothing is sent: every node reads zero."
struct NoMessage <: LuxCore.AbstractLuxLayer
    p::Int
end
(l::NoMessage)((s, _, _), ps, st) =
    @ignore_derivatives(fill!(similar(s, l.p, size(s, 2), size(s, 3)), 0)), st

"Every node sends `emit` of its state. There is no message state."
struct EmittedMessage{E} <: LuxCore.AbstractLuxWrapperLayer{:emit}
    emit::E
end
function (l::EmittedMessage)((s, _, P), ps, st)
    e, st = l.emit(s, ps, st)
    return aggregate(e, P), st
end

function message_layer(s::ModelSpec)
    s.messages === :state && return StateMessage()
    s.messages === :self && return SelfMessage()
    s.messages === :zero && return NoMessage(s.message)
    return EmittedMessage(Chain(Dense(seen_inputs(s) => s.hidden, tanh), Dense(s.hidden => s.message)))
end
