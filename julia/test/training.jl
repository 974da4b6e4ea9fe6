@testset "training" begin
    spec = spec_of(; controls = 0, attributes = 0)
    p, theta, _ = problem(spec)
    before = copy(theta)
    seen = Float64[]
    r = train(p, theta; epochs = 50, batch = 2, rate = 1e-2, callback = (e, record) -> (push!(seen, record.loss); e < 40))
    @test r.status === :stopped && length(r.history) == 40 && seen == [h.loss for h in r.history]
    @test seen[end] < seen[1] && theta == before                  # what was given is left alone
    @test train(p, theta; epochs = 3, batch = 2, seed = 5).theta == train(p, theta; epochs = 3, batch = 2, seed = 5).theta
    @test train(p, theta; epochs = 0).theta == theta && train(p, theta; epochs = 3).status === :epochs
    v = train(p, theta; epochs = 30, training = 1:3, validation = [4], rate = 0.05)
    @test v.best_validation ≈ minimum(h.validation for h in v.history)
    @test v.best_validation ≈ batch_loss(p, v.theta, [4], [1], 4)
    w = train(p, theta; epochs = 100, training = 1:3, validation = [4], rate = 10.0, patience = 3)
    @test w.status in (:converged, :nonfinite)
    wild = fill(NaN, length(theta))
    @test train(p, wild; epochs = 2).status === :nonfinite
    @test_throws InputError train(p, theta; epochs = 1, training = 1:3, validation = [3])
    @test_throws InputError train(p, theta; epochs = 1, training = Int[])
end

@testset "normalisation" begin
    x = 5 .* randn(MersenneTwister(1), D, N, 5, 3) .+ 3
    x[2, :, :, :] .= 7                                            # a constant feature keeps its scale
    n = fit_normalisation(x)
    @test denormalise(n, normalise(n, x)) ≈ x
    z = normalise(n, x)
    @test sum(z[1, :, :, :]) ≈ 0 atol = 1e-9
    @test sum(abs2, z[1, :, :, :]) / length(z[1, :, :, :]) ≈ 1
    @test n.scale[2] == 1
    @test_throws InputError Normalisation([0.0], [0.0])
end
