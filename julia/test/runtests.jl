using MessagePassingNODE, Test
using Aqua: Aqua

@testset "MessagePassingNODE" begin
    include("fixtures.jl")
    include("systems.jl")
    include("discrete.jl")
    include("neural.jl")
    include("training.jl")
    include("bridge.jl")
    @testset "Aqua" begin
        Aqua.test_all(MessagePassingNODE; persistent_tasks = false, ambiguities = (; recursive = false))
    end
end
