const CHECKED = [(;), (; messages = :emitted, coupling = :superposed), (; messages = :self, first_message = :linear),
    (; messages = :zero, coupling = :superposed, first_message = :mlp), (; family = :l2s, depth = 1, aggregation = :sum)]

@testset "the Lux layer is the kernel: $(join(values(kw), ", "))" for kw in [vec(FAMILY); [(; family = :l2s, aggregation = :sum)]]
    spec = spec_of(; kw...)
    p, theta, d = problem(spec)
    z = randn(MersenneTwister(1), MP.states(spec), N, BATCH)
    kernel = vector_field(p, theta, z, BOTH; graph = MIXED, u = d.u[:, :, 1, :], d.attribute)
    f, st = MP.kept_field(p, BOTH)
    ps = MP.parameters(f, theta)
    st = MP.hold(st; u = d.u[:, :, 1, :], b = repeat(d.attribute; outer = (1, 1, BATCH)), P = MP.matrices_of(f.P, MIXED))
    @test first(f(z, ps, st)) ≈ kernel rtol = 1e-6            # tanh is the fast one in the kernel
    @test MP.flat(f, ps, Float64) == theta
end

@testset "adaptive and discrete agree: $adjoint, $(join(values(kw), ", "))" for (adjoint, kw) in
        [(:interpolating, CHECKED[1]), (:interpolating, CHECKED[2]), (:gauss, CHECKED[1]), (:backsolve, CHECKED[1])]
    spec = spec_of(; substeps = 4, kw...)
    discrete, theta, _ = problem(spec)
    adaptive, _, _ = problem(spec; adjoint, tolerance = 1e-9)
    (a, ga), (b, gb) = whole(discrete, theta), whole(adaptive, theta)
    @test a ≈ b rtol = 1e-6
    @test whole_loss(adaptive, theta) ≈ b rtol = 1e-9
    @test relative(gb, ga) < 1e-5
end

@testset "one solve over the horizon" begin
    spec = spec_of(; controls = 0)
    step, theta, d = problem(spec; adjoint = :interpolating, tolerance = 1e-9)
    horizon, _, _ = problem(spec; adjoint = :interpolating, tolerance = 1e-9, horizon = true)
    answers = [rollout(p, theta, d.x[:, :, 1, :], BOTH, GRID; graph = MIXED, d.attribute) for p in (step, horizon)]
    @test answers[1] ≈ answers[2] rtol = 1e-7
    controlled, theta, _ = problem(spec_of(); adjoint = :interpolating, horizon = true)
    @test_throws InputError whole_loss(controlled, theta)
end
