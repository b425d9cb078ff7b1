"""Pickles of networks, as the training programs of their authors write them, opcode by opcode and without PyTorch."""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from torch_files import legacy, named, number, pickled, text, together

STORAGES = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage", "b1": "BoolStorage"}


class Name(NamedTuple):
    """A class, a function or a constant."""

    module: str
    name: str


class Call(NamedTuple):
    """The result of a call, or an instance (`opcode` b"\\x81"), and the state that it is given."""

    name: Name
    args: tuple = ()
    state: Any = None
    opcode: bytes = b"R"


class Filled(NamedTuple):
    """An instance of a kind of dictionary, and its items."""

    empty: Call
    items: dict


class Opcodes(bytes):
    """Part of a pickle as it stands."""


def short_named(module: str, name: str) -> bytes:
    """A name as protocol 4 writes it."""
    return b"".join(b"\x8c" + bytes([len(each)]) + each.encode() for each in (module, name)) + b"\x93"


def encode(value: Any, write_name=named) -> bytes:
    """The opcodes that make a value."""

    def parts(values) -> bytes:
        return b"".join(encode(each, write_name) for each in values)

    match value:
        case Opcodes():
            return value
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            return number(value)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return text(value)
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
        case Name():
            return write_name(*value)
        case Call(name, args, state, opcode):
            built = b"" if state is None else encode(state, write_name) + b"b"
            return write_name(*name) + encode(args, write_name) + opcode + built
        case Filled(empty, items):
            return encode(empty, write_name) + encode(items, write_name).removeprefix(b"}")
        case tuple():
            return b"(" + parts(value) + b"t"
        case list():
            return b"](" + parts(value) + b"e"
        case set():
            return write_name("builtins", "set") + b"](" + parts(value) + b"e\x85R"
        case dict():
            return b"}(" + parts(each for pair in value.items() for each in pair) + b"u"
    raise TypeError(f"no opcodes for {type(value)}")


def storage(raw: bytes, count: int, kind: str = "FloatStorage", write=legacy) -> Call:
    """A storage, which `torch.save` writes into bytes of its own."""
    about = pickled(together(text("storage"), named("torch", kind), text("0"), text("cpu"), number(count), b"N") + b"Q")
    saved = write(about, struct.pack("<q", count) + raw) if write is legacy else write(about, data_0=raw)
    return Call(Name("torch.storage", "_load_from_bytes"), (saved,))


def tensor(stored: Any, shape: tuple, strides: tuple, offset: int = 0) -> Call:
    hooks = Call(Name("collections", "OrderedDict"))
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), (stored, offset, shape, strides, False, hooks))


def parameter(value: Any) -> Call:
    hooks = Call(Name("collections", "OrderedDict"))
    return Call(Name("torch._utils", "_rebuild_parameter"), (value, False, hooks))


def saved(array: np.ndarray) -> Call:
    """A tensor of the numbers of an array."""
    strides = tuple(each // array.itemsize for each in np.asarray(array, order="C").strides)
    kind = STORAGES[array.dtype.str[1:]]
    return tensor(storage(array.tobytes(), array.size, kind), array.shape, strides)


def ordered(items: dict) -> Filled:
    return Filled(Call(Name("collections", "OrderedDict")), items)


def easy(items: dict) -> Filled:
    return Filled(Call(Name("dnnlib.util", "EasyDict"), opcode=b"\x81"), items)


def state(parameters: dict, buffers: dict, modules: dict, **attributes: Any) -> dict:
    """The attributes of a module; parameters and buffers are arrays, tensors, or None."""

    def tensors(items: dict) -> dict:
        return {name: saved(each) if isinstance(each, np.ndarray) else each for name, each in items.items()}

    return {
        "training": False,
        "_parameters": ordered(
            {name: None if each is None else parameter(each) for name, each in tensors(parameters).items()}
        ),
        "_buffers": ordered(tensors(buffers)),
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": ordered({}),
        "_modules": ordered(modules),
        **attributes,
    }


def persistent(class_name: str, attributes: dict, source: str = "raise SystemExit\n", **init_kwargs: Any) -> Call:
    """A module of a persistent class, as those of StyleGAN2-ADA and StyleGAN3."""
    own = {**attributes, "_init_args": (), "_init_kwargs": easy(init_kwargs)}
    return reconstructed(type="class", version=6, module_src=source, class_name=class_name, state=own)


def reconstructed(**meta: Any) -> Call:
    return Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,))


def plain(module: str, class_name: str, attributes: dict) -> Call:
    """A module whose class is named, as those of R3GAN."""
    return Call(Name(module, class_name), (), attributes, b"\x81")


def module(arrays: dict[str, np.ndarray], attributes: dict[str, Any], made: Callable[[dict], Call]) -> Call:
    """A module, and those in it, of arrays and attributes by dotted names; `made` makes a module of its attributes."""
    own, children = ({}, {}), {}
    for kind, items in enumerate((arrays, attributes)):
        for name, value in items.items():
            first, _, rest = name.partition(".")
            place = children.setdefault(first, ({}, {}))[kind] if rest else own[kind]
            place[rest or first] = value
    inner = {name: module(*parts, made) for name, parts in children.items()}
    return made(state(own[0], {}, inner, **own[1]))


def network_pickle(contents: Any, write_name=named) -> bytes:
    return b"\x80\x04" + encode(contents, write_name) + b"."
