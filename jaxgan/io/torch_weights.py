"""Reads weights that PyTorch saved, without PyTorch and without running anything that the file asks for.

A `.pth` file holds a pickle, and a pickle can name any function and have it called. Here it is data, which
`restricted_pickle` reads; names that are no part of a state dict are refused. All numbers that say where a tensor lies
are checked.

Both formats of `torch.save` are read: the zip archive of today, and the one before PyTorch 1.6, in which five pickles
(a magic number, a version, the machine's sizes of integers, the dictionary, the keys of its storages) are followed by
the storages, each behind its length.

References:
    torch/serialization.py, `_save` and `_legacy_save`.
"""

import io
import struct
import textwrap
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.io import restricted_pickle
from jaxgan.io.restricted_pickle import Global

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # what files before PyTorch 1.6 begin with

DTYPES = {
    Global("torch", "DoubleStorage"): np.dtype("<f8"),
    Global("torch", "FloatStorage"): np.dtype("<f4"),
    Global("torch", "HalfStorage"): np.dtype("<f2"),
    Global("torch", "BFloat16Storage"): np.dtype(jnp.bfloat16),
    Global("torch", "LongStorage"): np.dtype("<i8"),
    Global("torch", "IntStorage"): np.dtype("<i4"),
    Global("torch", "ShortStorage"): np.dtype("<i2"),
    Global("torch", "CharStorage"): np.dtype("i1"),
    Global("torch", "ByteStorage"): np.dtype("u1"),
    Global("torch", "BoolStorage"): np.dtype("?"),
}
MIMICRY = "model_state_dict"  # where a checkpoint of mimicry has the state dict
DICTIONARY = Global("collections", "OrderedDict")
TENSORS = {Global("torch._utils", name) for name in ("_rebuild_tensor_v2", "_rebuild_tensor")}  # PyTorch 0.2 on; before
PARAMETERS = {Global("torch._utils", name) for name in ("_rebuild_parameter", "_rebuild_parameter_with_state")}
GLOBALS = {DICTIONARY, *TENSORS, *PARAMETERS, *DTYPES}  # all that a pickle may name

BATCH_NORM, EPSILON = ("weight", "bias", "running_mean", "running_var"), 1e-3  # as TensorFlow's networks have it

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
        tree, stored = saved(raw)
        return {name: array(name, tensor, stored) for name, tensor in _tensors(tree).items()}
    except DAMAGE as error:
        raise UserError(f"{path} cannot be read as weights of PyTorch: {reason(error)}") from error


def reason(error: Exception) -> str:
    """What one of `DAMAGE` says, in one line that a terminal can show."""
    text = textwrap.shorten(str(error) if isinstance(error, ValueError) else repr(error), 200, placeholder=" ...")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def saved(raw: bytes) -> tuple[Any, dict[str, bytes]]:
    """What `torch.save` was given, with `Tensor` and `Storage` for what they stand for; the bytes of storages by key.

    Raises:
        `DAMAGE`: it is something else.
    """
    return (_zipped if raw.startswith(b"PK") else _legacy)(io.BytesIO(raw))


def _zipped(file: io.BytesIO) -> tuple[Any, dict[str, bytes]]:
    """The same of a zip archive."""
    archive = zipfile.ZipFile(file)
    if sum(info.compress_size for info in archive.infolist()) > len(file.getbuffer()):
        raise ValueError("its members overlap")  # so that a small file could become any number of bytes
    names = archive.namelist()
    root = names[0].split("/")[0] if names else ""

    def member(name: str) -> bytes:
        info = archive.getinfo(f"{root}/{name}")
        if info.compress_type != zipfile.ZIP_STORED:  # as above
            raise ValueError(f"{info.filename} is compressed")
        return archive.read(info)  # which compares its checksum

    if f"{root}/byteorder" in names and member("byteorder") != b"little":
        raise ValueError("its numbers have their highest byte first")
    tree, storages = _unpickled(io.BytesIO(member("data.pkl")))
    return tree, {key: member(f"data/{key}") for key in storages}


def _legacy(file: io.BytesIO) -> tuple[Any, dict[str, bytes]]:
    """The same of the format before PyTorch 1.6."""
    if (_unpickled(file)[0], _unpickled(file)[0]) != (MAGIC, VERSION):
        raise ValueError("it does not begin as torch.save begins a file")
    _unpickled(file)  # sizes of the integers of a machine
    (tree, storages), (keys, _) = _unpickled(file), _unpickled(file)
    sizes = {key: storage.dtype.itemsize for key, storage in storages.items()}
    return tree, {key: file.read(int.from_bytes(file.read(8), "little") * sizes[key]) for key in _keys(keys)}


def _tensors(tree: Any) -> dict[str, Tensor]:
    if not isinstance(tree, dict):
        raise ValueError("it holds no dictionary")
    tree = tree.get(MIMICRY, tree)
    for name, value in tree.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise ValueError(f"{name!r} is no tensor, or no name")
    return tree


def array(name: str, tensor: Tensor, stored: dict[str, bytes]) -> np.ndarray:
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


def _unpickled(file: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """What the next pickle of a file describes, with `Tensor` and `Storage` as in `saved`; its storages by key.

    Raises:
        ValueError: it names something that is not in `GLOBALS`, or needs an opcode that no state dict has.
        others of `DAMAGE`: it makes no sense.
    """
    storages = {}

    def persistent_load(about: Any) -> Storage:
        storage = _storage(about)
        storages[storage.key] = storage
        return storage

    return restricted_pickle.load(file, _known, rebuilt, persistent_load), storages


def _known(name: Global) -> Global:
    if name not in GLOBALS:
        raise ValueError(f"it asks for {name}, which is no part of a state dict")
    return name


def _keys(keys: Any) -> list:
    if not isinstance(keys, list):
        raise ValueError("its storages have no list")
    return restricted_pickle.keys(keys)  # which can be hashed


def _storage(about: Any) -> Storage:
    match about:
        case ("storage", Global() as kind, str(key), _, int(count), *views) if kind in DTYPES and not any(views):
            return Storage(DTYPES[kind], key, count)
    raise ValueError("it has a storage of an unknown kind")


def rebuilt(function: Global, args: tuple) -> Any:
    """What one of the `GLOBALS` makes of its arguments."""
    match args:
        case () if function == DICTIONARY:
            return {}
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_) if function in TENSORS:
            return Tensor(storage, offset, shape, strides)
        case (Tensor() as tensor, *_) if function in PARAMETERS:
            return tensor
    raise ValueError("it calls something that is no part of a state dict, or in another way")


def fold_batch_norm(state: dict[str, np.ndarray], weight: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [rows, columns, in, out] and bias, float64, that do what a convolution and the BatchNorm behind it do.

    Args:
        state: PyTorch's tensors by name.
        weight: the name of the convolution's kernel.
        norm: what the names of the BatchNorm's tensors begin with.
    """
    scale, shift, mean, variance = (np.float64(state[f"{norm}.{part}"]) for part in BATCH_NORM)
    scale = scale / np.sqrt(variance + EPSILON)
    return state[weight].transpose(2, 3, 1, 0) * scale, shift - mean * scale
