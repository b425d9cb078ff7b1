"""Reads weights that PyTorch saved, without PyTorch and without running anything that the file asks for.

A `.pth` file holds a pickle, and a pickle can name any function and have it called. Here it is data: a machine of a few
dozen lines follows the opcodes that a dictionary of tensors takes, builds nothing but numbers, strings, tuples, lists
and dictionaries, and refuses everything else by its name. All numbers that say where a tensor lies are checked.

Both formats of `torch.save` are read: the zip archive of today, and the one before PyTorch 1.6, in which five pickles
(a magic number, a version, the machine's sizes of integers, the dictionary, the keys of its storages) are followed by
the storages, each behind its length.

References:
    torch/serialization.py, `_save` and `_legacy_save`; Python's pickletools.py, which describes the opcodes.
"""

import io
import pickletools
import struct
import textwrap
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan.errors import UserError

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # what files before PyTorch 1.6 begin with

DTYPES = {
    "torch DoubleStorage": np.dtype("<f8"),
    "torch FloatStorage": np.dtype("<f4"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch LongStorage": np.dtype("<i8"),
    "torch IntStorage": np.dtype("<i4"),
    "torch ShortStorage": np.dtype("<i2"),
    "torch CharStorage": np.dtype("i1"),
    "torch ByteStorage": np.dtype("u1"),
    "torch BoolStorage": np.dtype("?"),
}
DICTIONARY = "collections OrderedDict"
TENSORS = ("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor")  # the latter before PyTorch 0.2
PARAMETER = "torch._utils _rebuild_parameter"
GLOBALS = {DICTIONARY, *TENSORS, PARAMETER, *DTYPES}  # all that a pickle may name

DAMAGE = (  # what damaged bytes raise
    *(ValueError, TypeError, LookupError, AttributeError, OverflowError, EOFError, struct.error, zlib.error),
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError),  # the last two of zips that are packed or encrypted
)


class Storage(NamedTuple):
    """So many numbers of one type in a row, which several tensors may share."""

    dtype: np.dtype
    key: str
    count: int


class Tensor(NamedTuple):
    """Where an array lies in its storage; offset and strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict that `torch.save` wrote, by name; they cannot be written to.

    Raises:
        UserError: the file is cut off, damaged or something else, or names what is no part of a state dict.
        OSError: it cannot be opened.
    """
    raw = path.read_bytes()
    try:
        tensors, stored = (_zipped if raw.startswith(b"PK") else _legacy)(io.BytesIO(raw))
        return {name: _array(name, tensor, stored) for name, tensor in tensors.items()}
    except DAMAGE as error:
        reason = textwrap.shorten(str(error) if isinstance(error, ValueError) else repr(error), 200, placeholder=" ...")
        raise UserError(f"{path} cannot be read as weights of PyTorch: {reason}") from error


def _zipped(file: io.BytesIO) -> tuple[dict[str, Tensor], dict[str, bytes]]:
    """The tensors of a zip archive, and the bytes of their storages by key."""
    archive = zipfile.ZipFile(file)
    names = archive.namelist()
    root = names[0].split("/")[0] if names else ""

    def member(name: str) -> bytes:
        info = archive.getinfo(f"{root}/{name}")
        if info.compress_type != zipfile.ZIP_STORED:  # a small file could become any number of bytes
            raise ValueError(f"{info.filename} is compressed")
        return archive.read(info)  # which compares its checksum

    if f"{root}/byteorder" in names and member("byteorder") != b"little":
        raise ValueError("its numbers have their highest byte first")
    tensors = _tensors(unpickled(io.BytesIO(member("data.pkl"))))
    return tensors, {key: member(f"data/{key}") for key in {tensor.storage.key for tensor in tensors.values()}}


def _legacy(file: io.BytesIO) -> tuple[dict[str, Tensor], dict[str, bytes]]:
    """The same of the format before PyTorch 1.6."""
    if (unpickled(file), unpickled(file)) != (MAGIC, VERSION):
        raise ValueError("it does not begin as torch.save begins a file")
    unpickled(file)  # sizes of the integers of a machine
    tensors, keys = _tensors(unpickled(file)), _strings(unpickled(file))
    sizes = {tensor.storage.key: tensor.storage.dtype.itemsize for tensor in tensors.values()}
    return tensors, {key: file.read(int.from_bytes(file.read(8), "little") * sizes[key]) for key in keys}


def _tensors(tree: Any) -> dict[str, Tensor]:
    if not isinstance(tree, dict):
        raise ValueError("it holds no dictionary")
    for name, value in tree.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name!r} is no tensor")
    return tree


def _array(name: str, tensor: Tensor, stored: dict[str, bytes]) -> np.ndarray:
    """A view of a tensor's numbers; no copy, which a shape with strides of 0 could make as large as it likes."""
    (dtype, key, count), offset, shape, strides = tensor
    buffer = stored.get(key, b"")
    if len(buffer) != count * dtype.itemsize:
        raise ValueError(f"of {name!r} there are {len(buffer)} bytes in place of {count * dtype.itemsize}")
    if min((offset, *shape, *strides)) < 0 or len(shape) != len(strides):
        raise ValueError(f"{name!r} has the shape {shape} with the strides {strides} from {offset} on")
    if 0 in shape:
        return np.empty(shape, dtype)
    # NumPy checks this as well, but in integers that overflow, and not for an empty buffer.
    if offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) >= count:
        raise ValueError(f"{name!r} reaches beyond the {count} numbers of its storage")
    return np.ndarray(shape, dtype, buffer, offset * dtype.itemsize, [stride * dtype.itemsize for stride in strides])


def unpickled(file: io.BytesIO) -> Any:
    """What the next pickle of a file describes: tensors as `Tensor`, dictionaries of any kind as `dict`.

    Nothing is imported or called, whatever the pickle says; attributes that it sets are dropped.

    Raises:
        ValueError: it names something that is not in `GLOBALS`, or needs an opcode that no state dict has.
        others of `DAMAGE`: it makes no sense.
    """
    stack, marks, memo = [], [], {}

    def taken(start: int) -> list:
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, arg, _ in pickletools.genops(file):
        match opcode.name:
            case "PROTO" | "STOP":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE" | "SHORT_BINSTRING":
                stack.append(arg)
            case "NONE" | "NEWTRUE" | "NEWFALSE" as name:
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT" as name:
                stack.append({"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}[name]())
            case "MARK":
                marks.append(len(stack))
            case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                stack.append(tuple(taken(marks.pop() if name == "TUPLE" else -int(name[-1]))))
            case "APPEND" | "APPENDS" as name:
                items = taken(marks.pop() if name == "APPENDS" else -1)
                stack[-1].extend(items)
            case "SETITEM" | "SETITEMS" as name:
                items = taken(marks.pop() if name == "SETITEMS" else -2)
                stack[-1].update(_pairs(items))
            case "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case "GLOBAL":
                if arg not in GLOBALS:
                    raise ValueError(f"it asks for {arg.replace(' ', '.')}, which is no part of a state dict")
                stack.append(arg)
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                function, args = taken(-2)
                stack.append(_rebuilt(function, args))
            case "BUILD":
                stack.pop()
            case name:
                raise ValueError(f"it has the opcode {name}, which is no part of a state dict")
    return stack.pop()


def _pairs(items: list) -> dict[str, Any]:
    """Keys and values in turn."""
    return dict(zip(_strings(items[::2]), items[1::2], strict=True))


def _strings(keys: list) -> list[str]:
    """The keys, if they are strings: a tuple of two tuples of two tuples of ... would take for ever to hash."""
    if not all(isinstance(key, str) for key in keys):
        raise ValueError("a key of a dictionary is no string")
    return keys


def _storage(about: Any) -> Storage:
    match about:
        case ("storage", str(kind), str(key), _, int(count), *views) if kind in DTYPES and not any(views):
            return Storage(DTYPES[kind], key, count)
    raise ValueError("it has a storage of an unknown kind")


def _rebuilt(function: Any, args: Any) -> Any:
    """What one of the `GLOBALS` makes of its arguments."""
    match function, args:
        case str(name), () if name == DICTIONARY:
            return {}
        case str(name), (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_) if name in TENSORS:
            return Tensor(storage, offset, shape, strides)
        case str(name), (Tensor() as tensor, *_) if name == PARAMETER:
            return tensor
    raise ValueError("it calls something that is no part of a state dict, or in another way")
