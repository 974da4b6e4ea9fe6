"""
    Program(spec, datasets=[]; adjoint=:discrete, T=Float32, tolerance=1e-6, horizon=false)

A model bound to data. What it answers is a function of one flat parameter vector (see [`layout`](@ref)):
[`loss_and_gradient`](@ref), [`batch_loss`](@ref), [`rollout`](@ref), [`vector_field`](@ref).

`adjoint` names how it is solved and differentiated: `:discrete`, steps of fixed size (`spec.solver`) and
the hand-written adjoint; or `:interpolating`, `:backsolve`, `:gauss`, adaptive Tsit5 at `tolerance` with
that adjoint of SciMLSensitivity, restarted at every interval or, with `horizon`, solved once.
"""
struct Program{T}
    spec::ModelSpec
    data::Vector{Dataset{T}}
    adjoint::Symbol
    tolerance::Float64
    horizon::Bool
    spaces::Dict{Tuple{Int, Int}, Any}
    fields::Dict{Any, Any}
end

function Program(spec::ModelSpec, data = Dataset[]; adjoint::Symbol = :discrete, T::Type = Float32,
        tolerance = 1e-6, horizon = false)
    one_of("adjoint", adjoint, ADJOINTS)
    check(tolerance > 0, "tolerance is $tolerance, it must be positive")
    program = Program{T}(spec, Dataset{T}[], adjoint, tolerance, horizon, Dict(), Dict())
    foreach(d -> bind!(program, d), data)
    return program
end

"`bind!(program, dataset)`: add data; trajectories are numbered through all of them."
function bind!(p::Program, d::Dataset)
    s = p.spec
    got = (size(d.x, 1), size(d.u, 1), size(d.attribute, 1))
    check(got == (s.channels, s.controls, s.attributes), "the data have $(got[1]) features, $(got[2]) ",
        "controls and $(got[3]) attributes; the model has $(s.channels), $(s.controls), $(s.attributes)")
    push!(p.data, d)
    return p
end

"A run of trajectories of one dataset, with their first times."
struct Share
    dataset::Int
    which::Vector{Int}
    start::Vector{Int}
end

function shares(p::Program, which, start)
    check(length(which) == length(start), "there are $(length(which)) trajectories and $(length(start)) starts")
    ends = cumsum(trajectories.(p.data))
    check(all(i -> 1 ≤ i ≤ last(ends), which), "trajectories must be of 1:$(isempty(ends) ? 0 : last(ends))")
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

# Memory for the tapes of one gradient; a larger batch is worked off in parts.
const TAPE_BYTES = 2^28

"The parts in which a share is worked off: one a thread, and small enough."
function parts(p::Program{T}, s::Share, horizon) where {T}
    bytes = sample_count(p, s) * calls_of(p.spec, horizon) * kept(p.spec) * sizeof(T)
    count = clamp(max(cld(bytes, TAPE_BYTES), Threads.nthreads()), 1, length(s.which))
    order = sortperm(p.data[s.dataset].graph[s.which])      # runs of one graph are fastest
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

"""
    loss_and_gradient(program, theta, which, start, horizon) -> loss, gradient

The Huber loss (δ = 1) of the rollouts of `horizon` intervals of the trajectories `which`, each from its
time `start`, summed over features and times after the first and averaged over nodes and trajectories; and
its gradient, a vector like `theta`.
"""
function loss_and_gradient(p::Program{T}, theta::AbstractVector, which, start, horizon::Integer) where {T}
    check_theta(p, theta)
    mine = shares(p, which, start)
    scale = 1 / sum(s -> sample_count(p, s), mine)
    loss, gradient = 0.0, zeros(T, length(theta))
    for s in mine
        check_window(p, s, horizon)
        add_share!(s) = p.adjoint === :discrete ? discrete_gradient!(gradient, p, theta, s, horizon, scale) :
                        neural_gradient!(gradient, p, theta, s, horizon, scale)
        loss += add_share!(s)
    end
    return loss, gradient
end

"`batch_loss(program, theta, which, start, horizon)`: the loss alone."
function batch_loss(p::Program{T}, theta::AbstractVector, which, start, horizon::Integer) where {T}
    check_theta(p, theta)
    mine = shares(p, which, start)
    scale = 1 / sum(s -> sample_count(p, s), mine)
    return sum(mine; init = 0.0) do s
        check_window(p, s, horizon)
        p.adjoint === :discrete ? discrete_loss(p, theta, s, horizon, scale) :
        neural_loss(p, theta, s, horizon, scale)
    end
end

check_theta(p::Program, theta) = check(length(theta) == parameter_count(p.spec), "theta has ",
    "$(length(theta)) numbers, the model has $(parameter_count(p.spec))")

# ---- steps of fixed size --------------------------------------------------------------------------------

function discrete_gradient!(gradient, p::Program{T}, theta, s::Share, horizon, scale) where {T}
    W = weights(p.spec, theta)
    calls = calls_of(p.spec, horizon)
    todo = parts(p, s, horizon)
    spaces = [workspace(p, sample_count(p, part), horizon, calls, mod1(i, Threads.nthreads()))
              for (i, part) in enumerate(todo)]
    done = each_part(todo) do i
        w = Window(p.data[s.dataset], p.spec, todo[i].which, todo[i].start, horizon, scale)
        gW = zero_like(W)
        forward!(spaces[i], w, W)
        (adjoint!(gW, spaces[i], w, W), gW)
    end
    part = zero(gradient)
    loss = 0.0
    for (value, gW) in done
        loss += value
        for (places, G) in zip(layout(p.spec), gW)
            flatten!(part, places, G)
        end
        gradient .+= part
    end
    return loss
end

function discrete_loss(p::Program{T}, theta, s::Share, horizon, scale) where {T}
    W = weights(p.spec, theta)
    return sum(Iterators.partition(eachindex(s.which), 512); init = 0.0) do part
        w = Window(p.data[s.dataset], p.spec, s.which[part], s.start[part], horizon, scale)
        space = workspace(p, w.columns.samples, horizon, 1, 0)
        forward!(space, w, W; taped = false)
        window_loss(space, w)
    end
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

# ---- adaptive -------------------------------------------------------------------------------------------

"The Lux layer of some graphs, kept, with its state."
function kept_field(p::Program{T}, topology) where {T}
    length(p.fields) > 8 && empty!(p.fields)
    return get!(p.fields, topology) do
        f = field(p.spec, topology, T)
        (f, Lux.testmode(Lux.initialstates(MersenneTwister(0), f)))
    end
end

function neural_solver(p::Program, f, dt)
    p.horizon && return HorizonSolver(f, dt, p.adjoint; p.tolerance)
    return StepSolver(f, dt, p.adjoint; p.tolerance)
end

"What an adaptive solve needs of a share: the solver, x, u, mask, the layer state and the matrices."
function neural_window(p::Program{T}, s::Share, horizon) where {T}
    d = p.data[s.dataset]
    f, st = kept_field(p, d.topology)
    part(a, times) = stack(a[:, :, t:(t + times - 1), b] for (b, t) in zip(s.which, s.start))
    x, u = part(d.x, horizon + 1), part(d.u, horizon)
    mask = size(d.mask, 1) == 0 ? d.mask[:, :, 1:1, 1:1] : part(d.mask, horizon + 1)
    dt = diff(d.time[s.start[1]:(s.start[1] + horizon)])
    st = hold(st; b = repeat(d.attribute; outer = (1, 1, length(s.which))))
    return neural_solver(p, f, dt), x, u, mask, st, matrices_of(f.P, d.graph[s.which])
end

function neural_gradient!(gradient, p::Program{T}, theta, s::Share, horizon, scale) where {T}
    solver, x, u, mask, st, P = neural_window(p, s, horizon)
    # the adjoint of a solve wants its parameters in one vector, and answers with a plain one
    ps = ComponentArray(parameters(solver.field, T.(theta)))
    loss, pullback = Zygote.pullback(ps) do ps
        neural_huber(neural_rollout(solver, x[:, :, 1, :], u, ps, st, P), x, mask, T(scale))
    end
    back = NamedTuple(ComponentArray(getdata(only(pullback(one(loss)))), getaxes(ps)))
    gradient .+= flat(solver.field, back, T)
    return Float64(loss)
end

function neural_loss(p::Program{T}, theta, s::Share, horizon, scale) where {T}
    solver, x, u, mask, st, P = neural_window(p, s, horizon)
    ps = parameters(solver.field, T.(theta))
    return Float64(neural_huber(neural_rollout(solver, x[:, :, 1, :], u, ps, st, P), x, mask, T(scale)))
end

# ---- without data ---------------------------------------------------------------------------------------

"""
    rollout(program, theta, x0, topology, time; graph, u, attribute) -> z

States over messages (`D × node × time × trajectory`) from `x0` (`d × node × trajectory`), the first time
included. `u` (`control × node × time × trajectory`) holds from each time to the next.
"""
function rollout(p::Program{T}, theta, x0::AbstractArray{<:Any, 3}, topology::Topology, time;
        graph = ones(Int, size(x0, 3)), u = zeros(T, 0, size(x0, 2), length(time), size(x0, 3)),
        attribute = zeros(T, 0, size(x0, 2))) where {T}
    check_theta(p, theta)
    check_free(p, x0, topology, graph, u, attribute, length(time) - 1)
    start = Array{T}(x0)
    if p.adjoint === :discrete
        w = Window(p.spec, start, time, topology, graph, Array{T}(u), Matrix{T}(attribute))
        space = Workspace(T, p.spec, w.columns.samples, length(w.dt), 1)
        forward!(space, w, weights(p.spec, theta); taped = false)
        return scatter(space.Z, w.columns)
    end
    f, st = kept_field(p, topology)
    st = hold(st; b = repeat(Matrix{T}(attribute); outer = (1, 1, size(x0, 3))))
    solver = neural_solver(p, f, diff(time))
    return neural_rollout(solver, start, Array{T}(u), parameters(f, T.(theta)), st, matrices_of(f.P, graph))
end

"""
    vector_field(program, theta, z, topology; graph, u, attribute) -> dz

The derivative of `z` (`D × node × trajectory`) under the controls `u` (`control × node × trajectory`).
"""
function vector_field(p::Program{T}, theta, z::AbstractArray{<:Any, 3}, topology::Topology;
        graph = ones(Int, size(z, 3)), u = zeros(T, 0, size(z, 2), size(z, 3)),
        attribute = zeros(T, 0, size(z, 2))) where {T}
    check_theta(p, theta)
    u4 = reshape(Array{T}(u), size(u, 1), size(u, 2), 1, size(u, 3))
    check(size(z, 1) == states(p.spec), "z has $(size(z, 1)) features, the model has $(states(p.spec))")
    check_free(p, z[1:(p.spec.channels), :, :], topology, graph, u4, attribute, 1)
    w = Window(p.spec, Array{T}(z), [0.0, 1.0], topology, graph, u4, Matrix{T}(attribute))
    tape, dz = tape_of(T, p.spec, w.columns.samples, 1), zeros(T, w.columns.samples, states(p.spec), 1)
    evaluate!(view(dz, :, :, 1), w.target[:, :, 1], tape, weights(p.spec, theta), w, 1, 1)
    return scatter(dz, w.columns)[:, :, 1, :]
end

function check_free(p::Program, x0, topology, graph, u, attribute, steps)
    s, n, B = p.spec, size(x0, 2), size(x0, 3)
    check(size(x0, 1) == s.channels, "x0 has $(size(x0, 1)) features, the model has $(s.channels)")
    check(length(graph) == B, "graph names $(length(graph)) graphs for $B trajectories")
    check(all(g -> 1 ≤ g ≤ graph_count(topology) && topology.nodes[g] ≤ n, graph),
        "graph numbers must be of 1:$(graph_count(topology)), of graphs of at most $n nodes")
    check(size(u, 1) == s.controls && size(u)[[2, 4]] == (n, B) && size(u, 3) ≥ steps,
        "u is $(size(u)), the model takes $(s.controls) controls of $n nodes at $steps times or more")
    check(size(attribute) == (s.attributes, n), "attribute is $(size(attribute)), the model takes ",
        "$((s.attributes, n))")
end
