"""Data sets of TensorFlow Datasets: read without TensorFlow, and prepared once or refused in one line."""

import contextlib
import gzip
import importlib.util
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from experiments import raises_user_error, tiny_config
from PIL import Image
from programs import DEADLINE, ROOT, members, options, train_tiny, wait_until
from tensorflow_datasets.core.download import resource
from tensorflow_datasets.proto import tf_example_pb2

from jaxgan.data import loader, prepare
from jaxgan.data.cache import LazyDataset
from jaxgan.data.dataset import ArrayDataset
from jaxgan.data.selection import select
from jaxgan.data.sources import open_dataset, tfds
from jaxgan.errors import UserError

PYTHON = "tensorflow_datasets.core.features."
RGB = {
    "pythonClassName": PYTHON + "image_feature.Image",
    "image": {"dtype": "uint8", "shape": {"dimensions": ["6", "6", "3"]}},
}
KIND = {"pythonClassName": PYTHON + "class_label_feature.ClassLabel", "classLabel": {"numClasses": "3"}}
NUMBER = {"pythonClassName": PYTHON + "tensor_feature.Tensor", "tensor": {"dtype": "int64", "shape": {}}}
NAMES = ("cat", "dog", "emu")
COUNTS = {"train": 7, "test": 3}
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
NO_NETWORK |= {"no_proxy": "", "NO_PROXY": ""}


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch) -> Path:
    """Where TensorFlow Datasets keeps its files; nothing can be reached from here."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("JAXGAN_DATA_CACHE", str(tmp_path / "cache"))
    for name, value in NO_NETWORK.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "tfds"


def pixels(split: str) -> np.ndarray:
    """The pictures of a split: uint8 [N, 6, 6, 3]."""
    return np.random.default_rng(len(split)).integers(0, 256, (COUNTS[split], 6, 6, 3), np.uint8)


def labels(split: str) -> np.ndarray:
    """The labels of a split: int32 [N]."""
    return np.arange(COUNTS[split], dtype=np.int32) * 2 % 3


def example(features: dict, picture: np.ndarray, label: int) -> bytes:
    """A serialized tf.train.Example: every image is `picture` as PNG, every number `label`."""
    made = tf_example_pb2.Example()
    for name, feature in features.items():
        if "image" in feature:
            encoded = io.BytesIO()
            Image.fromarray(picture).save(encoded, "PNG")
            made.features.feature[name].bytes_list.value.append(encoded.getvalue())
        else:
            made.features.feature[name].int64_list.value.append(label)
    return made.SerializeToString()


def write_set(folder: Path, features: dict, config: str = "") -> None:
    """A data set as TensorFlow Datasets lays it out; the first split in two files."""
    folder.mkdir(parents=True)
    name = folder.parts[-3 if config else -2]
    described = {"name": name, "version": folder.name, "fileFormat": "array_record", "configName": config, "splits": []}
    for split, count in COUNTS.items():
        shards = np.array_split(np.arange(count), 2 if split == "train" else 1)
        for number, shard in enumerate(shards):
            path = folder / f"{name}-{split}.array_record-{number:05d}-of-{len(shards):05d}"
            writer = ArrayRecordWriter(str(path), "group_size:1")
            for i in shard:
                writer.write(example(features, pixels(split)[i], int(labels(split)[i])))
            writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        lengths = [str(len(shard)) for shard in shards]
        described["splits"].append({"name": split, "filepathTemplate": template, "shardLengths": lengths})
    (folder / "dataset_info.json").write_text(json.dumps(described))
    all_features = {"pythonClassName": PYTHON + "features_dict.FeaturesDict", "featuresDict": {"features": features}}
    (folder / "features.json").write_text(json.dumps(all_features))
    for feature in features:
        (folder / f"{feature}.labels.txt").write_text("\n".join(NAMES) + "\n")


def config_of(place: str, **settings):
    settings = {"size": 6, "channels": 3} | settings
    return tiny_config(data__source=f"tfds:{place}", **{f"data__{name}": value for name, value in settings.items()})


# Read


@pytest.mark.parametrize(
    ("split", "parts"),
    [
        ("train", [("train", 0, 7)]),
        ("test", [("test", 0, 3)]),
        ("test+train[2:-1]", [("test", 0, 3), ("train", 2, 6)]),
        ("train[3:5]", [("train", 3, 5)]),  # across two files
    ],
)
@pytest.mark.parametrize("stored", [True, False])
def test_a_set_is_read_as_it_was_written(data_dir, split, parts, stored):
    write_set(data_dir / "pets" / "1.2.0", {"image": RGB, "label": KIND})
    config = config_of("pets", split=split, cache=stored)
    examples = open_dataset(config)
    batch = examples.take(np.arange(len(examples)))
    np.testing.assert_array_equal(batch["images"], np.concatenate([pixels(name)[a:b] for name, a, b in parts]))
    np.testing.assert_array_equal(batch["labels"], np.concatenate([labels(name)[a:b] for name, a, b in parts]))
    assert examples.classes == NAMES
    assert isinstance(examples, ArrayDataset if stored else LazyDataset)


@pytest.mark.parametrize("placement", ["resident", "streaming"])
def test_a_set_is_loaded_in_batches(data_dir, placement):
    write_set(data_dir / "pets" / "1.2.0", {"image": RGB, "label": KIND})
    config = config_of("pets", placement=placement, cache=False, workers=0)
    config.batch_size = 7  # an epoch
    own = loader.make_loader(config, open_dataset(config), 1, room=0)
    with contextlib.closing(own):
        data, inputs = jax.device_put((own.data, own.inputs_at(0, 1)))
        batch = own.gather(data, jax.tree.map(lambda array: array[0], inputs))
    order = np.argsort([image.tobytes() for image in batch["images"][0]])
    expected = np.argsort([image.tobytes() for image in pixels("train")])
    np.testing.assert_array_equal(batch["images"][0][order], pixels("train")[expected])
    np.testing.assert_array_equal(batch["labels"][0][order], labels("train")[expected])


def test_classes_are_chosen_by_name(data_dir):
    write_set(data_dir / "pets" / "1.2.0", {"image": RGB, "label": KIND})
    examples = open_dataset(config_of("pets", classes=("emu",)))
    np.testing.assert_array_equal(examples.images, pixels("train")[labels("train") == 2])
    assert (examples.classes, set(examples.labels)) == (("emu",), {0})


@pytest.mark.parametrize(
    ("features", "label"),
    [
        ({"image": RGB}, False),
        ({"picture": RGB, "id": NUMBER}, False),
        ({"image": RGB, "label": NUMBER}, False),  # a number without names is no class
        ({"picture": RGB, "kind": KIND, "id": NUMBER}, True),
        ({"image": RGB, "colour": KIND, "label": KIND}, True),
        ({"image": RGB, "colour": KIND, "shape": KIND}, False),  # nobody knows which
    ],
)
def test_the_image_and_the_label_are_found_by_their_kind(data_dir, features, label):
    write_set(data_dir / "pets" / "1.2.0", features)
    examples = open_dataset(config_of("pets"))
    np.testing.assert_array_equal(examples.images, pixels("train"))
    np.testing.assert_array_equal(examples.labels, labels("train") * label)
    assert examples.classes == (NAMES if label else ())


@pytest.mark.parametrize("features", [{"left": RGB, "right": RGB, "label": KIND}, {"id": NUMBER}])
def test_a_set_has_to_have_one_image_in_each_example(data_dir, features):
    write_set(data_dir / "pairs" / "1.0.0", features)
    with raises_user_error(UserError) as raised:
        open_dataset(config_of("pairs"))
    assert str(raised.value).startswith("tfds:pairs must have one image")
    assert all(name in str(raised.value) for name in features)


def test_versions_and_configurations(data_dir):
    write_set(data_dir / "pets" / "1.2.0", {"image": RGB, "label": KIND})
    write_set(data_dir / "pets" / "1.10.0", {"image": RGB})
    write_set(data_dir / "birds" / "small" / "3.0.0", {"image": RGB, "label": KIND}, config="small")
    with_labels = {
        place: bool(open_dataset(config_of(place)).classes)
        for place in ("pets", "pets:1.2.0", "pets:1.10.0", "pets:1.*.*", "birds/small", "birds/small:3.0.0")
    }
    assert with_labels == {
        "pets": False,  # the newest
        "pets:1.2.0": True,
        "pets:1.10.0": False,
        "pets:1.*.*": False,
        "birds/small": True,
        "birds/small:3.0.0": True,
    }


def test_a_set_that_was_prepared_anew_is_decoded_anew(data_dir):
    write_set(data_dir / "pets" / "1.2.0", {"image": RGB, "label": KIND})
    content = lambda: select(config_of("pets").data, tfds.read("pets")).content  # noqa: E731
    before = content()
    assert content() == before
    (path,) = (data_dir / "pets" / "1.2.0").glob("*-test.*")
    path.write_bytes(path.read_bytes())
    assert content() != before


# Stands for TensorFlow where it is missing, and records whether anything asks for it.
NO_TENSORFLOW = """
import sys
sys.tensorflow_was_asked_for = True
raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
"""

READ = """
import sys
from jaxgan.cli import train
from jaxgan.data import loader, sources

config, _ = train.parse(sys.argv[1:])
own = loader.make_loader(config, sources.open_dataset(config), 1, room=2**30)
own.inputs_at(0, 1)
print(loader.summary(own))
print(own.dataset.digest)
print(hasattr(sys, "tensorflow_was_asked_for"), "tensorflow" in sys.modules)
"""


@pytest.fixture
def no_tensorflow(tmp_path, monkeypatch) -> None:
    """Programs started now cannot import TensorFlow."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "tensorflow.py").write_text(NO_TENSORFLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))


def run(*command: str) -> subprocess.CompletedProcess:
    """A Python program, run to its end."""
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def test_reading_takes_no_tensorflow(data_dir, no_tensorflow):
    write_set(data_dir / "pets" / "1.2.0", {"image": RGB, "label": KIND})
    settings = ("--config.data.source=tfds:pets:1.2.0", "--config.data.size=6", "--config.data.channels=3")
    done = run("-c", READ, *settings)
    assert done.returncode == 0, done.stderr
    summary, digest, tensorflow = done.stdout.splitlines()
    assert summary == "7 images (6x6x3), 3 classes (cat, dog, emu); resident"
    assert digest == open_dataset(config_of("pets")).digest
    assert tensorflow == "False False"
    assert done.stderr == ""


# Refused

WRONG = {
    "mnits": "unknown data set of TensorFlow Datasets named 'mnits': did you mean mnist or .*",
    "pest": "unknown data set of TensorFlow Datasets named 'pest': did you mean pets.*",
    "qqqqqq": r"unknown data set of TensorFlow Datasets named 'qqqqqq': none of the \d+ is near it",
    "pets:9.9.9": r"config.data.source=tfds:pets:9.9.9: .*/pets holds no such version",
    "pets/large": r"config.data.source=tfds:pets/large: .*/pets holds no such version",
    "mnist:9.9.9": r"config.data.source=tfds:mnist:9.9.9: .*cannot be loaded at version 9.9.9, only: [\d., ]+",
    "mnist:x": "config.data.source=tfds:mnist:x: .*/mnist holds no such version",
    "mnist/large": "config.data.source=tfds:mnist/large: .*BuilderConfig large not found.*",
    "": "config.data.source=tfds:: Parsing builder name string  ?failed. .*",
    "../pets": "config.data.source=tfds:../pets: Parsing builder name string ../pets failed. .*",
}


@pytest.mark.parametrize("place", WRONG)
def test_a_wrong_name_is_one_line(data_dir, tmp_path, capsys, place):
    write_set(data_dir / "pets" / "1.2.0", {"image": RGB, "label": KIND})
    assert train_tiny(tmp_path / "run", f"--config.data.source=tfds:{place}") == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert re.fullmatch("error: " + WRONG[place], line), line
    assert out == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("argv", [[], ["mnist"], ["tfds:"], ["folder:x"], ["tfds:mnist", "tfds:cifar10"], ["--help"]])
def test_a_wrong_command_line(capsys, argv):
    assert prepare.main(argv) == 2
    given = " ".join(argv) or "nothing"
    assert capsys.readouterr() == (
        "",
        f"error: {given!r}: write python -m jaxgan.data.prepare tfds:NAME, say tfds:mnist\n",
    )


def test_what_is_prepared_is_not_prepared_again(data_dir, capsys, monkeypatch):
    write_set(data_dir / "pets" / "1.2.0", {"image": RGB, "label": KIND})
    monkeypatch.setattr(subprocess, "Popen", None)  # by which TensorFlow would be started
    assert prepare.main(["tfds:pets"]) == 0
    assert capsys.readouterr() == (f"tfds:pets is prepared: {data_dir / 'pets' / '1.2.0'}\n", "")


# Prepared

MNIST = [
    f"{name}-ubyte.gz" for name in ("t10k-images-idx3", "t10k-labels-idx1", "train-images-idx3", "train-labels-idx1")
]


def test_a_server_out_of_reach_is_named_with_the_way_around_it(data_dir, monkeypatch):
    asked = []
    monkeypatch.setattr(prepare, "_reachable", lambda host, port: asked.append((host, port)))
    for name in NO_NETWORK:
        monkeypatch.delenv(name)
    with raises_user_error(UserError) as raised:
        prepare.prepare("mnist")
    assert str(raised.value) == (
        "tfds:mnist cannot be downloaded, since storage.googleapis.com is out of reach: connect to the internet, "
        f"or put {', '.join(MNIST)} into {data_dir / 'downloads' / 'manual' / 'mnist'} by hand"
    )
    assert set(asked) == {("storage.googleapis.com", 443)}


def test_train_names_the_server_too_and_soon(data_dir, tmp_path):
    """By way of a proxy that is out of reach, whether or not there is a network."""
    start = time.monotonic()
    done = run("train.py", *options(tmp_path / "run", "--config.data.source=tfds:mnist"))
    assert time.monotonic() - start < 60  # where TFDS alone takes more than three minutes
    assert done.returncode == 2
    assert done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: tfds:mnist cannot be downloaded, since 127.0.0.1 is out of reach: ")
    assert line.endswith(f"put {', '.join(MNIST)} into {data_dir / 'downloads' / 'manual' / 'mnist'} by hand")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_how_long_a_server_may_take(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert prepare._reachable("127.0.0.1", port)
    assert not prepare._reachable("127.0.0.1", port)

    ends = threading.Event()

    def hang(address, timeout):
        assert ends.wait(DEADLINE)
        raise TimeoutError

    monkeypatch.setattr(prepare, "PATIENCE", 0.1)
    monkeypatch.setattr(socket, "create_connection", hang)
    start = time.monotonic()
    assert not prepare._reachable("nowhere.invalid", 443)
    assert time.monotonic() - start < 10
    ends.set()


def test_files_that_were_put_there_by_hand_are_used(data_dir):
    """Here they are found to be wrong, which is enough to see it."""
    manual = data_dir / "downloads" / "manual" / "mnist"
    manual.mkdir(parents=True)
    for name in MNIST:
        (manual / name).write_bytes(b"not this one")
    with raises_user_error(UserError, match=r"^tfds:mnist cannot be prepared \(NonMatchingChecksumError: ") as raised:
        prepare.prepare("mnist")
    assert str(manual) in str(raised.value)


@contextlib.contextmanager
def hanging_download():
    """The program, in a group of its own, once it waits for a server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
        # Whoever starts the tests in the background may have Ctrl-C ignored, and programs inherit that.
        code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
        code += "; from jaxgan.data import prepare; sys.exit(prepare.main(['tfds:mnist']))"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {name: proxy for name in NO_NETWORK if "no" not in name.lower()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            server.settimeout(DEADLINE)
            server.accept()[0].close()
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_ctrl_c_ends_a_download(data_dir):
    with hanging_download() as process:
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == ""
    assert err.endswith("interrupted: the same command starts again\n")
    assert "Traceback" not in err


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_a_download_does_not_outlive_the_program(data_dir):
    with hanging_download() as process:
        assert len(members(process.pid)) == 2
        process.kill()
        process.communicate(timeout=20)  # both ends of its pipes are closed
        assert wait_until(lambda: not members(process.pid))


def test_without_tensorflow_the_extra_is_named(data_dir, no_tensorflow):
    """Where the files were downloaded: TFDS has a record of that, and does not look into them."""
    for url, info in prepare.find_builder("mnist").url_infos.items():
        path = data_dir / "downloads" / "mnist" / resource.get_dl_fname(url, info.checksum)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b""))
        url_info = {"checksum": info.checksum, "size": info.size, "filename": info.filename}
        about = {"dataset_names": ["mnist"], "original_fname": info.filename, "urls": [url], "url_info": url_info}
        path.with_name(path.name + ".INFO").write_text(json.dumps(about))
    done = run("-m", "jaxgan.data.prepare", "tfds:mnist")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == (
        "error: tfds:mnist needs TensorFlow once, to be prepared: pip install -e '.[prepare]' in the folder of train.py"
    )
    assert "Traceback" not in done.stderr


# The real thing

SHARED = Path(__file__).parents[1] / ".." / "shared"


@pytest.mark.skipif(not importlib.util.find_spec("tensorflow"), reason="preparing MNIST takes TensorFlow")
@pytest.mark.skipif(not (SHARED / "data" / "mnist").exists(), reason="the files of MNIST are not in ../shared")
def test_mnist(data_dir):
    seeded = run(str(SHARED / "tools" / "seed_tfds_mnist.py"), str(data_dir))
    assert seeded.returncode == 0, seeded.stderr
    done = run("-m", "jaxgan.data.prepare", "tfds:mnist")
    assert done.returncode == 0, done.stderr
    (prepared,) = (data_dir / "mnist").glob("*.*.*")
    assert done.stdout == f"tfds:mnist is prepared: {prepared}\n"

    counts = {  # of the digits, as the literature has them
        "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    }
    source = tfds.read("mnist")
    assert {name: np.bincount(split.labels()).tolist() for name, split in source.splits.items()} == counts
    assert source.classes == tuple("0123456789")
    examples = open_dataset(config_of("mnist", split="test", size=28, channels=1))
    original = np.frombuffer(gzip.decompress((SHARED / "data" / "mnist" / MNIST[0]).read_bytes()), np.uint8, offset=16)
    assert sorted(map(bytes, examples.images)) == sorted(map(bytes, original.reshape(10000, 784)))

    before = {path: path.stat().st_mtime_ns for path in prepared.iterdir()}
    prepare.prepare("mnist")
    assert {path: path.stat().st_mtime_ns for path in prepared.iterdir()} == before
