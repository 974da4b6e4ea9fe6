"""The published way of simulating particles and building their graphs, written anew as a baseline.

Loops over particles and cells in Python around small NumPy calls, as the published code has them:
one force row at a time, all cells visited (also empty ones), membership by ``np.isin``. Same
results as pympnode's; the benchmarks check that before they time.
"""

from __future__ import annotations

import numpy as np


def accelerations(x, mass, rows, side, constant, softening):
    """One row of displacements at a time."""
    out = np.zeros((len(rows), x.shape[1]))
    for k, i in enumerate(rows):
        d = x - x[i]
        d[d > side / 2] = d[d > side / 2] - side
        d[d <= -side / 2] = d[d <= -side / 2] + side
        distance = np.linalg.norm(d, axis=1)
        weight = constant * mass / np.power(distance**2 + softening**2, 3 / 2)
        out[k] = np.sum((d.T * weight).T, axis=0)
    return out


def block_step(x, v, mass, side, dt, constant=2.0, softening=0.2, accuracy=0.001):
    """One base step of the hierarchical block time steps, by recursion with copies of the state."""
    n = len(x)
    a, tau = np.zeros_like(x), np.zeros(n)

    def renew(x, rows):
        a[rows] = accelerations(x, mass, rows, side, constant, softening)
        tau[rows] = accuracy * np.sqrt(softening / np.linalg.norm(a[rows], axis=1))

    def level(x, v, rows, h, top):
        for half in range(1 if top else 2):
            if half == 1 or top:
                renew(x, rows)
            fine = rows[tau[rows] < h]
            current = rows[tau[rows] >= h]
            if len(fine):
                finer_x, finer_v = level(x.copy(), v.copy(), fine, h / 2, False)
            if len(current):
                moved = x[current] + v[current] * h + a[current] * h**2 / 2
                moved[moved >= side / 2] -= side
                moved[moved < -side / 2] += side
                x[current] = moved
                new = accelerations(x, mass, current, side, constant, softening)
                v[current] = v[current] + (a[current] + new) * h / 2
            if len(fine):
                x[fine], v[fine] = finer_x[fine], finer_v[fine]
        return x, v

    return level(x.copy(), v.copy(), np.arange(n), dt, True)


def _around(cell, n):
    row, column = divmod(cell, n)
    return [((row + i) % n) * n + (column + j) % n for i in (-1, 0, 1) for j in (-1, 0, 1)]


def _children(cell, n):
    row, column = divmod(cell, n)
    return [(2 * row + i) * 2 * n + 2 * column + j for i in (0, 1) for j in (0, 1)]


def hierarchical_graph(x, v, mass, side, levels):
    """Near pairs, and per level cell edges, child-parent pairs and features; ids are grid ids."""
    n = 2**levels
    grid = np.floor((x + side / 2) * (n / side)).astype(int)
    home = grid[:, 1] * n + grid[:, 0]
    members = [np.flatnonzero(home == cell) for cell in range(n * n)]
    near, edges, up, features, occupied = [], [], [], [], []
    for cell in range(n * n):
        around = _around(cell, n)
        senders = np.concatenate([members[other] for other in around])
        pairs = np.array(np.meshgrid(members[cell], senders)).T.reshape(-1, 2)[:, ::-1]
        near.append(pairs[pairs[:, 0] != pairs[:, 1]])
        edges.append(_separated(cell, n, around))
        up.append(np.stack([np.repeat(cell, len(members[cell])), members[cell]]).T)
        if len(members[cell]):
            m = mass[members[cell]]
            moving = np.concatenate([x[members[cell]], v[members[cell]]], 1)
            features.append(np.concatenate([[m.sum()], np.average(moving, axis=0, weights=m)]))
            occupied.append(cell)
    out = [_level(levels, edges, up, features, occupied)]
    for level in range(levels - 1, 1, -1):
        n = 2**level
        below, below_features = out[-1]["cells"], out[-1]["features"]
        edges, up, features, occupied = [], [], [], []
        for cell in range(n * n):
            inside = np.arange(len(below))[np.isin(below, _children(cell, n))]
            if len(inside):
                edges.append(_separated(cell, n, _around(cell, n)))
                up.append(np.stack([np.repeat(cell, len(inside)), inside]).T)
                part = below_features[inside]
                mean = np.average(part[:, 1:], axis=0, weights=part[:, 0])
                features.append(np.concatenate([[part[:, 0].sum()], mean]))
                occupied.append(cell)
        out.append(_level(level, edges, up, features, occupied))
    return np.concatenate(near), out


def _separated(cell, n, around):
    row, column = divmod(cell, n)
    parents = range(4) if n == 4 else _around((row // 2) * (n // 2) + column // 2, n // 2)
    window = np.concatenate([_children(parent, n // 2) for parent in parents])
    apart = window[~np.isin(window, around)]
    return np.stack([apart, np.repeat(cell, len(apart))]).T


def _level(level, edges, up, features, occupied):
    cells = np.array(occupied)
    edges = np.concatenate(edges)
    edges = edges[np.all(np.isin(edges, cells), axis=1)]
    up = np.concatenate(up)
    return {
        "level": level,
        "cells": cells,
        "edges": edges,
        "up": up[up[:, 1].argsort()],
        "features": np.stack(features),
    }


def nearest(x, side, k):
    """One row of distances a particle."""
    edges = []
    for i in range(len(x)):
        d = x - x[i]
        d[d > side / 2] -= side
        d[d <= -side / 2] += side
        distance = np.linalg.norm(d, axis=-1)
        distance[i] = np.inf
        senders = np.argpartition(distance, k - 1)[:k]
        edges.append(np.stack([senders, np.full(k, i)]).T)
    return np.concatenate(edges)
