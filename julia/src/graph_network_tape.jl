# One evaluation of learning to simulate on samples × features, and its pullback:
# code = tanh(E [x; u; b]); depth times h <- h + tanh(U sum_j tanh(M h_j)), from code; dx = D (h + code).

"What the evaluations of one gradient write: `calls` of them on `samples` samples."
struct GraphNetworkTape{T}
    spec::ModelSpec
    encoder::Affine{T}
    message::Vector{Affine{T}}      # of each round; the first reads the code
    update::Vector{Affine{T}}
    decoder::Affine{T}
    sent::Vector{Array{T, 3}}       # samples × hidden × calls
    moved::Vector{Array{T, 3}}
    dh::Matrix{T}                   # samples × hidden
    dcode::Matrix{T}
    part::Matrix{T}
end

function GraphNetworkTape{T}(spec, samples, calls) where {T}
    H, K = spec.hidden, spec.depth
    layer(inputs) = Affine{T}(samples, inputs, calls)
    grid() = zeros(T, samples, H, calls)
    return GraphNetworkTape{T}(spec, layer(own_inputs(spec)), [layer(H) for _ in 1:K],
        [layer(H) for _ in 1:K], layer(H), [grid() for _ in 1:K], [grid() for _ in 1:K],
        zeros(T, samples, H), zeros(T, samples, H), zeros(T, samples, H))
end

start!(z, tape::GraphNetworkTape, W, w::Window) = nothing
start_pullback!(dz, tape::GraphNetworkTape, W, gW) = nothing

function evaluate!(dz, z, tape::GraphNetworkTape, W, w::Window, t, c)
    encoder, message, update, decoder = W.main
    own_inputs!(tape.encoder.A, z, tape.spec, w, t, c)
    code = inputs(tape.message[1], c)
    affine!(code, tape.encoder, encoder, c)
    tanh!(code)
    K = tape.spec.depth
    total = inputs(tape.decoder, c)
    copyto!(total, code)
    for k in 1:K
        h, sent, moved = inputs(tape.message[k], c), view(tape.sent[k], :, :, c), view(tape.moved[k], :, :, c)
        affine!(sent, tape.message[k], message, c)
        tanh!(sent)
        receive!(inputs(tape.update[k], c), sent, w.columns)
        affine!(moved, tape.update[k], update, c)
        tanh!(moved)
        if k < K
            next = inputs(tape.message[k + 1], c)
            copyto!(next, h)
            add!(next, true, moved)
        else
            add!(total, true, h)
            add!(total, true, moved)
        end
    end
    affine!(dz, tape.decoder, decoder, c)
    return nothing
end

function evaluate_pullback!(dy, dk, tape::GraphNetworkTape, W, gW, w::Window, c)
    encoder, message, update, decoder = W.main
    affine_pullback!(gW.main[4], dk, tape.decoder, decoder, c)
    copyto!(tape.dh, tape.decoder.dA)
    copyto!(tape.dcode, tape.decoder.dA)
    for k in (tape.spec.depth):-1:1
        copyto!(tape.part, tape.dh)
        tanh_pullback!(tape.part, view(tape.moved[k], :, :, c))
        affine_pullback!(gW.main[3], tape.part, tape.update[k], update, c)
        fill!(tape.part, 0)
        receive_pullback!(tape.part, tape.update[k].dA, w.columns)
        tanh_pullback!(tape.part, view(tape.sent[k], :, :, c))
        affine_pullback!(gW.main[2], tape.part, tape.message[k], message, c)
        add!(tape.dh, true, tape.message[k].dA)
    end
    add!(tape.dcode, true, tape.dh)
    tanh_pullback!(tape.dcode, inputs(tape.message[1], c))
    affine_pullback!(gW.main[1], tape.dcode, tape.encoder, encoder, c)
    dx = features(dy, 1:(tape.spec.channels))
    add!(dx, true, features(tape.encoder.dA, 1:(tape.spec.channels)))
    return nothing
end
