# The flat parameter vector: layer after layer, a weight (outputs × inputs) row by row and then its bias.
# Row by row is column by column of the transposed matrix, which is what the kernels multiply by.

"One affine layer and where it lies in the flat vector."
struct LayerPlace
    name::String
    outputs::Int
    inputs::Int
    weight::UnitRange{Int}
    bias::UnitRange{Int}
end

"The parts of a model, each a vector of the [`LayerPlace`](@ref)s of its affine layers."
const Layout = @NamedTuple{main::Vector{LayerPlace}, first::Vector{LayerPlace}, emit::Vector{LayerPlace}}

"""
    layout(spec) -> Layout

The layers of a model in the order of the flat vector: for the family `:mpnode` the layers of `f`, then
those of the first message, then those of the emitted one; for `:l2s` encoder, message, update, decoder.
"""
function layout(s::ModelSpec)
    at = 0
    function layer(name, outputs, inputs)
        weight = (at + 1):(at + outputs * inputs)
        bias = (last(weight) + 1):(last(weight) + outputs)
        at = last(bias)
        return LayerPlace(name, outputs, inputs, weight, bias)
    end
    none = LayerPlace[]
    if s.family === :l2s
        main = [layer("encoder_", s.hidden, own_inputs(s)), layer("message_", s.hidden, s.hidden),
            layer("update_", s.hidden, s.hidden), layer("decoder_", s.channels, s.hidden)]
        return (; main, first = none, emit = none)
    end
    inputs = own_inputs(s) + (s.coupling === :mixed ? s.message : 0)
    outputs = states(s) * (superposed(s) ? 1 + s.message : 1)
    widths = [inputs; fill(s.hidden, s.depth); outputs]
    main = [layer("layer_$(l)_", widths[l + 1], widths[l]) for l in 1:(s.depth + 1)]
    seen = seen_inputs(s)
    first = if !has_first(s)
        none
    elseif s.first_message === :linear
        [layer("first_", s.message, seen)]
    else
        [layer("first_layer_1_", s.hidden, seen), layer("first_layer_2_", s.message, s.hidden)]
    end
    emit = has_emit(s) ?
           [layer("emit_layer_1_", s.hidden, seen), layer("emit_layer_2_", s.message, s.hidden)] : none
    return (; main, first, emit)
end

layers_of(l::Layout) = [l.main; l.first; l.emit]

"Length of the flat vector."
parameter_count(s::ModelSpec) = maximum(last(l.bias) for l in layers_of(layout(s)))

"`initial(rng, spec, T=Float32)`: a fresh flat vector, Glorot-uniform weights and zero biases."
function initial(rng::AbstractRNG, s::ModelSpec, ::Type{T} = Float32) where {T}
    theta = zeros(T, parameter_count(s))
    for l in layers_of(layout(s))
        bound = sqrt(6 / (l.inputs + l.outputs))
        theta[l.weight] .= T.(bound .* (2 .* rand(rng, length(l.weight)) .- 1))
    end
    return theta
end

"`[weight bias]` transposed, `(inputs + 1) × outputs`, of every layer."
augmented(places, theta) = [vcat(reshape(theta[l.weight], l.inputs, l.outputs),
                                reshape(theta[l.bias], 1, l.outputs)) for l in places]

"Write such matrices back into the flat vector."
function flatten!(theta, places, matrices)
    for (l, W) in zip(places, matrices)
        copyto!(view(theta, l.weight), vec(W[1:(l.inputs), :]))
        copyto!(view(theta, l.bias), W[end, :])
    end
    return theta
end
