"""Evaluation: errors, observables and the baselines that stand beside every model."""
