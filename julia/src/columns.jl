"""
    Columns(topology, graph, aggregation, divisor, T)

Where the nodes of a batch lie in a matrix `samples × features`, whose trajectory `b` lives on graph
`graph[b]`. The trajectories of one graph form a block: the sample of node `k` and of the `w`-th of the
block's `width` trajectories is `offset + (k - 1) * width + w`. A message then moves a run of `width`
numbers, and a feature is contiguous.
"""
struct Columns{T}
    samples::Int
    order::Vector{Int}                  # trajectory of each place, block after block
    blocks::Vector{NTuple{4, Int}}      # nodes, width, offset, places before
    pointer::Vector{Vector{Int}}        # of each block: edges into its nodes
    sender::Vector{Vector{Int}}
    weight::Vector{Vector{T}}
end

function Columns(t::Topology, graph::AbstractVector{<:Integer}, aggregation, divisor, ::Type{T}) where {T}
    check(all(in(1:graph_count(t)), graph), "graph numbers must be of 1:$(graph_count(t))")
    order = sortperm(graph)
    blocks, samples, places = NTuple{4, Int}[], 0, 0
    pointer, sender, weight = Vector{Int}[], Vector{Int}[], Vector{T}[]
    for g in sort(unique(graph))
        width = count(==(g), graph)
        rows = row(t, g, 1):row(t, g, t.nodes[g])
        mine = t.pointer[first(rows)]:(t.pointer[last(rows) + 1] - 1)
        push!(blocks, (t.nodes[g], width, samples, places))
        push!(pointer, t.pointer[first(rows):(last(rows) + 1)] .- (first(mine) - 1))
        push!(sender, t.sender[mine])
        push!(weight, [T(edge_weight(t, r, aggregation, divisor)) for r in rows for _ in edges_into(t, r)])
        samples += t.nodes[g] * width
        places += width
    end
    return Columns{T}(samples, order, blocks, pointer, sender, weight)
end

"`receive!(dst, src, columns)`: `dst` (`samples × p`) is what the nodes receive of the messages `src`."
function receive!(dst, src, c::Columns)
    fill!(dst, 0)
    move!(dst, src, c, false)
    return nothing
end

"The pullback of [`receive!`](@ref): adds to `dsrc` the cotangent of the messages."
receive_pullback!(dsrc, ddst, c::Columns) = move!(dsrc, ddst, c, true)

function move!(dst, src, c::Columns, back::Bool)
    S = c.samples
    for (number, (nodes, width, offset, _)) in enumerate(c.blocks)
        pointer, sender, weight = c.pointer[number], c.sender[number], c.weight[number]
        for p in axes(src, 2), k in 1:nodes
            own = (p - 1) * S + offset + (k - 1) * width
            for e in pointer[k]:(pointer[k + 1] - 1)
                other = (p - 1) * S + offset + (sender[e] - 1) * width
                from, to, w = back ? (own, other, weight[e]) : (other, own, weight[e])
                @inbounds @simd ivdep for i in 1:width
                    dst[to + i] = muladd(w, src[from + i], dst[to + i])
                end
            end
        end
    end
    return nothing
end
