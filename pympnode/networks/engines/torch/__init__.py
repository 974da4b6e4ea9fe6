"""The embedded engine: PyTorch, with kernels of our own for the MP-NODE step."""
