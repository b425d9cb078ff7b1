"""Groups and rows: which examples meet in a batch, what the fields of a group share, and rows that are random."""

import functools
import pickle

import jax
import numpy as np
import pytest
from experiments import assert_same_bits, quick_jit, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.core import devices
from jaxgan.core.types import Field
from jaxgan.data import loader, order
from jaxgan.data.dataset import ArrayDataset, digest_of, no_rows, point_fields, with_classes, with_digest
from jaxgan.data.loader import BatchSampler, DeviceLoader, PrefetchLoader

law = settings(deadline=None, max_examples=40, derandomize=True)
slow_law = settings(law, max_examples=8)  # each example of which starts threads
SEEDS = st.integers(0, 2**32 - 1)


def orders(seed: int, count: int, batch_size: int, groups: dict[str, int], **part) -> dict[str, np.ndarray]:
    """The examples of the first batches, laid end to end, by group."""
    sampler = BatchSampler(seed, batch_size, 1, groups, **part)
    found = [sampler.batch(number) for number in range(count)]
    return {group: np.concatenate([batch[group] for batch in found]) for group in groups}


def chi_squared(counts) -> float:
    """Of counts that must be equal; its mean is one less than there are of them."""
    return float(((counts - np.mean(counts)) ** 2 / np.mean(counts)).sum())


# Orders of groups


@law
@given(seed=SEEDS, size=st.integers(500, 2000))
def test_groups_of_equal_length_do_not_repeat_their_pairs(seed, size):
    """A pair comes again in the next epoch as often as chance has it: about once, whatever the length."""
    found = orders(seed, 2, size, {"": size, "b": size})
    pairs = [set(zip(*(found[group][part] for group in ("", "b")), strict=True)) for part in np.s_[:size, size:]]
    assert len(pairs[0]) == len(pairs[1]) == size
    assert len(pairs[0] & pairs[1]) <= 9  # of Poisson's distribution with mean 1, above that lies 1e-7
    assert sum(a == b for a, b in pairs[0] | pairs[1]) <= 12  # mean 2


def test_every_partner_is_equally_likely():
    """Of example 0 over 4,000 epochs of two groups of 8 (chi-squared, 7 degrees of freedom)."""
    found = orders(0, 1, 4000 * 8, {"a": 8, "b": 8})
    partners = found["b"][found["a"] == 0]
    assert len(partners) == 4000
    assert chi_squared(np.bincount(partners, minlength=8)) < 24.3  # the 0.999 quantile


@law
@given(seed=SEEDS, sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3), batch_size=st.integers(1, 50))
def test_every_example_of_each_group_comes_equally_often_up_to_one(seed, sizes, batch_size):
    """However long the other groups are; after an epoch of its own each example came exactly once."""
    groups = dict(zip(("", "b", "c"), sizes, strict=False))
    for count in (1, 2, 5):
        found = orders(seed, count, batch_size, groups)
        for group, size in groups.items():
            counts = np.bincount(found[group], minlength=size)
            assert len(counts) == size
            assert counts.max() - counts.min() <= 1
            for start in range(0, len(found[group]) - size + 1, size):
                np.testing.assert_array_equal(np.sort(found[group][start : start + size]), np.arange(size))


@law
@given(seed=SEEDS, size=st.integers(1, 40), other=st.integers(1, 40), number=st.integers(0, 30))
def test_the_order_of_a_group_depends_on_its_name_and_length_alone(seed, size, other, number):
    alone = BatchSampler(seed, 7, 1, {"b": size}).batch(number)
    beside = BatchSampler(seed, 7, 1, {"": other, "b": size, "c": other}).batch(number)
    np.testing.assert_array_equal(beside["b"], alone["b"])
    np.testing.assert_array_equal(beside[""], order.batch_indices(seed, number, 7, other))
    assert beside["b"].dtype == beside[""].dtype == np.int32


def test_groups_have_orders_that_differ_with_their_names_and_seeds():
    sizes = dict.fromkeys(("", "a", "b", "left", "right"), 50)
    found = {(seed, name): rows for seed in range(3) for name, rows in orders(seed, 1, 50, sizes).items()}
    assert len({rows.tobytes() for rows in found.values()}) == 15


# Fields of groups

SIDE, WINDOW, MANY = 7, 4, 3000
CHANGED = {"data__load_size": SIDE, "data__size": WINDOW, "data__crop": "random", "data__flip": True}


def numbered(count: int, first: int = 0) -> np.ndarray:
    """Images whose pixels have their places, counted from `first` on, in one channel, and the image's number in two."""
    places = np.broadcast_to(first + np.arange(SIDE**2).reshape(SIDE, SIDE), (count, SIDE, SIDE))
    numbers = np.broadcast_to(np.arange(count)[:, None, None], (count, SIDE, SIDE))
    return np.stack([places, numbers % 256, numbers // 256], axis=-1).astype(np.uint8)


def paired() -> ArrayDataset:
    """Fields "a", "depth" and "labels" of one group, and "b" of another one of equal length."""
    arrays = {"a": numbered(MANY), "depth": numbered(MANY, 100), "labels": np.arange(MANY, dtype=np.int32)}
    arrays["b"] = numbered(MANY)
    shape = (SIDE, SIDE, 3)
    fields = (Field("a", shape, "pixels", "photo"), Field("depth", shape, "pixels", "photo"))
    fields += (Field("labels", (), "labels", "photo"), Field("b", shape, "pixels", "painting"))
    return ArrayDataset(arrays, fields)


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    """An epoch of these in one batch, as a step gets it: (number, top, left, flipped) of the images, [4, examples]."""
    own = DeviceLoader(paired(), BatchSampler(3, MANY, 1, paired().groups))
    batch_fn = quick_jit(loader.make_batch_fn(tiny_config(**CHANGED), own))
    found = batch_fn(own.data, jax.tree.map(lambda rows: rows[0], own.inputs_at(5, 1)), np.uint32(3), np.int32(5))
    read = {"labels": np.asarray(found.pop("labels")[0])}
    for name, images in found.items():
        pixels = np.asarray(loader.to_pixels(images[0])).astype(int)
        ends = pixels[:, 0, [0, WINDOW - 1], 0] - (100 if name == "depth" else 0)
        number = pixels[:, 0, 0, 1] + 256 * pixels[:, 0, 0, 2]
        read[name] = np.stack([number, *np.divmod(ends.min(1), SIDE), ends[:, 0] > ends[:, 1]])
    return read


def test_the_fields_of_a_group_share_rows_crop_and_flip(batch):
    np.testing.assert_array_equal(batch["a"], batch["depth"])
    np.testing.assert_array_equal(batch["a"][0], batch["labels"])
    np.testing.assert_array_equal(np.sort(batch["b"][0]), np.arange(MANY))


def test_two_groups_have_independent_rows_crops_and_flips(batch):
    """They agree about an example's top, left and flip no more often than chance has it, and in hardly any row."""
    agree = (batch["a"] == batch["b"]).mean(1)
    assert agree[0] <= 9 / MANY
    chance = np.array([1 / 4, 1 / 4, 1 / 2])
    assert (abs(agree[1:] - chance) < 4 * np.sqrt(chance * (1 - chance) / MANY)).all()
    cases = np.concatenate([batch["a"][1:], batch["b"][1:]])
    assert len(np.unique(cases, axis=1).T) > 900  # of 32 * 32 cases, of which 3,000 examples leave out 55


def test_the_longest_group_defines_an_epoch():
    arrays = {"a": np.zeros((5, 1), np.float32), "b": np.zeros((9, 1), np.float32)}
    dataset = ArrayDataset(arrays, (Field("a", (1,), "floats", "a"), Field("b", (1,), "floats", "b")))
    assert dataset.groups == {"a": 5, "b": 9}
    assert len(dataset) == 9
    assert loader.size_of(dataset) == 4 * (5 + 9)
    own = DeviceLoader(dataset, BatchSampler(0, 2, 1, dataset.groups))
    assert loader.summary(own) == "5 a (1) and 9 b (1); resident"


# Rows that are random

CLIPS, FRAMES = 9, 6


def frame_of(seed: int, batch: int, examples: dict) -> dict[str, np.ndarray]:
    """Two random frames of each clip; the random numbers go by the places in the batch."""
    clips = examples[""]
    first, second = np.random.default_rng([seed, batch]).integers(0, FRAMES, (2, len(clips)))
    return {"source": np.int32(clips * FRAMES + first), "driving": np.int32(clips * FRAMES + second)}


def clips(**changes) -> ArrayDataset:
    """Two frames of each clip from one array, with the clip's number."""

    # A local function, since processes that read ahead then need not import this file.
    def rows(seed, batch, examples):
        import numpy as np  # noqa: PLC0415

        clips = examples[""]
        first, second = np.random.default_rng([seed, batch]).integers(0, FRAMES, (2, len(clips)))
        return {"source": np.int32(clips * FRAMES + first), "driving": np.int32(clips * FRAMES + second)}

    frames = np.arange(CLIPS * FRAMES, dtype=np.float32).reshape(-1, 1) + np.float32([0, 0.5])
    arrays = {"frames": frames, "labels": np.arange(CLIPS, dtype=np.int32)}
    fields = (Field("source", (2,), "floats"), Field("driving", (2,), "floats"), Field("labels", (), "labels"))
    named = {"source": "frames", "driving": "frames"}
    return ArrayDataset(arrays, fields, array_of=named, sizes={"": CLIPS}, **({"rows": rows} | changes))


def batches_of(own, step: int, count: int) -> dict[str, np.ndarray]:
    """What the steps get: arrays [count, batches, batch, ...] by field."""
    inputs = own.inputs_at(step, count)
    spec = own.input_spec(count)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), spec) == jax.tree.map(lambda x: (x.shape, x.dtype), inputs)
    own.close()
    return jax.tree.map(np.asarray, own.gather(*jax.device_put((own.data, inputs))))


def loaders_of(dataset: ArrayDataset, **part) -> list:
    sampler = BatchSampler(3, 4, 2, dataset.groups, **part)
    return [DeviceLoader(dataset, sampler), PrefetchLoader(dataset, sampler)]


def expected_batch(seed: int, number: int, batch_size: int = 4) -> dict[str, np.ndarray]:
    """One batch of the clips by their definition."""
    examples = order.batch_indices(seed, number, batch_size, CLIPS)
    rows = frame_of(seed, number, {"": examples})
    return {name: clips().arrays["frames"][rows[name]] for name in ("source", "driving")} | {"labels": examples}


def test_random_rows_are_those_of_the_seed_and_the_batch_from_both_loaders():
    expected = [expected_batch(3, number) for number in range(2 * 5, 2 * 8)]
    expected = jax.tree.map(lambda *parts: np.stack(parts).reshape(3, 2, *parts[0].shape), *expected)
    for own in loaders_of(clips()):
        assert_same_bits(batches_of(own, 5, 3), expected)
    clip, frame = np.divmod(expected["source"][..., 0], FRAMES)
    np.testing.assert_array_equal(clip, expected["labels"])
    assert len(np.unique(frame)) > 2


@slow_law
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 3)), min_size=2, max_size=4))
def test_random_rows_do_not_depend_on_what_was_read_before(jumps):
    for own in loaders_of(clips()):
        whole = own.inputs_at(0, 18)
        for step, count in jumps:
            for start in (step, step + count):  # a jump, and what follows
                inputs = own.inputs_at(start, count)
                assert_same_bits(inputs, jax.tree.map(lambda x, s=start, n=count: x[s : s + n], whole))
        own.close()


def test_the_frames_of_a_clip_differ_from_visit_to_visit():
    (own, _) = loaders_of(clips())
    found = batches_of(own, 0, 90)
    for clip in range(CLIPS):
        here = found["labels"] == clip
        assert here.sum() == 80
        pairs = np.stack([found[name][here][:, 0] - clip * FRAMES for name in ("source", "driving")])
        assert len(np.unique(pairs, axis=1).T) > 25  # of 36 pairs, of which 80 visits leave out 4


def test_worker_processes_have_the_same_random_rows():
    dataset = clips()
    resident, _ = loaders_of(dataset)
    own = PrefetchLoader(dataset, resident.order, processes=1)
    assert_same_bits(batches_of(own, 2, 2), batches_of(resident, 2, 2))


@pytest.mark.parametrize("processes", [2, 4])
def test_random_rows_of_all_processes_are_those_of_the_global_batch(processes):
    """Although the random numbers go by the places in the batch, of which each process has its own."""
    whole = batches_of(loaders_of(clips())[0], 7, 2)
    for kind in range(2):
        parts = [
            batches_of(loaders_of(clips(), process=process, processes=processes)[kind], 7, 2)
            for process in range(processes)
        ]
        assert_same_bits(jax.tree.map(lambda *arrays: np.concatenate(arrays, axis=2), *parts), whole)


def test_a_member_of_a_population_has_the_random_rows_of_a_run_with_its_seed():
    for own in loaders_of(clips(), members=3):
        found = batches_of(own, 4, 2)
        for member in range(3):
            for step in range(2):
                for index in range(2):
                    expected = expected_batch(3 + member, (4 + step) * 2 + index)
                    assert_same_bits(jax.tree.map(lambda x: x[step, member, index], found), expected)  # noqa: B023


def test_a_group_may_be_called_like_a_field_of_another_group():
    """As "source" here, of which one field has random rows and the other one has the examples of the group."""
    frames = np.arange(20, dtype=np.float32)[:, None]
    fields = (Field("source", (1,), "floats", "target"), Field("driving", (1,), "floats", "source"))
    shifted = lambda seed, batch, examples: {"source": (examples["target"] + batch) % 20}  # noqa: E731
    for rows in (no_rows, shifted):
        dataset = ArrayDataset({"source": frames, "driving": 100 + frames}, fields, rows=rows)
        found = [batches_of(own, 1, 2) for own in loaders_of(dataset)]
        assert_same_bits(found[0], found[1])
        examples = BatchSampler(3, 4, 2, dataset.groups).batch(2)
        np.testing.assert_array_equal(found[0]["driving"][0, 0, :, 0], 100 + examples["source"])
        moved = 2 if rows is shifted else 0
        np.testing.assert_array_equal(found[0]["source"][0, 0, :, 0], (examples["target"] + moved) % 20)


# Shared arrays


def test_an_array_of_several_fields_lies_on_the_device_once():
    dataset = clips()
    own, _ = loaders_of(dataset)
    held = jax.tree.leaves(devices.replicate(dict(own.data)))
    assert sorted(array.shape for array in held) == sorted(array.shape for array in dataset.arrays.values())
    assert sum(array.nbytes for array in held) == dataset.arrays["frames"].nbytes + dataset.labels.nbytes


@pytest.mark.parametrize("room", [0, -1])
def test_an_array_of_several_fields_takes_room_once(room):
    """All of its rows, also those of which a batch has but some for each example."""
    dataset = clips()
    size = CLIPS * FRAMES * 2 * 4
    assert loader.size_of(dataset) == size
    config = tiny_config(data__source="world:ring", model__family="toy_mlp")
    made = loader.make_loader(config, dataset, 1, size + room)
    assert type(made) is (PrefetchLoader if room else DeviceLoader)


# Data sets in arrays


def test_without_random_rows_each_field_has_the_rows_of_its_group():
    dataset = clips(rows=no_rows)
    for own in loaders_of(dataset):
        found = batches_of(own, 0, 1)
        np.testing.assert_array_equal(found["source"], dataset.arrays["frames"][found["labels"]])
        np.testing.assert_array_equal(found["driving"], found["source"])
    assert set(loaders_of(dataset)[0].inputs_at(0, 1)) == {""}  # rows once for all fields of a group


@law
@given(st.lists(st.integers(0, MANY - 1), min_size=1, max_size=9))
def test_some_examples_are_those_rows_of_every_field(indices):
    dataset, rows = paired(), np.int32(indices)
    found = dataset.take(rows)
    assert_same_bits(found, {name: array[rows] for name, array in dataset.arrays.items()})
    assert_same_bits(dataset.batch(dict.fromkeys(dataset.arrays, rows)), found)


def test_some_examples_have_rows_of_their_own_where_rows_are_random():
    """As in a batch: both frames of an example are of the clip that its label names."""
    indices = np.int32([3, 0, 8, 3])
    found = clips().take(indices)
    rows = frame_of(0, 0, {"": indices})
    np.testing.assert_array_equal(found["labels"], indices)
    for name in ("source", "driving"):
        np.testing.assert_array_equal(found[name][:, 0], rows[name])
        np.testing.assert_array_equal(rows[name] // FRAMES, indices)


def test_another_process_is_sent_all_of_a_data_set_in_memory():
    dataset = clips(rows=frame_of, classes=tuple("abcdefghi"), digest="x")
    received = pickle.loads(pickle.dumps(dataset))
    assert_same_bits(received.arrays, dataset.arrays)
    for name in ("fields", "classes", "digest", "array_of", "sizes", "rows", "reopen", "groups"):
        assert getattr(received, name) == getattr(dataset, name), name


def test_another_process_opens_a_data_set_of_files_again():
    points = {"points": np.zeros((3, 1), np.float32), "labels": np.zeros(3, np.int32)}
    reopen = functools.partial(ArrayDataset, points, point_fields(1), digest="again")
    received = pickle.loads(pickle.dumps(ArrayDataset({}, (), reopen=reopen)))
    assert (received.digest, len(received)) == ("again", 3)


def test_the_digest_is_that_of_all_arrays():
    dataset = paired()
    assert with_digest(dataset).digest == digest_of(*dataset.arrays.values())
    for name, array in dataset.arrays.items():
        changed = array.copy()
        changed.flat[-1] += 1
        assert with_digest(ArrayDataset(dict(dataset.arrays) | {name: changed}, dataset.fields)).digest != (
            with_digest(dataset).digest
        )


# Classes


@pytest.mark.parametrize(
    ("own", "classes", "expected"),
    [
        (("a", "b"), ("a", "b"), [0, 1, -1]),
        (("b", "c"), ("a", "b"), [1, -1, -1]),
        (("b", "a"), ("x", "a", "b"), [2, 1, -1]),
        ((), ("a",), [-1, -1, -1]),
        (("a", "b"), (), [0, 0, 0]),
    ],
)
def test_labels_count_through_the_classes_of_another_set(own, classes, expected):
    """By name; -1 is the label of what that set does not know."""
    labels = np.int32([0, 1, -1] if own else [0, 0, 0])
    found = with_classes(ArrayDataset({"points": np.zeros((3, 2)), "labels": labels}, point_fields(2), own), classes)
    assert (found.labels.tolist(), found.classes, found.labels.dtype) == (expected, classes, np.int32)
