"""The keywords of `simulate`, `train` and `evaluate` are the options of the two halves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, field, fields, make_dataclass
from typing import Any

import pytest

import pympnode
from pympnode.errors import InvalidOption
from pympnode.halves import HALVES

# Function, the class of its options in each half, and its parameters that are no options.
FUNCTIONS: list[tuple[Callable[..., Any], str, tuple[str, ...]]] = [
    (pympnode.simulate, "Simulation", ("system",)),
    (pympnode.train, "Training", ("system", "data", "start", "run", "extend")),
    (pympnode.evaluate, "Evaluation", ("model", "data")),
]
SYSTEMS = {"networks": "kuramoto", "particles": "gravity"}
each_function = pytest.mark.parametrize(
    ("function", "options", "others"), FUNCTIONS, ids=[each[1] for each in FUNCTIONS]
)
each_half = pytest.mark.parametrize("half", HALVES, ids=[half.name for half in HALVES])


def defaults_of(options: type[Any]) -> dict[str, Any]:
    """The fields of an options class and their defaults."""
    made = {one.name: one for one in fields(options)}
    assert all(one.init for one in made.values())
    return {
        name: one.default if one.default_factory is MISSING else one.default_factory()
        for name, one in made.items()
    }


def test_the_halves_are_two() -> None:
    assert [half.name for half in HALVES] == list(SYSTEMS)


@each_function
def test_keywords_are_the_fields_of_both_halves(
    function: Callable[..., Any], options: str, others: tuple[str, ...]
) -> None:
    parameters = inspect.signature(function).parameters
    given = {name: one for name, one in parameters.items() if name not in others}
    assert all(one.kind is one.KEYWORD_ONLY for one in given.values()), "every keyword is spelled"
    both = [set(defaults_of(getattr(half, options))) for half in HALVES]
    assert set(given) == both[0] | both[1]


@each_function
def test_defaults_are_those_of_the_halves(
    function: Callable[..., Any], options: str, others: tuple[str, ...]
) -> None:
    """None stands for the default of a half; any other default reaches both halves."""
    for name, one in inspect.signature(function).parameters.items():
        if name in others or one.default is None:
            continue
        for half in HALVES:
            defaults = defaults_of(getattr(half, options))
            assert name in defaults, (
                f"{half.name} refuse {name}={one.default!r}, which is a default"
            )
            assert defaults[name] == one.default, f"{name} of {half.name}"


@each_function
def test_every_field_has_a_default(
    function: Callable[..., Any], options: str, others: tuple[str, ...]
) -> None:
    for half in HALVES:
        assert MISSING not in defaults_of(getattr(half, options)).values()


class Received(Exception):
    """Carries the options that reached a half."""


def recorded(half: Any, options: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Make the half raise `Received` with its options, unchecked; returns their defaults."""

    def receive(self: Any, *arguments: Any, **keywords: Any) -> Any:
        found = [*arguments, *keywords.values()]
        raise Received(next(one for one in found if isinstance(one, unchecked)))

    defaults = defaults_of(getattr(half, options))
    unchecked = make_dataclass(
        options,
        [(name, Any, field(default_factory=lambda v=value: v)) for name, value in defaults.items()],
    )
    monkeypatch.setattr(type(half), options, unchecked)
    for method in ("simulate", "prepare"):
        monkeypatch.setattr(type(half), method, receive)
    return defaults


@each_half
@pytest.mark.parametrize(
    ("function", "options", "others"), FUNCTIONS[:2], ids=["simulate", "train"]
)
def test_every_keyword_reaches_its_half(
    half: Any,
    function: Callable[..., Any],
    options: str,
    others: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    defaults = recorded(half, options, monkeypatch)
    values = {name: object() for name in defaults}
    with pytest.raises(Received) as caught:
        function(SYSTEMS[half.name], **values)
    (received,) = caught.value.args
    assert {name: getattr(received, name) for name in defaults} == values
    with pytest.raises(Received) as caught:
        function(SYSTEMS[half.name])
    (received,) = caught.value.args
    assert {name: getattr(received, name) for name in defaults} == defaults


@each_half
@pytest.mark.parametrize(
    ("function", "options", "others"), FUNCTIONS[:2], ids=["simulate", "train"]
)
def test_a_keyword_of_the_other_half_is_refused(
    half: Any,
    function: Callable[..., Any],
    options: str,
    others: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = set(recorded(half, options, monkeypatch))
    (other,) = (one for one in HALVES if one is not half)
    alien = sorted(set(defaults_of(getattr(other, options))) - ours)
    assert alien
    for name in alien:
        with pytest.raises(InvalidOption, match=f"^{name} belongs to {other.name}"):
            function(SYSTEMS[half.name], **{name: object()})


@each_function
def test_the_docstring_names_every_keyword(
    function: Callable[..., Any], options: str, others: tuple[str, ...]
) -> None:
    text = inspect.getdoc(function) or ""
    if options == "Training":  # "as in `simulate`"
        text += inspect.getdoc(pympnode.simulate) or ""
    words = set(re.findall(r"\w+", text))
    assert set(inspect.signature(function).parameters) - words == set()
