"""Two devices compute what one does; copies and shares of arrays on devices."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from devices import BY_PMAP, COMBINATIONS, scores
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
def test_an_example_has_the_same_random_bits_on_any_device(found, what):
    one, both = branch(found, "samples", "one", what), branch(found, "samples", "all", what)
    for path, array in both.items():
        np.testing.assert_array_equal(np.concatenate(array), one[path])


@pytest.mark.parametrize(
    ("name", "way"), [*((name, "all") for name in COMBINATIONS), *((name, "pmap") for name in BY_PMAP)]
)
def test_the_devices_agree_to_the_bit(found, name, way):
    """Parameters, BatchNorm's moments, the optimizers' and the average's state."""
    for path, array in branch(found, name, way).items():
        if path.startswith(METRICS):  # of the global batch, which come back once
            continue
        assert len(array) == 2
        np.testing.assert_array_equal(array[0], array[1], err_msg=path)


# Losses that look at the whole batch, such as means, ranks and groups, add more numbers up, in another order.
TOLERANCES = {
    "alternating": (1e-3, 2e-5),
    "one by one": (2e-3, 5e-5),
    "in groups": (2e-3, 5e-5),
    "with each other": (1e-3, 2e-5),
}


def numbers(found, name, way):
    """The state, of one device, and the metrics after three steps."""
    arrays = branch(found, name, way)
    return {p: array if way == "one" or p.startswith(METRICS) else array[0] for p, array in arrays.items()}


def assert_same_numbers(found, name, way, expected):
    """Both are equal up to the order of additions."""
    actual, expected = numbers(found, name, way), numbers(found, name, expected)
    assert actual.keys() == expected.keys()
    for path, array in actual.items():
        np.testing.assert_allclose(array, expected[path], *TOLERANCES[name], err_msg=path)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_two_devices_compute_what_one_does(found, name):
    """Parameters, averages, extra arrays and metrics, also of losses that depend on the batch of all devices."""
    assert_same_numbers(found, name, "all", "one")
    one = branch(found, name, "one")
    if name == "alternating":
        assert sum("batch_stats" in path and "mean" in path for path in one) == 3 + 2 * 4
    weights = [key.split("__")[1] for key in COMBINATIONS[name] if key.startswith("penalties__")]
    assert {f"{METRICS}['penalty/{weight}']" for weight in weights} <= one.keys()


@pytest.mark.parametrize("expected", ["all", "one"])
@pytest.mark.parametrize("name", BY_PMAP)
def test_pmap_of_the_step_computes_what_the_program_does(found, name, expected):
    """`jax.pmap` of (state, batch) -> (state, metrics), the step that the program maps by `jax.shard_map`."""
    assert_same_numbers(found, name, "pmap", expected)


def test_collectives_are_of_the_global_batch(found):
    one, both = branch(found, "collectives", "one"), branch(found, "collectives", "all")
    assert one.keys() == both.keys()
    for path, array in both.items():
        for device in range(2):
            np.testing.assert_array_equal(array[device], one[path], err_msg=path)


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
        (tmp_path / "cgroup").write_text("0::/\n")
        monkeypatch.setattr(devices, "cgroup_limits", lambda: limits(tmp_path, tmp_path / "cgroup"))

    limits = devices.cgroup_limits
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
