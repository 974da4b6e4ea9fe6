"""The compiled CPU kernel: a training step of the MP-NODE family in numba, see `..compiled`.

``machine``: vector width, compiler options. ``tiles``: the two register-tiled products. ``tanh``.
``weights``: the flat vector in the order the products read. ``plan``: a batch cut into tiles of
trajectories. ``field``: the vector field and its adjoint on a tile. ``sweep``: time steps.
"""
