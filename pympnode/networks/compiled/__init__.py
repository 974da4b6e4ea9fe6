"""The simulator of shipped systems as machine code: their fields and the adaptive stepper, by numba.

`solve` is the interface, `stepper` the loop, `fields` the equations, `vectors` their inner loops.
The same numbers to the tolerance come from `networks.integrate`, which runs any field of NumPy.
"""
