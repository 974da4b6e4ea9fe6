"""
    MessagePassingField(spec, topology, T=Float32)

The vector field of the message passing neural ODE as a Lux layer. It maps `z` (`D × n × B`, state over
message state) to its time derivative, of the same shape. The graphs of `topology` share one node count;
the trajectories of a batch choose between them.

The layer state holds what is held during one solve: `P` (`n × n × B`, see [`matrices_of`](@ref)), `u`
(`controls × n × B`) and `b` (`attributes × n × B`). Replace them with [`hold`](@ref).
"""
struct MessagePassingField{C, E, F, T} <: LuxCore.AbstractLuxContainerLayer{(:mlp, :emit, :first)}
    mlp::C
    emit::E
    first::F
    P::Array{T, 3}
    spec::ModelSpec
end

function MessagePassingField(s::ModelSpec, t::Topology, ::Type{T} = Float32) where {T}
    check(s.family === :mpnode, "family is $(s.family); use a GraphNetworkField")
    return MessagePassingField(coupling_layer(s), message_layer(s), first_layer(s),
        aggregation_matrices(t, s.aggregation, s.divisor, T), s)
end

# layers without parameters are left out: a ComponentArray may drop empty entries
function LuxCore.initialparameters(rng::AbstractRNG, f::MessagePassingField)
    drawn = map(l -> LuxCore.initialparameters(rng, l), (; f.mlp, f.emit, f.first))
    return NamedTuple(name => ps for (name, ps) in pairs(drawn) if !isempty(ps))
end
emit_parameters(f::MessagePassingField, ps) = f.emit isa EmittedMessage ? ps.emit : (;)
first_parameters(f::MessagePassingField, ps) = f.first isa ZeroMessage ? (;) : ps.first

LuxCore.initialstates(rng::AbstractRNG, f::MessagePassingField) =
    (; map(l -> LuxCore.initialstates(rng, l), (; f.mlp, f.emit, f.first))..., held(f)...)

function (f::MessagePassingField)(z, ps, st)
    s = f.spec
    x, m = z[1:(s.channels), :, :], z[(s.channels + 1):end, :, :]
    a, emit = f.emit((beside(x, st.b), m, st.P), emit_parameters(f, ps), st.emit)
    dz, mlp = f.mlp((beside(beside(x, st.u), st.b), a), ps.mlp, st.mlp)
    return dz, merge(st, (; mlp, emit))
end

beside(x, u) = size(u, 1) == 0 ? x : vcat(x, u)

"""
    GraphNetworkField(spec, topology, T=Float32)

Learning to simulate inside an ODE: encode every node to `hidden` features, pass messages `depth` times
with a skip connection, add the encoding and decode. There is no message state: `z` is `d × n × B`.
"""
struct GraphNetworkField{E, A, C, D, T} <: LuxCore.AbstractLuxContainerLayer{(
    :encoder, :message, :update, :decoder)}
    encoder::E
    message::A
    update::C
    decoder::D
    P::Array{T, 3}
    spec::ModelSpec
end

function GraphNetworkField(s::ModelSpec, t::Topology, ::Type{T} = Float32) where {T}
    check(s.family === :l2s, "family is $(s.family); use a MessagePassingField")
    return GraphNetworkField(Dense(own_inputs(s) => s.hidden, tanh), Dense(s.hidden => s.hidden, tanh),
        Dense(s.hidden => s.hidden, tanh), Dense(s.hidden => s.channels),
        aggregation_matrices(t, s.aggregation, s.divisor, T), s)
end

function LuxCore.initialstates(rng::AbstractRNG, f::GraphNetworkField)
    inner = map(l -> LuxCore.initialstates(rng, l), (; f.encoder, f.message, f.update, f.decoder))
    return (; inner..., held(f)...)
end

function (f::GraphNetworkField)(z, ps, st)
    code, _ = f.encoder(beside(beside(z, st.u), st.b), ps.encoder, st.encoder)
    h = code
    for _ in 1:(f.spec.depth)
        sent, _ = f.message(h, ps.message, st.message)
        received, _ = f.update(aggregate(sent, st.P), ps.update, st.update)
        h = received .+ h
    end
    dz, _ = f.decoder(h .+ code, ps.decoder, st.decoder)
    return dz, st
end

const Field = Union{MessagePassingField, GraphNetworkField}

"`field(spec, topology, T)`: the Lux layer of a model."
field(s::ModelSpec, t::Topology, ::Type{T}) where {T} =
    s.family === :l2s ? GraphNetworkField(s, t, T) : MessagePassingField(s, t, T)

# the held inputs before `hold` sets any: the first graph, zero controls and attributes
function held(f::Field)
    T, n = eltype(f.P), size(f.P, 1)
    return (; P = f.P[:, :, 1:1], u = zeros(T, f.spec.controls, n, 1), b = zeros(T, f.spec.attributes, n, 1))
end

"`hold(st; u, P, b)`: the layer state with these held."
hold(st; held...) = merge(st, NamedTuple(held))

"`initial_state(field, x0, ps, st)`: the ODE state that a rollout from `x0` (`d × n × B`) starts from."
initial_state(::GraphNetworkField, x0, ps, st) = x0
function initial_state(f::MessagePassingField, x0, ps, st)
    carried(f.spec) == 0 && return x0
    m, _ = f.first(beside(x0, st.b), first_parameters(f, ps), st.first)
    return vcat(x0, m)
end

"Nested Lux parameters of a flat vector in the order of [`layout`](@ref)."
function parameters(f::MessagePassingField, theta)
    l = layout(f.spec)
    parts = (; mlp = chain_parameters(l.main, theta))
    isempty(l.emit) || (parts = merge(parts, (; emit = chain_parameters(l.emit, theta))))
    isempty(l.first) && return parts
    first = length(l.first) == 1 ? dense_parameters(only(l.first), theta) : chain_parameters(l.first, theta)
    return merge(parts, (; first))
end
function parameters(f::GraphNetworkField, theta)
    names = (:encoder, :message, :update, :decoder)
    return NamedTuple{names}(Tuple(dense_parameters(l, theta) for l in layout(f.spec).main))
end
dense_parameters(l, theta) =
    (; weight = permutedims(reshape(theta[l.weight], l.inputs, l.outputs)), bias = theta[l.bias])
chain_parameters(places, theta) = NamedTuple{Tuple(Symbol(:layer_, i) for i in eachindex(places))}(
    Tuple(dense_parameters(l, theta) for l in places))

"The flat vector of nested Lux parameters (or of a gradient like them)."
function flat(f::Field, ps, ::Type{T}) where {T}
    theta, l = zeros(T, parameter_count(f.spec)), layout(f.spec)
    write!(places, parts) = flatten!(theta, places, [vcat(permutedims(p.weight), permutedims(p.bias)) for p in parts])
    if f isa GraphNetworkField
        write!(l.main, values(ps))
    else
        write!(l.main, values(ps.mlp))
        isempty(l.emit) || write!(l.emit, values(ps.emit))
        isempty(l.first) || write!(l.first, length(l.first) == 1 ? (ps.first,) : values(ps.first))
    end
    return theta
end
