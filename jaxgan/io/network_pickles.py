"""Reads networks from the `.pkl` files of StyleGAN2-ADA, StyleGAN3 and R3GAN, without PyTorch and without running code.

Such a file is a pickle of a dictionary of PyTorch modules. Modules of StyleGAN2-ADA and StyleGAN3 carry the source code
of their classes, which the authors' program executes; modules of R3GAN name their classes. Here both are data: a module
is the dictionary of its attributes and the name of its class. `restricted_pickle` reads the file, so nothing is
imported or called. Names of Python's standard library are refused, because no network needs them; all other names are
inert.

A file yields no more than it has: its storages together have no more bytes than the file, its arrays together no more
numbers, and all that is walked no more values than a pickle can have opcodes. These bounds end lists that hold a list
twice that holds a list twice, strides of 0, and storages that are read a thousand times.

References:
    NVlabs/stylegan2-ada-pytorch, torch_utils/persistence.py: `_reconstruct_persistent_obj`.
    torch/nn/modules/module.py: `Module.state_dict`.
"""

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan.errors import UserError
from jaxgan.io import restricted_pickle, torch_weights
from jaxgan.io.restricted_pickle import MOST_OPCODES, Global, Record
from jaxgan.io.torch_weights import DAMAGE, MAGIC, Storage, Tensor

PERSISTENT = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
VERSION = 6  # of persistent classes, the only one that the authors' code takes
LOAD_STORAGE = Global("torch.storage", "_load_from_bytes")
DICTIONARIES = {Global("collections", "OrderedDict"), Global("dnnlib.util", "EasyDict")}
SETS = {Global("builtins", "set"): set, Global("builtins", "frozenset"): frozenset}  # as calls in protocol 3
KNOWN = {*DICTIONARIES, *SETS}  # of the standard library
TENSORFLOW = {Global("dnnlib.tflib.network", "Network"), Global("tfutil", "Network")}

NUMPY_DTYPE = Global("numpy", "dtype")
NUMPY_SCALAR, NUMPY_ARRAY, NUMPY_BUFFER = (  # before NumPy 2, and since
    {Global(f"numpy.{core}.{module}", name) for core in ("core", "_core")}
    for module, name in (("multiarray", "scalar"), ("multiarray", "_reconstruct"), ("numeric", "_frombuffer"))
)

PARTS = ("_parameters", "_buffers", "_modules")  # attributes that every module has
STANDARD_LIBRARY = sys.stdlib_module_names | {"__builtin__"}  # the name of builtins in protocol 2
LONGEST_NAME = 256  # of an array, all dots included; the published ones have up to 60
DEEPEST = 32  # plain data in plain data


class Network(NamedTuple):
    """A module of a file.

    Attributes:
        class_name: "Generator" of a persistent class, "training.networks.Generator" of others.
        init_kwargs: what a persistent class was made with; others do not keep it.
        arrays: parameters and buffers by their dotted names, in the order of `state_dict`; float32, maybe read-only.
        attributes: the other plain data of the module and of those in it, by dotted names; names of classes and of
            dtypes are texts ("torch.bfloat16").
    """

    class_name: str
    init_kwargs: dict[str, Any]
    arrays: dict[str, np.ndarray]
    attributes: dict[str, Any]


class Contents(NamedTuple):
    """What a file holds.

    Attributes:
        networks: by name, such as G, D and G_ema.
        metadata: whatever else is plain data, such as `training_set_kwargs` and `cur_nimg`.
    """

    networks: dict[str, Network]
    metadata: dict[str, Any]


class NotPlainError(ValueError):
    """Something is no number, text, bytes, array or container of such."""


class Budget:
    """How much may be taken out of a file."""

    def __init__(self, amount: int, kind: str):
        self.left, self.kind = amount, kind

    def spend(self, amount: int) -> None:
        """Raises a `ValueError` if there is less left."""
        self.left -= amount
        if self.left < 0:
            raise ValueError(f"it asks for more {self.kind} than it has")


def read(path: Path) -> Contents:
    """The networks of a file.

    Raises:
        UserError: the file is cut off, damaged, hostile or something else.
        OSError: it cannot be opened.
    """
    raw = path.read_bytes()
    try:
        if raw.startswith(b"PK"):
            raise ValueError("it is a zip archive, as torch.save writes a .pth file")
        if not raw.startswith(b"\x80"):
            raise ValueError("it does not begin as a pickle does")
        return _Reader(len(raw)).read(raw)
    except DAMAGE as error:
        raise UserError(f"{path} cannot be read as networks of PyTorch: {torch_weights.reason(error)}") from error


class _Reader:
    """Reads one file, whose storages it collects by numbers of its own."""

    def __init__(self, size: int):
        self.stored: dict[str, bytes] = {}
        self.bytes = Budget(size, "bytes")
        self.numbers = Budget(size, "numbers")
        self.values = Budget(MOST_OPCODES, "values")

    def read(self, raw: bytes) -> Contents:
        tree = restricted_pickle.load(io.BytesIO(raw), _checked, self._called)
        if isinstance(tree, tuple) and any(isinstance(each, Record) and each.function in TENSORFLOW for each in tree):
            raise ValueError(
                "they are of TensorFlow, which is not covered: run NVlabs/stylegan3's legacy.py on it first"
            )
        if tree == MAGIC:
            raise ValueError("it is a .pth file of torch.save")
        if not isinstance(tree, dict):
            raise ValueError("it holds no dictionary of networks")
        modules = {str(name): value for name, value in tree.items() if _attributes(value)}
        if not modules:
            raise ValueError("it holds no networks, such as G, D and G_ema")
        networks = {name: self._network(name, module) for name, module in modules.items()}
        others = {name: value for name, value in tree.items() if str(name) not in networks}
        return Contents(networks, self._plain_items("", others))

    def _called(self, function: Global, args: tuple) -> Any:
        """What stands for the result of a call, or for an instance."""
        match args:
            case () if function in DICTIONARIES:
                return {}
            case (list(items),) if function in SETS:
                return SETS[function](restricted_pickle.keys(items))
            case (bytes(saved),) if function == LOAD_STORAGE:
                return self._storage(saved)
        if function in torch_weights.GLOBALS:
            return torch_weights.rebuilt(function, args)
        return Record(function, args)

    def _storage(self, saved: bytes) -> Storage:
        """A storage that `torch.save` wrote by itself."""
        self.bytes.spend(len(saved))
        storage, stored = torch_weights.saved(saved)
        if not isinstance(storage, Storage):
            raise ValueError("a storage is something else")
        key = str(len(self.stored))
        self.stored[key] = stored.get(storage.key, b"")
        return storage._replace(key=key)

    def _network(self, name: str, module: Record) -> Network:
        class_name, own = _attributes(module)
        init_kwargs = own.get("_init_kwargs", {})
        if own.get("_init_args") or not isinstance(init_kwargs, dict):
            raise ValueError(f"{name!r} was made with arguments that have no names")
        arrays, attributes = {}, {}
        for prefix, each in self._walk(name, module):
            for place, tensor in (each["_parameters"] | each["_buffers"]).items():
                if tensor is not None:
                    arrays[_joined(prefix, place)] = self._array(f"{name}.{prefix}{place}", tensor)
            public = {place: each[place] for place in each if not str(place).startswith("_") and place != "training"}
            attributes |= self._plain_items(prefix, public)
        return Network(class_name, self._plain(init_kwargs), arrays, attributes)

    def _walk(self, name: str, module: Record) -> Iterator[tuple[str, dict]]:
        """The attributes of a module and of those in it, with the beginning of their names."""
        waiting = [("", module)]
        while waiting:
            prefix, module = waiting.pop()
            if (found := _attributes(module)) is None:
                raise ValueError(f"{f'{name}.{prefix}'[:-1]!r} is no module")
            own = found[1]
            self.values.spend(sum(map(len, (own, *(own[kind] for kind in PARTS)))))
            yield prefix, own
            children = [
                (_joined(prefix, f"{place}."), each) for place, each in own["_modules"].items() if each is not None
            ]
            waiting += reversed(children)

    def _array(self, name: str, tensor: Any) -> np.ndarray:
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name!r} is no tensor")
        array = torch_weights.array(name, tensor, self.stored)
        self.numbers.spend(max(array.size, 1))
        with np.errstate(over="ignore"):
            return np.asarray(array, np.float32)

    def _plain_items(self, prefix: str, items: dict) -> dict[str, Any]:
        """The items that are plain, behind a prefix."""
        found = {}
        for name, value in items.items():
            with contextlib.suppress(NotPlainError):
                found[_joined(prefix, name)] = self._plain(value)
        return found

    def _plain(self, value: Any, depth: int = 0) -> Any:
        """A copy of plain data; arrays and numbers of NumPy are what they stand for, and names are texts."""
        self.values.spend(1)
        if depth > DEEPEST:
            raise ValueError(f"its data are nested more than {DEEPEST} times")
        match value:
            case None | bool() | int() | float() | str() | bytes():
                return value
            case Global():
                return str(value)
            case Record():
                return _from_numpy(value)
            case dict():
                return {name: self._plain(each, depth + 1) for name, each in value.items()}
            case _ if type(value) in (list, tuple, set, frozenset):
                return type(value)([self._plain(each, depth + 1) for each in value])
        raise NotPlainError(f"{type(value).__name__} is no plain data")


def _checked(name: Global) -> Global:
    if name.module.split(".")[0] in STANDARD_LIBRARY and name not in KNOWN:
        raise ValueError(f"it asks for {name}, which no network needs")
    return name


def _joined(prefix: str, name: str | int) -> str:
    joined = f"{prefix}{name}"
    if len(joined) > LONGEST_NAME:
        raise ValueError(f"a name is longer than {LONGEST_NAME}")
    return joined


def _attributes(value: Any) -> tuple[str, dict] | None:
    """The name of a module's class, and its attributes; None of something else."""
    match value:
        case Record(Global() as function, ({"class_name": str(name), "state": state, **meta},)) if (
            function == PERSISTENT
        ):
            if (meta.get("type"), meta.get("version")) != ("class", VERSION):
                raise ValueError(f"{name!r} is no persistent class of version {VERSION}, which is the known one")
        case Record(Global() as function, _, state):
            name = str(function)
        case _:
            return None
    is_module = isinstance(state, dict) and all(isinstance(state.get(part), dict) for part in PARTS)
    return (name, state) if is_module else None


def _from_numpy(record: Record) -> Any:
    """A number, or an array, of NumPy."""
    match record:
        case Record(function, (dtype, bytes(raw))) if function in NUMPY_SCALAR:
            return np.frombuffer(raw, _dtype(dtype)).reshape(()).item()
        case Record(function, _, (_, tuple(shape), dtype, bool(is_fortran), bytes(raw))) if function in NUMPY_ARRAY:
            order = "F" if is_fortran else "C"
        case Record(function, (bytes() | bytearray() as raw, dtype, tuple(shape), "C" | "F" as order)) if (
            function in NUMPY_BUFFER
        ):
            pass
        case _:
            raise NotPlainError(f"{record.function} is no plain data")
    return np.frombuffer(raw, _dtype(dtype)).reshape(shape, order=order)


def _dtype(record: Any) -> np.dtype:
    match record:
        case Record(function, (str(code), *_), (_, "<" | ">" | "|" as order, *_)) if function == NUMPY_DTYPE:
            if re.fullmatch("[fiub][1248]", code):
                return np.dtype(code).newbyteorder(order)
    raise NotPlainError("an array of NumPy holds something else than numbers")
