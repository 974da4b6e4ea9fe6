"""Deliberate faults: a table of single faults in the numerics, each of which some test must catch.

    python tests/mutations.py                  all faults, each against the test files of its row
    python tests/mutations.py 4 7a             some of them, by name
    python tests/mutations.py --tests tests/test_trusted_networks.py 3 13
    python tests/mutations.py --check          only whether every text is still in the source
    python tests/mutations.py --table          the table of docs/explanation/faults.md
    pytest -m slow tests/test_mutations.py     all faults, as tests (some minutes)

Each row of `FAULTS` has a name, what the fault does, the test files that must fail, and its edits:
(file, text that is there, text in its place). The package and the tests are copied to a temporary
folder, and the test files run there once without a fault and once for each. The script ends with
status 1 where a fault is missed, or where the table no longer fits the source.

When the source changes: a text must be in its file exactly once, so a renamed variable or a moved file
breaks its row, and `tests/test_mutations.py` says which in every default run. Change the row to the
same fault in the new text. A row leaves only with the code that it breaks.

A new row: a fault that a user would not notice by an error, such as a sign, a seed that is not used or
the wrong part of the data. First see it MISSED, then write the test.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Files of the source, by what they hold.
ADAM = "pympnode/training/optimiser.py"
BASE_SYSTEM = "pympnode/systems/base.py"
CHECKPOINT = "pympnode/training/checkpoint.py"
COLUMNS = "pympnode/networks/engines/columns.py"
COULOMB = "pympnode/particles/systems/coulomb.py"
DELTA = "pympnode/particles/engine/delta.py"
EVALUATE = "pympnode/networks/evaluate.py"
KERNEL_EAGER = "pympnode/networks/engines/torch/kernel_eager.py"
KURAMOTO = "pympnode/networks/systems/kuramoto.py"
INITIAL = "pympnode/training/initial.py"
NETWORK_HALF = "pympnode/networks/half.py"
NETWORK_TASK = "pympnode/networks/task.py"
NORMALISE = "pympnode/networks/normalise.py"
PARTICLE_HALF = "pympnode/particles/half.py"
PARTICLE_NETWORKS = "pympnode/particles/engine/networks.py"
PARTICLE_PASSES = "pympnode/particles/engine/passes.py"
PARTICLE_PROGRAM = "pympnode/particles/engine/program.py"
PARTICLE_SPEC = "pympnode/particles/spec.py"
PARTICLE_TASK = "pympnode/particles/task.py"
PREPARE = "pympnode/networks/prepare.py"
PROGRAM = "pympnode/networks/engines/torch/program.py"
SPLIT = "pympnode/datasets/split.py"
TRAINER = "pympnode/training/trainer.py"

NODE_TYPES = "pympnode/networks/node_types.py"
TYPES = "tests/test_node_types.py"
NUMBERS = "tests/test_trusted_numbers.py"
NETWORKS = "tests/test_trusted_networks.py"
PARTICLES = "tests/test_trusted_particles.py"


@dataclass(frozen=True)
class Fault:
    """``edits``: (file, text that is there, text in its place); ``tests``: files that must fail."""

    name: str
    what: str
    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...]


def fault(name: str, what: str, tests: str, *edits: tuple[str, str, str]) -> Fault:
    """A row of the table; ``tests`` separated by spaces."""
    return Fault(name, what, edits, tuple(tests.split()))


MEAN = "np.repeat(1.0 / np.maximum(self.degree, 1), self.degree)"
SUM = "np.full(len(self.sender), 1.0 / divisor)"
BATCH_SEED = "np.random.default_rng([seed, 0, epoch, member])"

FAULTS = [
    fault(
        "1", "the first edge weighs nothing", f"tests/test_model_properties.py {NETWORKS}",
        (COLUMNS, f"factor = {MEAN}", f"factor = {MEAN} * (np.arange(len(self.sender)) > 0)"),
        (COLUMNS, f"factor = {SUM}", f"factor = {SUM} * (np.arange(len(self.sender)) > 0)"),
    ),
    fault(
        "2", "Coulomb: sign of the force and of the energy", "tests/test_particle_simulator.py",
        (COULOMB, "energy_sign = 1.0", "energy_sign = -1.0"),
        (COULOMB, "return -constant * charge / mass", "return constant * charge / mass"),
    ),
    fault(
        "24", "Kuramoto: sign of the coupling", "tests/test_systems.py",
        (
            KURAMOTO,
            'out -= sine * graph.sum_neighbours(cosine)\n        out *= parameters["coupling"]',
            'out -= sine * graph.sum_neighbours(cosine)\n        out *= -parameters["coupling"]',
        ),
    ),
    fault(
        "3", "mean aggregation is a sum", NETWORKS,
        (COLUMNS, f"factor = {MEAN}", "factor = np.ones(len(self.sender))"),
    ),
    fault(
        "3w", "weights of edges lose their sign", "tests/test_edges.py tests/test_equations.py",
        (COLUMNS, "factor * self.weight", "factor * np.abs(self.weight)"),
    ),
    fault(
        "4", "the last window of a trajectory is never drawn", NUMBERS,
        (NETWORK_TASK, "latest = self.lengths[chosen] - horizon",
         "latest = np.maximum(self.lengths[chosen] - horizon - 1, 0)"),
    ),
    fault(
        "4b", "the same, where all states are known and the times are even", NUMBERS,
        (NETWORK_TASK, "np.floor(share * (latest + 1))", "np.floor(share * latest)"),
    ),
    fault(
        "5a", "no periodic wrap in particle rollouts, scaled inputs", PARTICLES,
        (PARTICLE_PROGRAM, "return now.box.wrap(later_x), later_v\n            later_x, later_v",
         "return later_x, later_v\n            later_x, later_v"),
    ),
    fault(
        "5a plain", "the same, plain inputs", PARTICLES,
        (DELTA, "return batch.box.wrap(moved), batch", "return moved, batch"),
    ),
    fault(
        "5b", "no nearest image in edge features", "tests/test_particle_model.py",
        (PARTICLE_NETWORKS, "d = self.box.displacement(difference)", "d = difference"),
    ),
    fault(
        "6", "the undoing of z scores forgets the mean",
        f"{NETWORKS} tests/test_model_properties.py",
        (NORMALISE, "* self.scale + self.mean)", "* self.scale)"),
    ),
    fault(
        "7a", "batches do not depend on the seed", NUMBERS,
        (TRAINER, BATCH_SEED, BATCH_SEED.replace("seed", "0")),
    ),
    fault(
        "7b", "first weights do not depend on the seed, networks", NETWORKS,
        (INITIAL, "default_rng([seed, 2, member])", "default_rng([0, 2, member])"),
    ),
    fault(
        "7b particles", "first weights do not depend on the seed, particles", PARTICLES,
        (INITIAL, "default_rng([seed, 2, member])", "default_rng([0, 2, member])"),
    ),
    fault(
        "7b members", "members of an ensemble start alike", NETWORKS,
        (INITIAL, "default_rng([seed, 2, member])", "default_rng([seed, 2, 0])"),
    ),
    fault(
        "7c", "every epoch has the same batches", NUMBERS,
        (TRAINER, BATCH_SEED, BATCH_SEED.replace("epoch", "0")),
    ),
    fault(
        "26", "all members of an ensemble draw the same batches", NUMBERS,
        (TRAINER, BATCH_SEED, BATCH_SEED.replace("member", "0")),
    ),
    fault(
        "8", "the older of two checkpoints is resumed", "tests/test_training.py",
        (CHECKPOINT, "for path in reversed(self._all()):\n            try:\n                ds = ",
         "for path in self._all():\n            try:\n                ds = "),
    ),
    fault(
        "9", "a control comes a step late in training windows", "tests/test_controls.py",
        (PROGRAM, "gathered(data.u, time[:, :-1])", "gathered(data.u, time[:, 1:])"),
    ),
    fault(
        "9b", "a control comes a step late in training and rollouts alike",
        "tests/test_controls.py",
        (PROGRAM, "gathered(data.u, time[:, :-1])", "gathered(data.u, time[:, 1:])"),
        (PROGRAM, "np.nan_to_num(u[:, : len(dt)])",
         "np.nan_to_num(np.roll(u, -1, axis=1)[:, : len(dt)])"),
    ),
    fault(
        "10", "near messages of a hierarchy are not antisymmetric",
        "tests/test_particle_model.py",
        (PARTICLE_PASSES, "r, antisymmetric=antisymmetric, factor=factor)", "r, factor=factor)"),
    ),
    fault(
        "11a", "validation on the training part, networks", NETWORKS,
        (NETWORK_TASK, "index = self.train if self.validates_on_training else self.validation",
         "index = self.train"),
    ),
    fault(
        "11b", "validation on the training part, particles", PARTICLES,
        (PARTICLE_TASK, "chosen = self.train if self.validates_on_training else self.validation",
         "chosen = list(train)"),
    ),
    fault(
        "12a", "train and validation swapped in the drawn split", f"{NETWORKS} {PARTICLES}",
        (SPLIT, 'np.array(SPLITS, dtype="U10")[drawn]', 'np.array(SPLITS, dtype="U10")[1 - drawn]'),
    ),
    fault(
        "12b", "test trajectories leak into training", f"{NETWORKS} tests/test_own_data.py",
        (PREPARE, 'here = np.flatnonzero(label != "test")', "here = np.arange(label.size)"),
        (PREPARE, 'np.flatnonzero(labels == "train")',
         'np.flatnonzero(labels != "validation")'),
    ),
    fault(
        "12c", "labels of the second dataset are read from the first", NETWORKS,
        (PREPARE, 'here = labels[at : at + arrays.trajectories] == "train"',
         'here = labels[: arrays.trajectories] == "train"'),
    ),
    fault(
        "13", "the mask is ignored in the Huber loss of the eager kernel",
        f"{NETWORKS} tests/test_training.py",
        (KERNEL_EAGER, "loss = loss * window.mask[1:]", "pass"),
    ),
    fault(
        "13b", "the mask is dropped from every window", f"{NETWORKS} tests/test_training.py",
        (PROGRAM, "gathered(data.mask, time),", "None,"),
    ),
    fault(
        "14", "augmentation turns positions, not velocities",
        "tests/test_particle_model_training.py",
        (PARTICLE_TASK, "if self.augment\n                else values[i, times]",
         "if self.augment and values is data.position\n                else values[i, times]"),
    ),
    fault(
        "15", "particle scales are fitted on validation data too", PARTICLES,
        (PARTICLE_HALF, "scales = fitted_scales(arrays, train)",
         "scales = fitted_scales(arrays, [np.arange(len(a.position)) for a in arrays])"),
    ),
    fault(
        "16", "Adam without bias correction", NUMBERS,
        (ADAM, "rate[:, None] / (1 - beta1**count)", "rate[:, None]"),
        (ADAM, "np.sqrt(second / (1 - beta2**count))", "np.sqrt(second)"),
    ),
    fault(
        "17", "clipping does nothing", NUMBERS,
        (ADAM, "factor = np.minimum(1.0, limit / np.maximum(norm, limit))",
         "factor = np.ones_like(norm)"),
    ),
    fault(
        "17b", "the trainer does not clip", NUMBERS,
        (TRAINER, "clipped = clip(gradients, norm, config.clip)\n", "clipped = gradients\n"),
    ),
    fault(
        "18", "every epoch counts as the best", NUMBERS,
        (TRAINER, "better = value < state.best_loss", "better = value < np.inf"),
    ),
    fault(
        "19", "valid_time one step late", NETWORKS,
        (EVALUATE, "return (time - time[0])[first]",
         "return (time - time[0])[np.minimum(first + 1, len(time) - 1)]"),
    ),
    fault(
        "22", "fine-tuning to another step: the scale changes the wrong way round", PARTICLES,
        (PARTICLE_SPEC, "change=self.change * times", "change=self.change / times"),
    ),
    fault(
        "25", "the uncoupled baseline keeps its coupling", "tests/test_systems.py",
        (BASE_SYSTEM, "self.field(t, x, u, graph.without_edges, parameters)",
         "self.field(t, x, u, graph, parameters)"),
    ),
    fault(
        "27a", "types of nodes in another order: edges keep the old numbers", TYPES,
        (NODE_TYPES, "anew[rest[end].values]", "rest[end].values"),
    ),
    fault(
        "27b", "features that nodes do not have count as predicted without error", TYPES,
        (EVALUATE, "known = known & arrays.real", "known = known | arrays.real"),
    ),
    fault(
        "27c", "training noise in features that nodes do not have", TYPES,
        (PREPARE, "drawn if arrays.types is None else drawn * arrays.real", "drawn"),
    ),
    fault(
        "27d", "the nodes of one type: edges of other nodes", TYPES,
        (NODE_TYPES, "rest[RECEIVER].values]) - first", "rest[RECEIVER].values])"),
    ),
]  # fmt: skip


def table(faults: list[Fault]) -> str:
    """The faults in Markdown: name, what it does, where, and the test files that must fail."""
    lines = ["| | fault | in | caught by |", "|---|---|---|---|"]
    for each in faults:
        files = ", ".join(dict.fromkeys(f"`{file}`" for file, *_ in each.edits))
        tests = ", ".join(f"`{Path(file).name}`" for file in each.tests)
        lines.append(f"| {each.name} | {each.what} | {files} | {tests} |")
    return "\n".join(lines)


def misfits(faults: list[Fault]) -> list[str]:
    """What of the table no longer fits the source."""
    found = []
    for each in faults:
        for file in each.tests:
            if not (ROOT / file).is_file():
                found.append(f"{each.name}: there is no {file}")
        for file, old, _ in each.edits:
            path = ROOT / file
            times = path.read_text(encoding="utf-8").count(old) if path.is_file() else 0
            if times != 1:
                found.append(f"{each.name}: is {times} times in {file}: {old}")
    return found


def run(folder: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """pytest on some files of a copy: its status, and the first test that failed."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        # Two versions of a file within a second look alike to a cache of bytecode.
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    failed = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", done.stdout, re.MULTILINE)
    return done.returncode, failed[1] if failed else done.stdout.strip().splitlines()[-1]


def copy(folder: Path) -> None:
    """The package, the tests and what pytest reads."""
    left_out = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    for name in ("pympnode", "tests", "julia"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    shutil.copy(ROOT / "pyproject.toml", folder)
    found = subprocess.run(
        [sys.executable, "-c", "import pympnode; print(pympnode.__file__)"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True,
    )  # fmt: skip
    if not Path(found.stdout.strip()).resolve().is_relative_to(folder.resolve()):
        raise RuntimeError(f"the copy is not what is imported: {found.stdout}{found.stderr}")


def files_of(faults: Iterable[Fault]) -> tuple[str, ...]:
    """The test files of some faults, each once."""
    return tuple(dict.fromkeys(file for each in faults for file in each.tests))


@contextmanager
def put_in(folder: Path, fault: Fault) -> Iterator[None]:
    """The fault in the copy of the source in ``folder``, until the block ends."""
    before = {file: (folder / file).read_text(encoding="utf-8") for file, *_ in fault.edits}
    try:
        for file, old, new in fault.edits:
            text = (folder / file).read_text(encoding="utf-8")
            (folder / file).write_text(text.replace(old, new), encoding="utf-8")
        yield
    finally:
        for file, text in before.items():
            (folder / file).write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="faults by name; all by default")
    parser.add_argument("--tests", nargs="+", help="run these files instead of those of the rows")
    parser.add_argument("--check", action="store_true", help="only compare the table to the source")
    parser.add_argument("--table", action="store_true", help="print the faults as Markdown")
    given = parser.parse_intermixed_args()
    known = {each.name: each for each in FAULTS}
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"no such fault: {', '.join(unknown)} (there are {', '.join(known)})")
    chosen = [known[name] for name in given.names] or FAULTS
    if given.table:
        print(table(chosen))
        return 0
    if wrong := misfits(chosen):
        print("\n".join(wrong))
        return 1
    if given.check:
        print(f"{len(chosen)} faults fit the source")
        return 0
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder)
        status, last = run(folder, tuple(given.tests) if given.tests else files_of(chosen))
        if status:
            print(f"the tests fail without any fault: {last}")
            return 1
        for each in chosen:
            began = time.perf_counter()
            with put_in(folder, each):
                status, last = run(folder, tuple(given.tests or each.tests))
            verdict = {0: "MISSED", 1: "caught"}.get(status, f"BROKEN ({status})")
            missed += status != 1
            took = time.perf_counter() - began
            print(
                f"{each.name:<13} {verdict:<8} {took:5.1f} s  {each.what}\n{'':15}{last}",
                flush=True,
            )
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
