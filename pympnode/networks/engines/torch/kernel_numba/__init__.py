"""The compiled CPU kernel: a training step of the MP-NODE family in numba (see `run`).

``machine``: vector width, compiler options. ``tiles``: the two register-tiled products. ``tanh``.
``weights``: the flat vector in the order the products read. ``plan``: a batch cut into tiles of
trajectories. ``space``: offsets of a tile's buffers. ``layers``: a network on the rows of a tile.
``pairs``: messages of pairs, with ``runs``, their gathers and scatters. ``field``: the vector field and
its adjoint on a tile. ``sweep``: time steps.

Compiled code is kept on disk until a file of this folder changes (`files.compiling`).
"""
