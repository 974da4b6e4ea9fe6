"""Engines: what turns a specification and a parameter vector into rollouts, losses, gradients."""
