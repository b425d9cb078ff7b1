"""Opened data sets: images at the size that the configuration asks for, and the points of mixtures of Gaussians."""

import jax
import numpy as np
import pytest
from experiments import assert_same_bits, quick_jit, raises_user_error, squares, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan import config as configuration
from jaxgan.core.types import Field
from jaxgan.data import loader, order
from jaxgan.data.dataset import ArrayDataset, digest_of
from jaxgan.data.decode import Transform
from jaxgan.data.gaussian_mixtures import MIXTURES, TRAIN_EXAMPLES, TRAIN_SEED
from jaxgan.data.sources import SOURCES, digits, fields_of, open_dataset
from jaxgan.data.stored import StoredImages
from jaxgan.errors import UserError

law = settings(deadline=None, max_examples=30, derandomize=True)
CROPS = ("centre", "center", "random")

# Images


@pytest.fixture(scope="module")
def stored() -> StoredImages:
    """The digits."""
    return digits.read("")


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Each image at another size, as it is decoded."""
    transform = squares(size, size, images.shape[-1], upscale=True)
    return np.stack([transform(image, "an image") for image in images])


def test_the_digits_are_all_there(stored):
    (name, split), *others = stored.splits.items()
    assert (name, others) == ("train", [])
    assert (split.images.shape, split.images.dtype) == ((1797, 8, 8, 1), np.uint8)
    assert (split.labels().shape, split.labels().dtype) == ((1797,), np.int32)
    assert (split.images.min(), split.images.max()) == (0, 255)
    assert len(np.unique(split.images)) == 17  # the original grey levels, 0 to 16
    assert stored.classes == tuple("0123456789")
    # Counts of the classes, from the data set's own description.
    assert np.bincount(split.labels()).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_same_size_changes_nothing(stored):
    image = stored.splits["train"].images[0]
    assert squares(8, 8, 1, upscale=True)(image, "an image") is image


def test_a_source_is_opened_at_the_size_that_the_configuration_asks_for(stored):
    split, opened = stored.splits["train"], open_dataset(tiny_config(data__size=16))
    assert (len(opened), opened.shape, opened.classes) == (1797, (16, 16, 1), tuple("0123456789"))
    batch = opened.take(np.arange(1797))
    np.testing.assert_array_equal(batch["images"], resize(split.images, 16))
    np.testing.assert_array_equal(batch["labels"], split.labels())


@pytest.mark.parametrize("crop", CROPS)
def test_the_centre_is_cropped_once_and_random_crops_are_cut_at_each_use(stored, crop):
    """The fields of a batch have the size after cropping in either case."""
    whole = resize(stored.splits["train"].images[:5], 16)
    config = tiny_config(data__load_size=16, data__size=12, data__crop=crop)
    expected = whole if crop == "random" else whole[:, 2:14, 2:14]
    np.testing.assert_array_equal(open_dataset(config).take(np.arange(5))["images"], expected)
    assert fields_of(config.data) == (Field("images", (12, 12, 1), "pixels"), Field("labels", (), "labels"))


def test_wrong_sources_are_named():
    with raises_user_error(UserError, match="unknown config.data.source 'digit': did you mean digits"):
        tiny_config(data__source="digit")
    config = tiny_config()
    config.data.source = "digit"
    with raises_user_error(UserError, match="unknown config.data.source 'digit': did you mean digits"):
        open_dataset(config)
    with raises_user_error(UserError, match=r"it has 1 channels, not config\.data\.channels=2"):
        open_dataset(tiny_config(data__channels=2))


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("placement", "residant", "auto, resident or streaming"),
        ("placement", "stream", "auto, resident or streaming"),
        ("crop", "middle", "centre, center or random"),
        ("on_bad_image", "skipp", "error or skip"),
    ],
)
def test_an_unknown_word_is_answered_with_the_known_ones(setting, value, words):
    with raises_user_error(UserError, match=rf"config\.data\.{setting}={value} must be {words}"):
        configuration.validate(tiny_config(**{f"data__{setting}": value}))


@law
@given(size=st.integers(1, 20), load_size=st.integers(0, 20), crop=st.sampled_from(CROPS))
def test_a_crop_has_to_lie_in_the_image(size, load_size, crop):
    """A load_size of 0 is the size itself, of which there is but one crop."""
    config = tiny_config(data__split="train[:3]", data__size=size, data__load_size=load_size, data__crop=crop)
    if (load_size or size) > size or (crop != "random" and load_size in (0, size)):
        assert open_dataset(config).shape == (load_size if crop == "random" else size,) * 2 + (1,)
        return
    with raises_user_error(
        UserError, match=rf"load_size={load_size} must be .* {crop} crop cuts config.data.size={size} "
    ):
        open_dataset(config)


def test_sources_are_opened_as_rectangles(stored, tmp_path):
    """Digits, stacks of them, and an array of that size, which is not copied."""
    settings = {"data__size": "4x6", "data__split": "train[:5]"}
    transform = Transform((4, 6), (4, 6), 1, True)
    expected = np.stack([transform(image, "it") for image in stored.splits["train"].images[:5]])
    digits_alone = open_dataset(tiny_config(**settings))
    np.testing.assert_array_equal(digits_alone.images, expected)
    assert fields_of(tiny_config(**settings).data)[0].shape == digits_alone.shape == (4, 6, 1)
    stacks = open_dataset(tiny_config(data__source="stacked:digits", data__channels=3, data__cache=False, **settings))
    assert stacks.take(np.arange(5))["images"].shape == (5, 4, 6, 3)
    np.save(tmp_path / "images.npy", expected)
    array = open_dataset(tiny_config(data__source=f"array:{tmp_path / 'images.npy'}", **settings))
    np.testing.assert_array_equal(array.images, expected)
    assert isinstance(array.images, np.memmap)


@pytest.mark.parametrize(
    ("size", "load_size", "crop", "words"),
    [
        ("4x6", 5, "centre", "load_size=5 must be at least 4x6, since the centre crop cuts config.data.size=4x6 "),
        (8, "9x7", "centre", "load_size=9x7 must be at least 8, since the centre crop cuts config.data.size=8 "),
        ("4x6", 0, "random", "load_size=0 must be at least 5x7, since the random crop cuts config.data.size=4x6 "),
    ],
)
def test_a_crop_has_to_lie_in_a_rectangle(size, load_size, crop, words):
    with raises_user_error(UserError, match=f"config.data.{words}"):
        open_dataset(tiny_config(data__size=size, data__load_size=load_size, data__crop=crop))


def test_one_side_may_be_cropped_alone():
    config = tiny_config(data__size="4x6", data__load_size="4x8", data__crop="random", data__split="train[:2]")
    assert open_dataset(config).shape == (4, 8, 1)


# Mixtures of Gaussians


def ring_config(**settings):
    return tiny_config(**{"data__source": "world:ring", "model__family": "toy_mlp"} | settings)


@pytest.fixture(scope="module")
def ring() -> ArrayDataset:
    return open_dataset(ring_config())


def test_a_mixture_is_opened_as_points(ring):
    points, labels = MIXTURES["ring"].sample(TRAIN_SEED, TRAIN_EXAMPLES)
    assert (len(ring), ring.shape, ring.classes) == (TRAIN_EXAMPLES, (2,), tuple("01234567"))
    assert (
        ring.fields == fields_of(ring_config().data) == (Field("points", (2,), "points"), Field("labels", (), "labels"))
    )
    assert_same_bits(ring.take(np.arange(TRAIN_EXAMPLES)), {"points": points, "labels": labels})


def test_the_digest_of_a_mixture_is_that_of_its_points(ring):
    assert ring.digest == digest_of(ring.images, ring.labels)
    assert len(ring.digest) == 32
    some = [open_dataset(ring_config(data__split="train[:9]", data__source=f"world:{name}")) for name in MIXTURES]
    again = open_dataset(ring_config(data__split="train[:9]"))
    assert again.digest in {one.digest for one in some}
    assert len({ring.digest, *(one.digest for one in some)}) == 1 + len(MIXTURES)


def test_splits_and_classes_of_a_mixture(ring):
    tenth = open_dataset(ring_config(data__split="train[:10%]"))
    assert_same_bits(tenth.take(np.arange(len(tenth))), ring.take(np.arange(TRAIN_EXAMPLES // 10)))
    few = open_dataset(ring_config(data__split="train[:10%]", data__classes=("6,2",)))
    places = np.flatnonzero(np.isin(tenth.labels, (2, 6)))
    assert few.classes == ("2", "6")
    np.testing.assert_array_equal(few.images, tenth.images[places])
    np.testing.assert_array_equal(few.labels, tenth.labels[places] // 4)  # 2 and 6 become 0 and 1


@pytest.mark.parametrize("placement", ["resident", "streaming"])
def test_the_points_of_a_mixture_reach_a_step_as_they_are(placement):
    """They are neither cropped nor flipped nor moved to another range."""
    config = ring_config(data__split="train[:50]", data__placement=placement)
    dataset = open_dataset(config)
    made = loader.make_loader(config, dataset, 1, 2**30)
    inputs = made.inputs_at(2, 1)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), made.input_spec(1)) == jax.tree.map(
        lambda x: (x.shape, x.dtype), inputs
    )
    batch_fn = quick_jit(loader.make_batch_fn(config, made))
    batch = batch_fn(made.data, jax.tree.map(lambda x: x[0], inputs), np.uint32(0), np.int32(2))
    made.close()
    indices = order.batch_indices(0, 2, 8, 50)
    assert_same_bits(jax.tree.map(np.asarray, batch), jax.tree.map(lambda x: x[None], dataset.take(indices)))
    how = "resident" if placement == "resident" else "streaming, no worker processes"
    assert loader.summary(made) == f"50 points (2), 8 classes (0, 1, 2, 3, 4, 5, 6, 7); {how}"


@pytest.mark.parametrize("setting", sorted(SOURCES["digits"].settings.keys() - SOURCES["world"].settings.keys()))
def test_a_mixture_has_no_settings_of_images(setting):
    with raises_user_error(
        UserError, match=f"config.data.{setting} has no effect here: data.source=digits or .* has it"
    ):
        ring_config(**{f"data__{setting}": 1})
