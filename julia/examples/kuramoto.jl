# A message passing neural ODE of Kuramoto oscillators, from data to a rollout on another graph:
#   julia --project=. julia/examples/kuramoto.jl
using MessagePassingNODE, Random
using Graphs: barabasi_albert

rng = MersenneTwister(42)
graph = barabasi_albert(10, 5; rng)
ω = randn(rng, 3)
grid = 0.0:0.05:2.5

# data: 64 trajectories from random phases, in units of mean 0 and deviation 1
made = simulate(Kuramoto(graph, ω), 2 .* rand(rng, 3, 10, 64) .- 1, grid)
all(==("Success"), made.retcode) || error("a solve failed: $(unique(made.retcode))")
units = fit_normalisation(made.x)
x = Float32.(normalise(units, made.x))

# the published model, and steps of fixed size with their hand-written adjoint
spec = ModelSpec(; channels = 3, message = 3)
program = Program(spec, [Dataset(x, grid, Topology(graph))])
epochs = length(ARGS) > 0 ? parse(Int, ARGS[1]) : 60
result = train(program, initial(rng, spec); training = 1:48, validation = 49:64, epochs, batch = 16, rate = 5e-3,
    callback = (epoch, record) -> (epoch % 20 == 0 && println("epoch $epoch: validation loss ", record.validation); true))
println(result.status, " after ", length(result.history), " epochs, best validation loss ", result.best_validation)

# the same weights on a graph of another size
other = barabasi_albert(7, 6; rng)
start = 2 .* rand(rng, 3, 7, 4) .- 1
exact = simulate(Kuramoto(other, ω), start, grid).x
z = rollout(program, result.theta, Float32.(normalise(units, start)), Topology(other), grid)
predicted = denormalise(units, z[1:3, :, :, :])
println("root mean square error on 7 nodes: ", sqrt(sum(abs2, predicted .- exact) / length(exact)))
