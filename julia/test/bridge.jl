@testset "bridge" begin
    sender, receiver, nodes = [2, 1, 3, 2], [1, 2, 2, 3], [3]
    x0, grid = randn(MersenneTwister(1), 3, 3, 2), [0.0, 0.05, 0.1]
    edges = (sender, receiver, nodes)
    made = Bridge.simulate("kuramoto", x0, grid, edges...; frequency = [0.1, 0.2, 0.3], coupling = 1 / 3)
    @test made["x"][:, :, 1, :] == x0 && made["retcode"] == "Success,Success"
    H = zeros(3, 3, 3, 3)
    H[1, 2, 3, 1] = 0.5                                           # z of node 1 gains half of x of node 2
    z = Bridge.simulate("lorenz", x0, grid, edges...; coupling = H, sigma = 10.0, rho = 28.0, beta = 8 / 3)["x"]
    M = zeros(9, 9)
    M[3, 4] = 0.5
    @test z == simulate(CoupledLorenz(MP.digraph(Topology(edges...), 1)[1], M), x0, grid).x
    p = Bridge.program(; channels = 3, dtype = "float64", messages = "emitted", coupling = "superposed", hidden = 8)
    Bridge.bind(p, made["x"], grid, edges..., [1, 1])
    theta = initial(MersenneTwister(1), p.spec, Float64)
    answer = Bridge.loss_and_gradient(p, theta, [1, 2], [1, 1], 2)
    @test answer["loss"] ≈ Bridge.loss(p, theta, [1, 2], [1, 1], 2)
    @test length(answer["gradient"]) == length(theta)
    @test size(Bridge.rollout(p, theta, x0, grid, edges..., [1, 1])) == (3, 3, 3, 2)
    @test size(Bridge.field(p, theta, x0, edges..., [1, 1])) == (3, 3, 2)
    @test Bridge.versions()["julia"] == string(VERSION)
    for (f, part) in (
            (() -> Bridge.program(; channels = 3, family = "mpnod"), "family is mpnod"),
            (() -> Bridge.program(; channels = 3, nonsense = 1), "no option nonsense"),
            (() -> Bridge.program(; channels = 3, adjoint = "euler"), "adjoint is euler"),
            (() -> Bridge.program(; channels = 3, dtype = "int8"), "dtype int8"),
            (() -> Bridge.simulate("kuramot", x0, grid, edges...), "system kuramot"),
            (() -> Bridge.rollout(p, theta, x0[1:2, :, :], grid, edges..., [1, 1]), "x0 has 2 features"),
            (() -> Bridge.loss(p, theta, [3], [1], 2), "trajectories must be of 1:2"))
        text = message_of(f)
        @test startswith(text, "InputError: ") && occursin(part, text)
    end
end
