#!/usr/bin/env bash
# numba 0.68: a cached function runs old code after a function of another file that it calls has changed.
#
# numba compares the file that holds the cached function, not those of the functions that it calls, whose
# machine code the cache holds too. That much is documented. A good guess is that a new date of the file
# compiles anew, as it did before: 0.68 compares a checksum of the content, so that `touch` does nothing.
# An installed package whose update changes only the called file goes on with its old code.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numba==0.68.1 numpy==2.4.6
cd "$folder"
mkdir package
touch package/__init__.py
cat > package/caller.py <<'PY'
from numba import njit

from .called import called


@njit(cache=True)
def caller(x):
    return called(x)
PY

called() {
    cat > package/called.py <<PY
from numba import njit


@njit(cache=True)
def called(x):
    return x + $1
PY
}

value() { "$folder/venv/bin/python" -c "from package.caller import caller; print(caller(0))"; }

"$folder/venv/bin/python" -c "import numba; print('numba', numba.__version__)"
called 1
first=$(value)
called 2
second=$(value)
touch -d "2035-01-01" package/caller.py
third=$(value)
printf '\n# changed\n' >> package/caller.py
fourth=$(value)
echo "x + 1:                              $first"
echo "called function is x + 2 now:       $second"
echo "the caller's file has a new date:   $third"
echo "the caller's file has a new line:   $fourth"
[ "$first $second $third $fourth" = "1 1 1 2" ]
