"""Dims of the variables of a network dataset that may have more or fewer of them."""

from __future__ import annotations

import xarray as xr

from ..datasets.names import (
    ATTRIBUTE_DIMS,
    EDGE_WEIGHT,
    NODE_ATTRIBUTE,
    TIME,
    TRAJECTORY,
    WEIGHT_DIMS,
)


def attribute_dims(ds: xr.Dataset) -> tuple[str, ...]:
    """The dims of the node attributes: with that of trajectories where they differ by trajectory."""
    return ATTRIBUTE_DIMS if TRAJECTORY in ds[NODE_ATTRIBUTE].dims else ATTRIBUTE_DIMS[1:]


def weights_vary(ds: xr.Dataset) -> bool:
    """Whether the dataset has weights of edges that vary in time."""
    return EDGE_WEIGHT in ds and TIME in ds[EDGE_WEIGHT].dims


def weight_dims(ds: xr.Dataset) -> tuple[str, ...]:
    """The dims of the weights: with those of times and of trajectories where they differ by them."""
    if not weights_vary(ds):
        return WEIGHT_DIMS[-1:]
    return WEIGHT_DIMS if TRAJECTORY in ds[EDGE_WEIGHT].dims else WEIGHT_DIMS[1:]
