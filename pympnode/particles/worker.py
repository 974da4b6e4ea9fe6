"""A worker process: reads ``{"trajectory": i}`` lines, writes that trajectory, answers, goes on.

Started by `pool.py` as ``python -m pympnode.particles.worker FOLDER``; the recipe is in the folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..datasets.parts import read_index
from ..errors import MissingFile, PympnodeError
from .pool import BUILDING, read_given, write_single
from .recipe import Given, Recipe, trajectory
from .systems.base import ParticleState


def main(folder: Path) -> None:
    """Serve until the input closes."""
    index = read_index(folder)
    if index is None:
        raise MissingFile(f"there is no dataset in {str(folder)!r}")
    recipe = Recipe.from_json(index.recipe)
    stored = read_given(folder)
    given = None
    if stored is not None:
        count = stored["mass"].shape[0]
        given = Given(
            tuple(ParticleState(**{k: v[i] for k, v in stored.items()}) for i in range(count))
        )
    for line in sys.stdin:
        i = int(json.loads(line)["trajectory"])
        answer: dict[str, object]
        try:
            position, velocity, mass, charge = trajectory(recipe, given, i)
        except PympnodeError as error:
            answer = {"error": error.message, "got": str(error.got), "fix": error.fix}
        else:
            arrays = {"position": position, "velocity": velocity, "mass": mass}
            if charge is not None:
                arrays["charge"] = charge
            write_single(folder / BUILDING, i, arrays)
            answer = {"done": i}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
