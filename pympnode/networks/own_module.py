"""Modules of the user as vector fields: ``train(model=module)``, and their names in files.

A module of torch is a model where its ``forward(x, edge_index, ...)`` returns dx/dt: x (node, feature)
and the result of its shape in z units, per unit of time of the model; nodes of all trajectories of a
batch are numbered through, as PyTorch Geometric does, and ``edge_index`` (2, edge) has senders in row 0
and receivers in row 1. It gets ``edge_weight`` (edge,), ``edge_attribute`` (edge, attribute),
``control`` (node, control) and ``node_attribute`` (node, attribute) where its forward has parameters of
these names.

Files and run folders hold weights and a name with plain arguments, never code: `register_module` gives
a class, or a function that makes modules, that name.
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config import text
from ..errors import InvalidModel, InvalidOption, UnknownName, shown_value, unknown_name
from .spec import ModelSpec

Make = TypeVar("Make", bound=Callable[..., Any])

PREFIX = "module/"  # of the names of its weights in a model
OPTIONAL = ("edge_weight", "edge_attribute", "control", "node_attribute")

_RECORD = "pympnode_record"  # attribute of a module: its name and the arguments that it was made of
_UNREGISTERED = "unregistered "
_makers: dict[str, Callable[..., nn.Module]] = {}
_templates: dict[tuple[str, str], nn.Module] = {}
_numbered: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def register_module(name: str) -> Callable[[Make], Make]:
    """A decorator that gives a class of `torch.nn.Module`, or a function that returns one, a name.

    ``name`` is what files of trained models hold, beside the weights and the arguments that the module
    was made of: numbers, texts, True, False, None, and lists and dicts of them. A file is read where
    the same name is registered. A name that is registered again belongs to the newer class.

    >>> import torch
    >>> @register_module("doctest decay")
    ... class Decay(torch.nn.Module):
    ...     def __init__(self, rate=1.0):
    ...         super().__init__()
    ...         self.rate = torch.nn.Parameter(torch.tensor(rate))
    ...     def forward(self, x, edge_index):
    ...         return -self.rate * x
    >>> Decay(0.5).pympnode_record
    ('doctest decay', {'rate': 0.5})

    Raises `InvalidOption` for what makes no module and for functions of any number of arguments.
    """
    name = text("the name of a module", name)
    if name.startswith(_UNREGISTERED):
        raise InvalidOption(
            "this name is kept for modules without one", got=repr(name), allowed="another name"
        )

    def decorate(make: Make) -> Make:
        if not callable(make) or (isinstance(make, type) and not issubclass(make, nn.Module)):
            raise InvalidOption(
                "a class of modules, or a function that makes them, is registered",
                got=shown_value(make, 80),
                allowed="a subclass of torch.nn.Module, or a function",
                fix=f"@register_module({name!r}) above the class",
            )
        signature = inspect.signature(make.__init__ if isinstance(make, type) else make)
        if any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
            raise InvalidOption(
                "arguments of a registered module have names, under which a file holds them",
                got=f"{make.__name__}{signature}",
                allowed="parameters with names",
            )
        for key in [key for key in _templates if key[0] == name]:
            del _templates[key]
        if not isinstance(make, type):
            _makers[name] = make

            @functools.wraps(make)
            def made(*arguments: Any, **keywords: Any) -> Any:
                module = make(*arguments, **keywords)
                if isinstance(module, nn.Module):
                    setattr(module, _RECORD, (name, _bound(signature, *arguments, **keywords)))
                return module

            return made  # type: ignore[return-value]
        start = make.__init__

        @functools.wraps(start)
        def recorded(self: Any, *arguments: Any, **keywords: Any) -> None:
            start(self, *arguments, **keywords)
            # A subclass is another module, which needs a name of its own.
            if type(self) is make:
                found = _bound(signature, self, *arguments, **keywords)
                found.pop(next(iter(signature.parameters)))
                setattr(self, _RECORD, (name, found))

        make.__init__ = recorded  # type: ignore[misc]
        _makers[name] = make
        return make

    return decorate


def _bound(signature: inspect.Signature, *arguments: Any, **keywords: Any) -> dict[str, Any]:
    """Arguments by name, defaults included."""
    bound = signature.bind(*arguments, **keywords)
    bound.apply_defaults()
    found = dict(bound.arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            found.update(found.pop(parameter.name))
    return found


def make_module(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A new module of a registered name. Raises `UnknownName`, and what its constructor raises.

    The global generator of torch is left as it was.
    """
    if name not in _makers:
        registered = [known for known in _makers if not known.startswith(_UNREGISTERED)]
        error = unknown_name("module", name, registered)
        raise UnknownName(
            f"no module is registered as {name!r}",
            got=error.got,
            allowed=", ".join(registered) or "none is registered",
            fix=f'import the file with its class, above which stands @pympnode.register_module("{name}")',
        )
    with torch.random.fork_rng(devices=[]):
        made = _makers[name](**arguments)
    if not isinstance(made, nn.Module):
        raise InvalidModel(
            f"what is registered as {name!r} makes no module",
            got=type(made).__name__,
            allowed="a torch.nn.Module",
        )
    return made


@dataclass(frozen=True, eq=False)
class OwnModule:
    """A module given as ``model=`` of `train`, its name and its arguments as JSON.

    ``choices``: keywords of `train` that it was made of; the others that describe a model are refused.
    """

    module: nn.Module
    name: str
    arguments: str
    choices: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, module: Any) -> OwnModule:
        """A module of the user, checked. Raises `InvalidOption`.

        One without a registered name trains in memory, and is not saved.
        """
        if not isinstance(module, nn.Module):
            raise InvalidOption(
                "model is a name, a specification or a module",
                got=shown_value(module, 80),
                allowed='"mpnode", "l2s", "node", a ModelSpec, a torch.nn.Module',
            )
        if not any(True for _ in module.parameters()):
            raise InvalidOption(
                "a module without parameters has nothing to train",
                got=type(module).__name__,
                allowed="a torch.nn.Module with parameters",
                fix="wrap numbers that are to be learned in torch.nn.Parameter",
            )
        _check_forward(module)
        record = getattr(module, _RECORD, None)
        if record is None or record[0] not in _makers:
            return cls(module, _unregistered(module), "{}")
        name, arguments = record
        plain = json.dumps(plain_arguments(name, arguments), sort_keys=True)
        own = cls(module, name, plain)
        own._check_same(_template(name, plain))
        return own

    def _check_same(self, made: nn.Module) -> None:
        """Raise `InvalidOption` where a module differs from what its name and arguments make, in more
        than the values of its parameters."""
        here = {n: (tuple(p.shape), p.requires_grad) for n, p in self.module.named_parameters()}
        there = {n: (tuple(p.shape), p.requires_grad) for n, p in made.named_parameters()}
        differing = sorted(n for n in {*here, *there} if here.get(n) != there.get(n))
        what = "parameters"
        if not differing:
            what = "buffers"
            mine, new = dict(self.module.named_buffers()), dict(made.named_buffers())
            differing = [
                n
                for n in sorted({*mine, *new})
                if n not in mine or n not in new or not _same(mine[n], new[n])
            ]
        if differing:
            raise InvalidOption(
                f"the {what} of the module are others than those that its arguments make",
                got=f"{', '.join(differing[:4])} of {self.name!r} with {self.arguments}",
                allowed="what the constructor makes; values of parameters may differ",
                fix="set them in the constructor, from its arguments; a file holds the values of "
                "parameters alone",
            )

    @property
    def registered(self) -> bool:
        """Whether it has a name, so that it can be saved."""
        return is_registered(self.name)

    @property
    def takes(self) -> tuple[str, ...]:
        """Which of the optional inputs its forward takes."""
        return inputs_of(self.module)

    def first_weights(self, seed: int, members: int, dtype: str) -> NDArray:
        """Weights (member, size): those of the module, and for further members of an ensemble those of
        new modules of its name. Raises `InvalidOption` where it has none."""
        if members > 1 and not self.registered:
            raise InvalidOption(
                "members of an ensemble begin with different weights, which a registered module makes",
                got=f"members={members} with a module that has no name",
                allowed="a module of a registered class",
                fix='@pympnode.register_module("my_module") above the class',
            )
        rows = [_flat(self.module)]
        for member in range(1, members):
            with torch.random.fork_rng(devices=[]):
                state = np.random.SeedSequence([seed, 2, member]).generate_state(1)
                torch.manual_seed(int(state[0]))
                rows.append(_flat(_makers[self.name](**json.loads(self.arguments))))
        return np.stack(rows).astype(dtype)

    def __repr__(self) -> str:
        return f"{type(self.module).__name__} ({self.name!r})"


def is_registered(name: str) -> bool:
    """Whether a module of this name can be saved."""
    return not name.startswith(_UNREGISTERED)


def plain_arguments(name: str, value: Any) -> Any:
    """``value`` as what JSON holds. Raises `InvalidOption` for anything else."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and math.isfinite(float(value)):
        return float(value)
    if isinstance(value, list | tuple):
        return [plain_arguments(name, each) for each in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain_arguments(name, each) for key, each in value.items()}
    raise InvalidOption(
        f"arguments of the registered module {name!r} are plain values, which a file can hold",
        got=shown_value(value, 80),
        allowed="numbers, texts, True, False, None, and lists and dicts of them",
        fix="give sizes and names, and make tensors and networks of them in the constructor",
    )


def inputs_of(module: nn.Module) -> tuple[str, ...]:
    """The optional inputs that the forward of a module takes."""
    parameters = inspect.signature(module.forward).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return OPTIONAL
    names = {p.name for p in parameters}
    return tuple(name for name in OPTIONAL if name in names)


def template_of(spec: ModelSpec) -> nn.Module:
    """The module of a specification, with the weights of its constructor, for evaluation: dropout and
    batch statistics are off. Raises `UnknownName`."""
    return _template(spec.module, spec.module_arguments)


def weight_shapes(spec: ModelSpec) -> tuple[dict[str, tuple[int, ...]], frozenset[str]]:
    """Names and shapes of the weights of a model of ``spec``, and which are tables of numbers."""
    module = template_of(spec)
    shapes = {PREFIX + name: tuple(p.shape) for name, p in module.named_parameters()}
    tables = {
        f"{PREFIX}{name}.weight".replace("/.", "/")
        for name, each in module.named_modules()
        if isinstance(each, nn.Embedding)
    }
    return shapes, frozenset(tables & shapes.keys())


def call_module(
    module: nn.Module, weights: Mapping[str, Tensor], x: Tensor, edge_index: Tensor,
    given: Mapping[str, Tensor | None],
) -> Tensor:  # fmt: skip
    """dx/dt (node, feature) by a module with ``weights``, by the names of a model; ``given``: the
    optional inputs. Raises `InvalidModel` for a result of another shape."""
    named = {name.removeprefix(PREFIX): value for name, value in weights.items()}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            named[name] = named[name].detach()
    taken = {name: given.get(name) for name in inputs_of(module)}
    taken = {name: value for name, value in taken.items() if value is not None}
    slope = torch.func.functional_call(module, named, (x, edge_index), taken)
    if not isinstance(slope, Tensor) or slope.shape != x.shape:
        raise InvalidModel(
            f"forward of {type(module).__name__} returns something else than dx/dt",
            got=tuple(slope.shape) if isinstance(slope, Tensor) else type(slope).__name__,
            allowed=f"a tensor of the shape of x, {tuple(x.shape)}: (node, feature)",
        )
    return slope


def _check_forward(module: nn.Module) -> None:
    try:
        signature = inspect.signature(module.forward)
        extra = inputs_of(module)
        signature.bind(None, None, **dict.fromkeys(extra))
    except (TypeError, ValueError) as error:
        raise InvalidOption(
            f"forward of {type(module).__name__} takes other arguments than those of a vector field",
            got=f"forward{inspect.signature(module.forward)}",
            allowed=f"forward(x, edge_index), with any of {', '.join(OPTIONAL)}",
            fix="give parameters that it needs besides a default, or make them arguments of the class",
        ) from error
    if type(module).__module__.endswith("networks.vector_field"):
        raise InvalidOption(
            "this module is of a model in physical units",
            got="what model.module() returned",
            allowed="a module of your own",
            fix="finetune(pympnode.Model.from_module(module), data=ds) trains it on",
        )


def _unregistered(module: nn.Module) -> str:
    """A name for this process of a module that has none."""
    if module not in _numbered:
        _numbered[module] = f"{_UNREGISTERED}{type(module).__name__} {len(_numbered)}"
        kept = copy.deepcopy(module)
        _makers[_numbered[module]] = lambda: copy.deepcopy(kept)
    return _numbered[module]


def _template(name: str, arguments: str) -> nn.Module:
    key = (name, arguments)
    if key not in _templates:
        _templates[key] = make_module(name, json.loads(arguments)).cpu().eval()
    return _templates[key]


def _same(one: Tensor, other: Tensor) -> bool:
    one, other = one.detach().cpu(), other.detach().cpu()
    return one.shape == other.shape and bool((one == other).all())


def _flat(module: nn.Module) -> NDArray[np.float64]:
    parts = [p.detach().cpu().numpy().astype(np.float64).ravel() for p in module.parameters()]
    return np.concatenate(parts)
