"""The data: digits, pixels, resizing, and the batches that a training step gets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import raises_user_error, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgan.data import order, pipeline
from jaxgan.data.sources import digits
from jaxgan.errors import UserError


@pytest.fixture(scope="module")
def examples():
    return digits()


def small_feed(repeats: int) -> pipeline.ResidentFeed:
    images = np.random.default_rng(0).integers(0, 256, (11, 4, 4, 3), np.uint8)
    return pipeline.ResidentFeed({"images": images, "labels": np.arange(11, dtype=np.int32)}, 3, 4, repeats)


def test_every_pixel_value_survives_the_way_to_floats_and_back():
    pixels = jnp.arange(256, dtype=jnp.uint8)
    floats = pipeline.to_float(pixels)
    np.testing.assert_array_equal(pipeline.to_pixels(floats), pixels)
    np.testing.assert_array_equal(floats[jnp.asarray([0, 255])], [-1, 1])
    np.testing.assert_allclose(np.diff(floats), np.full(255, 2 / 255), rtol=1e-4)


def test_floats_are_rounded_to_the_nearest_pixel_and_clipped():
    floats = jnp.asarray([-2.0, -1.0, 0.0 + 0.4 / 127.5, 1.0, 9.0])
    np.testing.assert_array_equal(pipeline.to_pixels(floats), [0, 0, 128, 255, 255])
    levels = pipeline.to_float(jnp.arange(256, dtype=jnp.uint8))
    for shift in (-0.4, 0.4):
        np.testing.assert_array_equal(pipeline.to_pixels(levels + shift / 127.5), np.arange(256))


def test_the_digits_are_all_there(examples):
    assert (examples.images.shape, examples.images.dtype) == ((1797, 8, 8, 1), np.uint8)
    assert (examples.labels.shape, examples.labels.dtype) == ((1797,), np.int32)
    assert (examples.images.min(), examples.images.max()) == (0, 255)
    assert len(np.unique(examples.images)) == 17  # the original grey levels, 0 to 16
    assert examples.classes == tuple("0123456789")
    # Counts of the classes, from the data set's own description.
    assert np.bincount(examples.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize("size", [4, 8, 16, 13])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_keeps_constant_images(size, channels):
    colours = np.random.default_rng(0).integers(0, 256, (5, 1, 1, channels), np.uint8)
    out = pipeline.resize(np.broadcast_to(colours, (5, 8, 8, channels)), size)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, np.broadcast_to(colours, (5, size, size, channels)))


def test_resizing_treats_each_channel_and_each_image_alone():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    out = pipeline.resize(images, 12)
    for i in range(3):
        np.testing.assert_array_equal(pipeline.resize(images[i : i + 1], 12)[0], out[i])
        np.testing.assert_array_equal(pipeline.resize(images[..., i : i + 1], 12)[..., 0], out[..., i])
    whole = np.asarray(Image.fromarray(images[0]).resize((12, 12), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(out[0], whole)


def test_the_same_size_changes_nothing(examples):
    assert pipeline.resize(examples.images, 8) is examples.images


def test_a_source_at_the_size_that_the_configuration_asks_for(examples):
    opened = pipeline.open_source(tiny_config(data__size=16))
    np.testing.assert_array_equal(opened.images, pipeline.resize(examples.images, 16))
    np.testing.assert_array_equal(opened.labels, examples.labels)


def test_wrong_sources_are_named():
    with raises_user_error(UserError, match="config.data.source 'digit': did you mean digits"):
        pipeline.open_source(tiny_config(data__source="digit"))
    with raises_user_error(UserError, match="config.data.channels=3 should be 1 for digits"):
        pipeline.open_source(tiny_config(data__channels=3))


@settings(deadline=None, max_examples=30, derandomize=True)
@given(step=st.integers(0, 50), count=st.integers(1, 5), repeats=st.integers(1, 3))
def test_positions_of_many_steps_are_those_of_single_ones(step, count, repeats):
    feed = small_feed(repeats)
    positions = feed.positions(step, count)
    single = np.concatenate([feed.positions(t, 1) for t in range(step, step + count)])
    assert (positions.shape, positions.dtype) == ((count, repeats, 4), np.int32)
    np.testing.assert_array_equal(positions, single)


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_the_steps_go_through_the_data_in_order(repeats):
    """No batch is read twice or left out, however many a step takes."""
    stream = small_feed(repeats).positions(0, 6).ravel()
    expected = np.concatenate([order.batch_indices(3, t, 4, 11) for t in range(6 * repeats)])
    np.testing.assert_array_equal(stream, expected)


def test_load_gathers_the_bytes_that_lie_at_the_positions():
    feed = small_feed(2)
    positions = feed.positions(0, 1)[0]
    batch = jax.jit(feed.load)(feed.data, positions)
    np.testing.assert_array_equal(pipeline.to_pixels(batch["images"]), feed.data["images"][positions])
    np.testing.assert_array_equal(batch["labels"], positions)
    assert batch["images"].shape == (2, 4, 4, 4, 3)
    assert batch["images"].dtype == jnp.float32


def test_the_feed_of_an_experiment(examples):
    feed = pipeline.feed(tiny_config(discriminator_steps=2, seed=9), examples)
    assert feed.positions(0, 3).shape == (3, 2, 8)
    np.testing.assert_array_equal(feed.positions(0, 1)[0, 0], order.batch_indices(9, 0, 8, 1797))
    assert feed.data["images"] is examples.images
