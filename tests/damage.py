"""Damage for tests: files and values as accidents and strangers leave them, chosen by a random generator."""

import contextlib
import faulthandler
import json
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgan.data import image_files

LIMIT = 30  # seconds for one case, of which most take a tenth


def pick(rng: np.random.Generator, things):
    """One of them, of whatever types they are."""
    return things[rng.integers(len(things))]


# Bytes


def flipped(raw: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(raw)
    for place in rng.integers(0, len(raw), rng.integers(1, 9)):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(raw: bytes, rng: np.random.Generator) -> bytes:
    return raw[: rng.integers(len(raw))]


def overwritten(raw: bytes, rng: np.random.Generator) -> bytes:
    start, length = rng.integers(len(raw)), rng.integers(1, 33)
    return raw[:start] + pick(rng, (bytes(length), b"\xff" * length, rng.bytes(length))) + raw[start + length :]


def longer(raw: bytes, rng: np.random.Generator) -> bytes:
    place = pick(rng, (len(raw), rng.integers(len(raw))))
    return raw[:place] + rng.bytes(rng.integers(1, 65)) + raw[place:]


def shuffled(raw: bytes, rng: np.random.Generator) -> bytes:
    first, second = sorted(rng.integers(0, len(raw) + 1, 2))
    return raw[second:] + raw[first:second] + raw[:first]


def retyped(raw: bytes, rng: np.random.Generator) -> bytes:
    """Some digits are other digits, some letters other letters: what is text stays readable."""
    changed = bytearray(raw)
    for kind in (b"0123456789", b"abcdefghijklmnopqrstuvwxyz"):
        places = [place for place, byte in enumerate(raw) if byte in kind]
        for place in rng.choice(places, rng.integers(0, 3)) if places else ():
            changed[place] = pick(rng, kind)
    return bytes(changed)


BYTES = (flipped, retyped, retyped, flipped, flipped, cut, overwritten, longer, shuffled)


def harm_bytes(raw: bytes, rng: np.random.Generator) -> bytes:
    """The bytes of a file after an accident."""
    return pick(rng, BYTES)(raw, rng) if raw else rng.bytes(9)


def harm_file(path: Path, rng: np.random.Generator) -> str:
    """Damages one file, which other folders may share; tells how."""
    raw, how = path.read_bytes(), pick(rng, ("bytes",) * 6 + ("empty", "lost", "folder", "link"))
    path.unlink()  # first: other names of the file keep what it holds
    if how == "bytes":
        path.write_bytes(harm_bytes(raw, rng))
    elif how == "empty":
        path.touch()
    elif how == "folder":
        path.mkdir()
    elif how == "link":  # that leads to itself
        path.symlink_to(path.name)
    return how


def harm_folder(path: Path, rng: np.random.Generator) -> str:
    """Damages a folder as a whole; tells how."""
    how = pick(rng, ("lost", "empty", "file", "renamed"))
    if how == "renamed":
        path.rename(path.with_name(pick(rng, ("x", "-1", "007", "9" * 30, "12.tmp", "\u0663"))))
        return how
    shutil.rmtree(path)
    if how == "empty":
        path.mkdir()
    elif how == "file":
        path.write_text("no folder")
    return how


# One file or folder in one certain way, which shared files survive


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replaces a file by one with other bytes; leaves folders alone."""
    if path.is_file():
        raw = path.read_bytes()
        path.unlink()
        path.write_bytes(change(raw))


def flip_middle(raw: bytes) -> bytes:
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]


def replace(path: Path, make: Callable[[Path], object]) -> None:
    """Puts something else in the place of a file or folder."""
    remove(path)
    make(path)


WAYS: dict[str, Callable[[Path], object]] = {
    "removed": remove,
    "renamed": lambda path: path.rename(path.with_name(path.name + "x")),
    "emptied": lambda path: replace(path, Path.mkdir) if path.is_dir() else rewrite(path, lambda raw: b""),
    "half": lambda path: rewrite(path, lambda raw: raw[: len(raw) // 2]),
    "flipped": lambda path: rewrite(path, flip_middle),
    "longer": lambda path: rewrite(path, lambda raw: raw + b"x"),
    "list": lambda path: rewrite(path, lambda raw: b"[]"),
    "deep": lambda path: rewrite(path, lambda raw: b"[" * 100_000),
    "swapped": lambda path: replace(path, Path.touch if path.is_dir() else Path.mkdir),
    "link": lambda path: replace(path, lambda path: path.symlink_to(path.name)),  # that leads to itself
    "pipe": lambda path: replace(path, os.mkfifo),  # of which nothing can ever be read
}


UNNEEDED = ("_CHECKPOINT_METADATA", "commit_success.txt")  # files of a checkpoint that hold nothing of the state


def places(folder: Path) -> list[Path]:
    """Every file and folder in a folder, as seen from there."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


# Values


def nested(depth: int) -> str:
    """JSON of lists in lists."""
    return "[" * depth + "]" * depth


def payload(marker: Path) -> str:
    """Python that would make a file, if anything ran it."""
    return f"__import__('pathlib').Path({str(marker)!r}).touch()"


NUMBERS = ("0", "-1", "1", "2", "3", "7", "1000000", "1" + "0" * 18, str(2**63), "1" + "0" * 400, "9" * 5000)
WHOLE = (*NUMBERS, "4", "12", "100", "65536")
NUMBERS += ("0.5", "1e-320", "1e308", "-1e308", "1e999", "NaN", "Infinity", "-Infinity", "-0.0", "1.0")
TEXTS = ('""', '"x"', '"\\u0000"', '"\\ud800"', f'"{"a" * 5000}"', '"a\\nb"', '"None"', '".."', '"\\u00e9"')
TREES = ("[]", "[1]", '["x"]', "[null]", "[[[]]]", "{}", '{"x": 1}', "null", "true", "false", "[0.5, 0.9]", "[NaN, 1]")
TREES += (
    '["a", "a"]',
    '["..", "."]',
    '["\\u0000", "a\\nb", ""]',
    "[1.0, 1e999]",
    *map(nested, (200, 900, 980, 20_000)),
)
SOURCES = ('"folder:\\u0000"', '"array:~nobody/x.npy"', '"world:ring"', '"tfds:"', '"array:.npy"', '"folder:"')
WORDS = ("", " ", "0", "-1", "1", "1e999", "nan", "inf", "9" * 30, "9" * 5000, "True", "None", "()", "(1,", "[1]")
WORDS += ("'x'", "\u00e9", "\udce9", "\u00b2", "1,2", ",", "a\nb", "(" * 300, "lambda: 0", "{}", "--", "=", "%s", "..")
WORDS += ("x", "-1,1", "all", "1e3", "[[[1]]]", "{1: 2}", "'\\x00'", "b'x'", "1_0", "1j", "-" * 999 + "1", "...")


def harm_value(tree: dict, rng: np.random.Generator, marker: Path) -> str:
    """JSON of a tree with one value replaced, lost or added anywhere."""
    place = tree = json.loads(json.dumps(tree))
    while True:
        name = pick(rng, sorted(place))
        if not (isinstance(place[name], dict) and place[name] and rng.random() < 0.9):
            break
        place = place[name]
    how = rng.random()
    if how < 0.1:
        del place[name]
        return json.dumps(tree)
    if how < 0.2:
        name = pick(rng, ("", "x", name + "s", "\u0000", "\ud800", "a.b", "__class__", "a" * 5000))
    hole, texts = "<hole>", (*TEXTS, *SOURCES, json.dumps(payload(marker)))
    likely = {str: texts, float: NUMBERS, int: WHOLE, list: TREES}.get(type(place.get(name)), TREES)
    place[name] = hole
    return json.dumps(tree).replace(json.dumps(hole), pick(rng, pick(rng, (*[likely] * 8, NUMBERS, texts, TREES))))


# Images


def picture(rng: np.random.Generator) -> tuple[bytes, str]:
    """A real picture as a camera or a program writes it, and the ending of its name."""
    import io  # noqa: PLC0415

    mode = pick(rng, ("L", "RGB", "RGBA", "P", "1", "I;16"))
    pixels = rng.integers(0, 256, (12, 10, 4), np.uint8)
    kind = pick(rng, ("png", "png", "jpeg", "jpeg", "webp", "bmp", "tiff"))
    plain = Image.fromarray(pixels[..., :3])
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else plain.convert(mode)
    if (kind == "jpeg" and mode not in ("L", "RGB")) or (kind in ("webp", "bmp") and mode == "I;16"):
        image = plain
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(1, 9))  # orientation
    file = io.BytesIO()
    image.save(file, format=kind, **({} if kind == "bmp" else {"exif": exif.tobytes()}))
    return file.getvalue(), kind


def claiming(raw: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """A picture that claims to be huge."""
    import struct  # noqa: PLC0415
    import zlib  # noqa: PLC0415

    side = int(pick(rng, (9_000, 14_000, 60_000, 2**31 - 1)))
    if kind == "png":
        head = raw[12:16] + struct.pack(">II", side, side) + raw[24:29]
        return raw[:12] + head + struct.pack(">I", zlib.crc32(head)) + raw[33:]
    if kind == "bmp":
        return raw[:18] + struct.pack("<ii", side, side) + raw[26:]
    if kind == "jpeg" and (start := raw.find(b"\xff\xc0")) > 0:
        return raw[: start + 5] + struct.pack(">HH", min(side, 65_535), min(side, 65_535)) + raw[start + 9 :]
    return cut(raw, rng)


# Programs


class TooLongError(BaseException):
    """A case did not end; no `except Exception` holds it."""


@contextlib.contextmanager
def limited(seconds: int = LIMIT) -> Iterator[None]:
    """Ends what takes longer: by an error in the main thread, or the process if no Python runs there any more."""

    def end(number: int, frame: object) -> None:
        raise TooLongError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    faulthandler.dump_traceback_later(4 * seconds, exit=True, file=sys.__stderr__)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def warnings_as_shipped() -> Iterator[None]:
    """Python's warnings reach stderr, as they do where no test makes errors of them."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        image_files.configure_warnings()
        warnings.showwarning = lambda *about, **_: print("Python warns:", *about[:2], file=sys.stderr)
        yield


def ending(program: Callable[[], int], capfd) -> tuple[int, list[str]]:
    """Runs a program; its exit code and the lines on its stderr.

    Raises:
        AssertionError: it ended in any way but success, or one line that says what is wrong after any warnings.
    """
    capfd.readouterr()
    with limited(), warnings_as_shipped():
        code = program()
    lines = capfd.readouterr().err.splitlines()
    said = lines[:-1] if code == 2 else lines
    assert code in (0, 2), f"the exit code is {code}"
    assert all(line.startswith("warning: ") for line in said), lines
    assert code == 0 or (lines and lines[-1].startswith("error: ") and len(lines[-1]) > 12), lines
    return code, lines
