@testset "the discrete adjoint: $(join(values(kw), ", "))" for kw in [vec(FAMILY);
        [(; family = :l2s, depth = 2, aggregation = :sum), (; solver = :tsit5, substeps = 2), (; depth = 3, aggregation = :sum, divisor = 2.5)]]
    p, theta, _ = problem(spec_of(; kw...))
    loss, gradient = whole(p, theta)
    @test loss ≈ whole_loss(p, theta) rtol = 1e-13
    for seed in 1:3
        v = randn(MersenneTwister(seed), length(theta))
        @test dot(gradient, v) ≈ directional(t -> whole_loss(p, t), theta, v) rtol = 1e-7 atol = 1e-9
    end
end

@testset "missing values, uneven grids, windows" begin
    spec = spec_of(; messages = :emitted, coupling = :superposed)
    p, theta, data = problem(spec; masked = true, grid = [0.0, 0.03, 0.1, 0.15, 0.25])
    v = randn(MersenneTwister(1), length(theta))
    loss, gradient = whole(p, theta)
    @test dot(gradient, v) ≈ directional(t -> whole_loss(p, t), theta, v) rtol = 1e-7
    other = Dataset(data.x .+ (1 .- data.mask), data.time, BOTH; graph = MIXED, data.u, data.attribute, data.mask)
    # what is missing is not looked at, but for the start
    moved = copy(other.x)
    moved[:, :, 1, :] .= data.x[:, :, 1, :]
    again = Program(spec, [Dataset(moved, data.time, BOTH; graph = MIXED, data.u, data.attribute, data.mask)]; T = Float64)
    @test whole(again, theta)[1] ≈ loss
    @test_throws InputError loss_and_gradient(p, theta, [1, 2], [1, 2], 2)     # uneven: one start
    q, theta, data = problem(spec)
    l, g = loss_and_gradient(q, theta, [3, 1, 3], [2, 1, 3], 2)
    alone = [loss_and_gradient(q, theta, [b], [s], 2) for (b, s) in ((3, 2), (1, 1), (3, 3))]
    @test l ≈ sum(first, alone) / 3 && g ≈ sum(last, alone) ./ 3
    @test_throws InputError loss_and_gradient(q, theta, [1], [4], 2)
    @test_throws InputError loss_and_gradient(q, theta, [5], [1], 2)
    @test_throws InputError loss_and_gradient(q, theta[2:end], [1], [1], 2)
end

@testset "datasets of different size add up by nodes" begin
    spec = spec_of(; attributes = 0, controls = 0)
    p, theta, a = problem(spec)
    x = randn(MersenneTwister(9), D, 3, 5, 2)
    small = Dataset(x, GRID, Topology(complete_graph(3)))
    bind!(p, small)
    q = Program(spec, [small]; T = Float64)
    la, ga = loss_and_gradient(p, theta, [1, 2], [1, 1], 4)
    lb, gb = loss_and_gradient(q, theta, [1], [1], 4)
    l, g = loss_and_gradient(p, theta, [1, 5, 2], [1, 1, 1], 4)
    @test l ≈ (12la + 3lb) / 15 && g ≈ (12 .* ga .+ 3 .* gb) ./ 15
end

@testset "a batch in parts is the batch" begin
    p, theta, data = problem(spec_of())
    whole_share = MP.Share(1, [1, 2, 3, 4], ones(Int, 4))
    l, g = whole(p, theta)
    parts, total = zeros(length(theta)), 0.0
    for s in (MP.Share(1, [1, 4], [1, 1]), MP.Share(1, [2, 3], [1, 1]))
        total += MP.discrete_gradient!(parts, p, theta, s, 4, 1 / (N * BATCH))
    end
    @test total ≈ l && parts ≈ g
    @test length(MP.parts(p, whole_share, 4)) == min(Threads.nthreads(), 4)
end

@testset "a mixed batch is its trajectories one by one; permuted nodes permute it" begin
    for kw in ((;), (; messages = :emitted, coupling = :superposed), (; family = :l2s, aggregation = :sum))
        spec = spec_of(; kw...)
        p, theta, d = problem(spec)
        x0 = d.x[:, :, 1, :]
        z = rollout(p, theta, x0, BOTH, GRID; graph = MIXED, d.u, d.attribute)
        @test size(z) == (MP.states(spec), N, 5, BATCH) && z[1:D, :, 1, :] == x0
        for b in 1:BATCH
            alone = Topology([ONE, TWO][MIXED[b]])
            @test z[:, :, :, b:b] ≈ rollout(p, theta, x0[:, :, b:b], alone, GRID; u = d.u[:, :, :, b:b], d.attribute)
        end
        order = randperm(MersenneTwister(7), N)
        place = invperm(order)
        moved = Topology([graph_of(N, [(place[MP.src(e)], place[MP.dst(e)]) for e in MP.edges(g)]) for g in (ONE, TWO)])
        y = rollout(p, theta, x0[:, order, :], moved, GRID; graph = MIXED, u = d.u[:, order, :, :],
            attribute = d.attribute[:, order])
        @test z[:, order, :, :] ≈ y
    end
end

@testset "order of convergence of $solver" for (solver, order) in ((:rk4, 4), (:tsit5, 5))
    spec = spec_of(; controls = 0, solver)
    p, theta, d = problem(spec)
    final(k) = rollout(Program(ModelSpec(; channels = D, attributes = 1, message = 3, hidden = 8, solver, substeps = k); T = Float64),
        theta, d.x[:, :, 1, :], BOTH, [0.0, 1.0]; graph = MIXED, d.attribute)[:, :, end, :]
    exact = final(64)
    error_of(k) = maximum(abs, final(k) .- exact)
    @test order - 0.4 < log2(error_of(4) / error_of(8)) < order + 0.8
end

@testset "an interrupted call" begin
    p, theta, _ = problem(spec_of())
    words = Int64[3, 3]
    GC.@preserve words begin
        MP.watch(Int(pointer(words)))
        @test_throws Interrupted whole(p, theta)
        @test_throws Interrupted simulate(CoupledPendulum(), zeros(2, 2, 1), GRID)
        words[2] = 4
        @test isfinite(whole(p, theta)[1])
        MP.watch(0)
    end
end
