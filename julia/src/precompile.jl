# The default sizes and element type, through the entry points that a first call takes. Differentiating
# through the adaptive solver compiles for minutes; that is left to its first use.
@setup_workload begin
    sender, receiver, nodes = [2, 1, 3, 2], [1, 2, 2, 3], [3]
    x0, grid = fill(0.1, 3, 3, 2), [0.0, 0.05, 0.1]
    @compile_workload begin
        made = Bridge.simulate("kuramoto", x0, grid, sender, receiver, nodes; coupling = 1 / 3,
            frequency = [0.1, 0.2, 0.3])
        Bridge.simulate("gene", x0[1:1, :, :], grid, sender, receiver, nodes; decay = 1.0, coupling = 1.0)
        Bridge.simulate("lorenz", x0, grid, sender, receiver, nodes; coupling = zeros(3, 3, 3, 3), sigma = 10.0,
            rho = 28.0, beta = 8 / 3)
        for options in ((; aggregation = "mean"), (; message = 6, aggregation = "sum", messages = "emitted",
            coupling = "superposed"))
            p = Bridge.program(; channels = 3, options...)
            Bridge.bind(p, made["x"], grid, sender, receiver, nodes, [1, 1])
            theta = zeros(Float32, parameter_count(p.spec))
            Bridge.loss_and_gradient(p, theta, [1, 2], [1, 1], 2)
            Bridge.loss(p, theta, [1, 2], [1, 1], 2)
            z = Bridge.rollout(p, theta, x0, grid, sender, receiver, nodes, [1, 1])
            Bridge.field(p, theta, z[:, :, 1, :], sender, receiver, nodes, [1, 1])
        end
    end
end
