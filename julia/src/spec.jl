const MESSAGES = (:state, :zero, :self, :emitted)
const COUPLINGS = (:mixed, :superposed)
const FIRST_MESSAGES = (:zero, :linear, :mlp)
const AGGREGATIONS = (:mean, :sum)
const SOLVERS = (:rk4, :tsit5)

"""
    ModelSpec(; family=:mpnode, channels, controls=0, attributes=0, message=3, hidden=32, depth=2,
        aggregation=:mean, divisor=1, messages=:state, coupling=:mixed, first_message=:zero,
        solver=:rk4, substeps=1)

What defines a model. A node has a state `x` (`channels` features), inputs `u` (`controls`), constants `b`
(`attributes`) and, unless messages are emitted, a message state `m` (`message` features); `z = [x; m]`
has `D` features. With `a` the aggregate of what the neighbours send:

- `messages`: a node sends its message state (`:state`, as published), a network of its state and constants
  (`:emitted`), or nothing: then it reads zero (`:zero`) or its own message state (`:self`);
- `coupling`: `dz = f([x; u; b; a])` (`:mixed`, as published), or `dz = F + G a` with
  `[F; G] = f([x; u; b])` (`:superposed`);
- `first_message`: messages start at `:zero`, or at a `:linear` function or an `:mlp` of `[x; b]`;
- `aggregation`: the `:mean` over the neighbours, or the `:sum` over the constant `divisor`.

`f` has `depth` tanh layers of width `hidden`. The family `:l2s` is learning to simulate inside an ODE:
encode, pass messages `depth` times with a skip connection, decode; it has no message state.

`solver` and `substeps` are those of the discrete adjoint: steps of equal size in every interval.
"""
Base.@kwdef struct ModelSpec
    family::Symbol = :mpnode
    channels::Int
    controls::Int = 0
    attributes::Int = 0
    message::Int = 3
    hidden::Int = 32
    depth::Int = 2
    aggregation::Symbol = :mean
    divisor::Float64 = 1.0
    messages::Symbol = :state
    coupling::Symbol = :mixed
    first_message::Symbol = :zero
    solver::Symbol = :rk4
    substeps::Int = 1

    function ModelSpec(family, channels, controls, attributes, message, hidden, depth, aggregation, divisor,
            messages, coupling, first_message, solver, substeps)
        one_of("family", family, (:mpnode, :l2s))
        one_of("messages", messages, MESSAGES)
        one_of("coupling", coupling, COUPLINGS)
        one_of("first_message", first_message, FIRST_MESSAGES)
        one_of("aggregation", aggregation, AGGREGATIONS)
        one_of("solver", solver, SOLVERS)
        check(channels > 0 && hidden > 0 && depth > 0 && substeps > 0, "channels $channels, hidden $hidden, ",
            "depth $depth and substeps $substeps must be positive")
        check(controls ≥ 0 && attributes ≥ 0 && message ≥ 0, "controls $controls, attributes $attributes ",
            "and message $message cannot be negative")
        check(isfinite(divisor) && divisor > 0, "divisor is $divisor, it must be positive")
        return new(family, channels, controls, attributes, message, hidden, depth, aggregation, divisor,
            messages, coupling, first_message, solver, substeps)
    end
end

"Message features that are ODE states of a node."
carried(s::ModelSpec) = s.family === :mpnode && s.messages !== :emitted ? s.message : 0
"`D`, the ODE states of a node."
states(s::ModelSpec) = s.channels + carried(s)
"Features of `[x; u; b]`."
own_inputs(s::ModelSpec) = s.channels + s.controls + s.attributes
"Features of `[x; b]`, on which the first and the emitted message depend."
seen_inputs(s::ModelSpec) = s.channels + s.attributes
has_first(s::ModelSpec) = carried(s) > 0 && s.first_message !== :zero
has_emit(s::ModelSpec) = s.family === :mpnode && s.messages === :emitted
superposed(s::ModelSpec) = s.family === :mpnode && s.coupling === :superposed
