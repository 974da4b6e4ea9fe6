"""Published parameters against the golden files; the Lorenz generator is ours, for every seed."""

from __future__ import annotations

import re

import numpy as np

from pympnode.networks.graphs.topology import resolve
from pympnode.networks.systems.lorenz import COUPLING_NORM, published_coupling


def test_reference_lorenz_matrices_of_every_size_and_seed(reference_dir):
    path = reference_dir / "mpnode" / "systems.npz"
    assert path.is_file(), f"{reference_dir} holds no mpnode/systems.npz"
    found = 0
    with np.load(path, allow_pickle=False) as content:
        for name in content.files:
            match = re.fullmatch(r"lorenz_H_(low|medium|high)_k(\d+)_seed(\d+)", name)
            if not match:
                continue
            found += 1
            norm, k, seed = COUPLING_NORM[match[1]], int(match[2]), int(match[3])
            ours = published_coupling(resolve("complete", k), norm, seed).reshape(3 * k, 3 * k)
            # the norm sums up to 900 squares in another order, then one division an entry
            bound = 16 * np.finfo(float).eps * np.abs(ours).max()
            assert np.abs(ours - content[name]).max() <= bound, name
    assert found, "systems.npz holds no Lorenz matrix that this test knows"
