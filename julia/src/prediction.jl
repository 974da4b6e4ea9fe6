# Rollouts and the vector field of a model, without data bound to it.

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
