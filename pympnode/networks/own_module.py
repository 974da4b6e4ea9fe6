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
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config import text
from ..errors import InvalidModel, InvalidOption, UnknownName, shown_value, unknown_name
from ..training.tensor_loss import version_of
from .spec import ModelSpec

Make = TypeVar("Make", bound=Callable[..., Any])

PREFIX = "module/"  # of the names of its weights in a model
OPTIONAL = ("edge_weight", "edge_attribute", "control", "node_attribute")

_RECORD = "pympnode_record"  # attribute of a module: its name and the arguments that it was made of
_UNREGISTERED = "unregistered "
_makers: dict[str, Callable[..., nn.Module]] = {}
_templates: dict[tuple[str, str], nn.Module] = {}
_numbers = itertools.count()


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
        cls: Any = make
        signature = inspect.signature(cls.__init__ if isinstance(make, type) else make)
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
        start = cls.__init__

        @functools.wraps(start)
        def recorded(self: Any, *arguments: Any, **keywords: Any) -> None:
            start(self, *arguments, **keywords)
            # A subclass is another module, which needs a name of its own.
            if type(self) is make:
                found = _bound(signature, self, *arguments, **keywords)
                found.pop(next(iter(signature.parameters)))
                setattr(self, _RECORD, (name, found))

        cls.__init__ = recorded
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
    """A new module of a registered name. Raises `UnknownName`, `InvalidModel` for arguments that its
    constructor does not have, and what that raises.

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
    try:
        inspect.signature(_makers[name]).bind(**arguments)
    except TypeError as error:
        raise InvalidModel(
            f"what is registered as {name!r} does not take the arguments of this model",
            got=f"{', '.join(arguments)}: {error}",
            allowed=f"{getattr(_makers[name], '__name__', name)}{inspect.signature(_makers[name])}",
            fix="register the class that the model was trained with under its name, another one under another",
        ) from error
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
    """A module given as ``model=`` of `train`, its name and its arguments as JSON."""

    module: nn.Module
    name: str
    arguments: str

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
                fix=(
                    f"make a module of the class: model={module.__name__}(...)"
                    if isinstance(module, type)
                    else None
                ),
            )
        if not any(p.requires_grad for p in module.parameters()):
            raise InvalidOption(
                "a module without parameters has nothing to train",
                got=type(module).__name__,
                allowed="a torch.nn.Module with parameters that require a gradient",
                fix="wrap numbers that are to be learned in torch.nn.Parameter",
            )
        _check_parameters(module)
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


def passes_by_other_than_sum(spec: ModelSpec) -> bool:
    """Whether a model is a `MessagePassing` whose messages are not summed. Of other modules it is not known."""
    module = template_of(spec)
    return isinstance(module, MessagePassing) and module.aggregation != "sum"


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
    optional inputs. Raises `InvalidModel` for a result of another shape or without a gradient, for a
    forward that changes its inputs, and for weights that are not those of the module."""
    named = {name.removeprefix(PREFIX): value for name, value in weights.items()}
    parameters = dict(module.named_parameters())
    if {n: p.shape for n, p in parameters.items()} != {n: w.shape for n, w in named.items()}:
        raise _other_weights(type(module).__name__, parameters, named)
    for name, parameter in parameters.items():
        if not parameter.requires_grad:
            named[name] = named[name].detach()
    optional = {name: given.get(name) for name in inputs_of(module)}
    taken = {name: value for name, value in optional.items() if value is not None}
    inputs = {"x": x, "edge_index": edge_index, **taken}
    before = {name: version_of(value) for name, value in inputs.items()}
    try:
        slope = torch.func.functional_call(module, named, (x, edge_index), taken)
    except Exception as error:
        # It stays what the module raised.
        sizes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in inputs.items())
        error.add_note(f"raised by forward of {type(module).__name__}, with {sizes}")
        raise
    changed = [name for name, value in inputs.items() if version_of(value) != before[name]]
    if changed:
        raise InvalidModel(
            f"forward of {type(module).__name__} changes its inputs, which the solver needs as they are",
            got=f"{', '.join(changed)} changed in place",
            allowed="a forward that leaves its inputs alone",
            fix="x = x + a in place of x += a, or x = x.clone() first",
        )
    if not isinstance(slope, Tensor) or slope.shape != x.shape:
        raise InvalidModel(
            f"forward of {type(module).__name__} returns something else than dx/dt",
            got=tuple(slope.shape) if isinstance(slope, Tensor) else type(slope).__name__,
            allowed=f"a tensor of the shape of x, {tuple(x.shape)}: (node, feature)",
        )
    learned = any(value.requires_grad for value in named.values())
    if learned and torch.is_grad_enabled() and not slope.requires_grad:
        raise InvalidModel(
            f"dx/dt of {type(module).__name__} depends on no parameter, so that nothing can be learned",
            got="a result without a gradient",
            allowed="operations of torch from the parameters to the result",
            fix="leave detach(), .data, numpy and torch.no_grad() out of forward",
        )
    return slope


def _other_weights(
    kind: str, parameters: Mapping[str, Any], found: Mapping[str, Any]
) -> InvalidModel:
    def shapes(some: Mapping[str, Any]) -> str:
        return ", ".join(f"{name} {tuple(value.shape)}" for name, value in some.items()) or "none"

    return InvalidModel(
        f"the weights are not those of the class that is registered now, {kind}",
        got=shapes(found),
        allowed=shapes(parameters),
        fix="register the class that the model was trained with under its name, another one under another",
    )


def check_weights(spec: ModelSpec, found: Mapping[str, Any]) -> None:
    """Raise `InvalidModel` where the arrays ``found`` by the names of a model are not the weights of the
    module of ``spec``: a class of the same name has other parameters."""
    module = template_of(spec)
    parameters = {PREFIX + name: p for name, p in module.named_parameters()}
    if {n: tuple(p.shape) for n, p in parameters.items()} != {
        n: tuple(w.shape) for n, w in found.items()
    }:
        raise _other_weights(type(module).__name__, parameters, found)


def _check_parameters(module: nn.Module) -> None:
    """Raise `InvalidOption` for parameters that are no arrays of real numbers, and for compiled modules."""
    kind = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        raise InvalidOption(
            "a module of TorchScript does not say what its forward takes",
            got=kind,
            allowed="the module that it was made of",
            fix="train before torch.jit.script",
        )
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise InvalidOption(
                "parameters of the module have no shape yet",
                got=f"{name} of {kind}",
                allowed="a module whose parameters are there",
                fix="give the number of inputs: Linear(4, 8) for LazyLinear(8)",
            )
        if not parameter.is_floating_point():
            raise InvalidOption(
                "parameters of a module are real numbers",
                got=f"{name} of {kind}: {str(parameter.dtype).removeprefix('torch.')}",
                allowed="float32, float64",
                fix="real and imaginary part as two parameters; whole numbers as a buffer",
            )


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
    """A name for this process of a module that has none; another one each time, so that what is changed
    in a module between two calls, its buffers for one, does not reach the models before."""
    name = f"{_UNREGISTERED}{type(module).__name__} {next(_numbers)}"
    kept = copy.deepcopy(module)
    _makers[name] = lambda: copy.deepcopy(kept)
    return name


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


# ---- own networks for messages and their effect ---------------------------------------------------


class MessagePassing(nn.Module):
    """dx_k/dt = update(n_k, a_k), with a_k the aggregate of message(n_k, n_j, c_jk) over the edges j -> k.

    n = [x; u; b]: state (with sine and cosine of the features ``circular``), controls and attributes of a
    node; c attributes of an edge. ``message``, ``update``: modules, or name and arguments of registered
    ones; None for two tanh networks: of one hidden layer, and of ``depth`` of them. Weights of edges
    multiply messages, and ``aggregation`` is that of `ModelSpec`.
    """

    def __init__(
        self,
        features: int,
        controls: int = 0,
        attributes: int = 0,
        edge_attributes: int = 0,
        circular: Sequence[int] = (),
        message: Any = None,
        update: Any = None,
        message_size: int = 6,
        hidden: int = 32,
        depth: int = 2,
        aggregation: str = "mean",
        divisor: float = 1.0,
    ) -> None:
        super().__init__()
        self.circular = tuple(circular)
        self.aggregation, self.divisor = aggregation, divisor
        inputs = features + len(self.circular) + controls + attributes
        if message is None:
            message = _perceptron(2 * inputs + edge_attributes, [hidden], message_size)
        self.message = message if isinstance(message, nn.Module) else make_module(*message)
        self.takes_edge = len(inspect.signature(self.message.forward).parameters) > 2
        self.joined = isinstance(self.message, nn.Sequential)
        if update is None:
            with torch.no_grad():
                one = next(self.message.parameters(), torch.zeros(())).new_zeros
                size = self._messages(one(1, inputs), one(1, inputs), one(1, edge_attributes))
            update = _perceptron(inputs + size.shape[-1], depth * [hidden], features)
        self.update = update if isinstance(update, nn.Module) else make_module(*update)

    def _messages(self, receiver: Tensor, sender: Tensor, edge: Tensor | None) -> Tensor:
        parts = [receiver, sender] + ([] if edge is None else [edge])
        if self.joined:  # a stack of layers takes one tensor
            return self.message(torch.cat(parts, dim=-1))  # type: ignore[no-any-return]
        return self.message(*parts[: 3 if self.takes_edge else 2])  # type: ignore[no-any-return]

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        edge_attribute: Tensor | None = None,
        control: Tensor | None = None,
        node_attribute: Tensor | None = None,
    ) -> Tensor:
        """dx/dt; see `own_module`."""
        sender, receiver = edge_index[0], edge_index[1]
        plain = [n for n in range(x.shape[1]) if n not in self.circular]
        angles = list(self.circular)
        parts = [x[:, plain], torch.sin(x[:, angles]), torch.cos(x[:, angles])] if angles else [x]
        parts += [v for v in (control, node_attribute) if v is not None]
        node = torch.cat(parts, dim=1)
        edge = x.new_zeros(len(sender), 0) if edge_attribute is None else edge_attribute
        sent = self._messages(node[receiver], node[sender], edge)
        if edge_weight is not None:
            sent = sent * edge_weight[:, None]
        total = sent.new_zeros(len(x), sent.shape[1])
        if self.aggregation == "max":
            index = receiver[:, None].expand_as(sent)
            received = total.scatter_reduce(0, index, sent, "amax", include_self=False)
        else:
            received = total.index_add(0, receiver, sent)
            if self.aggregation == "mean":
                count = sent.new_zeros(len(x)).index_add(0, receiver, sent.new_ones(len(sent)))
                received = received / count.clamp(min=1.0)[:, None]
            else:
                received = received / self.divisor
        if isinstance(self.update, nn.Sequential):
            return self.update(torch.cat([node, received], dim=1))  # type: ignore[no-any-return]
        return self.update(node, received)  # type: ignore[no-any-return]


_PASSING = "message passing"
_makers[_PASSING] = MessagePassing


def message_passing(message: Any, update: Any, seed: int, **sizes: Any) -> OwnModule:
    """The module of networks of the user for messages and their effect; None for one of `MessagePassing`.

    ``sizes``: its other arguments. Raises `InvalidOption` for what is no module, and for networks that do
    not take or return what they should."""
    given = {
        name: part for name, part in (("message", message), ("update", update)) if part is not None
    }
    record: dict[str, Any] | None = dict(sizes)
    for name, part in given.items():
        if not isinstance(part, nn.Module):
            raise InvalidOption(
                f"{name} of networks is a network of your own",
                got=shown_value(part, 80),
                allowed="a torch.nn.Module",
                fix='messages="pairwise" names messages of this package',
            )
        of_part = getattr(part, _RECORD, None)
        if record is None or of_part is None or of_part[0] not in _makers:
            record = None
        else:
            record[name] = list(of_part)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence([seed, 2, 0]).generate_state(1)[0]))
        try:
            made = MessagePassing(**sizes, **given)
            _try(made, sizes)
        except (TypeError, RuntimeError, ValueError, IndexError) as error:
            inputs = sizes["features"] + len(sizes["circular"])
            inputs += sizes["controls"] + sizes["attributes"]
            raise InvalidOption(
                "the networks for messages and their effect do not fit the data",
                got=f"{type(error).__name__}: {error}",
                allowed=f"message(receiver, sender, edge) of tensors (edge, {inputs}), (edge, {inputs}), "
                f"(edge, {sizes['edge_attributes']}); update(node, received) of (node, {inputs}) and the "
                f"messages received, which returns (node, {sizes['features']})",
                fix="a torch.nn.Sequential takes them as one tensor, side by side",
            ) from error
    if record is not None:
        setattr(made, _RECORD, (_PASSING, record))
    return OwnModule.of(made)


def _try(module: MessagePassing, sizes: Mapping[str, Any]) -> None:
    """Evaluate a module for two nodes and one edge, to see that its parts fit."""
    one = next(module.parameters()).new_zeros
    rows = {"control": "controls", "node_attribute": "attributes"}
    given = {name: one(2, sizes[width]) for name, width in rows.items() if sizes[width]}
    if sizes["edge_attributes"]:
        given["edge_attribute"] = one(1, sizes["edge_attributes"])
    with torch.no_grad():
        slope = module(one(2, sizes["features"]), torch.tensor([[0], [1]]), **given)
    if slope.shape != (2, sizes["features"]):
        raise ValueError(f"the update of 2 nodes has the shape {tuple(slope.shape)}")


def _perceptron(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.Tanh()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
