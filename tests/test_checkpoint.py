"""Checkpoints come back bit by bit, or they are recognised as damaged and passed over."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import damage
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import raises_user_error
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from programs import bits, contents

from jaxgan.errors import UserError
from jaxgan.io import checkpoint, files
from jaxgan.io.checkpoint import Checkpoints, digest


def example_state(step: int) -> dict:
    """A tree with the types that a run has; every step's is another."""
    generator = np.random.default_rng(step)
    return {
        "step": jnp.asarray(step, jnp.int32),
        "seed": jnp.asarray(2**32 - 1, jnp.uint32),
        "params": {name: jnp.asarray(generator.normal(size=(16, 32)), jnp.float32) for name in ("kernel", "other")},
        "half": jnp.asarray(generator.normal(size=5), jnp.bfloat16),
        "empty": (),
    }


TEMPLATE = jax.eval_shape(lambda: example_state(0))


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    """A run folder with the checkpoints of steps 10 and 20; tests copy it."""
    workdir = tmp_path_factory.mktemp("two")
    with Checkpoints(workdir / "checkpoints", keep=3) as checkpoints:
        for step in (10, 20):
            checkpoints.save(step, example_state(step), {})
    return workdir


@pytest.fixture
def workdir(two_checkpoints, tmp_path):
    return shutil.copytree(two_checkpoints, tmp_path / "run")


def restore(workdir, **options):
    with Checkpoints(workdir / "checkpoints", **options) as checkpoints:
        return checkpoints.restore(TEMPLATE)


def warnings_about(capfd, *steps: int) -> None:
    """Exactly one warning line about each of the steps, in this order, and nothing else on stderr."""
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(" is damaged")[0] for line in lines] == [
        f"warning: the checkpoint of step {step}" for step in steps
    ]


# The digest

arrays = st_numpy.arrays(
    st.sampled_from([np.float32, np.int32, np.uint32, np.uint8]), st_numpy.array_shapes(max_dims=3, max_side=4)
)
trees = st.dictionaries(st.sampled_from("abcd"), arrays, min_size=1)


@given(trees, st.data())
def test_digest_changes_with_any_bit_of_any_array(tree, data):
    name = data.draw(st.sampled_from(sorted(tree)))
    raw = bytearray(tree[name].tobytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = np.frombuffer(bytes(raw), tree[name].dtype).reshape(tree[name].shape)
    assert digest(tree | {name: changed}) != digest(tree)


@given(trees, st.data())
def test_digest_changes_with_type_shape_and_path(tree, data):
    name = data.draw(st.sampled_from(sorted(tree)))
    array, rest = tree[name], {key: value for key, value in tree.items() if key != name}
    other_type = {4: np.dtype(">i2"), 1: np.dtype("i1")}[array.itemsize]
    others = [
        rest | {name: array.view(other_type)},
        rest | {name: array[None]},
        rest | {f"{name}x": array},
        rest | {name: {"deeper": array}},
        rest,
    ]
    assert len({digest(other) for other in [tree, *others]}) == 1 + len(others)


def test_digest_tells_two_exchanged_arrays():
    one, two = np.arange(3.0), np.arange(3.0) + 1
    assert digest({"a": one, "b": two}) != digest({"a": two, "b": one})


@given(trees)
def test_digest_does_not_depend_on_where_and_how_an_array_lies(tree):
    on_device = jax.tree.map(jnp.asarray, tree)
    spread = {name: np.repeat(array, 2, axis=-1)[..., ::2] for name, array in reversed(tree.items())}
    assert digest(on_device) == digest(spread) == digest(tree)


# Saving


def test_every_checkpoint_comes_back_bit_by_bit(workdir):
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        for step in (10, 20):
            assert checkpoints.restore(TEMPLATE, step)[0] == step
            assert bits(checkpoints.restore(TEMPLATE, step)[1]) == bits(example_state(step))
        assert checkpoints.restore(TEMPLATE)[0] == 20
        with pytest.raises(UserError, match=r"no checkpoint of step 15: there are 10, 20$"):
            checkpoints.restore(TEMPLATE, 15)


def test_no_checkpoint_is_no_mistake(tmp_path):
    assert restore(tmp_path, keep=1) is None


def test_saving_takes_a_copy(tmp_path):
    """The state that is saved is that of the call, whatever becomes of its buffers before all is written."""
    state = {"host": np.arange(10_000, dtype=np.int32), "device": jnp.arange(10_000, dtype=jnp.int32)}
    expected, shapes = bits(state), jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), state)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state, {})
        state["host"][:] = -1
        jax.block_until_ready(jax.jit(lambda array: array - 1, donate_argnums=0)(state["device"]))
        assert state["device"].is_deleted()
    with Checkpoints(tmp_path) as checkpoints:
        assert bits(checkpoints.restore(shapes)[1]) == expected


WEIGHTS = [jnp.ones(2), jnp.zeros(2), ()]


@pytest.mark.parametrize("then", range(len(WEIGHTS)))
def test_training_goes_on_with_the_constants_that_it_began_with_or_not_at_all(tmp_path, then):
    """Also where there were none, or are none any more; who only reads needs none."""
    with Checkpoints(tmp_path / "checkpoints", keep=1, constants=WEIGHTS[then]) as checkpoints:
        checkpoints.save(10, example_state(10), {})
    for now in {*range(len(WEIGHTS))} - {then}:
        with raises_user_error(UserError, match="was trained with other pretrained weights .digest .* and .* now"):
            restore(tmp_path, keep=1, constants=WEIGHTS[now])
    assert restore(tmp_path, keep=1, constants=WEIGHTS[then])[0] == restore(tmp_path)[0] == 10


ODD = ["b[1]", "*", "a?b", "{a}", "a b ", "%41", "a#b", "gs:", "~", "a\nb", "é", "\udce9", "a\\b", "a|b", "\x01"]
LONG = ["n" * 255, "/".join(["n" * 200] * 18)]


@pytest.mark.parametrize("name", [*ODD, *LONG], ids=ascii)
def test_checkpoints_come_back_whatever_their_folder_is_called(tmp_path, monkeypatch, name):
    """Libraries take some names for patterns or URLs; what makes them take these literally leaves nothing behind."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    workdir = tmp_path / name
    with Checkpoints(workdir / "checkpoints", keep=1) as checkpoints:
        for step in (10, 20):
            checkpoints.save(step, example_state(step), {})
    step, state = restore(workdir)
    assert (step, bits(state)) == (20, bits(example_state(20)))
    assert [path.name for path in (workdir / "checkpoints").iterdir()] == ["20"]
    assert not any(temporary.iterdir())


def test_checkpoints_may_lie_behind_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to("elsewhere")
    with Checkpoints(tmp_path / "run" / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(10, example_state(10), {})
    assert restore(tmp_path / "elsewhere")[0] == 10


def test_an_odd_folder_for_temporary_files_cannot_help_an_odd_folder(tmp_path, monkeypatch):
    odd = tmp_path / "[1]"
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with Checkpoints(tmp_path / "run", keep=1) as checkpoints:
        checkpoints.save(10, example_state(10), {})
    with pytest.raises(UserError, match=r"TMPDIR=.*\[1\] must be a path of letters"):
        Checkpoints(odd / "run", keep=1)


# Orbax ends its event loop before TensorStore has reported each array that is not there.
@pytest.mark.filterwarnings("ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning")
def test_a_first_checkpoint_that_cannot_be_read_back_is_an_error_and_is_moved_aside(tmp_path, monkeypatch):
    """As Orbax leaves it in a folder whose name it takes for a pattern."""
    monkeypatch.setattr(files, "PLAIN", re.compile(".*"))
    folder = tmp_path / "b[1]" / "checkpoints"
    with (
        Checkpoints(folder, keep=1) as checkpoints,
        pytest.raises(UserError, match=r"step 10 cannot be read back from"),
    ):
        checkpoints.save(10, example_state(10), {})
    assert not any(folder.iterdir())
    assert [path.name for path in (tmp_path / "b[1]" / "damaged").iterdir()] == ["10"]


def test_a_first_checkpoint_that_cannot_be_written_is_an_error(tmp_path, capfd):
    message = r"^the checkpoint of step 10 could not be saved .*: choose another --workdir"
    with read_only(tmp_path), pytest.raises(UserError, match=message), Checkpoints(tmp_path, keep=3) as checkpoints:
        checkpoints.save(10, example_state(10), {})
    assert capfd.readouterr().err == ""


def test_a_later_checkpoint_that_cannot_be_written_is_a_warning(tmp_path, capfd):
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        checkpoints.save(10, example_state(10), {})
        with read_only(tmp_path):
            checkpoints.save(20, example_state(20), {})
        checkpoints.save(30, example_state(30), {})
    (line,) = capfd.readouterr().err.splitlines()
    assert re.match(r"warning: the checkpoint of step 20 could not be saved .*: older ones are kept$", line)
    assert [step for step, _ in checkpoint.step_folders(tmp_path)] == [10, 30]


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be written to a folder, which may exist, even by root."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "--bind", "-o", "ro", str(folder), str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may make a folder read-only")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_stay(tmp_path, keep):
    with Checkpoints(tmp_path / "checkpoints", keep=keep) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, example_state(step), {})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [str(n) for n in range(1, 6)][-keep:]


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 3)])
def test_the_best_stays_as_well(tmp_path, mode, best):
    values = {1: 0.5, 2: 0.1, 3: 0.9, 4: 0.4, 5: 0.6}
    for steps in ((1, 2, 3), (4, 5)):  # a resumed run still knows the best of before
        with Checkpoints(tmp_path / "checkpoints", keep=1, best="score", best_mode=mode) as checkpoints:
            for step in steps:
                checkpoints.save(step, example_state(step), {"score": values[step], "other": -values[step]})
    assert {int(path.name) for path in (tmp_path / "checkpoints").iterdir()} == {best, 5}


# Damage


@pytest.mark.parametrize("way", damage.WAYS)
def test_no_damage_is_ever_loaded(two_checkpoints, tmp_path, capfd, way):
    """Whichever file or folder suffers, the newest state comes back, or with one warning the one before."""
    for number, place in enumerate(damage.places(two_checkpoints / "checkpoints" / "20")):
        workdir = shutil.copytree(two_checkpoints, tmp_path / str(number))
        newest = workdir / "checkpoints" / "20"
        before = contents(newest)
        damage.WAYS[way](newest / place)
        harmed = contents(newest)
        harmless = harmed == before or str(place) in damage.UNNEEDED
        for options in ({}, {"keep": 3}):
            step, state = restore(workdir, **options)
            assert (step, bits(state)) == ((20, bits(example_state(20))) if harmless else (10, bits(example_state(10))))
            warnings_about(capfd, *() if harmless else (20,))
        assert contents(newest if harmless else workdir / "damaged" / "20") == harmed
        assert newest.exists() == harmless


@pytest.mark.parametrize("way", [way for way in damage.WAYS if way not in ("removed", "renamed")])
def test_what_stands_in_the_place_of_a_whole_checkpoint_is_passed_over(workdir, capfd, way):
    newest = workdir / "checkpoints" / "20"
    if way not in ("emptied", "swapped", "link", "pipe"):
        damage.replace(newest, lambda path: path.write_bytes(b"no folder"))
    damage.WAYS[way](newest)
    for options in ({}, {"keep": 3}):
        assert restore(workdir, **options)[0] == 10
        warnings_about(capfd, 20)
    assert [path.name for path in (workdir / "damaged").iterdir()] == ["20"]


@pytest.mark.parametrize("name", ["007", "30", "9" * 30, "\u0663"])
def test_a_checkpoint_in_the_place_of_another_step_is_passed_over(workdir, capfd, name):
    (workdir / "checkpoints" / "20").rename(workdir / "checkpoints" / name)
    with Checkpoints(workdir / "checkpoints", keep=1) as checkpoints:
        assert checkpoints.restore(TEMPLATE)[0] == 10
        checkpoints.save(20, example_state(20), {})
    warnings_about(capfd, *[name] if int(name) > 10 else ())
    assert restore(workdir)[0] == 20


def test_what_cannot_be_read_is_passed_over(two_checkpoints, capfd):
    """Of each file and folder in turn, by somebody who may not."""
    if os.geteuid():
        pytest.skip("only root may be somebody else")
    nobody = 65534
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        for number, place in enumerate(damage.places(two_checkpoints / "checkpoints" / "20")):
            workdir = shutil.copytree(two_checkpoints, Path(folder) / str(number))
            workdir.chmod(0o755)
            target = workdir / "checkpoints" / "20" / place
            target.chmod(0)
            os.seteuid(nobody)
            try:
                step, state = restore(workdir)
            finally:
                os.seteuid(0)
            harmless = str(place) in damage.UNNEEDED
            assert bits(state) == bits(example_state(step))
            assert step == (20 if harmless else 10)
            warnings_about(capfd, *() if harmless else (20,))


def test_arrays_that_are_not_those_of_the_digest_are_refused(tmp_path, capfd, monkeypatch):
    """Damage that leaves a readable checkpoint with other numbers, which Orbax cannot know of."""
    with Checkpoints(tmp_path / "checkpoints", keep=3) as checkpoints:
        checkpoints.save(10, example_state(10), {})
        monkeypatch.setattr(checkpoint, "digest", lambda tree: digest(example_state(20)))
        checkpoints.save(20, example_state(20) | {"seed": jnp.asarray(7, jnp.uint32)}, {})
        monkeypatch.undo()
    step, state = restore(tmp_path, keep=3)
    assert (step, bits(state)) == (10, bits(example_state(10)))
    warnings_about(capfd, 20)


def ruin(workdir, step: int) -> None:
    for file in (workdir / "checkpoints" / str(step) / "state").rglob("*"):
        if file.is_file() and file.name != "commit_success.txt":
            damage.WAYS["half"](file)


def test_a_step_can_be_saved_again_and_damaged_again(workdir, capfd):
    for _ in range(2):
        ruin(workdir, 20)
        with Checkpoints(workdir / "checkpoints", keep=3) as checkpoints:
            assert checkpoints.restore(TEMPLATE)[0] == 10
            checkpoints.save(20, example_state(20), {})
        warnings_about(capfd, 20)
        step, state = restore(workdir, keep=3)
        assert (step, bits(state)) == (20, bits(example_state(20)))
    assert sorted(path.name for path in (workdir / "damaged").iterdir()) == ["20", "20_"]


@pytest.mark.parametrize("options", [{}, {"keep": 3}])
def test_nothing_whole_is_an_error_and_changes_nothing(workdir, capfd, options):
    ruin(workdir, 10)
    ruin(workdir, 20)
    before = contents(workdir)
    for _ in range(2):  # the second try must not take the folder for an empty one
        with pytest.raises(UserError, match=r"no whole checkpoint of step 10, 20\b"):
            restore(workdir, **options)
        warnings_about(capfd, 20, 10)
    assert contents(workdir) == before


def test_a_damaged_step_that_was_asked_for_is_an_error_about_that_step_alone(workdir):
    ruin(workdir, 20)
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        with pytest.raises(UserError, match=r"no whole checkpoint of step 20\b"):
            checkpoints.restore(TEMPLATE, 20)
        assert checkpoints.restore(TEMPLATE, 10)[0] == 10


def test_reading_changes_nothing(workdir, capfd):
    ruin(workdir, 20)
    before = contents(workdir)
    assert restore(workdir)[0] == 10
    warnings_about(capfd, 20)
    assert contents(workdir) == before


def test_the_half_written_is_ignored_and_a_new_one_takes_its_place(workdir, capfd):
    newest = workdir / "checkpoints" / "20"
    newest.rename(newest.with_name("20.orbax-checkpoint-tmp"))
    shutil.copytree(workdir / "checkpoints" / "10", newest)
    (newest / "commit_success.txt").unlink(missing_ok=True)
    (newest / "_CHECKPOINT_METADATA").unlink()
    for file in newest.rglob("d/*"):
        file.unlink()
    with Checkpoints(workdir / "checkpoints", keep=3) as checkpoints:
        assert checkpoints.restore(TEMPLATE)[0] == 10
        checkpoints.save(20, example_state(20), {})
    step, state = restore(workdir, keep=3)
    assert (step, bits(state)) == (20, bits(example_state(20)))
    assert all(line.startswith("warning: the checkpoint of step 20 is") for line in capfd.readouterr().err.splitlines())
