"""The hand-written adjoint in torch operations (see `run`).

``logistic``: weights rewritten for sigmoids. ``neighbours``: message sums. ``edges``,
``pairs``: messages that need a number for each edge. ``field``: the vector
field and its adjoint on preallocated buffers.
"""
