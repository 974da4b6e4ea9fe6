"""
What [`simulate`](@ref) gives: `x` (`feature × node × time × trajectory`, NaN after a failure), the return
code of every trajectory (`Success` where it was solved) and, over all of them, evaluations of the field,
accepted and rejected steps.
"""
struct Ensemble
    x::Array{Float64, 4}
    retcode::Vector{String}
    evaluations::Int
    accepted::Int
    rejected::Int
end

"""
    simulate(sys, x0, time; u=nothing, tolerance=1e-8, maxiters=100_000) -> Ensemble

Solve `sys` from every initial state of `x0` (`feature × node × trajectory`) with Tsit5, relative and
absolute tolerance alike, saved on the grid `time`. `u` (`control × node × time × trajectory`) is held from
each time to the next, and the solve starts afresh there. Trajectories take their own steps and are
spread over the threads.
"""
function simulate(sys::System, x0::AbstractArray{<:Real, 3}, time::AbstractVector{<:Real}; u = nothing,
        tolerance = 1e-8, maxiters = 100_000)
    shape = (feature_count(sys), node_count(sys))
    check(size(x0)[1:2] == shape, "x0 is $(size(x0)), the system needs $shape × trajectories")
    check(length(time) ≥ 2 && all(>(0), diff(time)), "time must increase over at least two points")
    check(u === nothing || size(u)[2:4] == (shape[2], length(time), size(x0, 3)),
        "u is $(u === nothing ? 0 : size(u)), it must be control × $((shape[2], length(time), size(x0, 3)))")
    B, grid = size(x0, 3), collect(Float64, time)
    out = fill(NaN, shape..., length(grid), B)
    codes, counts = fill("", B), zeros(Int, 3, B)
    options = (; abstol = tolerance, reltol = tolerance, maxiters)
    function work(mine)
        field = VectorField(sys)
        problem = ODEProblem{true}(field, zeros(shape), (grid[1], grid[end]), field.p)
        for b in mine
            checkpoint()
            start = Matrix{Float64}(x0[:, :, b])
            held = u === nothing ? nothing : Array{Float64, 3}(u[:, :, :, b])
            codes[b] = follow!(view(out, :, :, :, b), view(counts, :, b), sys, problem, start, held, grid, options)
        end
        return nothing
    end
    todo = collect(Iterators.partition(1:B, cld(max(B, 1), Threads.nthreads())))
    each_part(i -> work(todo[i]), todo)
    return Ensemble(out, codes, sum(counts[1, :]), sum(counts[2, :]), sum(counts[3, :]))
end

"One trajectory into `out` (`feature × node × time`); its return code."
function follow!(out, counts, sys, problem, start, ::Nothing, grid, options)
    sol = solve(remake(problem; u0 = start), Tsit5(); saveat = grid, options...)
    return keep!(out, counts, sol, 1:length(grid))
end
function follow!(out, counts, sys, problem, start, u, grid, options)
    out[:, :, 1] .= start
    p = copy(problem.p)
    for t in 1:(length(grid) - 1)
        drive!(p, sys, view(u, :, :, t))
        piece = remake(problem; u0 = copy(out[:, :, t]), tspan = (grid[t], grid[t + 1]), p)
        sol = solve(piece, Tsit5(); save_everystep = false, save_start = false, options...)
        code = keep!(out, counts, sol, (t + 1):(t + 1))
        code == "Success" || return code
    end
    return "Success"
end

function keep!(out, counts, sol, times)
    counts .+= (sol.stats.nf, sol.stats.naccept, sol.stats.nreject)
    for (t, state) in zip(times, sol.u)
        out[:, :, t] .= state
    end
    complete = length(sol.u) == length(times) && all(isfinite, last(sol.u))
    successful_retcode(sol) && complete && return "Success"
    return successful_retcode(sol) ? "Incomplete" : string(sol.retcode)
end
