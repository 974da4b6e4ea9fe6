"""Folders that cannot be written: compiled code runs without numba's own places for its cache."""

from __future__ import annotations

import ast
import errno
import logging
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core import caching

from pympnode.files import compiling
from pympnode.files.compiling import njit, temporary_cache

PACKAGE = Path(compiling.__file__).parent.parent


def add_one(x):
    return x + 1.0


@pytest.fixture
def no_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """numba finds no folder of its own; the folder for temporary files is ``tmp_path``."""
    locators = (
        [caching.UserProvidedCacheLocator]
        if hasattr(caching, "UserProvidedCacheLocator")
        else [caching._UserProvidedCacheLocator]
    )
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", locators)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(compiling.tempfile, "tempdir", str(tmp_path))
    temporary_cache.cache_clear()
    with pytest.raises(RuntimeError, match="no locator"):
        numba.njit(cache=True)(add_one)
    yield tmp_path
    temporary_cache.cache_clear()


def kept(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.nbi"))


def test_a_temporary_cache_is_used(no_place: Path) -> None:
    assert njit(nogil=True)(add_one)(1.0) == 2.0
    (folder,) = no_place.iterdir()
    assert kept(folder) and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert numba.config.CACHE_DIR == "", "other functions of the process keep their place"
    again = njit(nogil=True)(add_one)  # as the next process does
    assert again(1.0) == 2.0
    assert sum(again.stats.cache_hits.values()) == 1


def test_an_unwritable_folder_of_the_environment(
    no_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (no_place / "file").write_text("no folder")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(no_place / "file" / "cache"))
    assert njit()(add_one)(1.0) == 2.0
    assert kept(no_place)


def test_no_temporary_folder_either(no_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (no_place / "file").write_text("no folder")
    monkeypatch.setattr(compiling.tempfile, "tempdir", str(no_place / "file"))
    assert temporary_cache() is None
    assert njit()(add_one)(1.0) == 2.0
    assert not kept(no_place)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users and modes of POSIX")
@pytest.mark.parametrize("how", ["others may write", "a link", "a file"])
def test_a_folder_that_others_can_change_is_not_used(no_place: Path, how: str) -> None:
    """A cache is code that is run."""
    usual = no_place / f"pympnode-numba-{os.getuid()}"
    if how == "others may write":
        usual.mkdir()
        usual.chmod(0o777)
    elif how == "a link":
        (no_place / "target").mkdir(mode=0o700)
        usual.symlink_to(no_place / "target")
    else:
        usual.write_text("")
    folder = temporary_cache()
    if how == "a file":  # not a folder: nothing is written there, and nothing is deleted
        assert folder is None and usual.read_text() == ""
    else:
        assert folder is not None and folder != usual
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert njit()(add_one)(1.0) == 2.0
    assert not kept(usual) and not kept(no_place / "target")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_is_full_when_code_is_stored(
    code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def full(self: Any, key: Any, data: Any) -> None:
        tried.append(key)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    compiled = njit()(add_one)
    with caplog.at_level(logging.WARNING, logger="pympnode"):
        assert compiled(1.0) == 2.0
        assert compiled(1) == 2.0
    assert len(tried) == 1, "stored once more after the disk was full"
    assert "not kept" in caplog.text


def test_without_compilation(tmp_path: Path) -> None:
    code = (
        "from pympnode.files.compiling import njit\n"
        "def f(x): return x + 1\n"
        "assert njit(nogil=True)(f) is f"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_every_compiled_function_is_declared_by_one_decorator() -> None:
    """numba.njit(cache=True) elsewhere would raise at import where no folder can be written."""
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == Path(compiling.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module == "numba":
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "numba":
                names = [node.attr]
            elif isinstance(node, ast.keyword) and node.arg == "cache":
                names = ["cache="] if getattr(node.value, "value", None) is True else []
            bad = {"jit", "njit", "vectorize", "guvectorize", "cfunc", "stencil", "cache="}
            wrong += [f"{path.name}:{node.lineno} {name}" for name in names if name in bad]
    assert wrong == []


def test_the_package_imports_from_folders_that_cannot_be_written(tmp_path: Path) -> None:
    """A copy of the package and a home folder, read-only; root needs a mount for that."""
    root = tmp_path / "root"
    shutil.copytree(PACKAGE, root / "pympnode", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "home").mkdir()
    script = root / "job.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np, pympnode\n"
        "assert pympnode.__file__.startswith(sys.argv[1])\n"
        "import pympnode.particles.leapfrog_compiled, pympnode.particles.systems.pairs\n"
        "import pympnode.particles.graphs.neighbour_kernels, pympnode.particles.engine.edge_loops\n"
        "import pympnode.networks.engines.torch.kernel_numba\n"
        "from pympnode.particles.graphs.tree_kernels import counting_order\n"
        "assert counting_order(np.array([1, 0, 1]), 2).tolist() == [1, 0, 2]\n"
    )
    command = [sys.executable, str(script), str(root)]
    if os.name != "posix":
        pytest.skip("read-only folders of POSIX")
    if os.geteuid() == 0:
        usable = (
            shutil.which("unshare")
            and not subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode
        )
        if not usable:
            pytest.skip("root writes to all folders, and may not mount one read-only")
        mount = f"mount --bind {root} {root} && mount -o remount,ro,bind {root} && exec "
        command = ["unshare", "-m", "sh", "-c", mount + ' "$@"', "sh", *command]
    else:
        subprocess.run(["chmod", "-R", "a-w", str(root)], check=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "XDG"))}
    (tmp_path / "tmp").mkdir()
    environment |= {"HOME": str(root / "home"), "TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)
    subprocess.run(["chmod", "-R", "u+w", str(root)], check=True)
    assert done.returncode == 0, done.stderr
    assert kept(tmp_path / "tmp"), "the compiled code was kept among the temporary files"


def test_compiled_code_is_not_used_after_a_function_that_it_calls_has_changed(tmp_path):
    # An update of the package may change the file of a function that is called, and not its caller's.
    package = tmp_path / "compiled_here"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "caller.py").write_text(
        "from pympnode.files.compiling import njit\n"
        "from .called import called\n\n"
        "@njit()\ndef caller(x):\n    return called(x)\n"
    )

    def value(number: int) -> str:
        (package / "called.py").write_text(
            "from pympnode.files.compiling import njit\n\n"
            f"@njit()\ndef called(x):\n    return x + {number}\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", "from compiled_here.caller import caller; print(caller(1))"],
            cwd=tmp_path, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])},
        )  # fmt: skip
        return done.stdout.strip()

    assert [value(1), value(2), value(1)] == ["2", "3", "2"]
