"""The embedded engine: PyTorch, with specialised kernels for the MP-NODE step."""
