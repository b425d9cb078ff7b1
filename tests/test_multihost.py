"""Two processes of two devices each, really started: what they compute, and what they do when one is gone."""

import json
import os
import shutil
import signal
import socket
import time

import jax
import numpy as np
import pytest
from devices import given
from experiments import leaves
from PIL import Image
from programs import ROOT, options, read_until, started, train_tiny, wait_until

from jaxgan.core import multihost
from jaxgan.errors import UserError
from jaxgan.io.checkpoint import Checkpoints
from jaxgan.io.logging import read_records

TWO_DEVICES = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2",
}
MINUTE = 60  # in which the others are to end when one is gone
PLAIN = [f"--config.{name}" for name in ("log_every=10", "checkpoint_every=10", "sample_every=50")]
# BatchNorm over 8 examples that hardly differ would make much of rounding errors.
PLAIN += [f"--config.model.{name}" for name in ("initializer=xavier", "generator.norm=none", "discriminator.norm=none")]
PLAIN += [f"--config.model.{name}" for name in ("family=mlp", "generator.width=4", "discriminator.width=4")]
ENDLESS = (*PLAIN, "--config.steps=1000000")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def pair(workdir, *more: str):
    """Two processes, which are killed at the latest at the end of the block."""
    group = (f"--coordinator=localhost:{free_port()}", "--num_processes=2")
    common = ("train.py", *options(workdir, *more), *group)
    return (started(*common, f"--process_id={index}", **TWO_DEVICES) for index in range(2))


def logged(workdir) -> int:
    """The last step in the metrics."""
    path = workdir / "metrics.jsonl"
    return max((record["step"] for record in read_records(path)), default=0) if path.exists() else 0


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run of two processes, of which SIGTERM reached the second alone; codes, output, seconds."""
    workdir = tmp_path_factory.mktemp("stopped") / "b[1]"  # a name that Orbax would take for a pattern
    one, two = pair(workdir, *ENDLESS)
    with one as first, two as second:
        assert wait_until(lambda: logged(workdir) >= 50, seconds=200), first.communicate(timeout=5)
        second.send_signal(signal.SIGTERM)
        began = time.monotonic()
        texts = [process.communicate(timeout=MINUTE) for process in (first, second)]
        return workdir, [first.returncode, second.returncode], texts, time.monotonic() - began


def newest(workdir):
    """(step, the arrays of its checkpoint by path)."""
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        step = max(checkpoints.manager.all_steps())
        state = checkpoints.manager.restore(step)["state"]
    return step, {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def test_a_signal_to_one_process_stops_all_of_them_and_the_state_is_saved(stopped):
    workdir, codes, texts, seconds = stopped
    assert codes == [0, 0], texts
    assert seconds < 30
    step, _ = newest(workdir)
    assert step >= 50
    assert f"step {step} is saved" in texts[0][0]


def test_only_the_main_process_writes_and_prints(stopped):
    workdir, _, texts, _ = stopped
    said = {line for line in texts[0][0].splitlines() if line and "Gloo" not in line and not line.isdecimal()}
    assert f"step {newest(workdir)[0]} is saved" in "".join(said)
    assert not said & set(texts[1][0].splitlines())  # of gloo's threads each process hears its own, in pieces
    steps = [record["step"] for record in read_records(workdir / "metrics.jsonl")]
    assert steps == sorted(set(steps))
    launches = [json.loads(line) for line in (workdir / "launches.jsonl").read_text().splitlines()]
    assert [(launch["processes"], launch["devices"]) for launch in launches] == [(2, 4)]


@pytest.fixture(scope="module")
def abandoned(tmp_path_factory):
    """The arrays of two processes that ran devices.py, and the second one's end once the first was killed."""
    program, coordinator = str(ROOT / "tests" / "devices.py"), f"localhost:{free_port()}"
    outs = [tmp_path_factory.mktemp("saved") / f"{index}.npz" for index in range(2)]
    one, two = (started(program, str(outs[i]), coordinator, str(i), **TWO_DEVICES) for i in range(2))
    with one as first, two as second:
        assert [read_until(process, "saved") for process in (first, second)]
        first.kill()
        _, complaint = second.communicate(timeout=MINUTE)
    return [np.load(out) for out in outs], second.returncode, complaint


def test_an_example_has_the_same_random_bits_in_any_process_on_any_device(abandoned):
    """Its latents and targets, and the image that it is, cropped and flipped."""
    alone, (mine, theirs) = leaves(given()), abandoned[0]
    compared = 0
    for path, array in mine.items():
        if "['all']" in path:
            devices = np.concatenate([array, theirs[path]])
            assert len(devices) == 4
            axis = 1 if "batches" in path else 0  # behind the step's batches
            np.testing.assert_array_equal(
                np.concatenate(devices, axis=axis), alone[path.replace("['all']", "['one']")], err_msg=path
            )
            compared += 1
    assert compared == 4 + 2 * 2  # positions, latents, targets of both kinds; images and labels by either loader


def test_four_devices_compute_what_one_does(stopped, tmp_path):
    workdir, *_ = stopped
    step, together = newest(workdir)
    alone = tmp_path / "alone"
    assert train_tiny(alone, *PLAIN, f"--config.steps={step}") == 0
    assert newest(alone)[0] == step
    for path, leaf in newest(alone)[1].items():
        np.testing.assert_allclose(together[path], leaf, rtol=1e-3, atol=1e-5, err_msg=path)


@pytest.mark.slow
def test_the_death_of_one_process_ends_the_other_within_a_minute_and_says_so(stopped, tmp_path):
    """Four devices begin the run, one device goes on with it, and then four devices again."""
    workdir = shutil.copytree(stopped[0], tmp_path / "run")
    ahead = (newest(workdir)[0] // 10 + 1) * 10
    assert train_tiny(workdir, *PLAIN, f"--config.steps={ahead}") == 0
    assert newest(workdir)[0] == ahead
    one, two = pair(workdir, *ENDLESS)
    with one as first, two as second:
        assert wait_until(lambda: logged(workdir) >= ahead + 10, seconds=200), first.communicate(timeout=5)
        second.send_signal(signal.SIGKILL)
        _, complaint = first.communicate(timeout=MINUTE)
    assert first.returncode == 2, complaint
    (line,) = [line for line in complaint.splitlines() if line.startswith("error: ")]
    assert "process 1 of 2 is gone" in line
    assert train_tiny(workdir, *PLAIN, f"--config.steps={logged(workdir) // 10 * 10 + 10}") == 0  # nothing is lost


@pytest.mark.slow
def test_an_image_that_one_process_cannot_read_ends_all(tmp_path):
    """No process waits for the others' part of a checkpoint, and the last checkpoint is complete."""
    workdir, folder = tmp_path / "run", tmp_path / "images"
    folder.mkdir()
    for index, image in enumerate(np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)):
        Image.fromarray(image).save(folder / f"{index:02}.png")
    data = {"source": f"folder:{folder}", "cache": False, "placement": "streaming"}
    one, two = pair(workdir, *ENDLESS, *(f"--config.data.{name}={value}" for name, value in data.items()))
    with one as first, two as second:
        assert wait_until(lambda: logged(workdir) >= 10, seconds=200), first.communicate(timeout=5)
        (folder / "07.png").write_bytes(b"no image")
        complaints = [process.communicate(timeout=MINUTE)[1] for process in (first, second)]
    errors = [line for text in complaints for line in text.splitlines() if line.startswith("error: ")]
    assert any("07.png" in error for error in errors), complaints
    codes = {first.returncode, second.returncode}
    assert 2 in codes, complaints
    assert codes <= {2, -signal.SIGABRT}, complaints
    assert newest(workdir)[0] % 10 == 0


def test_the_death_of_the_first_process_ends_the_other_with_our_message_or_jax_s(abandoned):
    """The first process runs JAX's services, which abort the others when it is gone, unless our watch is quicker."""
    _, code, complaint = abandoned
    message = {
        2: "error: process 0 of 2 is gone: start all of them again, they resume from the last checkpoint",
        -signal.SIGABRT: "Terminating process because the JAX distributed service detected fatal errors",
    }
    assert message[code] in complaint


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (multihost.ClusterSpec(coordinator="localhost:1"), ("--coordinator", "--num_processes", "--process_id")),
        (multihost.ClusterSpec(coordinator="localhost:1", count=2, index=2), ("--process_id=2", "--num_processes=2")),
        (multihost.ClusterSpec(coordinator="localhost:1", count=0, index=0), ("--num_processes=0",)),
    ],
)
def test_an_incomplete_cluster_is_an_error(group, words):
    with pytest.raises(UserError) as raised:
        multihost.initialize(group)
    assert all(word in str(raised.value) for word in words)


def test_a_process_without_a_cluster_is_alone_and_the_main_one():
    multihost.initialize(multihost.ClusterSpec())
    assert not multihost.is_multihost()
    assert multihost.is_main()
    assert multihost.shutdown(2) == 2
