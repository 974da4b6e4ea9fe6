"""A default run of whichever version of pympnode is imported, for `learning.py --earlier`.

    PYTHONPATH=FOLDER:benchmarks python -c "import earlier; earlier.main()" TRAIN.nc TEST.nc '{"seed": 1}'

Prints one line of JSON: CPU seconds, updates, smallest validation loss, RMSE in z units of the test data.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import json
import sys
import time

import numpy as np
import torch
import xarray as xr

import pympnode


def main() -> None:
    """Train on the first file, roll out from the first states of the second."""
    torch.set_num_threads(1)
    train, test, keywords = sys.argv[1:]
    data, fresh = xr.load_dataset(train), xr.load_dataset(test)
    options = json.loads(keywords)
    once = {**options, "epochs": None, "updates": 8}
    pympnode.train(data=data, progress=False, **once)  # compiles
    began = time.process_time()
    result = pympnode.train(data=data, progress=False, **options)
    seconds = time.process_time() - began
    predicted = result.model.rollout(fresh, check=False).state
    error = (predicted - fresh.state).isel(time=slice(1, None))
    error = error / fresh.state.std(("trajectory", "time", "node"))
    found = {
        "seconds": seconds,
        "updates": result.updates,
        "loss": result.best_loss,
        "error": float(np.sqrt((error**2).mean())),
        "version": pympnode.__version__,
    }
    print(json.dumps(found))
