# A batch is split into shares, one per dataset, and a share into parts, one per thread or more.

"A run of trajectories of one dataset, with their first times."
struct Share
    dataset::Int
    which::Vector{Int}
    start::Vector{Int}
end

function shares(p::Program, which, start)
    check(length(which) == length(start), "there are $(length(which)) trajectories and $(length(start)) starts")
    check(!isempty(p.data), "there are no data: bind a dataset first")
    ends = cumsum(trajectories.(p.data))
    check(!isempty(which) && all(i -> 1 ≤ i ≤ last(ends), which), "trajectories must be of 1:$(last(ends)), ",
        "one or more")
    home = [searchsortedfirst(ends, i) for i in which]
    return [Share(g, which[home .== g] .- (ends[g] - trajectories(p.data[g])), start[home .== g])
            for g in sort(unique(home))]
end

sample_count(p::Program, s::Share) = length(s.which) * size(p.data[s.dataset].x, 2)

function check_window(p::Program, s::Share, horizon)
    d = p.data[s.dataset]
    check(horizon ≥ 1 && all(t -> 1 ≤ t ≤ steps(d) - horizon + 1, s.start),
        "windows of $horizon intervals must lie in the $(steps(d)) of the data")
    dt = diff(d.time)
    even = all(h -> isapprox(h, dt[1]; rtol = 1e-6), dt)
    check(even || allequal(s.start), "on an uneven time grid the windows of a batch must start together")
end

# Memory for the tapes of one gradient; a share that needs more is split into more parts.
const TAPE_BYTES = 2^28

"The parts of a share: at least one per thread, each with tapes of at most `TAPE_BYTES`."
function parts(p::Program{T}, s::Share, horizon) where {T}
    bytes = sample_count(p, s) * calls_of(p.spec, horizon) * kept(p.spec) * sizeof(T)
    count = clamp(max(cld(bytes, TAPE_BYTES), Threads.nthreads()), 1, length(s.which))
    order = sortperm(p.data[s.dataset].graph[s.which])      # neighbouring trajectories on the same graph are fastest
    return [Share(s.dataset, s.which[part], s.start[part])
            for part in Iterators.partition(order, cld(length(order), count))]
end

"The workspace of a number of samples, kept from call to call; `place` keeps threads apart."
function workspace(p::Program{T}, samples, steps, calls, place) where {T}
    found = get(p.spaces, (samples, place), nothing)
    if found === nothing || found.steps < steps || found.calls < calls
        length(p.spaces) > 8 * Threads.nthreads() && empty!(p.spaces)
        found = Workspace(T, p.spec, samples, steps, calls)
        p.spaces[(samples, place)] = found
    end
    return found
end

"`work(i)` of every part, in order; on all threads, as many at a time as there are."
function each_part(work, todo)
    Threads.nthreads() == 1 && return [work(i) for i in eachindex(todo)]
    out = Vector{Any}(undef, length(todo))
    for group in Iterators.partition(eachindex(todo), Threads.nthreads())
        tasks = [(i, Threads.@spawn work(i)) for i in group]
        for (i, task) in tasks
            out[i] = fetch(task)
        end
    end
    return out
end
