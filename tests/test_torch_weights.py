"""Weights of PyTorch: read to the number, in both formats; refused when damaged or hostile; nothing is ever run."""

import copy
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from damage import harm_bytes, limited, payload
from experiments import raises_user_error
from hypothesis import given
from hypothesis import strategies as st
from torch_files import dictionary, legacy, named, number, pickled, tensor, text, zipped

from jaxgan.errors import UserError
from jaxgan.io import torch_weights

HERE = Path(__file__).parent
GOLDEN = {name: (HERE / f"golden_{name}.pth").read_bytes() for name in ("weights", "weights_legacy")}


SIX = np.arange(6, dtype="<f4")
FORMATS = {
    "zip": lambda body: zipped(body, data_0=SIX.tobytes()),
    "legacy": lambda body: legacy(body, struct.pack("<q", len(SIX)) + SIX.tobytes()),
}
both = pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)


def read(raw: bytes, folder: Path) -> dict[str, np.ndarray]:
    path = folder / "weights.pth"
    path.write_bytes(raw)
    return torch_weights.read(path)


def answer(raw: bytes, folder: Path) -> dict[str, np.ndarray] | str:
    """The same, or the error message."""
    try:
        return read(raw, folder)
    except UserError as error:
        return str(error)


# What is read


@pytest.mark.parametrize("name", GOLDEN)
def test_files_of_pytorch_hold_what_it_put_there(name, tmp_path):
    """The state dict of `make_golden_inception.small_state`, written by PyTorch 2.13."""
    count = np.arange(24, dtype=np.float32)
    expected = {
        "weight": np.ones(2, np.float32),
        "bias": np.zeros(2, np.float32),
        "running_mean": np.zeros(2, np.float32),
        "running_var": np.ones(2, np.float32),
        "num_batches_tracked": np.int64(0),
        "matrix": count.reshape(4, 6),
        "turned": count.reshape(4, 6).T,
        "part": count.reshape(2, 3, 4)[1:, ::2, 1:3],
        "halves": np.float16([0.5, -2]),
        "flags": np.array([True, False]),
        "none": np.zeros((0, 3), np.float32),
        "parameter": np.float64([[1, 2]]),
    }
    found = read(GOLDEN[name], tmp_path)
    assert list(found) == list(expected)
    for key, array in found.items():
        assert array.dtype == expected[key].dtype
        np.testing.assert_array_equal(array, expected[key])
        assert array.shape == expected[key].shape


@both
def test_files_written_by_hand_are_read(write, tmp_path):
    found = read(write(dictionary(a=tensor(), b=tensor(1, (2, 2), (3, 1)))), tmp_path)
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], SIX)
    np.testing.assert_array_equal(found["b"], [[1, 2], [4, 5]])


def test_halves_of_float32_are_read(tmp_path):
    raw = np.uint16([0x3F80, 0xC000, 0x3EAB]).tobytes()  # the upper 16 bits of float32
    body = dictionary(a=tensor(shape=(3,), count=3, kind="BFloat16Storage"))
    found = read(zipped(body, data_0=raw), tmp_path)["a"]
    np.testing.assert_array_equal(found.astype(np.float32), np.float32([1, -2, 0.333984375]))


@st.composite
def places(draw):
    """(offset, shape, strides, count) of a tensor, many of them beyond their storage."""
    dims = draw(st.integers(0, 3))
    few = st.lists(st.integers(0, 3), min_size=dims, max_size=dims).map(tuple)
    return draw(st.integers(0, 6)), draw(few), draw(few), draw(st.integers(0, 12))


@given(places())
def test_offset_and_strides_count_numbers_and_what_lies_beyond_is_refused(tmp_path_factory, place):
    offset, shape, strides, count = place
    numbers = np.arange(count, dtype="<i2")
    raw = zipped(dictionary(a=tensor(offset, shape, strides, count, kind="ShortStorage")), data_0=numbers.tobytes())
    folder = tmp_path_factory.mktemp("place")
    indices = np.indices(shape).reshape(len(shape), -1) if shape else np.zeros((0, 1), int)
    wanted = offset + (np.array(strides, int)[:, None] * indices).sum(0)
    if wanted.size and wanted.max() >= count:
        with raises_user_error(UserError, match="beyond"):
            read(raw, folder)
    else:
        found = read(raw, folder)["a"]
        assert found.shape == shape
        np.testing.assert_array_equal(found.reshape(-1), numbers[wanted])


# What is refused

HUGE = 2**63 - 1
BEYOND = {
    "an offset": tensor(offset=6),
    "a length": tensor(shape=(7,)),
    "a stride": tensor(strides=(2,)),
    "an offset below 0": tensor(offset=-1),
    "a length below 0": tensor(shape=(-1,)),
    "a stride below 0": tensor(offset=5, strides=(-1,)),
    "integers that overflow": tensor(shape=(HUGE, HUGE), strides=(HUGE, HUGE)),
    "a product that overflows to 0": tensor(shape=(2**32, 2**32), strides=(2**32, 0)),
    "another number of strides": tensor(shape=(1, 1), strides=(1,)),
    "a promise of more": tensor(count=7),
    "a promise of fewer": tensor(count=5, shape=(5,)),
    "another type": tensor(kind="DoubleStorage"),
    "no such storage": tensor(key="1"),
    "a number that is none": tensor().replace(number(0), b"N"),
}


@both
@pytest.mark.parametrize("what", BEYOND)
def test_a_tensor_that_does_not_lie_in_its_storage_is_refused(what, write, tmp_path):
    with raises_user_error(UserError, match="cannot be read as weights of PyTorch"):
        read(write(dictionary(a=BEYOND[what])), tmp_path)


def test_an_empty_storage_holds_nothing(tmp_path):
    """NumPy checks the bounds of every buffer but of an empty one."""
    with raises_user_error(UserError, match="beyond"):
        read(zipped(dictionary(a=tensor(count=0, shape=(4,))), data_0=b""), tmp_path)


class Evil:
    """Whose pickle runs a command."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Eval(Evil):
    def __reduce__(self):
        return eval, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [Evil, Eval])
def test_nothing_in_a_pickle_is_run(kind, protocol, tmp_path):
    marker = tmp_path / "marker"
    command = f"touch {marker}" if kind is Evil else payload(marker)
    body = pickle.dumps({"a": kind(command)}, protocol)
    pickle.loads(body)
    assert marker.exists()  # so the payload works
    marker.unlink()
    for raw in (zipped(body), legacy(body), body):
        with raises_user_error(UserError):
            read(raw, tmp_path)
    assert not marker.exists()


@both
@pytest.mark.parametrize("name", ["posix.system", "builtins.eval", "torch.load", "torch._utils._rebuild_qtensor"])
def test_a_name_that_no_state_dict_has_is_an_error(name, write, tmp_path):
    call = named(*name.rsplit(".", 1)) + text("true") + b"\x85R"
    with raises_user_error(UserError, match=f"asks for {name},"):
        read(write(dictionary(a=call)), tmp_path)


@both
@pytest.mark.parametrize(
    "body",
    [
        pickled(tensor()),  # no dictionary
        dictionary(a=number(1)),
        dictionary(a=text("x")),
        dictionary(a=b"}"),
        pickled(b"}(" + number(1) + tensor() + b"u"),  # a key that is no string
        dictionary(a=named("torch._utils", "_rebuild_tensor_v2") + b")R"),  # without arguments
        dictionary(a=text("torch._utils _rebuild_tensor_v2") + b")R"),
        dictionary(a=named("torch._utils", "_rebuild_parameter") + text("x") + b"\x85R"),
        dictionary(a=named("torch", "FloatStorage") + b")R"),
        dictionary(a=text("0") + b"Q"),  # a storage without type
        dictionary(a=b"h\x07"),  # what was never remembered
        dictionary(a=b"t"),  # a tuple that never began
        b"\x80\x02.",
        b"",
    ],
)
def test_a_pickle_that_is_no_state_dict_is_refused(body, write, tmp_path):
    with raises_user_error(UserError, match="cannot be read as weights of PyTorch"):
        read(write(body), tmp_path)


@both
def test_tuples_in_tuples_take_no_time(write, tmp_path):
    """Each of 100 holds the one before it twice: whoever hashed or printed the last one would never end."""
    bomb = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(100))
    with limited(10):
        for body in (dictionary(a=bomb), pickled(b"}(" + bomb + tensor() + b"u"), dictionary(a=bomb + b"Q")):
            with raises_user_error(UserError):
                read(write(body), tmp_path)
        with raises_user_error(UserError):
            read(legacy(dictionary(a=tensor()), keys=b"](" + bomb + b"e"), tmp_path)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_file_cut_off_anywhere_is_refused(name, tmp_path):
    length = len(GOLDEN[name])
    for end in sorted({*range(0, length, 13), *range(length - 9, length)}):
        with raises_user_error(UserError, match="cannot be read as weights of PyTorch"):
            read(GOLDEN[name][:end], tmp_path)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_damaged_file_ends_in_one_line_or_in_tensors(name, tmp_path):
    rng, whole = np.random.default_rng(0), read(GOLDEN[name], tmp_path)
    found = [answer(harm_bytes(GOLDEN[name], rng), tmp_path) for _ in range(120)]
    refused = [one for one in found if isinstance(one, str)]
    assert len(refused) > 60
    assert not any("\n" in message or "Type-check" in message for message in refused)
    for arrays in (one for one in found if not isinstance(one, str)):
        assert all(isinstance(array, np.ndarray) for array in arrays.values())
        if name == "weights":  # a zip archive has a checksum of every member
            assert all(np.array_equal(array, whole[key]) for key, array in arrays.items())


@pytest.mark.parametrize("raw", [b"", b"PK", b"\x00" * 100, b"no weights", b"\x89PNG\r\n", pickle.dumps({})])
def test_another_file_is_refused(raw, tmp_path):
    with raises_user_error(UserError, match=r"weights\.pth cannot be read as weights of PyTorch"):
        read(raw, tmp_path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (zipped(dictionary(a=tensor()), zipfile.ZIP_DEFLATED, data_0=SIX.tobytes()), "is compressed"),
        (zipped(dictionary(a=tensor()), byteorder=b"big", data_0=SIX.tobytes()), "highest byte first"),
        (zipped(dictionary(a=tensor())), "no item named 'archive/data/0'"),
        (io.BytesIO(b"PK\5\6" + bytes(18)).getvalue(), "no item named"),
    ],
)
def test_a_zip_archive_that_pytorch_does_not_write_is_refused(raw, message, tmp_path):
    with raises_user_error(UserError, match=message):
        read(raw, tmp_path)


def test_members_of_a_zip_archive_that_overlap_are_refused(tmp_path):
    """A list of many members that are the same bytes: a small file of any size."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", dictionary(a=tensor()))
        archive.writestr("archive/data/0", bytes(1000))
        for key in range(1, 9):
            member = copy.copy(archive.getinfo("archive/data/0"))
            member.filename = f"archive/data/{key}"
            archive.filelist.append(member)
    with raises_user_error(UserError, match="members overlap"):
        read(file.getvalue(), tmp_path)


def test_a_file_that_is_not_there_is_an_error_of_the_file_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        torch_weights.read(tmp_path / "none.pth")


# With PyTorch, where that is installed


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_every_type_that_pytorch_writes_is_read(kind, zip_format, tmp_path):
    torch = pytest.importorskip("torch")
    values = torch.arange(-3, 9).reshape(3, 4).to(getattr(torch, kind))
    state = {"whole": values, "turned": values.T, "part": values[1:, ::3], "wide": values[:1, :1].expand(5, 2)}
    path = tmp_path / "weights.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zip_format)
    found = torch_weights.read(path)
    for name, expected in state.items():
        assert found[name].dtype == expected.numpy().dtype
        np.testing.assert_array_equal(found[name], expected.numpy())
