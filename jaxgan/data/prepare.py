"""Prepares a data set of TensorFlow Datasets, once: downloads it and writes it as array_record files.

    python -m jaxgan.data.prepare tfds:mnist

train.py does the same when it needs the data set, in a process of its own: preparing takes TensorFlow, as a rule, and
that is not to share a process with JAX. The files go to $TFDS_DATA_DIR, ~/tensorflow_datasets if it is not set.
"""

import sys

from jaxgan import entry

if __name__ == "__main__":
    sys.exit(entry.prepare())

import contextlib
import io
import os
import socket
import subprocess
import threading
import urllib.parse
from pathlib import Path

import absl.logging
import requests
import tensorflow_datasets as tfds

import jaxgan
from jaxgan.errors import UserError, choose, exit_code
from jaxgan.io.files import file_lock

absl.logging.set_verbosity(absl.logging.ERROR)  # TFDS warns of every data set that is not prepared yet

PATIENCE = 8  # seconds until a server counts as out of reach


def folder() -> Path:
    """Where TensorFlow Datasets keeps its files."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def find_builder(place: str) -> tfds.core.DatasetBuilder:
    """The builder of `name`, `name:version` or `name/config:version`.

    Raises:
        UserError: there is no such data set or version.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints a page where TensorFlow is missing
            return tfds.builder(place, data_dir=folder(), file_format="array_record")
    except tfds.core.registered.DatasetNotFoundError as error:
        name = place.partition(":")[0].partition("/")[0]
        prepared = [path.name for path in folder().glob("*/")]  # by other programs, too, of data sets of their own
        known = {*tfds.list_builders(with_community_datasets=False), *prepared}
        choose("data set of TensorFlow Datasets named", name, known)
        raise UserError(f"config.data.source=tfds:{place}: {folder() / name} holds no such version") from error
    # What TFDS thinks of a version or of missing packages it says in errors of many types.
    except Exception as error:
        if "File format is already set" in str(error):
            raise UserError(
                f"tfds:{place} lies in {folder()} as tfrecord, not as array_record: remove it there, or set another "
                "TFDS_DATA_DIR, and it is prepared anew"
            ) from error
        raise UserError(
            _without_tensorflow(error, place) or f"config.data.source=tfds:{place}: {_line(error)}"
        ) from error


def prepared_builder(place: str) -> tfds.core.DatasetBuilder:
    """The same, of a prepared data set; if it is not, another process prepares it first.

    Raises:
        UserError: it could not be prepared.
    """
    builder = find_builder(place)
    if builder.is_prepared():
        return builder
    # Ctrl-C ends it at once: TFDS would wait for its downloads.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL)"
    code += "; from jaxgan.core import signals; signals.end_with_parent()"
    code += "; from jaxgan.data import prepare; prepare.child_main(sys.argv[1])"
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="2")
    package = str(Path(jaxgan.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, place], env=environment, **pipes) as process:
        message = process.stdout.read().strip()
    if process.returncode:
        raise UserError(message or f"preparing tfds:{place} ended with code {process.returncode}")
    return find_builder(place)


def prepare(place: str) -> None:
    """Downloads a data set and writes its array_record files, with progress bars; does nothing if they are there.

    Raises:
        UserError: TensorFlow is missing, a server is out of reach, or whatever else keeps TFDS from it.
    """
    builder = find_builder(place)
    downloads = folder() / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    # Where a user puts files by hand: a folder of the data set's own, since several sets name their files alike, or
    # TFDS's folder for all of them.
    manual = downloads / "manual" / builder.name
    settings = tfds.download.DownloadConfig(manual_dir=manual if manual.is_dir() else None)
    with file_lock(downloads / f"{builder.name}.lock"), fail_fast_downloads() as unreachable:
        if find_builder(place).is_prepared():  # by the process that had the lock before
            return
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare(download_dir=downloads, download_config=settings)
        except Exception as error:
            if unreachable:
                files = sorted({info.filename or url.rsplit("/", 1)[-1] for url, info in builder.url_infos.items()})
                raise UserError(
                    f"tfds:{place} cannot be downloaded, since {unreachable[0]} is out of reach: connect to the "
                    f"internet, or put {', '.join(files[:8])} into {manual} by hand"
                ) from error
            reason = f"{type(error).__name__}: {_line(error)}"
            raise UserError(
                _without_tensorflow(error, place) or f"tfds:{place} cannot be prepared ({reason})"
            ) from error


def child_main(place: str) -> None:
    """What `prepared_builder` runs in another process: if something goes wrong it prints what, and exits with 2."""
    parent, sys.stdout = sys.stdout, io.StringIO()  # threads of TFDS print after it has failed
    try:
        prepare(place)
    except (UserError, OSError) as error:
        print(error, file=parent, flush=True)
        sys.exit(2)


@contextlib.contextmanager
def fail_fast_downloads():
    """Lets downloads fail at once where a server is out of reach; yields the list of such servers.

    TFDS itself would ask ten times over minutes, and has no setting for that.
    """
    unreachable: list[str] = []

    class Adapter(requests.adapters.HTTPAdapter):
        def send(self, request: requests.PreparedRequest, **options: object) -> requests.Response:
            proxy = requests.utils.select_proxy(request.url, options.get("proxies"))
            address = urllib.parse.urlsplit(requests.utils.prepend_scheme_if_needed(proxy or request.url, "http"))
            port = address.port or (443 if address.scheme == "https" else 80)
            if not _reachable(address.hostname, port):
                unreachable.append(address.hostname)
                raise requests.ConnectionError(f"{address.hostname} is out of reach")
            return super().send(request, **options)

    stock, requests.adapters.HTTPAdapter = requests.adapters.HTTPAdapter, Adapter
    try:
        yield unreachable
    finally:
        requests.adapters.HTTPAdapter = stock


def _reachable(host: str, port: int) -> bool:
    answers: list[bool] = []

    def connect() -> None:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=PATIENCE):
            answers.append(True)

    # In a thread, since looking up a name knows no time limit.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(answers)


def _line(error: Exception) -> str:
    """What TFDS says on a whole page, in a line."""
    return " ".join(str(error).split())[:300]


def _without_tensorflow(error: Exception, place: str) -> str | None:
    if "No module named 'tensorflow'" not in str(error):
        return None
    return f"tfds:{place} needs TensorFlow once, to be prepared: pip install -e '.[prepare]' in the folder of train.py"


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv

    def run() -> None:
        kind, _, place = argv[0].partition(":") if len(argv) == 1 else ("", "", "")
        if kind != "tfds" or not place:
            raise UserError(
                f"{' '.join(argv) or 'nothing'!r}: write python -m jaxgan.data.prepare tfds:NAME, say tfds:mnist"
            )
        print(f"tfds:{place} is prepared: {prepared_builder(place).data_path}")

    return exit_code(run)
