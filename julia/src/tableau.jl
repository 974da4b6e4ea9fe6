"""
    Tableau

An explicit Runge–Kutta method for steps of fixed size: `a` (`stages × stages`, strictly lower
triangular) and `b` (`stages`).
"""
struct Tableau
    a::Matrix{Float64}
    b::Vector{Float64}
end

function lower(rows)
    a = zeros(length(rows), length(rows))
    for (i, r) in enumerate(rows), (j, value) in enumerate(r)
        a[i, j] = value
    end
    return a
end

"The classical method of order four (Kutta 1901)."
const RK4 = Tableau(lower([[], [1 / 2], [0, 1 / 2], [0, 0, 1]]), [1 / 6, 1 / 3, 1 / 3, 1 / 6])

"The fifth-order solution of Tsitouras (2011), Runge–Kutta pairs of order 5(4) satisfying only the first
column simplifying assumption."
const TSIT5 = Tableau(
    lower([[], [0.161], [-0.008480655492356989, 0.335480655492357],
        [2.8971530571054935, -6.359448489975075, 4.3622954328695815],
        [5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525],
        [5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401,
            -0.028269050394068383]]),
    [0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081,
        2.324710524099774])

tableau(s::ModelSpec) = s.solver === :rk4 ? RK4 : TSIT5
stage_count(t::Tableau) = length(t.b)
