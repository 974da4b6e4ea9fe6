"""
    InputError(message)

What was asked cannot be served. The message says what was got, what is allowed and how to mend it.
"""
struct InputError <: Exception
    message::String
end
Base.showerror(io::IO, e::InputError) = print(io, "InputError: ", e.message)

"`check(condition, message...)`: throw an [`InputError`](@ref) unless `condition` holds."
check(condition::Bool, message...) = condition ? nothing : throw(InputError(string(message...)))

"`one_of(kind, name, allowed)`: `name`, or an [`InputError`](@ref) when it is not allowed."
function one_of(kind, name::Symbol, allowed)
    check(name in allowed, "$kind is $name; it must be one of $(join(allowed, ", "))")
    return name
end
