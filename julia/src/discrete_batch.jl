# Loss and gradient of a share by steps of fixed size.

"Adds the gradient of a share to `gradient`; its loss."
function discrete_gradient!(gradient, p::Program{T}, theta, s::Share, horizon, scale) where {T}
    W = weights(p.spec, theta)
    calls = calls_of(p.spec, horizon)
    todo = parts(p, s, horizon)
    spaces = [workspace(p, sample_count(p, part), horizon, calls, mod1(i, Threads.nthreads()))
              for (i, part) in enumerate(todo)]
    done = each_part(todo) do i
        w = Window(p.data[s.dataset], p.spec, todo[i].which, todo[i].start, horizon, scale)
        gW = zero_like(W)
        forward!(spaces[i], w, W)
        (adjoint!(gW, spaces[i], w, W), gW)
    end
    part = zero(gradient)
    loss = 0.0
    for (value, gW) in done
        loss += value
        for (places, G) in zip(layout(p.spec), gW)
            flatten!(part, places, G)
        end
        gradient .+= part
    end
    return loss
end

"The loss of a share, no tape kept."
function discrete_loss(p::Program{T}, theta, s::Share, horizon, scale) where {T}
    W = weights(p.spec, theta)
    return sum(Iterators.partition(eachindex(s.which), 512); init = 0.0) do part
        w = Window(p.data[s.dataset], p.spec, s.which[part], s.start[part], horizon, scale)
        space = workspace(p, w.columns.samples, horizon, 1, 0)
        forward!(space, w, W; taped = false)
        window_loss(space, w)
    end
end
