"""Files of PyTorch, written opcode by opcode without PyTorch."""

import io
import struct
import zipfile

from jaxgan.io import torch_weights


def text(string: str) -> bytes:
    raw = string.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def together(*parts: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def numbers(values) -> bytes:
    return together(*map(number, values))


def tensor(offset=0, shape=(6,), strides=(1,), count=6, key="0", kind="FloatStorage") -> bytes:
    storage = together(text("storage"), named("torch", kind), text(key), text("cpu"), number(count)) + b"Q"
    hooks = named("collections", "OrderedDict") + b")R"
    about = together(storage, number(offset), numbers(shape), numbers(strides), b"\x89", hooks)
    return named("torch._utils", "_rebuild_tensor_v2") + about + b"R"


def pickled(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def dictionary(**values: bytes) -> bytes:
    """A pickle of a state dict."""
    return pickled(b"}(" + b"".join(text(name) + value for name, value in values.items()) + b"u")


def zipped(body: bytes, packed: int = zipfile.ZIP_STORED, **stored: bytes) -> bytes:
    """A file as PyTorch writes it today, of a pickle and of storages by key."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packed) as archive:
        archive.writestr("archive/data.pkl", body)
        for key, raw in stored.items():
            archive.writestr(f"archive/{key.replace('_', '/')}", raw)
    return file.getvalue()


def legacy(body: bytes, stored: bytes = b"", keys: bytes = b"](" + text("0") + b"e") -> bytes:
    """A file as PyTorch wrote it before version 1.6."""
    head = pickled(number(torch_weights.MAGIC)) + pickled(number(torch_weights.VERSION)) + pickled(b"}")
    return head + body + pickled(keys) + stored
