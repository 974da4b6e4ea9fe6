"""
    TrainingResult

`theta`, the parameters of the epoch with the lowest validation loss; `best_epoch` (0: the start) and its
`best_validation`; `status`:

- `:epochs`, all epochs were run;
- `:converged`, `patience` epochs brought no better validation loss;
- `:stopped`, the callback asked for the end;
- `:nonfinite`, a loss or a gradient was not finite;

and `history`: of every epoch run its mean batch `loss`, its `validation` loss and the mean
`gradient_norm` before clipping.
"""
struct TrainingResult{T}
    theta::Vector{T}
    status::Symbol
    best_epoch::Int
    best_validation::Float64
    history::Vector{@NamedTuple{loss::Float64, validation::Float64, gradient_norm::Float64}}
end

"""
    train(program, theta; training, validation=Int[], epochs, batch=128, rate=1e-3, clip=500, patience=Inf,
        seed=0, callback=Returns(true)) -> TrainingResult

Adam on shuffled batches of whole trajectories, from the flat vector `theta`. `training` and `validation`
are trajectory numbers; without the latter the mean training loss takes its place. `clip` bounds the norm
of the gradient. `callback(epoch, record)` runs after every epoch and ends the training by `false`.
"""
function train(p::Program{T}, theta::AbstractVector; training = 1:sum(trajectories, p.data), validation = Int[],
        epochs::Integer, batch::Integer = 128, rate = 1e-3, clip = 500, patience = Inf, seed = 0,
        callback = Returns(true)) where {T}
    check(!isempty(training), "there is no trajectory to train on")
    check(isdisjoint(training, validation), "training and validation share trajectories")
    check(epochs ≥ 0 && batch ≥ 1 && rate > 0 && clip > 0,
        "epochs $epochs, batch $batch, rate $rate and clip $clip must be positive")
    horizon, rng, theta = minimum(steps, p.data), MersenneTwister(seed), Vector{T}(theta)
    optimiser = Optimisers.setup(Optimisers.Adam(T(rate)), theta)
    whole(which) = batch_loss(p, theta, which, ones(Int, length(which)), horizon)
    best = (; theta = copy(theta), epoch = 0, loss = isempty(validation) ? Inf : whole(validation))
    history = fieldtype(TrainingResult{T}, :history)()
    result(status) = TrainingResult{T}(best.theta, status, best.epoch, best.loss, history)
    for epoch in 1:epochs
        losses, norms = Float64[], Float64[]
        for part in Iterators.partition(shuffle(rng, collect(Int, training)), batch)
            loss, gradient = loss_and_gradient(p, theta, part, ones(Int, length(part)), horizon)
            length_of = norm(gradient)
            isfinite(loss) && isfinite(length_of) || return result(:nonfinite)
            length_of > clip && (gradient .*= T(clip / length_of))
            optimiser, theta = Optimisers.update!(optimiser, theta, gradient)
            push!(losses, loss)
            push!(norms, length_of)
        end
        loss = sum(losses) / length(losses)
        checked = isempty(validation) ? loss : whole(validation)
        isfinite(checked) || return result(:nonfinite)
        checked < best.loss && (best = (; theta = copy(theta), epoch, loss = checked))
        push!(history, (; loss, validation = checked, gradient_norm = sum(norms) / length(norms)))
        callback(epoch, last(history)) === false && return result(:stopped)
        epoch - best.epoch ≥ patience && return result(:converged)
    end
    return result(:epochs)
end
