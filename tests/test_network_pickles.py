"""Networks of StyleGAN2-ADA, StyleGAN3 and R3GAN: read to the number; hostile files end in one line; nothing is run."""

import copyreg
import os
import pickle
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from damage import harm_bytes, limited, payload
from experiments import raises_user_error
from network_files import (
    Call,
    Name,
    Opcodes,
    easy,
    encode,
    network_pickle,
    persistent,
    plain,
    reconstructed,
    saved,
    short_named,
    state,
    storage,
    tensor,
)
from torch_files import dictionary, legacy, named, pickled, text, zipped

from jaxgan.errors import UserError
from jaxgan.io import network_pickles, restricted_pickle

RNG = np.random.default_rng(0)
KERNEL, BIAS, MEAN = (RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 2, 3, 3), (4,), (5,)))
SIX = np.arange(6, dtype="<f4")


def read(raw: bytes, folder: Path) -> network_pickles.Contents:
    path = folder / "network.pkl"
    path.write_bytes(raw)
    return network_pickles.read(path)


def answer(raw: bytes, folder: Path) -> network_pickles.Contents | str:
    """The same, or the error message."""
    try:
        return read(raw, folder)
    except UserError as error:
        return str(error)


def refused(raw: bytes, folder: Path, match: str = "cannot be read as networks of PyTorch"):
    with raises_user_error(UserError, match=match) as caught:
        read(raw, folder)
    assert str(folder / "network.pkl") in str(caught.value)
    assert len(str(caught.value)) < 500


def small(parameters: dict, **attributes) -> dict:
    """A file of one network with parameters."""
    return {"G": persistent("Generator", state(parameters, {}, {}, **attributes))}


def styled() -> dict:
    """A file like those of StyleGAN2-ADA and StyleGAN3."""
    layer = state({"weight": KERNEL, "bias": BIAS}, {"noise_const": KERNEL[0, 0]}, {}, padding=(1, 1), up=2)
    synthesis = state({"none": None}, {}, {"b4": persistent("SynthesisLayer", layer), "b8": None}, num_ws=8)
    mapping = state({}, {"w_avg": MEAN}, {})
    modules = {"synthesis": persistent("Synthesis", synthesis), "mapping": persistent("Mapping", mapping)}
    generator = persistent(
        "Generator",
        state({}, {}, modules, z_dim=16, _hidden=1),
        z_dim=16,
        synthesis_kwargs=easy({"channel_max": 8, "conv_clamp": None, "resample_filter": [1, 3, 3, 1]}),
    )
    discriminator = persistent("Discriminator", state({"weight": KERNEL}, {}, {}), channel_max=8)
    kwargs = {"path": "/data/x.zip", "max_size": None, "resolution": 32, "xflip": False}
    return {"G": generator, "D": discriminator, "G_ema": generator, "augment_pipe": None, "training_set_kwargs": kwargs}


def named_modules() -> dict:
    """A file like those of R3GAN."""
    conv = plain("torch.nn.modules.conv", "Conv2d", state({"weight": KERNEL, "bias": None}, {}, {}, groups=2))
    layers = plain("torch.nn.modules.container", "ModuleList", state({}, {}, {"0": conv, "1": conv}))
    stage = plain("R3GAN.Networks", "Stage", state({}, {}, {"Layers": layers}, DataType=Name("torch", "bfloat16")))
    generator = plain("training.networks", "Generator", state({}, {"Kernel": BIAS}, {"Model": stage}, c_dim=3))
    moments = {"state": {0: {"step": saved(BIAS), "exp_avg": saved(KERNEL)}}, "param_groups": [{"lr": 1e-3}]}
    return {"G": generator, "G_ema": generator, "cur_nimg": 12345, "G_opt_state": moments}


# What is read

both = pytest.mark.parametrize("write_name", [named, short_named], ids=["protocol 3", "protocol 4"])


@both
def test_persistent_networks_are_read_with_their_arguments(write_name, tmp_path):
    found = read(network_pickle(styled(), write_name), tmp_path)
    assert list(found.networks) == ["G", "D", "G_ema"]
    assert found.metadata == {
        "augment_pipe": None,
        "training_set_kwargs": {"path": "/data/x.zip", "max_size": None, "resolution": 32, "xflip": False},
    }
    generator = found.networks["G"]
    assert generator.class_name == "Generator"
    assert generator.init_kwargs == {
        "z_dim": 16,
        "synthesis_kwargs": {"channel_max": 8, "conv_clamp": None, "resample_filter": [1, 3, 3, 1]},
    }
    assert generator.attributes == {
        "z_dim": 16,
        "synthesis.num_ws": 8,
        "synthesis.b4.padding": (1, 1),
        "synthesis.b4.up": 2,
    }
    expected = {
        "synthesis.b4.weight": KERNEL,
        "synthesis.b4.bias": BIAS,
        "synthesis.b4.noise_const": KERNEL[0, 0],
        "mapping.w_avg": MEAN,
    }
    assert list(generator.arrays) == list(expected)
    for name, array in generator.arrays.items():
        np.testing.assert_array_equal(array, expected[name], strict=True)


@both
def test_networks_of_named_classes_are_read_with_their_attributes(write_name, tmp_path):
    found = read(network_pickle(named_modules(), write_name), tmp_path)
    assert list(found.networks) == ["G", "G_ema"]
    assert found.metadata == {"cur_nimg": 12345}  # an optimizer's moments are no plain data
    class_name, init_kwargs, arrays, attributes = found.networks["G"]
    assert (class_name, init_kwargs) == ("training.networks.Generator", {})
    assert list(arrays) == ["Kernel", "Model.Layers.0.weight", "Model.Layers.1.weight"]
    np.testing.assert_array_equal(arrays["Model.Layers.1.weight"], KERNEL, strict=True)
    assert attributes == {
        "c_dim": 3,
        "Model.DataType": "torch.bfloat16",
        "Model.Layers.0.groups": 2,
        "Model.Layers.1.groups": 2,
    }


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("FloatStorage", SIX),
        ("DoubleStorage", np.float64([1 / 3, -2, 1e300])),
        ("HalfStorage", np.float16([0.5, -65504])),
        ("BFloat16Storage", np.uint16([0x3F80, 0xC000, 0x3EAB])),  # the upper halves of float32
        ("LongStorage", np.int64([-1, 2**24])),
        ("IntStorage", np.int32([-1, 7])),
        ("ShortStorage", np.int16([-1, 7])),
        ("CharStorage", np.int8([-1, 7])),
        ("ByteStorage", np.uint8([255, 0])),
        ("BoolStorage", np.array([True, False])),
    ],
)
@pytest.mark.parametrize("write", [legacy, zipped])
def test_all_types_of_numbers_become_float32(kind, numbers, write, tmp_path):
    if kind == "BFloat16Storage":
        expected = (numbers.astype(np.uint32) << 16).view(np.float32)
    else:
        with np.errstate(over="ignore"):
            expected = numbers.astype(np.float32)
    size = len(numbers)
    one = tensor(storage(numbers.tobytes(), size, kind, write), (size,), (1,))
    arrays = read(network_pickle(small({"weight": one})), tmp_path).networks["G"].arrays
    np.testing.assert_array_equal(arrays["weight"], expected, strict=True)


def test_tensors_share_a_storage_with_strides_and_offsets(tmp_path):
    first = tensor(Opcodes(encode(storage(SIX.tobytes(), 6)) + b"q\x07"), (2, 3), (3, 1))
    again = Opcodes(b"h\x07")
    turned, part = tensor(again, (3, 2), (1, 3)), tensor(again, (2, 2), (3, 1), offset=1)
    arrays = read(network_pickle(small({"a": first, "b": turned, "c": part})), tmp_path).networks["G"].arrays
    whole = SIX.reshape(2, 3)
    for name, expected in {"a": whole, "b": whole.T, "c": whole[:, 1:]}.items():
        np.testing.assert_array_equal(arrays[name], expected)


def test_parameters_with_state_are_read(tmp_path):
    weight = Call(Name("torch._utils", "_rebuild_parameter_with_state"), (saved(SIX), True, {}, {"tag": 1}))
    own = state({}, {}, {}) | {"_parameters": {"weight": weight}}
    arrays = read(network_pickle({"G": persistent("G", own)}), tmp_path).networks["G"].arrays
    np.testing.assert_array_equal(arrays["weight"], SIX, strict=True)


PLAIN = {
    "data": [{"a": (1, 2.5, None, True, "x"), 7: b"bytes"}, {1, 2}, frozenset("ab"), -(2**40), 255, 65536],
    "float": np.float64(1 / 3),
    "integer": np.int64(-5),
    "truth": np.bool_(True),
    "array": np.arange(6).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">f4"),
    "nothing": np.zeros((0, 2), np.float32),
}


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("package", [b"numpy._core", b"numpy.core"])
def test_plain_data_is_what_pickle_and_numpy_wrote(package, protocol, tmp_path):
    raw = pickle.dumps(PLAIN, protocol)[2:-1]
    for module in (b".multiarray", b".numeric"):
        new, old = b"numpy._core" + module, package + module
        raw = raw.replace(b"c" + new, b"c" + old).replace(bytes([len(new)]) + new, bytes([len(old)]) + old)
    found = read(network_pickle({**styled(), "extra": Opcodes(raw)}), tmp_path).metadata["extra"]
    assert list(found) == list(PLAIN)
    for name, value in PLAIN.items():
        assert type(found[name]) is type(value.item() if isinstance(value, np.generic) else value)
        np.testing.assert_equal(found[name], value)


# What is not run


class Evil:
    """Makes a file when it is made, or when it is given state."""

    def __new__(cls, marker: str = "", **kwargs: str):
        if marker or kwargs:
            Path(marker or kwargs["marker"]).touch()
        return super().__new__(cls)

    def __setstate__(self, marker: str):
        Path(marker).touch()


class Bystander:
    """Whose attributes a file would set."""


EVIL = (Evil.__module__, Evil.__qualname__)
BYSTANDER = (Bystander.__module__, Bystander.__qualname__)
SYSTEM = (os.system.__module__, "system")


def planted(marker: Path) -> dict[str, bytes]:
    """Opcodes that make a file when pickle follows them."""
    getattr_, system = named("builtins", "getattr"), named(*SYSTEM)
    command, code, path = text(f"touch {marker}"), text(payload(marker)), text(str(marker))
    return {
        "REDUCE of os.system": system + command + b"\x85R",
        "REDUCE of a name of protocol 4": short_named(*SYSTEM) + command + b"\x85R",
        "REDUCE of eval": named("builtins", "eval") + code + b"\x85R",
        "REDUCE of exec": named("builtins", "exec") + code + b"\x85R",
        "REDUCE of getattr": getattr_ + system + text("__call__") + b"\x86R" + command + b"\x85R",
        "INST": b"(" + command + b"i" + "\n".join(SYSTEM).encode() + b"\n",
        "OBJ": b"(" + system + command + b"o",
        "NEWOBJ": named(*EVIL) + path + b"\x85\x81",
        "NEWOBJ_EX": named(*EVIL) + b")}" + text("marker") + path + b"s\x92",
        "BUILD": named(*EVIL) + b")\x81" + path + b"b",
        "EXT1": b"\x82\xf0" + command + b"\x85R",
        "EXT2": b"\x83\xf0\x00" + command + b"\x85R",
        "EXT4": b"\x84\xf0\x00\x00\x00" + command + b"\x85R",
    }  # fmt: skip


@pytest.fixture
def registered():
    """os.system has a number."""
    copyreg.add_extension(*SYSTEM, 0xF0)
    yield
    copyreg.remove_extension(*SYSTEM, 0xF0)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("what", planted(Path()))
def test_nothing_in_a_file_is_run(what, tmp_path):
    marker = tmp_path / "marker"
    call = planted(marker)[what]
    try:
        pickle.loads(b"\x80\x04" + call + b".")
    finally:
        assert marker.exists()  # so the opcodes work
    marker.unlink()
    opcodes = Opcodes(call)
    for contents in (
        opcodes,
        {"G": opcodes},
        small({"weight": opcodes}),
        small({"weight": tensor(opcodes, (1,), (1,))}),
        {"G": persistent("Generator", {**state({}, {}, {}), "_modules": {"child": opcodes}})},
        {"G": persistent("Generator", state({}, {}, {}), z_dim=opcodes)},
    ):
        refused(network_pickle(contents), tmp_path)
        assert not marker.exists()


def test_an_inert_instance_beside_the_networks_changes_nothing(tmp_path):
    marker = tmp_path / "marker"
    inert = Opcodes(planted(marker)["BUILD"])
    found = read(network_pickle({**styled(), "other": inert}), tmp_path)
    assert not marker.exists()
    assert "other" not in found.metadata
    assert found.networks.keys() == {"G", "D", "G_ema"}


def test_source_code_of_classes_is_data(tmp_path):
    marker = tmp_path / "marker"
    read(network_pickle({"G": persistent("Generator", state({}, {}, {}), source=payload(marker))}), tmp_path)
    assert not marker.exists()


def test_no_module_is_imported(tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    (tmp_path / "planted_module.py").write_text(payload(marker))
    monkeypatch.syspath_prepend(tmp_path)
    read(network_pickle({"G": plain("planted_module", "Generator", state({}, {}, {}))}), tmp_path)
    assert not marker.exists()
    assert "planted_module" not in sys.modules


@pytest.mark.parametrize(
    "name", [("torch.nn", "Linear"), ("collections", "OrderedDict"), ("numpy", "ndarray"), BYSTANDER]
)
def test_state_sets_no_attribute_of_a_class(name, tmp_path):
    """State of two parts is given attribute by attribute, and a class has attributes as well."""
    slots = b"N}" + text("planted_attribute") + b"\x88s\x86b"
    contents = {**styled(), "other": Opcodes(named(*name) + slots)}
    read(network_pickle(contents), tmp_path)
    assert not hasattr(Bystander, "planted_attribute")
    pickle.loads(b"\x80\x04" + named(*BYSTANDER) + slots + b".")
    assert hasattr(Bystander, "planted_attribute")  # so the opcodes work
    del Bystander.planted_attribute


@pytest.mark.parametrize("name", ["builtins.getattr", "posix.system", "subprocess.Popen", "__builtin__.eval"])
@both
def test_names_of_the_standard_library_are_refused(name, write_name, tmp_path):
    contents = {**styled(), "other": Name(*name.rsplit(".", 1))}
    refused(network_pickle(contents, write_name), tmp_path, match=f"asks for {name},")


@pytest.mark.parametrize("persistent_id", [text("x") + b"Q", b"Px\n"])
def test_what_lies_outside_the_file_is_refused(persistent_id, tmp_path):
    refused(network_pickle({**styled(), "other": Opcodes(persistent_id)}), tmp_path)


# What is refused for its size or shape

HUGE = 2**62
STORED = storage(SIX.tobytes(), 6)
BEYOND = {
    "an offset": tensor(STORED, (6,), (1,), 1),
    "a length": tensor(STORED, (7,), (1,)),
    "a length below 0": tensor(STORED, (-1,), (1,)),
    "an offset below 0": tensor(STORED, (1,), (1,), -1),
    "a stride below 0": tensor(STORED, (2,), (-1,), 5),
    "huge lengths": tensor(STORED, (HUGE, HUGE), (HUGE, 1)),
    "strides of 0": tensor(STORED, (2**20, 2**20), (0, 0)),
    "overlapping strides": tensor(STORED, (2, 2, 2, 2**30), (1, 1, 1, 0)),
    "lengths that are no numbers": tensor(STORED, ("a",), (1,)),
    "more dimensions than NumPy has": tensor(STORED, (1,) * 99, (1,) * 99),
    "a promise of more": tensor(storage(SIX.tobytes(), 7), (6,), (1,)),
    "a promise of much more": tensor(storage(SIX.tobytes(), HUGE), (6,), (1,)),
    "a storage cut off": tensor(storage(SIX.tobytes()[:-1], 6), (6,), (1,)),
    "no storage": tensor(7, (6,), (1,)),
    "a wrong magic number": tensor(
        Call(Name("torch.storage", "_load_from_bytes"), (pickled(b"K\x07") + legacy(b""),)), (6,), (1,)
    ),
    "a dictionary for a storage": tensor(
        Call(Name("torch.storage", "_load_from_bytes"), (zipped(dictionary()),)), (6,), (1,)
    ),
    "a number": 7,
    "a text": "weight",
    "a class": Name("torch", "float32"),
}


@pytest.mark.parametrize("what", BEYOND)
def test_a_tensor_that_does_not_lie_in_its_storage_is_refused(what, tmp_path):
    refused(network_pickle(small({"weight": BEYOND[what]})), tmp_path)


def doubled(one: bytes, two: bytes, depth: int = 60) -> Opcodes:
    """What holds `one` twice, what holds that twice, and so on; `two` has a question mark where that stands."""
    for index in range(depth):
        place = struct.pack("<I", index)
        one += b"r" + place + b"0" + two.replace(b"?", b"j" + place)
    return Opcodes(one)


def doubled_modules(depth: int = 40) -> Opcodes:
    """A module that holds a module twice, which holds a module twice, and so on."""
    raw = encode(persistent("M", state({}, {}, {})))
    for index in range(depth):
        again = Opcodes(b"h%c" % index)
        raw += b"q%c0" % index + encode(persistent("M", state({}, {}, {"a": again, "b": again})))
    return Opcodes(raw)


def module_in_itself() -> Call:
    inner = reconstructed(type="class", version=6, class_name="G", state=Opcodes(b"h\x01"))
    own = encode({"_parameters": {}, "_buffers": {}, "_modules": {"a": inner}})
    return reconstructed(type="class", version=6, class_name="G", state=Opcodes(b"}q\x01" + own.removeprefix(b"}")))


def read_again_and_again(times: int) -> list:
    """One storage that is read `times` times."""
    name, (whole,), *_ = storage(bytes(100_000), 25_000)
    first = Opcodes(encode(whole) + b"q\x05")
    return [Call(name, (each,)) for each in (first, *[Opcodes(b"h\x05")] * (times - 1))]


LISTS, TUPLES = doubled(b"]", b"](??e", depth=30), doubled(b")", b"??\x86")
CYCLE = Opcodes(b"]q\x01h\x01a")
BOMBS = {
    "a list in itself": {**styled(), "training_set_kwargs": CYCLE},
    "a list in itself as an argument": {"G": persistent("G", state({}, {}, {}), z_dim=CYCLE)},
    "a list in itself as an attribute": small({}, z_dim=CYCLE),
    "a list in itself as the file": CYCLE,
    "a dictionary in itself": Opcodes(b"}q\x02" + text("G") + b"h\x02s"),
    "lists in lists": {**styled(), "training_set_kwargs": Opcodes(b"]" * 3000 + b"a" * 2999)},
    "tuples in tuples": {**styled(), "training_set_kwargs": Opcodes(b")" + b"\x85" * 3000)},
    "doubled lists": {**styled(), "training_set_kwargs": LISTS},
    "doubled lists as an argument": {"G": persistent("G", state({}, {}, {}), z_dim=LISTS)},
    "doubled lists as a version": {"G": reconstructed(type="class", class_name="G", state={}, version=LISTS)},
    "doubled tuples as a shape": small({"weight": tensor(STORED, TUPLES, (1,))}),
    "doubled tuples as a length": small({"weight": tensor(STORED, (TUPLES,), (1,))}),
    "doubled tuples as a key": Opcodes(b"}" + TUPLES + b"Ns"),
    "doubled tuples in a set": Opcodes(b"\x8f(" + TUPLES + b"\x90"),
    "doubled tuples in a frozen set": Opcodes(b"(" + TUPLES + b"\x91"),
    "doubled tuples in a set of protocol 3": Call(Name("builtins", "set"), ([TUPLES],)),
    "doubled tuples as items of a set": Opcodes(b"\x8f" + text("a") + TUPLES + b"s"),
    "doubled modules": {"G": doubled_modules()},
    "a module in itself": {"G": module_in_itself()},
    "a long name": small({"w" * 300: SIX}),
    "a memo of four billion": Opcodes(b"Nr\xff\xff\xff\xff"),
    "bytes that are not there": Opcodes(b"\x8e" + struct.pack("<Q", HUGE)),
    "an array of bytes that are not there": Opcodes(b"\x96" + struct.pack("<Q", HUGE)),
    "a text that is not there": Opcodes(b"\x8d" + struct.pack("<Q", HUGE)),
    "a frame that is not there": Opcodes(b"\x95" + struct.pack("<Q", HUGE)),
    "a storage that is read again and again": {**styled(), "other": read_again_and_again(9)},
    "an integer of a million digits": Opcodes(b"\x8b" + struct.pack("<i", 400_000) + bytes(399_999) + b"\x01"),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_takes_neither_time_nor_memory(what, tmp_path, monkeypatch):
    monkeypatch.setattr(network_pickles, "MOST_OPCODES", 1000)  # a bound on what is walked that is reached sooner
    raw = network_pickle(BOMBS[what])
    tracemalloc.start()
    try:
        with limited(60):
            refused(raw, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6 + 100 * len(raw)


def test_more_opcodes_than_any_network_has_are_refused(tmp_path, monkeypatch):
    whole = network_pickle(styled())
    read(whole, tmp_path)
    monkeypatch.setattr(restricted_pickle, "MOST_OPCODES", 200)
    refused(whole, tmp_path, match="more than 200 opcodes")


# Files that are damaged, or something else


@both
def test_a_file_cut_off_anywhere_is_refused(write_name, tmp_path):
    whole = network_pickle(named_modules(), write_name)
    for end in sorted({*range(0, len(whole), 331), *range(len(whole) - 9, len(whole))}):
        refused(whole[:end], tmp_path)


@pytest.mark.parametrize("contents", [styled(), named_modules()], ids=["persistent", "named"])
def test_a_damaged_file_ends_in_one_line_or_in_networks(contents, tmp_path):
    rng, whole = np.random.default_rng(0), network_pickle(contents)
    found = [answer(harm_bytes(whole, rng), tmp_path) for _ in range(40)]
    messages = [each for each in found if isinstance(each, str)]
    assert 5 < len(messages) < 40
    assert not any("\n" in message or "Type-check" in message for message in messages)
    networks = [net for each in found if not isinstance(each, str) for net in each.networks.values()]
    assert all(array.dtype == np.float32 for net in networks for array in net.arrays.values())


def tensorflow(module: str) -> tuple:
    kernel = Opcodes(pickle.dumps(KERNEL, 3)[2:-1])
    network = Call(Name(module, "Network"), (), {"version": 4, "variables": [("w", kernel)]}, b"\x81")
    return (network, network, network)


OTHERS = {
    "nothing": (b"", "does not begin as a pickle"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(40), "does not begin as a pickle"),
    "a page": (b"<!DOCTYPE html><html></html>", "does not begin as a pickle"),
    "weights of PyTorch": (zipped(dictionary(), data_0=b""), "torch.save writes a .pth"),
    "old weights of PyTorch": (legacy(dictionary()), "it is a .pth file"),
    "networks of TensorFlow": (
        network_pickle(tensorflow("dnnlib.tflib.network")),
        "of TensorFlow, which is not covered",
    ),
    "older networks of TensorFlow": (network_pickle(tensorflow("tfutil")), "of TensorFlow, which is not covered"),
    "deep data": (network_pickle({**styled(), "x": Opcodes(b")" + b"\x85" * 40)}), "nested more than 32 times"),
    "a list": (network_pickle([1]), "no dictionary of networks"),
    "a dictionary of numbers": (network_pickle({"G": 1}), "no networks"),
    "another version": (
        network_pickle({"G": reconstructed(type="class", version=7, class_name="G", state=state({}, {}, {}))}),
        "'G' is no persistent class of version 6",
    ),
    "a module that is none": (
        network_pickle({"G": persistent("G", state({}, {}, {"a": persistent("A", state({}, {}, {"b": 1}))}))}),
        "'G.a.b' is no module",
    ),
    "arguments without names": (
        network_pickle({"G": plain("m", "G", {**state({}, {}, {}), "_init_args": (512,)})}),
        "arguments that have no names",
    ),
    "a name that a terminal would obey": (
        network_pickle({**styled(), "x": Name("os", "\x1b[2J")}),
        r"asks for os\.\\x1b\[2J,",
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_file_is_refused(what, tmp_path):
    raw, reason = OTHERS[what]
    refused(raw, tmp_path, match=reason)


def test_a_file_that_is_not_there_is_an_error_of_the_file_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        network_pickles.read(tmp_path / "none.pkl")
