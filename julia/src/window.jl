"""
    Dataset(x, time, topology; graph, u, attribute, mask)

Trajectories to train on. `x` (`feature × node × time × trajectory`) in the units of the network; `time`
(increasing); `topology` with the graph number of every trajectory in `graph` (the first unless given);
`u` (`control × node × time × trajectory`), held from each time to the next; `attribute`
(`attribute × node`); `mask` like `x`, one where a value counts and zero where it is missing.
"""
struct Dataset{T}
    x::Array{T, 4}
    time::Vector{Float64}
    topology::Topology
    graph::Vector{Int}
    u::Array{T, 4}
    attribute::Matrix{T}
    mask::Array{T, 4}
end

function Dataset(x::AbstractArray{T, 4}, time, topology::Topology; graph = ones(Int, size(x, 4)),
        u = zeros(T, 0, size(x)[2:4]...), attribute = zeros(T, 0, size(x, 2)),
        mask = zeros(T, 0, size(x)[2:4]...)) where {T}
    check(length(time) == size(x, 3) > 1, "time holds $(length(time)) times, x has $(size(x, 3)); two or more")
    check(all(>(0), diff(time)), "time must increase")
    check(length(graph) == size(x, 4), "graph names $(length(graph)) graphs for $(size(x, 4)) trajectories")
    check(all(in(1:graph_count(topology)), graph), "graph numbers must be of 1:$(graph_count(topology))")
    check(all(g -> topology.nodes[g] == size(x, 2), graph), "a graph has another number of nodes than x, ",
        "$(size(x, 2))")
    check(size(u)[2:4] == size(x)[2:4], "u is $(size(u)), x is $(size(x)): only the first axis may differ")
    check(size(attribute, 2) == size(x, 2), "attribute is $(size(attribute)), x has $(size(x, 2)) nodes")
    check(size(mask) in (size(x), (0, size(x)[2:4]...)), "mask is $(size(mask)), x is $(size(x))")
    check(all(isfinite, x) && all(isfinite, attribute), "x and attribute must be finite")
    return Dataset{T}(x, collect(Float64, time), topology, collect(Int, graph), u, attribute, mask)
end

steps(d::Dataset) = length(d.time) - 1
trajectories(d::Dataset) = size(d.x, 4)

"""
A part of a batch, gathered into samples × features (see [`Columns`](@ref)). `target`
(`samples × d × (steps + 1)`), whose first time is where the rollout starts; `control`
(`samples × c × steps`); `attribute` (`samples × b`); `mask` like `target`, or without features where
nothing is missing; `dt` of every interval; `scale` multiplies the summed loss.
"""
struct Window{T}
    columns::Columns{T}
    target::Array{T, 3}
    control::Array{T, 3}
    attribute::Matrix{T}
    mask::Array{T, 3}
    dt::Vector{T}
    scale::T
end

"Gather `horizon` intervals of the trajectories `which`, each from its own time `start`."
function Window(d::Dataset{T}, spec, which, start, horizon, scale) where {T}
    columns = Columns(d.topology, d.graph[which], spec.aggregation, spec.divisor, T)
    target = gather(d.x, columns, which, start, horizon + 1)
    control = gather(d.u, columns, which, start, horizon)
    mask = gather(d.mask, columns, which, start, horizon + 1)
    dt = T.(diff(d.time[start[1]:(start[1] + horizon)]))
    return Window{T}(columns, target, control, spread(d.attribute, columns), mask, dt, T(scale))
end

"A window without data, to roll out from `x0` (`d × node × trajectory`) on the grid `time`."
function Window(spec, x0::Array{T, 3}, time, topology, graph, u, attribute) where {T}
    columns = Columns(topology, graph, spec.aggregation, spec.divisor, T)
    which, start = axes(x0, 3), ones(Int, size(x0, 3))
    target = gather(reshape(x0, size(x0, 1), size(x0, 2), 1, :), columns, which, start, 1)
    control = gather(u, columns, which, start, length(time) - 1)
    none = zeros(T, columns.samples, 0, 1)
    return Window{T}(columns, target, control, spread(attribute, columns), none, T.(diff(time)), one(T))
end

# feature × node × time × trajectory to samples × feature × time
function gather(a::Array{T, 4}, c::Columns, which, start, times) where {T}
    out = Array{T}(undef, c.samples, size(a, 1), size(a, 1) == 0 ? 0 : times)
    size(a, 1) == 0 && return out
    for (nodes, width, offset, places) in c.blocks, w in 1:width
        b = c.order[places + w]
        trajectory, before = which[b], start[b] - 1
        for t in 1:times, k in 1:nodes
            s = offset + (k - 1) * width + w
            @inbounds for i in axes(a, 1)
                out[s, i, t] = a[i, k, before + t, trajectory]
            end
        end
    end
    return out
end

# attribute × node to samples × attribute
function spread(attribute::AbstractMatrix{T}, c::Columns) where {T}
    out = Array{T}(undef, c.samples, size(attribute, 1))
    for (nodes, width, offset, _) in c.blocks, k in 1:nodes, i in axes(attribute, 1)
        out[(offset + (k - 1) * width + 1):(offset + k * width), i] .= attribute[i, k]
    end
    return out
end

"Samples × feature × time back to feature × node × time × trajectory; nodes that a graph lacks are NaN."
function scatter(Z::AbstractArray{T, 3}, c::Columns) where {T}
    most = maximum(first, c.blocks)
    out = fill(T(NaN), size(Z, 2), most, size(Z, 3), length(c.order))
    for (nodes, width, offset, places) in c.blocks, w in 1:width
        b = c.order[places + w]
        for t in axes(Z, 3), k in 1:nodes
            s = offset + (k - 1) * width + w
            @inbounds for i in axes(Z, 2)
                out[i, k, t, b] = Z[s, i, t]
            end
        end
    end
    return out
end
