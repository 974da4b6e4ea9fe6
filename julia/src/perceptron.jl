# Affine layers and tanh with hand-written pullbacks.
#
# Samples run down the columns and features across them, so that a slice of features is contiguous and a
# bias is one more row of a weight matrix facing a column of ones.

# Loops over contiguous memory by linear index. A broadcast into a view of columns is seven times slower:
# it indexes by row and column and cannot rule out aliasing, so it is not vectorised.
function tanh!(h)
    @inbounds @simd ivdep for i in eachindex(h)
        h[i] = tanh_fast(h[i])
    end
    return nothing
end

"`dh *= 1 - h^2`, with `h` the output of the tanh."
function tanh_pullback!(dh, h)
    @inbounds @simd ivdep for i in eachindex(dh, h)
        dh[i] *= 1 - h[i]^2
    end
    return nothing
end

"`y += a x`."
function add!(y, a, x)
    @inbounds @simd ivdep for i in eachindex(y, x)
        y[i] = muladd(a, x[i], y[i])
    end
    return nothing
end

"`y = a x`."
function scale!(y, a, x)
    @inbounds @simd ivdep for i in eachindex(y, x)
        y[i] = a * x[i]
    end
    return nothing
end

features(A::AbstractMatrix, r) = view(A, :, r)
features(A::AbstractArray{<:Any, 3}, r, s) = view(A, :, r, s)
without_bias(W) = view(W, 1:(size(W, 1) - 1), :)

"What an affine layer read at every call, for its pullback, and the cotangent of what it read."
struct Affine{T}
    A::Array{T, 3}          # samples × (inputs + 1) × calls; the last column is one
    dA::Matrix{T}           # samples × inputs
end
Affine{T}(samples, inputs, calls) where {T} =
    Affine{T}(ones(T, samples, inputs + 1, calls), zeros(T, samples, inputs))

"Where the inputs of call `s` are written."
inputs(l::Affine, s) = features(l.A, 1:size(l.dA, 2), s)

"`out` of the inputs that were written for call `s`."
affine!(out, l::Affine, W, s) = (mul!(out, view(l.A, :, :, s), W); nothing)

"Adds the cotangent of the weights to `gW` and leaves that of the inputs in `l.dA`."
function affine_pullback!(gW, dout, l::Affine, W, s)
    mul!(gW, transpose(view(l.A, :, :, s)), dout, true, true)
    mul!(l.dA, dout, transpose(without_bias(W)))
    return nothing
end

"Affine layers with a tanh between them."
const Perceptron{T} = Vector{Affine{T}}
perceptron(::Type{T}, samples, places, calls) where {T} =
    Affine{T}[Affine{T}(samples, l.inputs, calls) for l in places]

function apply!(out, net::Perceptron, W, s)
    for l in 1:(length(net) - 1)
        h = inputs(net[l + 1], s)
        affine!(h, net[l], W[l], s)
        tanh!(h)
    end
    affine!(out, net[end], W[end], s)
    return nothing
end

"Adds the cotangents of the weights to `gW`, and leaves that of the inputs in `net[1].dA`."
function pullback!(gW, dout, net::Perceptron, W, s)
    affine_pullback!(gW[end], dout, net[end], W[end], s)
    for l in (length(net) - 1):-1:1
        dh = net[l + 1].dA
        tanh_pullback!(dh, inputs(net[l + 1], s))
        affine_pullback!(gW[l], dh, net[l], W[l], s)
    end
    return nothing
end
