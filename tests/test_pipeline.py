"""The examples on their way to a training step: the same bytes from every feed, and what each example draws."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.core import rng
from jaxgan.data import cache, loader, order, sources
from jaxgan.data.cache import LazyDataset
from jaxgan.data.decode import Transform
from jaxgan.data.selection import Selection
from jaxgan.errors import UserError

law = settings(deadline=None, max_examples=30, derandomize=True)
slow_law = settings(law, max_examples=12)  # each example of which starts threads
COUNT, STORED, SIZE, CROPPED = 11, (9, 8), 6, 4  # images, and their pixels as stored, decoded and cropped
CHANGED = {"data__load_size": SIZE, "data__size": CROPPED, "data__crop": "random", "data__flip": True}
KINDS = ("resident", "streaming", "undecoded")


def undecoded(count: int = COUNT) -> LazyDataset:
    """Made-up images of some pixels, which are made smaller on reading; image i has the label i."""
    images = np.random.default_rng(0).integers(0, 256, (count, *STORED, 3), np.uint8)
    split = sources.Arrays(images, np.arange(count, dtype=np.int32))
    selection = Selection("made-up", ((split, 0, count),), (), None, "made-up")
    return LazyDataset(selection, Transform(SIZE, SIZE, 3, True))


@functools.cache
def decoded() -> cache.ArrayDataset:
    return cache.in_memory(undecoded(), skip_bad=False)


def make_feed(kind: str, repeats: int = 1, workers: int = 0, batch_size: int = 4, **part):
    """A feed over the made-up images; `part` tells which process of how many reads it."""
    plan = loader.BatchSampler(3, batch_size, repeats, COUNT, **part)
    if kind == "resident":
        return loader.DeviceLoader(decoded(), plan)
    return loader.PrefetchLoader(decoded() if kind == "streaming" else undecoded(), plan, workers)


@pytest.fixture(scope="module")
def feeds():
    """A function that gives the feed of a kind and a number of repeats: always the same one, wherever it stands."""
    made = {}

    def get(kind: str, repeats: int = 1):
        if (kind, repeats) not in made:
            made[kind, repeats] = make_feed(kind, repeats)
        return made[kind, repeats]

    yield get
    for feed in made.values():
        feed.close()


@functools.cache
def compiled_loader(kind: str, **changes):
    """What `loader` makes for a kind of feed."""
    return quick_jit(loader.make_batch_fn(tiny_config(**({"data__size": SIZE} | changes)), make_feed(kind)))


def loaded(feed, step: int, count: int, **changes) -> dict[str, np.ndarray]:
    """The batches of some steps, as the training steps get them: arrays [count, repeats, batch, ...]."""
    load = compiled_loader("resident" if isinstance(feed, loader.DeviceLoader) else "streaming", **changes)
    inputs = feed.inputs_at(step, count)
    one = lambda k: load(feed.data, jax.tree.map(lambda array: array[k], inputs), np.uint32(3), np.int32(step + k))  # noqa: E731
    return jax.tree.map(lambda *parts: np.stack(parts), *map(one, range(count)))


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


# Which feed


def feed_of(examples, room: int, **changes):
    return loader.make_loader(tiny_config(data__channels=3, data__size=SIZE, **changes), examples, room)


BYTES = COUNT * SIZE * SIZE * 3


@pytest.mark.parametrize("source", [decoded, undecoded])
@pytest.mark.parametrize(
    ("asked", "room", "kind"),
    [
        ("auto", BYTES, loader.DeviceLoader),
        ("auto", BYTES - 1, loader.PrefetchLoader),
        ("resident", 0, loader.DeviceLoader),
        ("streaming", 2**40, loader.PrefetchLoader),
    ],
)
def test_what_fits_is_resident_unless_told_otherwise(source, asked, room, kind):
    feed = feed_of(source(), room, data__feed=asked)
    assert type(feed) is kind
    if kind is loader.DeviceLoader:
        assert_equal(feed.data, decoded().batch(np.arange(COUNT)))
    else:
        assert feed.data == {}
        assert_equal(feed.examples.batch(np.arange(COUNT)), decoded().batch(np.arange(COUNT)))


def test_what_was_never_looked_at_as_a_whole_cannot_be_skipped_in_a_stream():
    skip = {"data__on_bad_image": "skip"}
    with raises_user_error(UserError, match=r"config\.data\.on_bad_image=skip needs config\.data\.cache=True"):
        feed_of(undecoded(), 0, data__feed="streaming", **skip)
    assert type(feed_of(undecoded(), 0, data__feed="resident", **skip)) is loader.DeviceLoader
    assert type(feed_of(decoded(), 0, data__feed="streaming", **skip)) is loader.PrefetchLoader
    digits = tiny_config(data__feed="streaming", **skip)  # of which there is no cache
    assert type(loader.make_loader(digits, loader.open_dataset(digits), 0)) is loader.PrefetchLoader


def test_processes_are_worth_their_while_where_images_are_decoded(monkeypatch):
    files = sources.Files(["a.png"] * 11, np.zeros(11, np.int32))
    encoded = dataclasses.replace(undecoded(), selection=Selection("a", ((files, 0, 11),), (), None, ""))
    for cores, expected in ((1, 1), (3, 3), (64, loader.MOST_WORKERS)):
        monkeypatch.setattr(loader.workers, "cores", lambda cores=cores: cores)
        assert feed_of(encoded, 0).processes == expected
        assert feed_of(undecoded(), 0).processes == feed_of(decoded(), 0).processes == 0
    for asked in (0, 1, 20):
        for examples in (decoded(), undecoded()):
            assert feed_of(examples, 0, data__workers=asked).processes == asked


@law
@given(steps=st.integers(1, 100), repeats=st.integers(1, 3), most=st.integers(0, 10**6))
def test_two_dispatches_are_read_ahead_unless_memory_is_short(steps, repeats, most):
    config = tiny_config(data__feed="streaming", discriminator_steps=repeats)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "MOST_AHEAD", most)
        ahead = loader.make_loader(config, decoded(), 0, steps).ahead
    size = config.batch_size * SIZE * SIZE * 3
    assert 2 <= ahead <= 2 * steps * repeats
    assert ahead * size <= max(most, 2 * size)
    assert ahead == 2 * steps * repeats or (ahead + 1) * size > most


def test_the_feed_of_an_experiment():
    split = sources.digits("").splits["train"]
    config = tiny_config(discriminator_steps=2, seed=9)
    feed = loader.make_loader(config, loader.open_dataset(config), room=2**30)
    assert feed.inputs_at(0, 3).shape == (3, 2, 8)
    np.testing.assert_array_equal(feed.inputs_at(0, 1)[0, 0], order.batch_indices(9, 0, 8, 1797))
    np.testing.assert_array_equal(feed.data["images"], split.images)
    np.testing.assert_array_equal(feed.data["labels"], split.labels())


def test_a_line_tells_what_is_fed_and_how():
    config = tiny_config()
    digits = loader.make_loader(config, loader.open_dataset(config), room=2**30)
    assert loader.summary(digits) == "1,797 images, 8x8x1, 10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9); resident"
    assert loader.summary(make_feed("undecoded")) == "11 images, 6x6x3; streaming, no worker processes"
    assert loader.summary(make_feed("undecoded", workers=2)) == "11 images, 6x6x3; streaming, 2 worker processes"


# The same bytes


@law
@given(step=st.integers(0, 50), count=st.integers(1, 5), repeats=st.integers(1, 3))
def test_positions_of_many_steps_are_those_of_single_ones(step, count, repeats):
    feed = make_feed("resident", repeats)
    positions = feed.inputs_at(step, count)
    single = np.concatenate([feed.inputs_at(t, 1) for t in range(step, step + count)])
    assert (positions.shape, positions.dtype) == ((count, repeats, 4), np.int32)
    np.testing.assert_array_equal(positions, single)


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_the_steps_go_through_the_data_in_order(feeds, repeats):
    """No batch is read twice or left out, however many a step takes; the labels of a stream tell its examples."""
    expected = np.concatenate([order.batch_indices(3, t, 4, COUNT) for t in range(6 * repeats)])
    np.testing.assert_array_equal(feeds("resident", repeats).inputs_at(0, 6).ravel(), expected)
    for kind in ("streaming", "undecoded"):
        np.testing.assert_array_equal(feeds(kind, repeats).inputs_at(0, 6)["labels"].ravel(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_load_gathers_the_bytes_that_lie_at_the_positions(feeds, kind):
    batch = loaded(feeds(kind, 2), 1, 1)
    positions = make_feed("resident", 2).inputs_at(1, 1)
    np.testing.assert_array_equal(loader.to_pixels(jnp.asarray(batch["images"][0])), decoded().images[positions[0]])
    np.testing.assert_array_equal(batch["labels"], positions)
    assert batch["images"].shape == (1, 2, 4, SIZE, SIZE, 3)
    assert batch["images"].dtype == jnp.float32


@slow_law
@given(step=st.integers(0, 40), count=st.integers(1, 3), repeats=st.integers(1, 2), changed=st.booleans())
def test_every_feed_gives_the_same_batches(feeds, step, count, repeats, changed):
    """As they are, and cropped and flipped: to the bit."""
    changes = CHANGED if changed else {}
    expected = loaded(feeds("resident", repeats), step, count, **changes)
    side = CROPPED if changed else SIZE
    assert expected["images"].shape == (count, repeats, 4, side, side, 3)
    for kind in ("streaming", "undecoded"):
        assert_equal(loaded(feeds(kind, repeats), step, count, **changes), expected)


@slow_law
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4)), min_size=2, max_size=5))
def test_a_stream_s_batches_are_a_matter_of_the_step_alone(feeds, jumps):
    """To and fro, on from where it stopped, over the ends of epochs: as one reading from the beginning has it."""
    feed = feeds("undecoded", 2)
    feed.close()
    whole = feed.inputs_at(0, 40)
    for step, count in jumps:
        for start in (step, step + count):  # a jump, and what follows
            expected = {name: array[start : start + count] for name, array in whole.items()}
            assert_equal(feed.inputs_at(start, count), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [{}, {"process": 1, "processes": 2}])
def test_what_is_like_the_inputs_has_their_shapes(kind, part):
    """The step is compiled for it, before anything is read."""
    feed = make_feed(kind, 2, **part)
    shapes = lambda tree: jax.tree.map(lambda array: (array.shape, array.dtype), tree)  # noqa: E731
    taken = feed.inputs_at(3, 5)
    feed.close()
    assert shapes(feed.input_spec(5)) == shapes(taken)
    assert all(leaf.shape[:3] == (5, 2, 4 // part.get("processes", 1)) for leaf in jax.tree.leaves(taken))


def test_worker_processes_read_the_same_batches(feeds):
    feed = make_feed("undecoded", repeats=2, workers=2)
    try:
        for step in (5, 8):
            assert_equal(feed.inputs_at(step, 3), feeds("undecoded", 2).inputs_at(step, 3))
    finally:
        feed.close()


@law
@given(
    share=st.integers(1, 6),
    processes=st.sampled_from([1, 2, 4]),
    examples=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    number=st.integers(0, 30),
)
def test_the_parts_of_the_processes_are_the_global_batch(share, processes, examples, seed, number):
    plan = functools.partial(loader.BatchSampler, seed, share * processes, 1, examples)
    parts = [plan(process=process, processes=processes).batch(number) for process in range(processes)]
    assert [len(part) for part in parts] == [share] * processes
    np.testing.assert_array_equal(np.concatenate(parts), plan().batch(number))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("processes", [2, 4])
def test_what_the_processes_load_is_the_global_batch(feeds, kind, processes):
    parts = [make_feed(kind, 2, process=process, processes=processes) for process in range(processes)]
    batches = [loaded(feed, 7, 2) for feed in parts]
    for feed in parts:
        feed.close()
    joined = jax.tree.map(lambda *arrays: np.concatenate(arrays, axis=2), *batches)
    assert_equal(joined, loaded(feeds("resident", 2), 7, 2))


# Populations: each member has an order of its own


@law
@given(
    seed=st.integers(0, 2**32 - 4),
    members=st.integers(1, 4),
    repeats=st.integers(1, 3),
    processes=st.sampled_from([1, 2]),
    examples=st.integers(1, 40),
    step=st.integers(0, 30),
)
def test_each_member_reads_what_it_would_read_alone(seed, members, repeats, processes, examples, step):
    part = {"process": processes - 1, "processes": processes}
    plan = loader.BatchSampler(seed, 4, repeats, examples, members=members, **part)
    assert plan.per_step == ((members, repeats) if members > 1 else (repeats,))
    assert plan.batch_axis == (3 if members > 1 else 2)
    for member in range(members):
        alone = loader.BatchSampler(seed + member, 4, repeats, examples, **part)
        for repeat in range(repeats):
            number = (step * members + member) * repeats + repeat
            np.testing.assert_array_equal(plan.batch(number), alone.batch(step * repeats + repeat))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [{}, {"process": 1, "processes": 2}])
def test_members_lie_between_the_steps_and_their_batches(kind, part):
    feed = make_feed(kind, 2, members=3, **part)
    taken, batch = feed.inputs_at(3, 5), 4 // part.get("processes", 1)
    feed.close()
    for leaf in jax.tree.leaves(taken):
        assert leaf.shape[:4] == (5, 3, 2, batch)
        assert leaf.shape[feed.order.batch_axis] == batch
    assert jax.tree.map(lambda x: (x.shape, x.dtype), feed.input_spec(5)) == jax.tree.map(
        lambda x: (x.shape, x.dtype), taken
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_member_takes_is_what_a_run_with_its_seed_takes(kind):
    """The labels of a stream tell its examples."""
    feed = make_feed(kind, 2, members=3)
    taken = feed.inputs_at(4, 3)
    feed.close()
    found = taken if kind == "resident" else taken["labels"]
    for member in range(3):
        alone = loader.DeviceLoader(decoded(), loader.BatchSampler(3 + member, 4, 2, COUNT)).inputs_at(4, 3)
        np.testing.assert_array_equal(found[:, member], alone)
    if kind != "resident":
        np.testing.assert_array_equal(taken["images"], decoded().images[found])


@slow_law
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 3)), min_size=2, max_size=4), st.sampled_from(KINDS))
def test_a_population_goes_on_in_the_middle(jumps, kind):
    feed = make_feed(kind, 2, members=3)
    whole = feed.inputs_at(0, 18)
    for step, count in jumps:
        for start in (step, step + count):  # a jump, and what follows
            taken = feed.inputs_at(start, count)
            jax.tree.map(lambda x, y, s=start, n=count: np.testing.assert_array_equal(x, y[s : s + n]), taken, whole)
    feed.close()


def test_the_feed_of_a_population():
    config = tiny_config(data__split="train[:50]", discriminator_steps=2, seed=9, population=3)
    examples = loader.open_dataset(config)
    for asked in ("resident", "streaming"):
        config.data.feed = asked
        feed = loader.make_loader(config, examples, 2**30, steps_per_dispatch=2)
        assert feed.order == loader.BatchSampler(9, 8, 2, 50, members=3)
        feed.close()
    assert feed.ahead == 2 * 2 * 3 * 2  # two dispatches of two steps


# What each example draws

SIDE, WINDOW = 7, 4
OFFSETS = (SIDE - WINDOW + 1) ** 2
crop = jax.jit(loader.random_crop, static_argnums=2)
flip = jax.jit(loader.random_flip)


def numbered(count: int) -> np.ndarray:
    """Images each of whose pixels tells its place, 0 to 48, and the image it lies in."""
    places = np.broadcast_to(np.arange(SIDE**2, dtype=np.uint8).reshape(SIDE, SIDE), (count, SIDE, SIDE))
    images = np.broadcast_to(np.arange(count).astype(np.uint8)[:, None, None], (count, SIDE, SIDE))
    return np.stack([places, images], axis=-1)


def drawn_keys(examples, step: int = 0):
    return rng.example_keys(rng.stream_key(0, step, "test"), jnp.asarray(examples))


def chi_squared(counts) -> float:
    """Of counts that should be equal; its mean is one less than there are of them."""
    return float(((counts - np.mean(counts)) ** 2 / np.mean(counts)).sum())


def test_a_crop_is_a_window_of_its_image_and_each_is_equally_likely():
    images = numbered(4000)
    crops = np.asarray(crop(images, drawn_keys(range(4000)), WINDOW))
    tops, lefts = np.divmod(crops[:, 0, 0, 0], SIDE)
    for i in range(4000):
        window = images[i, tops[i] : tops[i] + WINDOW, lefts[i] : lefts[i] + WINDOW]
        np.testing.assert_array_equal(crops[i], window)
    found, counts = np.unique(np.stack([tops, lefts]), axis=1, return_counts=True)
    assert found.T.tolist() == [[top, left] for top in range(4) for left in range(4)]
    assert chi_squared(counts) < 37.7  # the 0.999 quantile for 15 degrees of freedom


def test_an_image_is_itself_or_its_mirror_image_in_half_of_all_cases():
    images = numbered(4000)
    out = np.asarray(flip(images, drawn_keys(range(4000))))
    kept, mirrored = ((out == other).all((1, 2, 3)) for other in (images, images[:, :, ::-1]))
    np.testing.assert_array_equal(kept, ~mirrored)
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)


@law
@given(st.lists(st.integers(0, 15), min_size=8, max_size=8))
def test_what_an_example_draws_is_the_same_in_any_batch(examples):
    images = numbered(16)
    for draw in (flip, lambda images, keys: crop(images, keys, WINDOW)):
        whole = np.asarray(draw(images, drawn_keys(range(16))))
        np.testing.assert_array_equal(draw(images[examples], drawn_keys(examples)), whole[examples])


MANY = 4096


@pytest.fixture(scope="module")
def draws():
    """A function of seed and step: the (top, left, flipped) that the loader draws, [3, repeats, examples]."""
    config = tiny_config(data__load_size=SIDE, data__size=WINDOW, data__crop="random", data__flip=True)
    load = quick_jit(loader.make_batch_fn(config, make_feed("streaming")))
    inputs = {"images": np.stack([numbered(MANY)] * 2), "labels": np.zeros((2, MANY), np.int32)}

    @functools.cache
    def draw(seed: int = 0, step: int = 0) -> np.ndarray:
        images = np.asarray(loader.to_pixels(load({}, inputs, np.uint32(seed), np.int32(step))["images"]))
        first, last = images[..., 0, 0, 0], images[..., 0, WINDOW - 1, 0]
        return np.stack([*np.divmod(np.minimum(first, last), SIDE), first > last])

    return draw


def test_crops_and_flips_are_independent_of_each_other(draws):
    """All 32 cases of 4,096 examples are equally likely (chi-squared, 31 degrees of freedom)."""
    for repeat in range(2):
        found, counts = np.unique(draws()[:, repeat], axis=1, return_counts=True)
        assert found.shape == (3, 2 * OFFSETS)
        assert chi_squared(counts) < 61.1  # the 0.999 quantile


def test_each_seed_step_and_repeat_draws_anew(draws):
    """Two of them agree about an example's top, left and flip no more often than chance has it."""
    others = {"repeat": draws()[:, 1], "step": draws(step=1)[:, 0], "seed": draws(seed=1)[:, 0]}
    for name, other in others.items():
        agree = (other == draws()[:, 0]).mean(1)
        chance = np.array([1 / 4, 1 / 4, 1 / 2])
        assert (abs(agree - chance) < 4 * np.sqrt(chance * (1 - chance) / MANY)).all(), name


def test_crops_and_flips_are_two_uses_of_randomness():
    """Each with a key of its own: with one for both they would be independent by good luck alone."""
    feed = make_feed("resident", 2)
    positions, found = feed.inputs_at(6, 1)[0], loaded(feed, 6, 1, **CHANGED)["images"][0]
    for repeat in range(2):
        crops, flips = (rng.example_keys(rng.stream_key(3, 6, use, repeat), jnp.arange(4)) for use in ("crop", "flip"))
        expected = flip(crop(decoded().images[positions[repeat]], crops, CROPPED), flips)
        np.testing.assert_array_equal(loader.to_pixels(jnp.asarray(found[repeat])), expected)


def test_the_loader_draws_by_the_place_in_the_global_batch():
    """Of a batch spread over devices each gets what it gets where the batch is whole."""
    feed, count = make_feed("resident", 2, batch_size=8), 2
    whole = loaded(feed, 1, 1, **CHANGED)
    load = loader.make_batch_fn(tiny_config(**CHANGED), feed, "axis")
    shares = np.stack(np.split(feed.inputs_at(1, 1)[0], count, axis=1))
    mapped = jax.vmap(load, in_axes=(None, 0, None, None), axis_name="axis")
    parts = quick_jit(mapped)(feed.data, shares, np.uint32(3), np.int32(1))
    for name, array in whole.items():
        np.testing.assert_array_equal(np.concatenate(parts[name], axis=1), array[0], err_msg=name)
