"""Two devices do what one does; the ways between one and many."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from devices import COMBINATIONS, scores
from experiments import assert_same_bits, leaves, raises_user_error
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.core import devices
from jaxgan.errors import UserError

METRICS = "[1]"  # where the metrics stand in what the steps return


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The arrays that devices.py leaves: the number of devices can be chosen only before JAX starts."""
    out = tmp_path_factory.mktemp("parallel") / "found.npz"
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    program = [sys.executable, str(Path(__file__).with_name("devices.py")), str(out)]
    # Killed, not asked, when it takes too long: a hung collective does not listen.
    result = subprocess.run(
        program,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        timeout=400,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    with np.load(out) as arrays:
        return dict(arrays)


def branch(found, *names):
    """{path below the names: array}."""
    prefix = "".join(f"['{name}']" if isinstance(name, str) else f"[{name}]" for name in names)
    arrays = {path.removeprefix(prefix): array for path, array in found.items() if path.startswith(prefix)}
    assert arrays
    return arrays


def test_there_are_two_devices(found):
    assert found["devices"] == 2


@pytest.mark.parametrize("what", ["positions", "latents", "targets"])
def test_an_example_is_given_the_same_bits_on_any_device(found, what):
    one, both = branch(found, "draws", "one", what), branch(found, "draws", "all", what)
    for path, array in both.items():
        np.testing.assert_array_equal(np.concatenate(array), one[path])


@pytest.mark.parametrize("updates", ["alternating", *COMBINATIONS])  # of which one is simultaneous
def test_the_devices_agree_to_the_bit(found, updates):
    """Parameters, BatchNorm's moments, the optimizers' and the average's state."""
    for path, array in branch(found, updates, "all").items():
        if path.startswith(METRICS):  # of the global batch, which come back once
            continue
        assert len(array) == 2
        np.testing.assert_array_equal(array[0], array[1], err_msg=path)


def test_two_devices_compute_what_one_does(found):
    one, both = branch(found, "alternating", "one"), branch(found, "alternating", "all")
    assert one.keys() == both.keys()
    assert sum("batch_stats" in path and "mean" in path for path in one) == 3 + 2 * 4
    for path, array in both.items():
        found_here = array if path.startswith(METRICS) else array[0]
        np.testing.assert_allclose(found_here, one[path], rtol=1e-3, atol=2e-5, err_msg=path)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_what_looks_at_the_whole_batch_sees_that_of_all_devices(found, name):
    """Parameters, averages, memories and metrics after three steps."""
    one, both = branch(found, name, "one"), branch(found, name, "all")
    assert one.keys() == both.keys()
    for path, array in both.items():
        found_here = array if path.startswith(METRICS) else array[0]
        np.testing.assert_allclose(found_here, one[path], rtol=2e-3, atol=5e-5, err_msg=path)
    metrics = {path for path in one if path.startswith(METRICS)}
    weights = [key.split("__")[1] for key in COMBINATIONS[name] if key.startswith("penalties__")]
    assert {f"{METRICS}['{weight}']" for weight in weights} < metrics


@pytest.mark.parametrize("kind", ["resident", "streaming"])
def test_an_example_is_cropped_and_flipped_alike_on_any_device(found, kind):
    """To the bit, in both batches of the step."""
    one, both = branch(found, f"{kind} batches", "one"), branch(found, f"{kind} batches", "all")
    assert {path: array.shape for path, array in both.items()} == {
        "['images']": (2, 2, 4, 8, 8, 1),
        "['labels']": (2, 2, 4),
    }
    for path, array in both.items():
        np.testing.assert_array_equal(np.concatenate(array, axis=1), one[path])
        np.testing.assert_array_equal(one[path], found[f"['resident batches']['one']{path}"])


def test_scores_do_not_depend_on_the_number_of_devices(found):
    one, both = leaves(scores()), branch(found, "scores")
    assert both.keys() == one.keys()
    for path, array in one.items():
        np.testing.assert_allclose(both[path], array, rtol=1e-5, atol=1e-6, err_msg=path)


def test_a_batch_that_two_devices_do_not_divide(found):
    assert found["refusal"] == "config.batch_size=7 does not divide over 2 devices: make it 6 or 8"


def test_replicate_and_back(found):
    assert_same_bits(branch(found, "copies", "back"), branch(found, "copies", "tree"))
    for path, array in branch(found, "copies", "replicated").items():
        np.testing.assert_array_equal(array, np.stack([found[f"['copies']['tree']{path}"]] * 2))


def test_each_device_is_sent_its_share_alone(found):
    inputs = found["['shares']['inputs']"]
    lying = branch(found, "shares", "lying")
    assert lying.keys() == {"['0']", "['1']"}
    for device in range(2):
        np.testing.assert_array_equal(lying[f"['{device}']"], inputs[:, :, 2 * device : 2 * device + 2])


def test_one_device_changes_nothing(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    tree = {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3)}
    assert devices.axis_name() is None
    assert_same_bits(devices.replicate(tree), tree)
    assert devices.unreplicate(tree) is tree
    assert_same_bits(devices.shard_batch(tree, 1), tree)
    devices.check_batch(7)


COUNTS = st.integers(2, 5)
law = settings(deadline=None, max_examples=40, derandomize=True)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A function that makes up a machine of 4 GiB: its devices, what they tell of their memory, and its container's."""

    def make_up(count: int, limit: int | None, container: str | None) -> None:
        device = SimpleNamespace(memory_stats=lambda: limit and {"bytes_limit": limit, "bytes_in_use": 5})
        monkeypatch.setattr(jax, "local_devices", lambda: [device] * count)
        monkeypatch.setattr(jax, "local_device_count", lambda: count)
        monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": 2**20}.__getitem__)
        if container is not None:
            (tmp_path / "memory.max").write_text(container + "\n")
        monkeypatch.setattr(devices, "Path", lambda place: tmp_path / Path(place).name)

    return make_up


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize(
    ("container", "host"), [(None, 2**32), ("max", 2**32), (str(2**40), 2**32), (str(2**30), 2**30)]
)
def test_data_may_take_a_quarter_of_a_device_s_memory(machine, count, container, host):
    """Devices that do not tell what they have, as CPUs, share what the machine and the container leave them."""
    machine(count, 2**33, container)
    assert devices.resident_data_limit() == 2**31
    machine(count, None, container)
    assert devices.resident_data_limit() == host // count // 4


@law
@given(count=COUNTS, batch_size=st.integers(1, 30))
def test_a_batch_is_refused_exactly_if_the_devices_do_not_divide_it(count, batch_size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: count)
        if batch_size % count == 0:
            devices.check_batch(batch_size)
            return
        with raises_user_error(UserError, match=f"config.batch_size={batch_size} .* {count} devices") as raised:
            devices.check_batch(batch_size)
        advised = [int(word) for word in str(raised.value).rpartition("make it ")[2].split(" or ")]
        for size in advised:
            devices.check_batch(size)
        near = [size for size in range(1, 60) if size % count == 0 and abs(size - batch_size) < count]
        assert advised == near
