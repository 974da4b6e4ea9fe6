# The same sums over neighbours for the Lux layers, whose arrays are feature × node × trajectory.

"""
    aggregation_matrices(topology, aggregation, divisor, T) -> Array{T, 3}

The [`aggregation_matrix`](@ref) of every graph, `n × n × graphs`. The graphs share their node count.
"""
function aggregation_matrices(t::Topology, aggregation, divisor, ::Type{T}) where {T}
    check(allequal(t.nodes), "a Lux layer holds graphs of one node count, these have $(t.nodes)")
    return stack(g -> aggregation_matrix(t, g, aggregation, divisor, T), 1:graph_count(t))
end

"""
    matrices_of(P, graph)

The matrices of the trajectories whose graph numbers are `graph`: `n × n × B`, or `n × n × 1` where all
trajectories live on the same one.
"""
matrices_of(P, graph) = allequal(graph) ? P[:, :, [first(graph)]] : P[:, :, graph]

"""
    aggregate(m, P)

Mix the node axis of `m` (`feature × node × trajectory`) by `P` (`n × n × B`, or `n × n × 1` for all
trajectories). `P` is data: its cotangent is not computed.
"""
aggregate(m::AbstractArray{<:Any, 3}, P::AbstractArray{<:Any, 3}) = batched_mul(m, P)

function ChainRulesCore.rrule(::typeof(aggregate), m, P)
    pullback(Δ) = (NoTangent(), aggregate(unthunk(Δ), permutedims(P, (2, 1, 3))), NoTangent())
    return aggregate(m, P), pullback
end
