"""The record of a checkpoint: what is in it, written beside its arrays, by which all damage is found."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORD = "record.json"


def record_digest(record: Mapping) -> str:
    """A fingerprint of a record."""
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """A fingerprint of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes a record, with the size and the digest of every file in the folder's own folders."""
    # Not of files in the folder itself, which Orbax changes when it gives the folder its name.
    paths = sorted(path for path in folder.glob("*/**/*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): [path.stat().st_size, file_digest(path)] for path in paths}
    record = {**record, "files": files}
    (folder / RECORD).write_text(json.dumps(record | {"seal": record_digest(record)}))


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a checkpoint whose files are there, each with the size that it had.

    Raises:
        ValueError: or another error, if the record is damaged, or a file is absent or of another size.
    """
    if not folder.is_dir():
        raise ValueError("there is no folder of this name")
    if not (folder / RECORD).is_file():
        raise ValueError(f"{RECORD} is missing")
    record = json.loads((folder / RECORD).read_text())
    if not isinstance(record, dict) or record.pop("seal", None) != record_digest(record):
        raise ValueError(f"{RECORD} is not what was written")
    if folder.name != str(record["step"]):
        raise ValueError(f"it was of step {record['step']}")
    for name, (size, _) in record["files"].items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{name} is missing")
        if path.stat().st_size != size:
            raise ValueError(f"{name} has {path.stat().st_size} bytes, and had {size}")
    return record


def check_files(folder: Path, record: Mapping[str, Any]) -> None:
    """Raises a `ValueError` if the bytes of a file are not those that were written."""
    for name, (_, digest) in record["files"].items():
        if file_digest(folder / name) != digest:
            raise ValueError(f"{name} is not what was written")
