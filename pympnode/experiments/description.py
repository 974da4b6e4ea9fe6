"""Experiment: the contents of a TOML file. Its keys are checked here, keywords in `validity`."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..config import check_names
from ..errors import InvalidOption, unknown_name

KEYS = (
    "title", "source", "note", "columns", "beside", "figures",
    "data", "train", "start", "grid", "row", "test", "published",
)  # fmt: skip
STARTS = ("finetune", "unchanged")
TABLES = ("data", "train")


@dataclass(frozen=True)
class Row:
    """A row of the table; ``data`` and ``train`` include those of the experiment.

    ``start``: "" trains from initial weights, "finetune" from a start model, "unchanged" evaluates the
    start model without training. ``start_data``, ``start_train``: keywords of that start model, those
    of the experiment with the row's changes ("parent" in the file); None without a start.
    """

    name: str
    data: Mapping[str, Any]
    train: Mapping[str, Any]
    start: str = ""
    start_data: Mapping[str, Any] | None = None
    start_train: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Test:
    """A test set: its ``data`` override those of the row.

    Of networks ``data`` may name another system with the same state, and ``initial``: the system
    whose random initial states are taken.
    """

    __test__ = False  # not a test class of pytest, which collects by name

    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Experiment:
    """A published table or figure: training runs, test sets, columns and baselines.

    Main attributes:
        name, title, source, note: texts for the table.
        data, train: keywords of `pympnode.simulate` and `pympnode.train` for every row. ``mixed`` in
            ``data`` is a list of changes: one dataset each, and the model is trained on all of them.
        start_data, start_train: the same for the model that rows start from; None without one.
        rows, tests: training runs, and the data on which their models are evaluated.
        columns: numbers in the table, see `pympnode.experiments.columns`.
        beside: baselines, such as "free_flight".
        figures: pictures that `run` draws, see `pympnode.experiments.figures`.
        published: (row, test) -> column -> the number as printed.
        varied: the keywords that [grid] varies, such as "train.levels".
    """

    name: str
    title: str
    source: str
    note: str
    data: Mapping[str, Any]
    train: Mapping[str, Any]
    rows: tuple[Row, ...]
    tests: tuple[Test, ...]
    columns: tuple[str, ...]
    beside: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    start_data: Mapping[str, Any] | None = None
    start_train: Mapping[str, Any] | None = None
    published: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    varied: tuple[str, ...] = ()

    def __repr__(self) -> str:
        rows = ", ".join(row.name for row in self.rows)
        tests = ", ".join(test.name for test in self.tests)
        lines = {"Experiment": f"{self.name}: {self.title}", "source": self.source}
        lines |= {"rows": rows, "tests": tests, "columns": ", ".join(self.columns)}
        return "\n".join(f"{name:<12} {text}" for name, text in lines.items())

    def row(self, name: str) -> Row:
        """The row of that name. Raises `UnknownName`."""
        found = {row.name: row for row in self.rows}
        if name not in found:
            raise unknown_name(f"row of experiment {self.name!r}", name, found)
        return found[name]

    def with_settings(self, settings: Mapping[str, Any]) -> Experiment:
        """A copy with ``"train.NAME"`` and ``"data.NAME"`` set for every row and for the start.

        This overrides NAME of a row too. Raises `UnknownName`, and `InvalidOption` for a keyword that
        the grid varies and where two rows would become equal.
        """
        given: dict[str, dict[str, Any]] = {table: {} for table in TABLES}
        for key, value in settings.items():
            table, dot, name = key.partition(".")
            if not dot or table not in TABLES:
                fix = f"did you mean 'train.{key}' or 'data.{key}'?" if not dot else None
                raise unknown_name("setting", key, [f"{t}.NAME" for t in TABLES], fix)
            if key in self.varied:
                raise InvalidOption(
                    f"{key} is what the rows of experiment {self.name!r} differ in",
                    got=f"{key} = {value!r} for all of them",
                    allowed=f"settings other than {', '.join(self.varied)}",
                    fix=f"leave {key} out, or copy the file and change its [grid]",
                )
            given[table][name] = value
        data, train = given["data"], given["train"]
        changed = replace(
            self,
            data={**self.data, **data},
            train={**self.train, **train},
            rows=tuple(
                replace(
                    row,
                    data={**row.data, **data},
                    train={**row.train, **train},
                    start_data=None if row.start_data is None else {**row.start_data, **data},
                    start_train=None if row.start_train is None else {**row.start_train, **train},
                )
                for row in self.rows
            ),
            start_data=None if self.start_data is None else {**self.start_data, **data},
            start_train=None if self.start_train is None else {**self.start_train, **train},
        )
        if settings:
            _refuse_same(changed, settings)
        return changed


def _refuse_same(experiment: Experiment, settings: Mapping[str, Any]) -> None:
    """Raise `InvalidOption` where two rows are equal and differ in their names only."""
    names: dict[str, str] = {}
    for row in experiment.rows:
        settings_of_row = [row.data, row.train, row.start, row.start_data, row.start_train]
        key = json.dumps(settings_of_row, sort_keys=True, default=str)
        if key in names:
            raise InvalidOption(
                f"rows of experiment {experiment.name!r} would be the same",
                got=f"{names[key]!r} and {row.name!r} with "
                + ", ".join(f"{key} = {value!r}" for key, value in settings.items()),
                allowed="settings in which no two rows differ alone",
                fix="leave out the setting that the rows differ in",
            )
        names[key] = row.name


def from_mapping(name: str, values: Mapping[str, Any]) -> Experiment:
    """The experiment in the values of a TOML file. Raises `UnknownName` and `InvalidOption`."""
    where = f"experiment {name!r}"
    check_names(f"key of {where}", values, KEYS)
    for key in ("title", "source", "columns", "data", "test"):
        if key not in values:
            raise InvalidOption(
                f"{where} lacks {key!r}", got=", ".join(values), allowed="all of title, source, "
                "columns, [data] and [[test]]", fix=f"add {key}",
            )  # fmt: skip
    _check_shapes(where, values)
    start = values.get("start")
    if start is not None:
        check_names(f"key of [start] of {where}", start, TABLES)
    data, train = dict(values["data"]), dict(values.get("train", {}))
    tests = tuple(_test(where, each) for each in values["test"])
    start_data = None if start is None else {**data, **start.get("data", {})}
    start_train = None if start is None else {**train, **start.get("train", {})}
    rows = tuple(_rows(where, values, data, train, start_data, start_train))
    for what, names in (("rows", [r.name for r in rows]), ("tests", [t.name for t in tests])):
        twice = sorted({n for n in names if names.count(n) > 1})
        if not names:
            key = what[:-1]
            raise InvalidOption(
                f"{where} has no {what}",
                got=f"no [[{key}]]" + " and no [grid]" * (key == "row"),
                allowed="at least one",
                fix=f'add [[{key}]] with a name = "..."',
            )
        if twice:
            raise InvalidOption(
                f"the {what} of {where} need names of their own",
                got=f"several of {', '.join(map(repr, twice))}",
                allowed="each name once",
                fix='give each its name = "..."',
            )
    if start is not None and not any(row.start for row in rows):
        raise InvalidOption(
            f"no row of {where} goes on from the model of [start]",
            got="[start], and rows that all train from initial weights",
            allowed='a row with start = "finetune" or start = "unchanged"',
            fix="add start to a row, or leave [start] out",
        )
    for row in rows:
        if row.start and start is None:
            raise InvalidOption(
                f"row {row.name!r} of {where} goes on from a model that is not there",
                got=f"start = {row.start!r}",
                allowed="a table [start] with start.data and start.train",
                fix="add [start], or leave start out of the row",
            )
    return Experiment(
        name=name, title=_line(values["title"]), source=_line(values["source"]),
        note=_line(values.get("note", "")), data=data, train=train, rows=rows, tests=tests, columns=tuple(values["columns"]), beside=tuple(values.get("beside", ())),
        figures=tuple(values.get("figures", ())), start_data=start_data, start_train=start_train,
        published=_published(where, values, rows, tests),
        varied=tuple(f"{t}.{n}" for t in TABLES for n in values.get("grid", {}).get(t, {})),
    )  # fmt: skip


def _line(text: str) -> str:
    return " ".join(text.split())


def _check_text(what: str, key: str, given: Any, empty: bool = False) -> None:
    """Raise `InvalidOption` unless ``given`` is a text, and one of at least a letter unless ``empty``."""
    if isinstance(given, str) and (empty or given.strip()):
        return
    plain = isinstance(given, int | float) and not isinstance(given, bool)
    raise InvalidOption(
        f"{what} is a text",
        got=f"{key} = {given!r}",
        allowed=f'{key} = "..."',
        fix=f'write {key} = "{given}"' if plain else f'write {key} = "..."',
    )


def _check_shapes(where: str, values: Mapping[str, Any]) -> None:
    """Raise `InvalidOption` for a key with a value of the wrong kind."""
    for key in ("title", "source", "note"):
        if key in values:
            _check_text(f"{key} of {where}", key, values[key], empty=key == "note")
    for key in ("row", "test", "published"):
        given = values.get(key, [])
        if not isinstance(given, list) or not all(isinstance(each, Mapping) for each in given):
            raise InvalidOption(
                f"{key} of {where} comes in double brackets",
                got=f"[{key}]" if isinstance(given, Mapping) else f"{key} = {given!r}",
                allowed=f"[[{key}]], once for each",
                fix=f"write [[{key}]] above the lines of each",
            )
    for key in ("columns", "beside", "figures"):
        given = values.get(key, [])
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            name = given if isinstance(given, str) else "NAME"
            raise InvalidOption(
                f"{key} of {where} is a list of names",
                got=f"{key} = {given!r}",
                allowed=f'{key} = ["..."]',
                fix=f'write {key} = ["{name}"]',
            )
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice or (key == "columns" and not given):
            raise InvalidOption(
                f"{key} of {where} names each once" + ", and at least one" * (key == "columns"),
                got=f"{key} = {given!r}",
                allowed="each name once",
                fix=f"leave one {twice[0]!r} out" if twice else 'write columns = ["updates"]',
            )
    for key in ("row", "test"):
        for each in values.get(key, []):
            if "name" in each:
                _check_text(f"the name of a {key} of {where}", "name", each["name"])
    for key in ("data", "train", "start", "grid"):
        _check_table(f"{key} of {where}", key, values.get(key, {}))
    for name in ("start", "grid"):
        for key in TABLES:
            _check_table(
                f"{name}.{key} of {where}", f"{name}.{key}", values.get(name, {}).get(key, {})
            )
    for row in values.get("row", []):
        for key in TABLES:
            _check_table(f"{key} of row {row.get('name')!r} of {where}", key, row.get(key, {}))
        parent = f"parent of row {row.get('name')!r} of {where}"
        _check_table(parent, "parent", row.get("parent", {}))
        for key in TABLES:
            _check_table(f"{key} of {parent}", key, row.get("parent", {}).get(key, {}))


def _check_table(what: str, key: str, given: Any) -> None:
    if not isinstance(given, Mapping):
        raise InvalidOption(
            f"{what} is a table",
            got=f"{key} = {given!r}",
            allowed=f"[{key}] with lines such as NAME = 3",
            fix='a system is named by system = "gravity" under [data]'
            if key == "data"
            else f"write a line [{key}], and the values below it",
        )


def _test(where: str, given: Mapping[str, Any]) -> Test:
    if "name" not in given:
        raise InvalidOption(
            f"a test of {where} lacks a name",
            got=json.dumps(given, default=str),
            allowed='name = "..." in each [[test]]',
            fix='add name = "held out"',
        )
    return Test(str(given["name"]), {k: v for k, v in given.items() if k != "name"})


def _rows(
    where: str,
    values: Mapping[str, Any],
    data: dict[str, Any],
    train: dict[str, Any],
    start_data: dict[str, Any] | None,
    start_train: dict[str, Any] | None,
) -> Iterator[Row]:
    """Every row of the file crossed with every point of its grid.

    An unchanged start model is one row, because the grid varies keywords of training.
    """
    grid = values.get("grid", {})
    check_names(f"key of [grid] of {where}", grid, TABLES)
    axes = [
        (table, name, points) for table in TABLES for name, points in grid.get(table, {}).items()
    ]
    for table, name, points in axes:
        if not isinstance(points, list) or not points:
            raise InvalidOption(
                f"{table}.{name} in [grid] of {where} needs a list",
                got=repr(points),
                allowed=f"{table}.{name} = [1, 2, 3]",
            )
    given = values.get("row", [{}] if axes else [])
    for row in given:
        check_names(f"key of [[row]] of {where}", row, ("name", "start", "parent", *TABLES))
        start, parent = row.get("start", ""), row.get("parent", {})
        check_names(f"key of parent of a row of {where}", parent, TABLES)
        if start and start not in STARTS:
            raise unknown_name("start of a row", start, STARTS)
        if start == "unchanged" and row.get("train"):
            raise InvalidOption(
                f"row {row.get('name')!r} of {where} trains nothing, so that train changes nothing",
                got=", ".join(f"train.{name} = {value!r}" for name, value in row["train"].items()),
                allowed='parent.train, the training of the start, or start = "finetune"',
                fix="write parent.train in place of train",
            )
        if parent and not start:
            raise InvalidOption(
                f"row {row.get('name')!r} of {where} has a parent and trains from initial weights",
                got="parent without start",
                allowed='start = "finetune" or "unchanged" beside parent',
                fix="leave parent out, or add start",
            )
        first_data = first_train = None
        if start and start_data is not None and start_train is not None:
            first_data = {**start_data, **parent.get("data", {})}
            first_train = {**start_train, **parent.get("train", {})}
        varied = [] if start == "unchanged" else axes
        for point in itertools.product(*(points for _, _, points in varied)):
            parts = {
                "data": {**data, **row.get("data", {})},
                "train": {**train, **row.get("train", {})},
            }
            label = [str(row["name"])] if "name" in row else []
            for (table, name, _), value in zip(varied, point):
                parts[table][name] = value
                label.append(f"{name} {value}")
            yield Row(
                ", ".join(label) or "model",
                parts["data"],
                parts["train"],
                start,
                first_data,
                first_train,
            )


def _published(
    where: str, values: Mapping[str, Any], rows: tuple[Row, ...], tests: tuple[Test, ...]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Published numbers. Row names are checked after keywords, from which the grid builds them."""
    out: dict[tuple[str, str], dict[str, Any]] = {}
    for given in values.get("published", []):
        row, test = str(given.get("row", rows[0].name)), str(given.get("test", tests[0].name))
        numbers = {k: v for k, v in given.items() if k not in ("row", "test")}
        what = f"[[published]] of {where} for row {row!r}, test {test!r}"
        for column, value in numbers.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not isinstance(value, str) and not (number and math.isfinite(value)):
                raise InvalidOption(
                    f"{what} holds what was printed",
                    got=f"{column} = {value!r}",
                    allowed="a text or a finite number",
                    fix=f'write {column} = "..." as it is printed',
                )
        twice = sorted(out.get((row, test), {}).keys() & numbers.keys())
        if twice:
            raise InvalidOption(
                f"{what} has a number twice",
                got=f"{twice[0]} = {out[row, test][twice[0]]!r} and {numbers[twice[0]]!r}",
                allowed="one number for each row, test and column",
                fix="leave one out, or name another row or test: without them it is the first",
            )
        out[row, test] = {**out.get((row, test), {}), **numbers}
    return out
