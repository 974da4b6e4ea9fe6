"""Values of the wrong kind end in typed errors, whose advice names keywords that exist."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import pympnode
from pympnode import config
from pympnode.cli import status_of
from pympnode.errors import InvalidOption, PympnodeError, UnknownName
from pympnode.networks.systems.quadrotors import Quadrotors

PACKAGE = Path(pympnode.__file__).parent


@pytest.mark.parametrize(
    "name",
    ["warmup", "final_rate", "average", "training_noise", "plateau_factor", "rate_floor"],
)
@pytest.mark.parametrize("value", [-1, float("nan"), "x", True, 10**400])
def test_a_config_checks_its_fields(name: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=name):
        pympnode.TrainConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("curriculum", 4), ("curriculum", ((1,),)), ("curriculum", ((-1, 0.5),)),
        ("curriculum", "ab"), ("patience", 0), ("time_budget", [1]), ("time_budget", True),
        ("keep_start", "no"), ("preset", []), ("schedule", np.array(["cosine"])), ("clip", "1"),
    ],
)  # fmt: skip
def test_a_config_refuses_wrong_kinds(name: str, value: object) -> None:
    with pytest.raises((InvalidOption, UnknownName)):
        pympnode.TrainConfig(**{name: value})


@pytest.mark.parametrize("spec", [pympnode.ModelSpec, pympnode.ParticleSpec])
@pytest.mark.parametrize("value", [np.array([1, 2]), "", b"x", {}, [[1]], float("nan"), 1j])
def test_a_specification_refuses_wrong_kinds(spec: type, value: object) -> None:
    for name in inspect.signature(spec).parameters:
        if name in ("circular", "types") and isinstance(value, np.ndarray | str):
            continue
        try:
            spec(**{name: value})
        except PympnodeError:
            continue
        assert (name, value) in [
            ("levels", None), ("circular", {}), ("types", ""), ("module", ""),
            ("module_arguments", ""),
        ]  # fmt: skip


def test_what_was_given_is_cut() -> None:
    with pytest.raises(PympnodeError) as caught:
        pympnode.simulate("x" * 100_000)
    assert len(str(caught.value)) < 3000
    with pytest.raises(InvalidOption) as caught:
        config.whole("steps", "y" * 100_000)
    got = next(line for line in str(caught.value).splitlines() if "got:" in line)
    assert len(got) < 420


@pytest.mark.parametrize("path", ["", " ", "\0", "x" * 300, 3, None, b"x"])
def test_a_path_that_no_file_can_have(path: object) -> None:
    with pytest.raises(InvalidOption):
        pympnode.load(path)


def test_texts_that_are_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "e.txt"
    file.write_bytes(b"\xff\xfe1")
    call = ["simulate", "kuramoto", "--out", str(tmp_path / "x.nc")]
    for option in (["--topology", str(file)], ["--config", str(file)]):
        assert status_of([*call, *option]) == 1
        text = capsys.readouterr().err
        assert "UTF-8" in text and "fix:" in text


def test_arguments_keep_the_signature_and_python_own_errors() -> None:
    @config.arguments(a=config.least(1), b=config.or_none(config.text))
    def function(a: int, b: str | None = "x") -> tuple[int, str | None]:
        """Text."""
        return a, b

    assert function(np.int8(3)) == (3, "x") and function(2, None) == (2, None)
    assert list(inspect.signature(function).parameters) == ["a", "b"]
    with pytest.raises(InvalidOption):
        function(0)
    with pytest.raises(TypeError, match="function"):
        function()


# ---- advice names keywords that exist -------------------------------------------------------------


def keywords() -> set[str]:
    """Every parameter of a function of the package, or field of a dataclass in it, without an
    underscore."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                found |= {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found |= {
                    item.target.id
                    for item in node.body
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
                }
    return found


# Keywords of other libraries that advice names.
OTHERS = {
    "axis", "edge_order", "format", "group", "index", "columns", "dtype", "time", "engine", "weights_only",
    "data_vars", "exact_finish_time", "reset", "var_name", "value_name", "subset", "nan", "order", "name", "n", "k", "x",
    "chunks", "reduction",
}  # fmt: skip


def advice() -> list[tuple[str, int, str]]:
    """(file, line, text) of every ``fix=`` that is written as text."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            for keyword in node.keywords:
                if keyword.arg != "fix":
                    continue
                parts = [
                    n.value
                    for n in ast.walk(keyword.value)
                    if isinstance(n, ast.Constant) and isinstance(n.value, str)
                ]
                found.append((path.relative_to(PACKAGE).as_posix(), node.lineno, " ".join(parts)))
    return found


def test_keywords_in_advice_exist() -> None:
    # A system that is made with options, which no public function has.
    known = keywords() | OTHERS | set(inspect.signature(Quadrotors).parameters)
    texts = advice()
    assert len(texts) > 300
    wrong = [
        (file, line, name)
        for file, line, text in texts
        for name in re.findall(r"(?<![\w.\-\"'])([a-z_]+)=(?!=)", text)
        if name not in known
    ]
    assert wrong == []
