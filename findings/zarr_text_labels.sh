#!/usr/bin/env bash
# Labels that xarray writes to Zarr as objects come back as StringDType, whose astype(str) raises.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet zarr==3.1.6 xarray==2026.9.0 numpy==2.4.6 pandas==3.1.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import numpy
import xarray
import zarr

print("zarr", zarr.__version__, "xarray", xarray.__version__, "numpy", numpy.__version__)
print("Labels of nodes as an object array of text, as pandas gives them. Expected: astype(str) works before and after.")
labels = numpy.array(["a", "bb", "ccc"], dtype=object)
before = labels.astype(str)
xarray.Dataset(coords={"node": labels}).to_zarr("a.zarr", zarr_format=2)
read = xarray.open_zarr("a.zarr").node.values
print("before", before.dtype, before.tolist())
print("after ", repr(read.dtype), read.dtype.kind, read.tolist())
failed = []
for name, call in (("astype(str)", lambda: read.astype(str)), ("dtype.newbyteorder", lambda: read.dtype.newbyteorder("<"))):
    try:
        call()
    except TypeError as error:
        failed.append(name)
        print(name, "raises", type(error).__name__ + ":", error)
assert read.dtype.kind == "T" and failed == ["astype(str)", "dtype.newbyteorder"], "text is cast now"
print("Seen: kind 'T', none of 'O', 'U', 'S'; the cast to fixed width, which works for objects, raises.")
PYTHON
