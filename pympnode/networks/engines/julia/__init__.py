"""The Julia engine: a SciML package in a separate worker process, called through juliacall.

Only the worker process imports juliacall.
"""
