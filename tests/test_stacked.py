"""Images stacked in channels: what lies in which, how combinations are counted, and the classifier that reads them."""

import numpy as np
import pytest
from experiments import raises_user_error, tiny_config
from PIL import Image
from sklearn.datasets import load_digits

from jaxgan.data.dataset import ArrayDataset, from_arrays
from jaxgan.data.sources import STORED, open_dataset, stacked
from jaxgan.data.stored import Arrays, StoredImages
from jaxgan.errors import UserError
from jaxgan.metrics import features, lenet, scores

COUNT = 300
DIGITS = load_digits()
IMAGES, LABELS = np.round(DIGITS.images * (255 / 16)).astype(np.uint8), np.int32(DIGITS.target)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(stacked, "STACKS", COUNT)
    monkeypatch.setattr(stacked, "TEST_STACKS", COUNT // 3)


def open_stacked(source: str = "stacked:digits", **settings) -> ArrayDataset:
    return open_dataset(tiny_config(data__source=source, data__size=8, data__channels=3, **settings))


def stacked_digits() -> StoredImages:
    return stacked.read("digits", STORED)


def test_each_channel_is_an_image_and_the_label_names_all_three():
    examples = open_stacked()
    split = stacked_digits().splits["train"]
    assert examples.shape == (8, 8, 3)
    assert len(examples.classes) == 1000
    np.testing.assert_array_equal(examples.images, np.moveaxis(IMAGES[split.chosen], 1, 3))
    for label, row in zip(examples.labels, split.chosen, strict=True):
        assert examples.classes[label] == "".join(str(LABELS[i]) for i in row)
    np.testing.assert_array_equal(split.labels(), examples.labels)
    np.testing.assert_array_equal(split.read([7, 3, 7])[1].image, IMAGES[split.chosen[3], ..., None])


def test_they_are_chosen_evenly_and_the_same_every_time(monkeypatch):
    monkeypatch.setattr(stacked, "STACKS", 128_000)
    chosen = stacked_digits().splits["train"].chosen
    np.testing.assert_array_equal(chosen, stacked_digits().splits["train"].chosen)
    each = np.stack([np.bincount(channel, minlength=len(IMAGES)) for channel in chosen.T])
    expected = 128_000 / len(IMAGES)
    assert (each.sum(1) == 128_000).all()
    np.testing.assert_allclose(each.var(1), expected, rtol=0.2)  # as of Poisson's distribution
    assert abs(np.corrcoef(chosen.T) - np.eye(3)).max() < 0.02


def test_splits_and_colours(tmp_path):
    """Each split is stacked of its own images, which are made grey; one without labels has none."""
    for split, level in {"train": 50, "test": 200}.items():
        (tmp_path / split).mkdir()
        for number in range(4):
            Image.new("RGB", (12, 9), (level + number,) * 3).save(tmp_path / split / f"{number}.png")
    train, test = (open_stacked(f"stacked:folder:{tmp_path}", data__split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (COUNT, COUNT // 3)
    assert (train.classes, set(train.labels)) == ((), {0})
    assert set(train.images.ravel()) == {50, 51, 52, 53}
    assert set(test.images.ravel()) == {200, 201, 202, 203}


def test_an_unknown_label_makes_the_whole_unknown():
    base = Arrays(IMAGES[:3], np.int32([4, -1, 2]))
    split = stacked.Stacked("x", base, np.array([[0, 2, 0], [0, 1, 2]]), 10)
    np.testing.assert_array_equal(split.labels(), [424, -1])
    assert [item.label for item in split.read([1, 0])] == [-1, 424]


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("stacked:digits", {"data__channels": 1}, "config.data.channels=1 must be 3 for stacked:digits"),
        (
            "stacked:world:ring",
            {},
            "unknown config.data.source stacked 'world': choose from array, digits, folder, tfds",
        ),
        ("stacked:stacked:digits", {}, "unknown config.data.source stacked 'stacked': choose from array, digits, "),
        ("stacked:digit", {}, "unknown config.data.source stacked 'digit': did you mean digits"),
        ("stacked:", {}, "unknown config.data.source stacked ''"),
    ],
)
def test_only_sources_of_images_can_be_stacked(source, settings, message):
    with raises_user_error(UserError, match=message):
        open_dataset(tiny_config(**{"data__source": source, "data__channels": 3} | settings))


def test_stacks_have_a_limited_number_of_classes():
    many = StoredImages({}, tuple(map(str, range(47))), "")  # 47 ** 3 = 103,823
    with raises_user_error(
        UserError, match=r"stacked:array:x would have 47\*\*3 classes, and must have at most 100000"
    ):
        stacked.read("array:x", {"array": lambda place: many})


def test_every_split_of_stacks_needs_all_classes(tmp_path):
    for name in ("train/a", "train/b", "test/a", "val"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / name / "0.png")
    with raises_user_error(
        UserError, match="stacked:folder:.*: the split test has no images of b, and stacks need all"
    ):
        open_stacked(f"stacked:folder:{tmp_path}")
    (tmp_path / "test/b").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "test/b/0.png")
    assert len(open_stacked(f"stacked:folder:{tmp_path}").classes) == 8
    assert set(open_stacked(f"stacked:folder:{tmp_path}", data__split="val").labels) == {-1}


def test_the_classifier_reads_each_channel(monkeypatch):
    """Its decision is that of one that reads single digits, and samples of three even digits have all modes."""
    for name, value in {"STEPS": 300, "BATCH": 32, "LEARNING_RATE": 3e-3}.items():
        monkeypatch.setattr(lenet, name, value)
    monkeypatch.setattr(stacked, "STACKS", 3000)
    examples = open_stacked()
    extract = features.extractor("stacked", examples)
    found = extract(examples.images)
    assert found.values.shape == (3000, 3 * lenet.FEATURES)
    decided = found.logits.argmax(1)
    assert (decided == examples.labels).mean() > 0.9
    np.testing.assert_allclose(np.exp(found.logits.astype(float)).sum(1), 1, rtol=1e-4)
    rotated = extract(examples.images[..., [2, 0, 1]])
    np.testing.assert_allclose(rotated.values, np.roll(found.values, lenet.FEATURES, axis=1), atol=1e-4)
    hundreds, rest = decided // 100, decided % 100
    np.testing.assert_array_equal(rotated.logits.argmax(1), decided % 10 * 100 + hundreds * 10 + rest // 10)
    found = scores.by_class(decided, None, 1000)
    assert found["modes"].perfect == pytest.approx(1000 * (1 - 0.999**3000))
    assert found["modes"].estimate.value == pytest.approx(found["modes"].perfect, abs=40)
    assert found["KL"].raw == pytest.approx(found["KL"].perfect, abs=0.05)


def test_other_images_are_not_read_by_channel():
    grey = from_arrays(IMAGES[..., None], LABELS, tuple(map(str, range(10))))
    with raises_user_error(UserError, match="features=stacked needs images of stacked:SOURCE"):
        features.extractor("stacked", grey)
