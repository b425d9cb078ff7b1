"""Images stacked in channels: what lies in which, how combinations are counted, and the classifier that reads them."""

import numpy as np
import pytest
from experiments import raises_user_error, tiny_config
from PIL import Image
from sklearn.datasets import load_digits

from jaxgan.data import cache, loader, sources
from jaxgan.errors import UserError
from jaxgan.metrics import features, lenet, scores

COUNT = 300
DIGITS = load_digits()
IMAGES, LABELS = np.round(DIGITS.images * (255 / 16)).astype(np.uint8), np.int32(DIGITS.target)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(sources, "STACKS", COUNT)
    monkeypatch.setattr(sources, "TEST_STACKS", COUNT // 3)


def open_stacked(source: str = "stacked:digits", **settings) -> cache.ArrayDataset:
    return loader.open_dataset(tiny_config(data__source=source, data__size=8, data__channels=3, **settings))


def test_each_channel_is_an_image_and_the_label_names_all_three():
    examples = open_stacked()
    split = sources.stacked("digits").splits["train"]
    assert examples.shape == (8, 8, 3)
    assert len(examples.classes) == 1000
    np.testing.assert_array_equal(examples.images, np.moveaxis(IMAGES[split.chosen], 1, 3))
    for label, row in zip(examples.labels, split.chosen, strict=True):
        assert examples.classes[label] == "".join(str(LABELS[i]) for i in row)
    np.testing.assert_array_equal(split.labels(), examples.labels)
    np.testing.assert_array_equal(split.read([7, 3, 7])[1].image, IMAGES[split.chosen[3], ..., None])


def test_they_are_chosen_evenly_and_the_same_every_time(monkeypatch):
    monkeypatch.setattr(sources, "STACKS", 128_000)
    chosen = sources.stacked("digits").splits["train"].chosen
    np.testing.assert_array_equal(chosen, sources.stacked("digits").splits["train"].chosen)
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
    base = sources.Arrays(IMAGES[:3], np.int32([4, -1, 2]))
    split = sources.Stacked("x", base, np.array([[0, 2, 0], [0, 1, 2]]), 10)
    np.testing.assert_array_equal(split.labels(), [424, -1])
    assert [item.label for item in split.read([1, 0])] == [-1, 424]


@pytest.mark.parametrize(
    ("source", "settings", "told"),
    [
        ("stacked:digits", {"data__channels": 1}, "config.data.channels=1 should be 3 for stacked:digits"),
        ("stacked:world:ring", {}, "should stack images: stacked:tfds:mnist"),
        ("stacked:stacked:digits", {}, "should stack images: stacked:tfds:mnist"),
        ("stacked:digit", {}, "did you mean digits"),
        ("stacked:", {}, "no config.data.source stacked ''"),
    ],
)
def test_what_cannot_be_stacked_is_told(source, settings, told):
    with raises_user_error(UserError, match=told):
        loader.open_dataset(tiny_config(**{"data__source": source, "data__channels": 3} | settings))


def test_the_classifier_reads_each_channel(monkeypatch):
    """Its decision is that of one that reads single digits, and a sampler of three even digits has all modes."""
    for name, value in {"STEPS": 300, "BATCH": 32, "LEARNING_RATE": 3e-3}.items():
        monkeypatch.setattr(lenet, name, value)
    monkeypatch.setattr(sources, "STACKS", 3000)
    examples = open_stacked()
    extract = features.extractor("stacked", examples)
    found = extract(examples.images)
    assert found.values.shape == (3000, 3 * lenet.FEATURES)
    decided = found.logits.argmax(1)
    assert (decided == examples.labels).mean() > 0.9
    np.testing.assert_allclose(np.exp(found.logits.astype(float)).sum(1), 1, rtol=1e-4)
    turned = extract(examples.images[..., [2, 0, 1]])
    np.testing.assert_allclose(turned.values, np.roll(found.values, lenet.FEATURES, axis=1), atol=1e-4)
    hundreds, rest = decided // 100, decided % 100
    np.testing.assert_array_equal(turned.logits.argmax(1), decided % 10 * 100 + hundreds * 10 + rest // 10)
    told = scores.by_class(decided, None, 1000)
    assert told["modes"].perfect == pytest.approx(1000 * (1 - 0.999**3000))
    assert told["modes"].estimate.value == pytest.approx(told["modes"].perfect, abs=40)
    assert told["KL"].raw == pytest.approx(told["KL"].perfect, abs=0.05)


def test_other_images_are_not_read_by_channel():
    grey = cache.from_arrays(IMAGES[..., None], LABELS, tuple(map(str, range(10))))
    with raises_user_error(UserError, match="features=stacked needs images of stacked:SOURCE"):
        features.extractor("stacked", grey)
