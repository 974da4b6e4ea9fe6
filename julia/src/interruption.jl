# Interruption of a long call by another process: between its steps the call reads two numbers in shared
# memory. A signal would not do, because Julia and the Python process it is embedded in would share it.

"Thrown by a call that was asked to end."
struct Interrupted <: Exception end
Base.showerror(io::IO, ::Interrupted) = print(io, "Interrupted: the call was asked to end")

const CONTROL = Ref{Ptr{Int64}}(C_NULL)

"""
    watch(address)

Look at the two 64-bit words at `address` (0: look no more): the number of the call to be ended, and
that of the call that runs.
"""
function watch(address::Integer)
    CONTROL[] = Ptr{Int64}(UInt(address))
    return nothing
end

"Throw [`Interrupted`](@ref) if this call was asked to end."
function checkpoint()
    words = CONTROL[]
    words == C_NULL && return nothing
    unsafe_load(words, 1) == unsafe_load(words, 2) && throw(Interrupted())
    return nothing
end
