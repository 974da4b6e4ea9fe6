"""
    Normalisation(mean, scale)

The affine map of every feature to the network's units, `(x - mean) / scale`. A model is trained in these
units, its loss is measured in them, and weights mean nothing without their map.
"""
struct Normalisation{T}
    mean::Vector{T}
    scale::Vector{T}
    function Normalisation(mean::AbstractVector{T}, scale::AbstractVector{T}) where {T}
        check(length(mean) == length(scale), "a normalisation has $(length(mean)) means and ",
            "$(length(scale)) scales")
        check(all(isfinite, mean) && all(s -> isfinite(s) && s > 0, scale),
            "means are finite, scales finite and positive; got $mean and $scale")
        return new{T}(mean, scale)
    end
end

"`fit_normalisation(x)`: mean and standard deviation of every feature, the first axis of `x`."
function fit_normalisation(x::AbstractArray{T}) where {T}
    rows = reshape(x, size(x, 1), :)
    mean = vec(sum(rows; dims = 2)) ./ size(rows, 2)
    deviation = sqrt.(vec(sum(abs2, rows .- mean; dims = 2)) ./ size(rows, 2))
    return Normalisation(mean, map(s -> s > 0 ? s : one(s), deviation))
end

"`normalise(N, x)` and `denormalise(N, x)`: along the first axis of `x`."
normalise(N::Normalisation, x) = (x .- N.mean) ./ N.scale
denormalise(N::Normalisation, x) = x .* N.scale .+ N.mean
