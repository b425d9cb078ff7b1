"""Images of two domains: every layout of files, pairs that stay pairs, orders and epochs, and what is refused."""

import io
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error, squares
from ml_collections import ConfigDict
from PIL import Image

from jaxgan.config import default
from jaxgan.data import loader
from jaxgan.data.dataset import ArrayDataset
from jaxgan.data.decode import BadImageError, Transform
from jaxgan.data.loader import BatchSampler, DeviceLoader, PrefetchLoader
from jaxgan.data.sources import SOURCES, canonical, edited, open_dataset
from jaxgan.errors import UserError

SIDE = 8
A = np.random.default_rng(0).integers(0, 256, (7, SIDE, SIDE, 3), np.uint8)
B = np.random.default_rng(1).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
ALGORITHM = {"unpaired": "cyclegan", "paired": "pix2pix", "side_by_side": "pix2pix"}


def save(folder: Path, images: np.ndarray, first: int = 0) -> None:
    """Writes images as PNG files, numbered from `first` on."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images, start=first):
        Image.fromarray(image).save(folder / f"{number:03}.png")


def config_of(source: str, **changes) -> ConfigDict:
    """`size` stands for `data.size`; the size is that of the files unless it is given."""
    found = {"size": SIDE, "channels": 3} | changes
    algorithm = ALGORITHM.get(source.partition(":")[0], "gan")
    return default({"algorithm": algorithm, "data.source": source, **{f"data.{k}": v for k, v in found.items()}})


def opened(source: str, **changes) -> ArrayDataset:
    return open_dataset(config_of(source, **changes))


def packed(suffix: str, layout: Callable[[Path], str]) -> Callable[[Path], str]:
    """The same layout in an archive."""

    def write(root: Path) -> str:
        kind, _, place = layout(root / "files").partition(":")
        archive = shutil.make_archive(str(root / "packed"), {"zip": "zip", "tar.gz": "gztar"}[suffix], place)
        return f"{kind}:{archive}"

    return write


def two_folders(root: Path, inside: str = "") -> str:
    save(root / "one" / inside, A)
    save(root / "two" / inside, B)
    return f"unpaired:{root}/one|folder:{root}/two"


def cyclegan(root: Path) -> str:
    for name, images in {"trainA": A, "trainB": B, "testA": B[:1], "testB": A[:2]}.items():
        save(root / name, images)
    return f"unpaired:{root}"


def two_arrays(root: Path) -> str:
    root.mkdir(exist_ok=True)
    np.savez(root / "one.npz", images=A)
    np.save(root / "two.npy", B)
    return f"unpaired:array:{root}/one.npz|array:{root}/two.npy"


def equal_names(root: Path) -> str:
    """With an image on either side that has no partner."""
    save(root / "photo" / "some", A)
    save(root / "negative" / "some", edited.inverted(A))
    save(root / "photo" / "more", B[:1])
    save(root / "negative" / "others", B[:1])
    return f"paired:{root}/photo|{root}/negative"


def within_splits(root: Path) -> str:
    for split, images in {"train": A, "val": B}.items():
        save(root / split / "A", images)
        save(root / split / "B", edited.inverted(images))
    return f"paired:{root}"


def beside(root: Path) -> str:
    save(root / "train", np.concatenate([A, edited.inverted(A)], axis=2))
    save(root / "test", np.concatenate([B, edited.inverted(B)], axis=2))
    return f"side_by_side:{root}"


UNPAIRED = {
    "two folders": two_folders,
    "two folders with splits": lambda root: two_folders(root, "train"),
    "CycleGAN's": cyclegan,
    "CycleGAN's in a zip": packed("zip", cyclegan),
    "two arrays": two_arrays,
}
PAIRED = {
    "equal names": equal_names,
    "in splits": within_splits,
    "in splits in a tar.gz": packed("tar.gz", within_splits),
    "side by side": beside,
    "side by side in a zip": packed("zip", beside),
}
LAYOUTS = UNPAIRED | PAIRED


def texts(images: np.ndarray) -> list[bytes]:
    return sorted(image.tobytes() for image in images)


@pytest.fixture(params=LAYOUTS)
def source(request, tmp_path) -> str:
    return LAYOUTS[request.param](tmp_path)


# What is read


@pytest.mark.parametrize("layout", UNPAIRED)
def test_every_layout_of_two_sets_holds_both(layout, tmp_path):
    dataset = opened(UNPAIRED[layout](tmp_path))
    assert dataset.groups == {"a": len(A), "b": len(B)}
    assert (texts(dataset.arrays["a"]), texts(dataset.arrays["b"])) == (texts(A), texts(B))


@pytest.mark.parametrize("layout", PAIRED)
def test_every_layout_of_pairs_holds_all_pairs(layout, tmp_path):
    dataset = opened(PAIRED[layout](tmp_path))
    assert dataset.groups == {"": len(A)}
    assert texts(dataset.arrays["a"]) == texts(A)
    np.testing.assert_array_equal(dataset.arrays["b"], edited.inverted(dataset.arrays["a"]))


def test_images_without_a_partner_are_named(tmp_path, capsys):
    source = equal_names(tmp_path)
    opened(source)
    assert f"2 images of {source} have no partner and are left out: more/000, others/000" in capsys.readouterr().err


def test_a_split_is_that_of_both_domains(tmp_path):
    test = opened(cyclegan(tmp_path / "1"), split="test")
    assert (texts(test.arrays["a"]), texts(test.arrays["b"])) == (texts(B[:1]), texts(A[:2]))
    both = opened(within_splits(tmp_path / "2"), split="val+train[:3]")
    assert (len(both), texts(both.arrays["a"][: len(B)])) == (len(B) + 3, texts(B))
    np.testing.assert_array_equal(both.arrays["b"], edited.inverted(both.arrays["a"]))


def test_sources_without_names_pair_by_their_order():
    dataset = opened("paired:edited:rotated:digits|digits", channels=1)
    np.testing.assert_array_equal(dataset.arrays["a"], np.rot90(dataset.arrays["b"], axes=(1, 2)))


def test_the_same_names_in_another_suffix_and_another_unicode_form_are_equal(tmp_path):
    for folder, name in (("one", "é.png"), ("two", "é.bmp")):
        (tmp_path / folder).mkdir()
        Image.fromarray(A[0]).save(tmp_path / folder / name)
    (tmp_path / "two" / "é.bmp").rename(tmp_path / "two" / "e\N{COMBINING ACUTE ACCENT}.bmp")
    assert len(opened(f"paired:{tmp_path}/one|{tmp_path}/two")) == 1


def test_the_images_of_a_pair_may_differ_in_size_format_and_colours(tmp_path):
    save(tmp_path / "one", A[:1].repeat(2, axis=1).repeat(2, axis=2))
    save(tmp_path / "two", A[:1, ..., 0])
    dataset = opened(f"paired:{tmp_path}/one|{tmp_path}/two")
    np.testing.assert_array_equal(dataset.arrays["a"], A[:1])
    np.testing.assert_array_equal(dataset.arrays["b"], A[:1, ..., :1].repeat(3, axis=3))


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("cache", [False, True])
def test_a_bad_image_takes_its_partner_with_it(skip, cache, tmp_path, capsys):
    source = within_splits(tmp_path)
    (tmp_path / "train" / "B" / "003.png").write_bytes(b"no picture")
    if not skip:
        with raises_user_error(UserError, match=r"train/A/003.png with .*train/B/003.png is a bad image \(its format"):
            opened(source, cache=cache)
        return
    dataset = opened(source, cache=cache, on_bad_image="skip")
    assert texts(dataset.arrays["a"]) == texts(np.delete(A, 3, axis=0))
    np.testing.assert_array_equal(dataset.arrays["b"], edited.inverted(dataset.arrays["a"]))
    assert "1 of 7 images are left out" in capsys.readouterr().err


# The same bytes, whatever the way


def test_cached_is_in_memory_is_what_another_process_opens(source):
    cached, direct = opened(source), opened(source, cache=False)
    again = pickle.loads(pickle.dumps(cached))
    for name in "ab":
        np.testing.assert_array_equal(cached.arrays[name], direct.arrays[name])
        np.testing.assert_array_equal(cached.arrays[name], again.arrays[name])
    assert cached.digest == direct.digest == again.digest
    assert (cached.fields, cached.groups) == (again.fields, again.groups)


def sampler(dataset: ArrayDataset, process: int = 0, processes: int = 1) -> BatchSampler:
    return BatchSampler(5, 4, 1, dataset.groups, process, processes)


def resident(dataset: ArrayDataset, step: int, *part: int) -> dict[str, np.ndarray]:
    """The batch of one step: [batch, ...] by field."""
    own = DeviceLoader(dataset, sampler(dataset, *part))
    batch = own.gather(*jax.tree.map(jnp.asarray, (own.data, own.inputs_at(step, 1))))
    return {name: np.asarray(images[0, 0]) for name, images in batch.items()}


def test_streamed_is_resident_from_any_step_on(source):
    """The seventh step lies in the middle of an epoch of both domains."""
    dataset = opened(source)
    streams = [PrefetchLoader(dataset, sampler(dataset)) for _ in range(2)]
    from_start = streams[0].inputs_at(0, 9)
    resumed = streams[1].inputs_at(6, 3)
    for stream in streams:
        stream.close()
    for step in range(9):
        for name, images in resident(dataset, step).items():
            np.testing.assert_array_equal(from_start[name][step, 0], images)
            if step >= 6:
                np.testing.assert_array_equal(resumed[name][step - 6, 0], images)


def test_two_processes_read_the_halves_of_each_batch(source):
    dataset = opened(source)
    for step in range(5):
        halves = [resident(dataset, step, process, 2) for process in range(2)]
        for name, images in resident(dataset, step).items():
            np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), images)


def test_an_epoch_of_each_domain_has_every_image_once_and_the_longer_one_is_that_of_the_run(tmp_path):
    dataset = opened(two_folders(tmp_path))
    assert len(dataset) == len(A)
    batches = [sampler(dataset).batch(number) for number in range(len(A) * len(B))]
    for group, count in dataset.groups.items():
        epochs = np.concatenate([batch[group] for batch in batches]).reshape(-1, count)
        np.testing.assert_array_equal(np.sort(epochs, axis=1), np.arange(count)[None].repeat(len(epochs), axis=0))


def test_domains_of_equal_length_meet_in_new_pairs_each_epoch():
    both = BatchSampler(0, 50, 1, {"a": 50, "b": 50})
    pairs = [set(zip(*map(np.ndarray.tolist, both.batch(epoch).values()), strict=True)) for epoch in range(2)]
    assert len(pairs[0] & pairs[1]) < 10  # of 50; one is expected


# Crops and flips


@pytest.mark.parametrize("layout", ["two arrays", "in splits", "side by side"])
def test_pairs_share_crop_and_flip_and_other_images_do_not(layout, tmp_path):
    """The pairs are pictures and their negatives; of two sets, b is the negative of the batch's a as well."""
    config = config_of(LAYOUTS[layout](tmp_path), size=4, load_size=SIDE, crop="random", flip=True)
    dataset = open_dataset(config)
    made = DeviceLoader(dataset, sampler(dataset))
    rows = {name: np.zeros((1, 64), np.int32) for name in dataset.groups}
    arrays = {"a": dataset.arrays["a"][:1], "b": edited.inverted(dataset.arrays["a"][:1])}
    batch = quick_jit(loader.make_batch_fn(config, made))(arrays, rows, np.uint32(0), np.int32(1))
    a, b = np.asarray(batch["a"][0]), np.asarray(batch["b"][0])
    assert len(np.unique(a, axis=0)) > 30  # of 64 out of 25 places and 2 directions
    aligned = np.isclose(a, -b, atol=1e-6).all(axis=(1, 2, 3)).mean()
    assert aligned == 1 if layout in PAIRED else aligned < 0.2


# The decoder


STRETCHED = [((24, 60), (6, 5)), ((50, 21), (16, 16)), ((9, 8), (20, 12))]  # height and width before and after


@pytest.mark.parametrize(("before", "after"), STRETCHED)
@pytest.mark.parametrize("channels", [1, 3])
def test_stretching_is_pillow_s_resizing_of_the_whole_picture(before, after, channels):
    image = np.random.default_rng(2).integers(0, 256, (*before, channels), np.uint8)
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    expected = picture.resize(after[::-1], Image.Resampling.LANCZOS, reducing_gap=1.0)
    file = io.BytesIO()
    picture.save(file, "PNG")
    for stored in (image, file.getvalue()):
        pixels = Transform(after, after, channels, True, stretch=True)(stored, "it")
        np.testing.assert_array_equal(pixels, np.asarray(expected).reshape(*after, channels))


def test_stretching_to_a_divisor_is_the_mean_of_blocks():
    image = np.random.default_rng(3).integers(0, 256, (24, 60, 3), np.uint8)
    means = image.reshape(6, 4, 5, 12, 3).mean(axis=(1, 3))
    pixels = Transform((6, 5), (6, 5), 3, False, stretch=True)(image, "it")
    assert np.abs(pixels - means).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("side", [3, 8, 11, 30])
def test_stretching_a_picture_of_the_wanted_shape_is_cropping_it(side):
    image = np.random.default_rng(4).integers(0, 256, (20, 20, 3), np.uint8)
    whole, central = squares(side, side, 3, True, stretch=True), squares(side, side, 3, True)
    np.testing.assert_array_equal(whole(image, "it"), central(image, "it"))


def test_a_side_that_would_be_enlarged_is_one_too_few_without_upscaling():
    image = np.zeros((7, 40, 3), np.uint8)
    with pytest.raises(BadImageError, match="7x40 pixels, height and width, are too few for 8x8"):
        squares(8, 8, 3, False, stretch=True)(image, "it")
    assert squares(8, 8, 3, True, stretch=True)(image, "it").shape == (8, 8, 3)


def both_halves(channels: int, **settings) -> Transform:
    return squares(SIDE, SIDE, 2 * channels, True, side_by_side=True, **settings)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_halves_are_the_images_that_lie_side_by_side(mode, channels, tmp_path):
    """In any mode of a picture, as if each image had a file of its own."""
    kind = "tiff" if mode == "CMYK" else "png"
    picture = Image.fromarray(np.concatenate([A[0], A[1]], axis=1)).convert(mode)
    files = {
        "whole": picture,
        "left": picture.crop((0, 0, SIDE, SIDE)),
        "right": picture.crop((SIDE, 0, 2 * SIDE, SIDE)),
    }
    for name, own in files.items():
        own.save(tmp_path / f"{name}.{kind}")
    one = squares(SIDE, SIDE, channels, True)
    alone = [one(str(tmp_path / f"{name}.{kind}"), "it") for name in ("left", "right")]
    joined = both_halves(channels)(str(tmp_path / f"whole.{kind}"), "it")
    np.testing.assert_array_equal(joined, np.concatenate(alone, axis=-1))


def test_the_border_of_halves_is_sharp_in_a_large_jpeg(tmp_path):
    """Which may not be reduced while it is decoded, since the border would lie within a pixel."""
    halves = np.zeros((150, 300, 3), np.uint8)
    halves[:, 150:] = 255
    Image.fromarray(halves).save(tmp_path / "it.jpg", quality=95, subsampling=0)
    pixels = both_halves(3)(str(tmp_path / "it.jpg"), "it")
    assert pixels[..., :3].max() < 20
    assert pixels[..., 3:].min() > 235


@pytest.mark.parametrize("width", [1, 15])
def test_halves_of_an_odd_width_are_refused(width):
    file = io.BytesIO()
    Image.new("RGB", (width, 8)).save(file, "PNG")
    with pytest.raises(BadImageError, match=f"it is {width} pixels wide, and two images side by side make an even"):
        both_halves(3)(file.getvalue(), "it")


@pytest.mark.parametrize("name", edited.EDITS)
def test_an_edit_is_that_of_each_image(name):
    images = np.random.default_rng(5).integers(0, 256, (4, 6, 6, 1), np.uint8)
    changed = np.stack([edited.EDITS[name](image) for image in images])
    assert (changed.shape, changed.dtype) == (images.shape, images.dtype)
    corner = {
        "inverted": 255 - images[:, 0, 0],
        "rotated": images[:, 0, -1],
        "left_half": images[:, 0, 0],
        "outlined": images[:, 0, 0] - images[:, [0, 1, 0], [0, 0, 1]].min(axis=1),
    }
    np.testing.assert_array_equal(changed[:, 0, 0], corner[name])
    if name == "left_half":
        assert (changed[:, :, 3:] == 128).all()


# What is refused


def linked(root: Path) -> None:
    (root / "link").symlink_to(root / "one")


WRONG = {
    "unpaired:": "must be A|B, or a folder that holds both",
    "unpaired:{}/one|": "must be A|B, or a folder that holds both",
    "paired:|{}/two": "must be A|B, or a folder that holds both",
    "unpaired:{}/one|{}/two|{}/one": "must be A|B, or a folder that holds both",
    "unpaired:{}/nowhere|{}/two": "{}/nowhere in config.data.source=unpaired:{}/nowhere|{}/two: there is no such",
    "unpaired:{}/one|digts": "digts in config.data.source=unpaired:{}/one|digts: there is no such folder",
    "unpaired:{}/one|{}/x.npy": "{}/x.npy in config.data.source=unpaired:{}/one|{}/x.npy must be array:{}/x.npy",
    "unpaired:{}/nowhere": "config.data.source=unpaired:{}/nowhere: there is no such folder",
    "unpaired:{}/one": "must be A|B, or a folder with trainA and trainB, or with two folders in train",
    "unpaired:{}/one|{}/empty": "{}/empty holds no images",
    "unpaired:{}/one|{}/one": "names the same images twice: A and B must differ",
    "unpaired:{}/one|folder:{}/two/../one/": "names the same images twice: A and B must differ",
    "paired:{}/one|{}/link": "names the same images twice: A and B must differ",
    "unpaired:digits|digits": "names the same images twice: A and B must differ",
    "unpaired:{}/half": "config.data.split=train: domain B of unpaired:{}/half has no split train, only test",
    "paired:{}/three": "{}/three/train must hold two folders, one for each domain, with the same names in every split",
    "paired:{}/uneven": "{}/uneven/val must hold two folders, one for each domain, with the same names in every split",
    "paired:{}/one|{}/two": "no image of A has the name of one of B in train (000 and 100, say)",
    "paired:{}/one|digits": "images of a folder have names, and pair with those of a folder",
    "paired:{}/one|{}/twice": "several images of train have the name 000",
    "paired:digits|array:{}/x.npy": "pairs need as many images of A as of B, not 1797 and 5 in train",
    "side_by_side:{}/nowhere": "config.data.source=side_by_side:{}/nowhere: there is no such folder",
    "side_by_side:{}/empty": "{}/empty holds no images",
    "side_by_side:{}/odd": "000.png is a bad image (it is 7 pixels wide, and two images side by side make",
}


@pytest.fixture(scope="module")
def wrong(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("wrong")
    save(root / "one", A)
    save(root / "two", B, first=100)
    save(root / "odd", A[:, :, :7])
    for folder in ("half/trainA", "half/testA", "half/testB", *(f"three/train/{name}" for name in "abc")):
        save(root / folder, B)
    for folder in ("train/a", "train/b", "val/b", "val/c"):
        save(root / "uneven" / folder, B)
    save(root / "twice", B)
    Image.fromarray(B[0]).save(root / "twice" / "000.bmp")
    (root / "empty").mkdir()
    (root / "link").symlink_to(root / "one")
    np.save(root / "x.npy", B)
    return root


@pytest.mark.parametrize("source", WRONG)
def test_wrong_sources_are_answered_in_a_line(source, wrong):
    with raises_user_error(UserError) as caught:
        opened(source.replace("{}", str(wrong)), channels=1)
    assert WRONG[source].replace("{}", str(wrong)) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["folder:a|b", "array:a.npz|b.npz", "side_by_side:a|b", "tfds:a|b"])
def test_two_domains_of_another_kind_are_told_how_to_be_written(source):
    with raises_user_error(UserError, match="names two domains: make it unpaired:A.B or paired:A.B"):
        opened(source)


def test_a_folder_may_have_a_bar_in_its_name(tmp_path):
    save(tmp_path / "a|b", A)
    assert len(open_dataset(default({"data.source": f"folder:{tmp_path}/a|b", "data.size": SIDE}))) == len(A)


def test_two_domains_have_no_classes(tmp_path):
    with raises_user_error(UserError, match="config.data.classes must be empty for unpaired:.*no classes"):
        opened(two_folders(tmp_path), classes=("one",))


# One experiment, one text


def test_a_domain_has_one_text_for_all_ways_to_write_it(monkeypatch):
    monkeypatch.setenv("HOME", os.getcwd())
    ways = ["{}:x|y", "{}:./x/|folder:y", "{}:folder:~/x|../{here}/y".replace("{here}", Path.cwd().name)]
    for kind in ("unpaired", "paired"):
        assert {canonical(way.format(kind)) for way in ways} == {canonical(f"{kind}:{os.getcwd()}/x|{os.getcwd()}/y")}
        assert canonical(f"{kind}:x|y") != canonical(f"{kind}:y|x")
        assert canonical(f"{kind}:digits|edited:inverted:digits") == f"{kind}:digits|edited:inverted:digits"
    assert canonical("edited:rotated:array:./x.npy") == canonical(f"edited:rotated:array:{os.getcwd()}/x.npy")
    assert canonical("side_by_side:./x/") == canonical("side_by_side:~/x")


def test_the_sources_of_two_domains_are_in_the_table():
    assert {name for name, source in SOURCES.items() if source.settings is SOURCES["digits"].settings} >= set(ALGORITHM)
