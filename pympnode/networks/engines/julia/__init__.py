"""The Julia engine: a SciML package in a process of its own, called through juliacall.

Nothing here imports juliacall; the worker process alone does.
"""
