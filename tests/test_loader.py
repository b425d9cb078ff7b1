"""The examples on their way to a training step: the same bytes from both loaders, crops and flips of each example."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error, squares, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.algorithms import ALGORITHMS
from jaxgan.core import rng
from jaxgan.data import cache, loader, order
from jaxgan.data.cache import LazyDataset
from jaxgan.data.dataset import ArrayDataset
from jaxgan.data.decode import Transform
from jaxgan.data.loader import BatchSampler, DeviceLoader, PrefetchLoader
from jaxgan.data.selection import Selection
from jaxgan.data.sources import digits, open_dataset
from jaxgan.data.stored import Arrays, Files
from jaxgan.errors import UserError

law = settings(deadline=None, max_examples=30, derandomize=True)
slow_law = settings(law, max_examples=12)  # each example of which starts threads
COUNT, STORED, SIZE, CROPPED = 11, (9, 8), 6, 4  # images, and their pixels as stored, decoded and cropped
CHANGED = {"data__load_size": SIZE, "data__size": CROPPED, "data__crop": "random", "data__flip": True}
KINDS = ("resident", "streaming", "lazy")


def lazy(count: int = COUNT) -> LazyDataset:
    """Made-up images of some pixels, which are made smaller on reading; image i has the label i."""
    images = np.random.default_rng(0).integers(0, 256, (count, *STORED, 3), np.uint8)
    split = Arrays(images, np.arange(count, dtype=np.int32))
    selection = Selection("made-up", ((split, 0, count),), (), None, "made-up")
    return LazyDataset(selection, squares(SIZE, SIZE, 3, True))


@functools.cache
def decoded() -> ArrayDataset:
    return cache.in_memory(lazy(), skip_bad=False)


def new_loader(kind: str, batches: int = 1, workers: int = 0, batch_size: int = 4, **part):
    """A loader of the made-up images; `part` tells which process of how many reads it."""
    sampler = BatchSampler(3, batch_size, batches, {"": COUNT}, **part)
    if kind == "resident":
        return DeviceLoader(decoded(), sampler)
    return PrefetchLoader(decoded() if kind == "streaming" else lazy(), sampler, workers)


@pytest.fixture(scope="module")
def loaders():
    """A function that gives the loader of a kind and a number of batches: always the same one, wherever it stands."""
    made = {}

    def get(kind: str, batches: int = 1):
        if (kind, batches) not in made:
            made[kind, batches] = new_loader(kind, batches)
        return made[kind, batches]

    yield get
    for each in made.values():
        each.close()


@functools.cache
def compiled_batch_fn(kind: str, **changes):
    """What `make_batch_fn` makes for a kind of loader."""
    return quick_jit(loader.make_batch_fn(tiny_config(**({"data__size": SIZE} | changes)), new_loader(kind)))


def loaded(own, step: int, count: int, **changes) -> dict[str, np.ndarray]:
    """The batches of some steps, as the training steps get them: arrays [count, batches, batch, ...]."""
    batch_fn = compiled_batch_fn("resident" if isinstance(own, DeviceLoader) else "streaming", **changes)
    inputs = own.inputs_at(step, count)
    one = lambda k: batch_fn(own.data, jax.tree.map(lambda array: array[k], inputs), np.uint32(3), np.int32(step + k))  # noqa: E731
    return jax.tree.map(lambda *parts: np.stack(parts), *map(one, range(count)))


def shapes(tree) -> dict:
    return jax.tree.map(lambda array: (array.shape, array.dtype), tree)


def assert_equal(actual: dict, expected: dict) -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert (actual[name].dtype, actual[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


# Pixels


def test_every_pixel_value_survives_the_way_to_floats_and_back():
    pixels = jnp.arange(256, dtype=jnp.uint8)
    floats = loader.to_float(pixels)
    np.testing.assert_array_equal(loader.to_pixels(floats), pixels)
    np.testing.assert_array_equal(floats[jnp.asarray([0, 255])], [-1, 1])
    np.testing.assert_allclose(np.diff(floats), np.full(255, 2 / 255), rtol=1e-4)


def test_floats_are_rounded_to_the_nearest_pixel_and_clipped():
    floats = jnp.asarray([-2.0, -1.0, 0.0 + 0.4 / 127.5, 1.0, 9.0])
    np.testing.assert_array_equal(loader.to_pixels(floats), [0, 0, 128, 255, 255])
    levels = loader.to_float(jnp.arange(256, dtype=jnp.uint8))
    for shift in (-0.4, 0.4):
        np.testing.assert_array_equal(loader.to_pixels(levels + shift / 127.5), np.arange(256))


# Which loader


def loader_of(dataset, room: int, **changes):
    return loader.make_loader(tiny_config(data__channels=3, data__size=SIZE, **changes), dataset, 1, room)


BYTES = COUNT * SIZE * SIZE * 3


@pytest.mark.parametrize("source", [decoded, lazy])
@pytest.mark.parametrize(
    ("placement", "room", "kind"),
    [
        ("auto", BYTES, DeviceLoader),
        ("auto", BYTES - 1, PrefetchLoader),
        ("resident", 0, DeviceLoader),
        ("streaming", 2**40, PrefetchLoader),
    ],
)
def test_a_data_set_that_fits_is_resident_by_default(source, placement, room, kind):
    made = loader_of(source(), room, data__placement=placement)
    assert type(made) is kind
    if kind is DeviceLoader:
        assert_equal(made.data, decoded().take(np.arange(COUNT)))
    else:
        assert made.data == {}
        assert_equal(made.dataset.take(np.arange(COUNT)), decoded().take(np.arange(COUNT)))


def test_bad_images_of_a_stream_are_skipped_only_where_all_images_were_decoded_before():
    skip = {"data__on_bad_image": "skip"}
    with raises_user_error(UserError, match=r"config\.data\.on_bad_image=skip needs config\.data\.cache=True"):
        loader_of(lazy(), 0, data__placement="streaming", **skip)
    assert type(loader_of(lazy(), 0, data__placement="resident", **skip)) is DeviceLoader
    assert type(loader_of(decoded(), 0, data__placement="streaming", **skip)) is PrefetchLoader
    config = tiny_config(data__placement="streaming", **skip)  # of digits, of which there is no cache
    assert type(loader.make_loader(config, open_dataset(config), 1, 0)) is PrefetchLoader


def test_processes_read_ahead_where_images_are_decoded(monkeypatch):
    files = Files(["a.png"] * 11, np.zeros(11, np.int32))
    encoded = dataclasses.replace(lazy(), selection=Selection("a", ((files, 0, 11),), (), None, ""))
    for cores, expected in ((1, 1), (3, 3), (64, loader.MAX_WORKERS)):
        monkeypatch.setattr(loader.workers, "cores", lambda cores=cores: cores)
        assert loader_of(encoded, 0).processes == expected
        assert loader_of(lazy(), 0).processes == loader_of(decoded(), 0).processes == 0
    for asked in (0, 1, 20):
        for dataset in (decoded(), lazy()):
            assert loader_of(dataset, 0, data__workers=asked).processes == asked


@law
@given(steps=st.integers(1, 100), batches=st.integers(1, 3), most=st.integers(0, 10**6))
def test_two_dispatches_are_read_ahead_unless_that_takes_too_many_bytes(steps, batches, most):
    config = tiny_config(data__placement="streaming")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "MAX_AHEAD", most)
        ahead = loader.make_loader(config, decoded(), batches, 0, steps).ahead
    size = config.batch_size * (SIZE * SIZE * 3 + 4)  # a label has four bytes
    assert 2 <= ahead <= 2 * steps * batches
    assert ahead * size <= max(most, 2 * size)
    assert ahead == 2 * steps * batches or (ahead + 1) * size > most


def test_the_loader_of_an_experiment():
    split = digits.read("").splits["train"]
    config = tiny_config(discriminator_steps=2, seed=9)
    made = loader.make_loader(config, open_dataset(config), ALGORITHMS["gan"].batches_per_step(config), room=2**30)
    assert shapes(made.inputs_at(0, 3)) == {"": ((3, 2, 8), np.int32)}
    np.testing.assert_array_equal(made.inputs_at(0, 1)[""][0, 0], order.batch_indices(9, 0, 8, 1797))
    np.testing.assert_array_equal(made.data["images"], split.images)
    np.testing.assert_array_equal(made.data["labels"], split.labels())


def test_a_line_says_what_is_loaded_and_how():
    config = tiny_config()
    made = loader.make_loader(config, open_dataset(config), 1, room=2**30)
    assert loader.summary(made) == "1,797 images (8x8x1), 10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9); resident"
    assert loader.summary(new_loader("lazy")) == "11 images (6x6x3); streaming, no worker processes"
    assert loader.summary(new_loader("lazy", workers=2)) == "11 images (6x6x3); streaming, 2 worker processes"


# The same bytes


@law
@given(step=st.integers(0, 50), count=st.integers(1, 5), batches=st.integers(1, 3))
def test_rows_of_many_steps_are_those_of_single_steps(step, count, batches):
    own = new_loader("resident", batches)
    rows = own.inputs_at(step, count)
    single = np.concatenate([own.inputs_at(t, 1)[""] for t in range(step, step + count)])
    assert shapes(rows) == {"": ((count, batches, 4), np.int32)}
    np.testing.assert_array_equal(rows[""], single)


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_the_steps_go_through_the_data_in_order(loaders, batches):
    """No batch is read twice or left out, however many a step takes; the labels of a stream name its examples."""
    expected = np.concatenate([order.batch_indices(3, t, 4, COUNT) for t in range(6 * batches)])
    np.testing.assert_array_equal(loaders("resident", batches).inputs_at(0, 6)[""].ravel(), expected)
    for kind in ("streaming", "lazy"):
        np.testing.assert_array_equal(loaders(kind, batches).inputs_at(0, 6)["labels"].ravel(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_holds_the_bytes_that_lie_at_its_rows(loaders, kind):
    batch = loaded(loaders(kind, 2), 1, 1)
    rows = new_loader("resident", 2).inputs_at(1, 1)[""]
    np.testing.assert_array_equal(loader.to_pixels(jnp.asarray(batch["images"][0])), decoded().images[rows[0]])
    np.testing.assert_array_equal(batch["labels"], rows)
    assert batch["images"].shape == (1, 2, 4, SIZE, SIZE, 3)
    assert batch["images"].dtype == jnp.float32


@slow_law
@given(step=st.integers(0, 40), count=st.integers(1, 3), batches=st.integers(1, 2), changed=st.booleans())
def test_every_loader_gives_the_same_batches(loaders, step, count, batches, changed):
    """As they are, and cropped and flipped: to the bit."""
    changes = CHANGED if changed else {}
    expected = loaded(loaders("resident", batches), step, count, **changes)
    side = CROPPED if changed else SIZE
    assert expected["images"].shape == (count, batches, 4, side, side, 3)
    for kind in ("streaming", "lazy"):
        assert_equal(loaded(loaders(kind, batches), step, count, **changes), expected)


@slow_law
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4)), min_size=2, max_size=5))
def test_the_batches_of_a_stream_depend_on_the_step_alone(loaders, jumps):
    """To and fro, on from where it stopped, over the ends of epochs: as one reading from the beginning has it."""
    own = loaders("lazy", 2)
    own.close()
    whole = own.inputs_at(0, 40)
    for step, count in jumps:
        for start in (step, step + count):  # a jump, and what follows
            expected = {name: array[start : start + count] for name, array in whole.items()}
            assert_equal(own.inputs_at(start, count), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [{}, {"process": 1, "processes": 2}])
def test_the_input_spec_has_the_shapes_of_the_inputs(kind, part):
    """The step is compiled for it, before anything is read."""
    own = new_loader(kind, 2, **part)
    inputs = own.inputs_at(3, 5)
    own.close()
    assert shapes(own.input_spec(5)) == shapes(inputs)
    assert all(leaf.shape[:3] == (5, 2, 4 // part.get("processes", 1)) for leaf in jax.tree.leaves(inputs))


def test_worker_processes_read_the_same_batches(loaders):
    own = new_loader("lazy", batches=2, workers=2)
    try:
        for step in (5, 8):
            assert_equal(own.inputs_at(step, 3), loaders("lazy", 2).inputs_at(step, 3))
    finally:
        own.close()


@law
@given(
    each=st.integers(1, 6),
    processes=st.sampled_from([1, 2, 4]),
    examples=st.integers(1, 40),
    others=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    number=st.integers(0, 30),
)
def test_the_parts_of_the_processes_are_the_global_batch(each, processes, examples, others, seed, number):
    sampler = functools.partial(BatchSampler, seed, each * processes, 1, {"": examples, "other": others})
    parts = [sampler(process=process, processes=processes).batch(number) for process in range(processes)]
    whole = sampler().batch(number)
    assert list(whole) == ["", "other"]
    for group, rows in whole.items():
        assert [len(part[group]) for part in parts] == [each] * processes
        np.testing.assert_array_equal(np.concatenate([part[group] for part in parts]), rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("processes", [2, 4])
def test_the_batches_of_all_processes_are_the_global_batch(loaders, kind, processes):
    parts = [new_loader(kind, 2, process=process, processes=processes) for process in range(processes)]
    batches = [loaded(own, 7, 2) for own in parts]
    for own in parts:
        own.close()
    joined = jax.tree.map(lambda *arrays: np.concatenate(arrays, axis=2), *batches)
    assert_equal(joined, loaded(loaders("resident", 2), 7, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_is_another_order_from_then_on(kind):
    own = new_loader(kind)
    own.inputs_at(0, 2)
    own.reseed(5)
    inputs = own.inputs_at(2, 2)
    own.close()
    expected = [order.batch_indices(5, step, 4, COUNT) for step in (2, 3)]
    np.testing.assert_array_equal(inputs["" if kind == "resident" else "labels"][:, 0], expected)


# Populations: each member has an order of its own


@law
@given(
    seed=st.integers(0, 2**32 - 4),
    members=st.integers(1, 4),
    batches=st.integers(1, 3),
    processes=st.sampled_from([1, 2]),
    examples=st.integers(1, 40),
    step=st.integers(0, 30),
)
def test_each_member_reads_what_it_would_read_alone(seed, members, batches, processes, examples, step):
    part = {"process": processes - 1, "processes": processes}
    groups = {"": examples, "other": 7}
    sampler = BatchSampler(seed, 4, batches, groups, members=members, **part)
    assert sampler.per_step == ((members, batches) if members > 1 else (batches,))
    assert sampler.batch_axis == (3 if members > 1 else 2)
    for member in range(members):
        alone = BatchSampler(seed + member, 4, batches, groups, **part)
        for index in range(batches):
            number = (step * members + member) * batches + index
            assert_equal(sampler.batch(number), alone.batch(step * batches + index))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [{}, {"process": 1, "processes": 2}])
def test_the_axis_of_members_lies_between_steps_and_batches(kind, part):
    own = new_loader(kind, 2, members=3, **part)
    inputs, batch = own.inputs_at(3, 5), 4 // part.get("processes", 1)
    own.close()
    for leaf in jax.tree.leaves(inputs):
        assert leaf.shape[:4] == (5, 3, 2, batch)
        assert leaf.shape[own.order.batch_axis] == batch
    assert shapes(own.input_spec(5)) == shapes(inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_the_batches_of_a_member_are_those_of_a_run_with_its_seed(kind):
    """The labels of a stream name its examples."""
    own = new_loader(kind, 2, members=3)
    inputs = own.inputs_at(4, 3)
    own.close()
    found = inputs["" if kind == "resident" else "labels"]
    for member in range(3):
        alone = DeviceLoader(decoded(), BatchSampler(3 + member, 4, 2, {"": COUNT})).inputs_at(4, 3)
        np.testing.assert_array_equal(found[:, member], alone[""])
    if kind != "resident":
        np.testing.assert_array_equal(inputs["images"], decoded().images[found])


@slow_law
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 3)), min_size=2, max_size=4), st.sampled_from(KINDS))
def test_a_population_goes_on_in_the_middle(jumps, kind):
    own = new_loader(kind, 2, members=3)
    whole = own.inputs_at(0, 18)
    for step, count in jumps:
        for start in (step, step + count):  # a jump, and what follows
            assert_equal(own.inputs_at(start, count), jax.tree.map(lambda x, s=start, n=count: x[s : s + n], whole))
    own.close()


def test_the_loader_of_a_population():
    config = tiny_config(data__split="train[:50]", seed=9, population=3)
    dataset = open_dataset(config)
    for placement in ("resident", "streaming"):
        config.data.placement = placement
        made = loader.make_loader(config, dataset, 2, 2**30, steps_per_dispatch=2)
        assert made.order == BatchSampler(9, 8, 2, {"": 50}, members=3)
        made.close()
    assert made.ahead == 2 * 2 * 3 * 2  # two dispatches of two steps


# Crops and flips

SIDE, WINDOW = 7, 4
OFFSETS = (SIDE - WINDOW + 1) ** 2
crop = jax.jit(loader.random_crop, static_argnums=(2, 3))
flip = jax.jit(loader.random_flip)


def numbered(count: int) -> np.ndarray:
    """Images each of whose pixels has its place, 0 to 48, in one channel, and the number of its image in the other."""
    places = np.broadcast_to(np.arange(SIDE**2, dtype=np.uint8).reshape(SIDE, SIDE), (count, SIDE, SIDE))
    images = np.broadcast_to(np.arange(count).astype(np.uint8)[:, None, None], (count, SIDE, SIDE))
    return np.stack([places, images], axis=-1)


def keys_of(examples, step: int = 0):
    return rng.example_keys(rng.stream_key(0, step, "test"), jnp.asarray(examples))


def chi_squared(counts) -> float:
    """Of counts that must be equal; its mean is one less than there are of them."""
    return float(((counts - np.mean(counts)) ** 2 / np.mean(counts)).sum())


def test_a_crop_is_a_window_of_its_image_and_each_is_equally_likely():
    images = numbered(4000)
    crops = np.asarray(crop(images, keys_of(range(4000)), WINDOW, WINDOW))
    tops, lefts = np.divmod(crops[:, 0, 0, 0], SIDE)
    for i in range(4000):
        window = images[i, tops[i] : tops[i] + WINDOW, lefts[i] : lefts[i] + WINDOW]
        np.testing.assert_array_equal(crops[i], window)
    found, counts = np.unique(np.stack([tops, lefts]), axis=1, return_counts=True)
    assert found.T.tolist() == [[top, left] for top in range(4) for left in range(4)]
    assert chi_squared(counts) < 37.7  # the 0.999 quantile for 15 degrees of freedom


def test_a_crop_may_be_a_rectangle():
    """Of 2 x 6 places, each is as likely; one side of the whole image has one place."""
    images, keys = numbered(4000), keys_of(range(4000))
    tops, lefts = np.divmod(np.asarray(crop(images, keys, 6, 2))[:, 0, 0, 0], SIDE)
    found, counts = np.unique(np.stack([tops, lefts]), axis=1, return_counts=True)
    assert found.T.tolist() == [[top, left] for top in range(2) for left in range(6)]
    assert chi_squared(counts) < 31.3  # the 0.999 quantile for 11 degrees of freedom
    wide = np.asarray(crop(images, keys, 3, SIDE))
    np.testing.assert_array_equal(wide[..., 0] % SIDE, np.broadcast_to(np.arange(SIDE), (4000, 3, SIDE)))


def test_batches_of_rectangles_are_cropped_alike_in_all_loaders():
    changes = {"data__load_size": "5x6", "data__size": "3x4", "data__crop": "random", "data__flip": True}
    rectangles = dataclasses.replace(lazy(), transform=Transform((5, 6), (5, 6), 3, True))
    sampler, found = BatchSampler(3, 4, 1, {"": COUNT}), []
    for own in (DeviceLoader(cache.in_memory(rectangles, False), sampler), PrefetchLoader(rectangles, sampler)):
        batch_fn = quick_jit(loader.make_batch_fn(tiny_config(**changes), own))
        inputs = jax.tree.map(lambda array: array[0], own.inputs_at(2, 1))
        found.append(batch_fn(own.data, inputs, np.uint32(3), np.int32(2)))
        own.close()
    assert found[0]["images"].shape == (1, 4, 3, 4, 3)
    assert_equal(*found)


def test_an_image_is_itself_or_its_mirror_image_in_half_of_all_cases():
    images = numbered(4000)
    out = np.asarray(flip(images, keys_of(range(4000))))
    kept, mirrored = ((out == other).all((1, 2, 3)) for other in (images, images[:, :, ::-1]))
    np.testing.assert_array_equal(kept, ~mirrored)
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)


@law
@given(st.lists(st.integers(0, 15), min_size=8, max_size=8))
def test_the_crop_and_flip_of_an_example_are_the_same_in_any_batch(examples):
    images = numbered(16)
    for change in (flip, lambda images, keys: crop(images, keys, WINDOW, WINDOW)):
        whole = np.asarray(change(images, keys_of(range(16))))
        np.testing.assert_array_equal(change(images[examples], keys_of(examples)), whole[examples])


MANY = 4096


@pytest.fixture(scope="module")
def changes():
    """A function of seed and step: the (top, left, flipped) that the batch function has, [3, batches, examples]."""
    config = tiny_config(data__load_size=SIDE, data__size=WINDOW, data__crop="random", data__flip=True)
    batch_fn = quick_jit(loader.make_batch_fn(config, new_loader("streaming")))
    inputs = {"images": np.stack([numbered(MANY)] * 2), "labels": np.zeros((2, MANY), np.int32)}

    @functools.cache
    def change(seed: int = 0, step: int = 0) -> np.ndarray:
        images = np.asarray(loader.to_pixels(batch_fn({}, inputs, np.uint32(seed), np.int32(step))["images"]))
        first, last = images[..., 0, 0, 0], images[..., 0, WINDOW - 1, 0]
        return np.stack([*np.divmod(np.minimum(first, last), SIDE), first > last])

    return change


def test_crops_and_flips_are_independent_of_each_other(changes):
    """All 32 cases of 4,096 examples are equally likely (chi-squared, 31 degrees of freedom)."""
    for index in range(2):
        found, counts = np.unique(changes()[:, index], axis=1, return_counts=True)
        assert found.shape == (3, 2 * OFFSETS)
        assert chi_squared(counts) < 61.1  # the 0.999 quantile


def test_each_seed_step_and_batch_has_new_crops_and_flips(changes):
    """Two of them agree about an example's top, left and flip no more often than chance has it."""
    others = {"batch": changes()[:, 1], "step": changes(step=1)[:, 0], "seed": changes(seed=1)[:, 0]}
    for name, other in others.items():
        agree = (other == changes()[:, 0]).mean(1)
        chance = np.array([1 / 4, 1 / 4, 1 / 2])
        assert (abs(agree - chance) < 4 * np.sqrt(chance * (1 - chance) / MANY)).all(), name


def test_crops_and_flips_are_two_streams_of_random_numbers():
    """With one stream for both they would be independent by good luck alone."""
    own = new_loader("resident", 2)
    rows, found = own.inputs_at(6, 1)[""][0], loaded(own, 6, 1, **CHANGED)["images"][0]
    for index in range(2):
        crops, flips = (
            rng.example_keys(rng.stream_key(3, 6, stream, index), jnp.arange(4)) for stream in ("crop", "flip")
        )
        expected = flip(crop(decoded().images[rows[index]], crops, CROPPED, CROPPED), flips)
        np.testing.assert_array_equal(loader.to_pixels(jnp.asarray(found[index])), expected)


def test_crops_and_flips_belong_to_the_place_in_the_global_batch():
    """Of a batch spread over devices each gets what it gets where the batch is whole."""
    own, count = new_loader("resident", 2, batch_size=8), 2
    whole = loaded(own, 1, 1, **CHANGED)
    batch_fn = loader.make_batch_fn(tiny_config(**CHANGED), own, "axis")
    parts = {"": np.stack(np.split(own.inputs_at(1, 1)[""][0], count, axis=1))}
    mapped = jax.vmap(batch_fn, in_axes=(None, 0, None, None), axis_name="axis")
    batches = quick_jit(mapped)(own.data, parts, np.uint32(3), np.int32(1))
    for name, array in whole.items():
        np.testing.assert_array_equal(np.concatenate(batches[name], axis=1), array[0], err_msg=name)
