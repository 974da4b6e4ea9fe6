derivative(sys, x) = (f = MP.VectorField(sys); dx = zero(x); f(dx, x, f.p, 0.0); dx)

@testset "systems" begin
    A = Matrix{Float64}(adjacency_matrix(ONE))
    directed = SimpleDiGraph(N)
    foreach(((j, k),) -> add_edge!(directed, j, k), [(1, 2), (2, 3), (3, 1), (6, 2)])
    B = Matrix{Float64}(adjacency_matrix(directed))               # row sends to column
    ω = [0.3, -0.2, 0.1]
    θ = randn(MersenneTwister(1), 3, N)
    for (graph, M) in ((ONE, A), (directed, B), (SimpleDiGraph(N), zero(A)))
        expected = [ω[i] + sum(M[j, k] * sin(θ[i, j] - θ[i, k]) for j in 1:N) / 3 for i in 1:3, k in 1:N]
        @test derivative(Kuramoto(graph, ω), θ) ≈ expected
        own = randn(MersenneTwister(2), 3, N)
        @test derivative(Kuramoto(graph, own), θ) ≈ expected .- ω .+ own
        x = rand(MersenneTwister(3), 1, N)
        hill = vec(x .^ 2 ./ (1 .+ x .^ 2))
        @test vec(derivative(GeneDynamics(graph), x)) ≈ -vec(x) .+ M' * hill
        loops = [1, 0, 0, 0, 0, 1]
        @test vec(derivative(GeneDynamics(graph; decay = 1:N, coupling = 2, loops), x)) ≈
              -(1:N) .* vec(x) .+ 2 .* (M' * hill .+ loops .* hill)
        @test vec(derivative(HeatDiffusion(graph; diffusivity = 0.5), x)) ≈
              [0.5 * sum(M[j, k] * (x[j] - x[k]) for j in 1:N) for k in 1:N]
        a = rand(MersenneTwister(4), 2, N)
        d = derivative(CoupledPendulum(graph), a)
        @test d[1, :] ≈ a[2, :]
        @test d[2, :] ≈ [((1.5 * a[2, k]^2 - 9.81) * sin(a[1, k]) + 3 * sum(M[j, k] * (sin(a[1, j]) - sin(a[1, k])) for j in 1:N)) /
                         (1.5 * cos(a[1, k])) for k in 1:N]
        H = randn(MersenneTwister(5), 3N, 3N)
        masked = [H[i, j] * (cld(i, 3) == cld(j, 3) || M[cld(j, 3), cld(i, 3)] == 1) for i in 1:3N, j in 1:3N]
        local z = randn(MersenneTwister(6), 3, N)
        own_motion = reduce(hcat, [[10 * (y - x), x * (28 - w) - y, x * y - 8 / 3 * w] for (x, y, w) in eachcol(z)])
        @test derivative(CoupledLorenz(graph, H), z) ≈ own_motion .+ reshape(masked * vec(z), 3, N)
    end
end

@testset "simulation" begin
    # two steps that are exact: a lone gene decays, Kuramoto without edges turns
    lone = SimpleGraph(1)
    made = simulate(GeneDynamics(lone), fill(3.0, 1, 1, 2), GRID; tolerance = 1e-10)
    @test made.retcode == ["Success", "Success"]
    @test vec(made.x[1, 1, :, 2]) ≈ 3 .* exp.(-GRID) rtol = 1e-9
    @test made.evaluations > 0 && made.accepted > 0
    u = reshape([1.0, -2, 3, 7, 9], 1, 1, 5, 1)
    turned = simulate(Kuramoto(lone, [0.5]), zeros(1, 1, 1), GRID; u)
    @test vec(turned.x) ≈ [0; cumsum(0.05 .* (0.5 .+ u[1:4]))] atol = 1e-12
    # uneven grids, and trajectories one by one
    x0 = randn(MersenneTwister(1), 3, N, 3)
    all3 = simulate(Kuramoto(ONE, [0.1, 0.2, 0.3]), x0, [0, 0.1, 0.5]; tolerance = 1e-9)
    @test all3.x[:, :, :, 2:2] == simulate(Kuramoto(ONE, [0.1, 0.2, 0.3]), x0[:, :, 2:2], [0, 0.1, 0.5]; tolerance = 1e-9).x
    # a solve that fails says so, and the others go on
    bad = simulate(CoupledPendulum(), cat([1.5 1.5; 50.0 50.0], [0.1 0.2; 0 0]; dims = 3), 0:0.1:2; maxiters = 300)
    @test bad.retcode[1] != "Success" && bad.retcode[2] == "Success"
    @test any(isnan, bad.x[:, :, :, 1]) && all(isfinite, bad.x[:, :, :, 2])
    @test_throws InputError simulate(CoupledPendulum(), zeros(2, 3, 1), GRID)
    @test_throws InputError simulate(CoupledPendulum(), zeros(2, 2, 1), [0.0, 0.0])
    @test_throws InputError simulate(CoupledPendulum(), zeros(2, 2, 1), GRID; u = zeros(1, 2, 5, 1))
end

@testset "topology" begin
    A = Matrix{Float64}(adjacency_matrix(TWO))
    @test MP.aggregation_matrix(BOTH, 2, :sum, 2.0, Float64) ≈ A ./ 2
    @test MP.aggregation_matrix(BOTH, 2, :mean, 1.0, Float64) ≈ A ./ max.(sum(A; dims = 1), 1)
    t = Topology([2, 1, 4], [1, 2, 4], [3, 2])                     # a self loop on node 4
    @test MP.digraph(t, 2)[2] == [1, 0] && MP.digraph(t, 1)[2] == [0, 0, 0]
    @test_throws InputError Topology([1], [4], [3, 2])
    @test_throws InputError Topology([9], [1], [3, 2])
    # what is received, and its transpose
    c = MP.Columns(BOTH, MIXED, :mean, 1.0, Float64)
    m = randn(MersenneTwister(1), N * BATCH, 2)
    a = zero(m)
    MP.receive!(a, m, c)
    w, b = randn(MersenneTwister(2), size(m)), zero(m)
    MP.receive_pullback!(b, w, c)
    @test dot(w, a) ≈ dot(b, m)
end
