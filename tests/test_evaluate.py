"""evaluate.py, the extractors of features, and the classifier that is trained for them."""

import json
import re

import numpy as np
import pytest
from experiments import assert_same_bits
from PIL import Image
from programs import records, saved_steps, train_tiny
from sklearn.datasets import load_digits

from jaxgan import inference
from jaxgan.cli import evaluate, sample
from jaxgan.data import cache
from jaxgan.data.dataset import ArrayDataset, from_arrays, image_dataset, with_digest
from jaxgan.data.image_sets import decoded
from jaxgan.errors import UserError
from jaxgan.io import run_folder
from jaxgan.metrics import features, frechet, lenet, scores
from jaxgan.metrics.moments import statistics
from jaxgan.metrics.scores import Samples

DIGITS = load_digits()
IMAGES, LABELS = np.uint8(DIGITS.images * 15)[..., None], np.int32(DIGITS.target)
NAMES = tuple(map(str, range(10)))


SHORTER = {"STEPS": 300, "BATCH": 32, "LEARNING_RATE": 3e-3}


def some(rows: slice) -> ArrayDataset:
    return from_arrays(IMAGES[rows], LABELS[rows], NAMES)


@pytest.fixture(scope="module", autouse=True)
def short_training():
    """A classifier learns long enough to tell digits apart, and no longer."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORTER.items():
            patch.setattr(lenet, name, value)
        yield


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Files with 600 digits, with 600 other ones, and with 60."""
    folder = tmp_path_factory.mktemp("arrays")
    for name, rows in {"one": slice(0, 600), "other": slice(600, 1200), "few": slice(0, 60)}.items():
        np.savez(folder / f"{name}.npz", images=IMAGES[rows], labels=LABELS[rows])
    return folder


def scored(tmp_path, *argv: object) -> dict:
    """What evaluate.py writes."""
    out = tmp_path / "scores.json"
    files = (f"--out={out}", f"--neighbours={tmp_path / 'neighbours.png'}")
    assert evaluate.main([*map(str, argv), *files]) == 0
    return json.loads(out.read_text())


# Extractors


@pytest.mark.parametrize("wider", [1, 2])
@pytest.mark.parametrize("name", ["pixels", "random", "lenet"])
def test_an_image_has_the_same_features_among_any_others(name, wider):
    """To the bit, also beyond one batch, and where images are no squares."""
    images = IMAGES.repeat(wider, axis=2)[:, :, : 4 + 4 * wider]
    extract = features.extractor(name, from_arrays(images[:600], LABELS[:600], NAMES))
    whole, part = extract(images[:200]), extract(images[130:137])
    assert len(whole.values) == 200
    np.testing.assert_array_equal(whole.values[130:137], part.values)
    if name == "lenet":
        np.testing.assert_array_equal(whole.logits[130:137], part.logits)
    else:
        assert whole.logits is None


@pytest.mark.parametrize("size", [8, 16, 20])
def test_pixels_of_an_even_image_are_its_brightness(size):
    images = np.broadcast_to(np.uint8([0, 51, 255])[:, None, None, None], (3, size, size, 3))
    values = features.pixels(some(slice(0, 9)), None)(images).values
    np.testing.assert_allclose(values, np.broadcast_to([[0.0], [0.2], [1.0]], (3, 8 * 8 * 3)), atol=1e-6)


def test_random_features_are_the_same_in_every_process():
    """Their hash is that of another day, so nothing but a change of the network changes them."""
    first, second = (features.extractor("random", some(rows)) for rows in (slice(0, 9), slice(5, 20)))
    assert first.digest == second.digest
    colour = features.extractor("random", from_arrays(np.zeros((1, 8, 8, 3), np.uint8), np.int32([0]), ()))
    assert colour.digest != first.digest


def test_a_classifier_learns_to_tell_digits_apart_and_is_kept(monkeypatch):
    examples = some(slice(0, 1400))
    extract = features.extractor("lenet", examples)
    decided = extract(IMAGES[1400:]).logits.argmax(1)
    assert (decided == LABELS[1400:]).mean() > 0.85  # of digits that other people wrote
    monkeypatch.setattr(lenet, "fit", None)  # it would fail if it were trained again
    assert features.extractor("lenet", examples).digest == extract.digest
    path = max((cache.folder() / "lenet").glob("*.npz"), key=lambda path: path.stat().st_mtime)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"lenet/\w+.npz is damaged .*: remove it, and it is made again"):
        features.extractor("lenet", examples)
    path.unlink()


def test_a_classifier_learns_from_labels_that_are_known(monkeypatch):
    """Others, -1, change nothing; nor do they count where its decisions are compared with labels."""
    monkeypatch.setattr(lenet, "STEPS", 3)
    network = lenet.LeNet(10)
    unknown = from_arrays(np.concatenate([IMAGES[:90], IMAGES[-60:]]), np.r_[LABELS[:90], [-1] * 60], NAMES)
    assert_same_bits(lenet.fit(network, unknown, 0), lenet.fit(network, some(slice(90)), 0))
    decided = np.int32([3, 1, 4, 1])
    assert scores.by_class(decided, np.int32([3, -1, 1, 1]), 10)["GAN-test"].estimate.value == pytest.approx(2 / 3)
    assert "GAN-test" not in scores.by_class(decided, np.int32([-1] * 4), 10)
    for labels in ([-1] * 90, [-1, 3] * 45):
        with pytest.raises(UserError, match="two classes"):
            lenet.trained(from_arrays(IMAGES[:90], np.int32(labels), NAMES))


@pytest.mark.parametrize("shape", [(8, 12), *(pytest.param(x, marks=pytest.mark.slow) for x in ((13, 8), (4, 11)))])
def test_a_classifier_learns_images_that_are_no_squares(shape):
    """Whether its convolutions have a fast form for such sides or not."""
    images = np.zeros((len(IMAGES), *shape, 1), np.uint8)
    part = IMAGES[:, 2:6] if shape[0] < 8 else IMAGES
    images[:, : part.shape[1], -8:] = part
    classify = features.extractor("lenet", from_arrays(images[:1400], LABELS[:1400], NAMES))
    assert (classify(images[1400:]).logits.argmax(1) == LABELS[1400:]).mean() > 0.6


def test_one_class_is_not_enough_for_a_classifier():
    with pytest.raises(UserError, match="two classes at least: choose pixels or random"):
        features.extractor("lenet", from_arrays(IMAGES[:9], np.zeros(9, np.int32), ("0",)))


def test_features_of_real_images_are_worked_out_once(monkeypatch):
    examples = some(slice(0, 300))
    extract = features.extractor("random", examples)
    values, labels = features.features_of(extract, examples, 100)
    rows = features.rows_of(examples, 100)
    np.testing.assert_array_equal(values.values, extract(IMAGES[rows]).values)
    np.testing.assert_array_equal(labels, LABELS[rows])
    kept = extract._replace(apply=None)  # which cannot be applied
    np.testing.assert_array_equal(features.features_of(kept, examples, 100)[0].values, values.values)
    with pytest.raises(TypeError):
        features.features_of(kept, examples, 99)


def test_statistics_that_stream_are_those_of_all_features(monkeypatch):
    """Also of a last batch that is not full."""
    examples = some(slice(0, 300))
    extract = features.extractor("random", examples)
    found, expected = features.statistics_of(extract, examples), statistics(extract(examples.images).values)
    assert found.count == expected.count == 300
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-6)
    np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-6 * np.trace(expected.covariance))
    kept = features.statistics_of(extract._replace(apply=None), examples)  # which cannot be applied
    np.testing.assert_array_equal(kept.covariance, found.covariance)


def test_examples_without_a_digest_are_not_taken_for_others():
    """As those of an .npy file, which are not read as a whole."""
    first, second = (some(rows) for rows in (slice(0, 90), slice(90, 180)))
    bare = [image_dataset(examples.images, examples.labels, examples.classes) for examples in (first, second)]
    assert [with_digest(examples).digest for examples in bare] == [first.digest, second.digest]
    assert with_digest(first) is first


# Two sets of images


def test_a_set_does_not_differ_from_itself(arrays, tmp_path):
    """Raw distances are 0, precision, recall and coverage 1, and real images are where they were asked for."""
    found = scored(tmp_path, f"--fakes={arrays}/one.npz", f"--reals={arrays}/one.npz", "--features=random,lenet,pixels")
    scores = found["scores"]
    for name in ("random", "lenet", "pixels"):
        scale = found["real_images"][f"FD-{name}"]["raw"]
        assert abs(scores[f"FD-{name}"]["raw"]) < 1e-3 * scale
        for share in ("precision", "recall", "coverage"):
            assert scores[f"{share}-{name}"]["value"] == 1
    assert scores["modes-lenet"]["value"] == 10
    assert scores["GAN-test-lenet"]["value"] > 0.9
    assert found["about"]["samples"] == found["about"]["reals"] == 600
    assert found["about"]["features"].keys() == {"random", "lenet", "pixels"}
    with Image.open(tmp_path / "neighbours.png") as picture:
        rows = np.asarray(picture)[:, -8 * 50 :]
    # The nearest real image of each sample is that sample.
    np.testing.assert_array_equal(rows[2:50], rows[52:100])


def test_scores_do_not_depend_on_how_images_are_kept(arrays, tmp_path):
    """A folder of pictures with a folder for each class, or an array."""
    folder = tmp_path / "pictures"
    for index, (image, label) in enumerate(zip(IMAGES[:600], LABELS[:600], strict=True)):
        place = folder / str(label) / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place)
    reals = (f"--reals={arrays}/other.npz", "--features=random")
    from_arrays = scored(tmp_path, f"--fakes={arrays}/one.npz", *reals)["scores"]
    from_folder = scored(tmp_path, f"--fakes={folder}", *reals)["scores"]
    for name, score in from_arrays.items():
        if "raw" in score and name.startswith("FD"):
            np.testing.assert_allclose(from_folder[name]["raw"], score["raw"], rtol=1e-5)


def test_where_crops_are_random_samples_are_compared_with_the_middles_of_images(tmp_path):
    """A run's scores are those of its samples beside the cropped images; so are its neighbours."""
    images = np.random.default_rng(0).integers(0, 256, (200, 10, 12, 1), np.uint8)
    np.savez(tmp_path / "data.npz", images=images)
    np.savez(tmp_path / "middles.npz", images=images[:, 1:9, 2:10])
    crops = ("--config.data.load_size=10x12", "--config.data.crop=random", "--config.eval.every=12")
    scores_while_training = ("--config.eval.num=100", "--config.eval.features=pixels")
    source = f"--config.data.source=array:{tmp_path / 'data.npz'}"
    run = tmp_path / "run"
    assert train_tiny(run, source, *crops, *scores_while_training) == 0
    assert "KD-pixels" in records(run)[-1]
    of_run = scored(tmp_path, f"--workdir={run}", "--features=pixels", "--num=100")["scores"]
    assert sample.main([f"--workdir={run}", f"--out={tmp_path / 'drawn.npz'}", "--num=100"]) == 0
    of_sets = scored(
        tmp_path,
        f"--fakes={tmp_path / 'drawn.npz'}",
        f"--reals={tmp_path / 'middles.npz'}",
        "--features=pixels",
        "--num=100",
    )["scores"]
    assert of_run.keys() == of_sets.keys()
    for name, score in of_run.items():
        assert score["value"] == pytest.approx(of_sets[name]["value"], rel=1e-6, abs=1e-9), name


def test_every_class_has_its_scores(arrays, tmp_path, capsys):
    """Of a set and itself the distances are 0, and each class has as many samples as labels say."""
    argv = (f"--fakes={arrays}/one.npz", f"--reals={arrays}/other.npz", "--features=pixels", "--per_class")
    found = scored(tmp_path, *argv)
    needs = {"samples": 132, "real_images": 132}
    assert found["not_given"]["per_class"]["pixels"] == {name: {"FD-pixels": needs} for name in NAMES}
    assert all("FD-pixels" not in own for own in found["per_class"]["pixels"].values())
    line = "of some classes not given with 57 to 63 samples and 56 to 63 real images: FD-pixels (needs 132 samples and"
    assert line in capsys.readouterr().out
    few = np.concatenate([np.flatnonzero(label == LABELS)[:150] for label in range(3)])
    np.savez(tmp_path / "more.npz", images=IMAGES[few], labels=LABELS[few])
    every = tmp_path / "more.npz"
    found = scored(tmp_path, f"--fakes={every}", f"--reals={every}", "--features=pixels", "--per_class")
    classes = found["per_class"]["pixels"]
    assert list(classes) == ["0", "1", "2"]
    for own in classes.values():
        assert own["FD-pixels"]["raw"] == pytest.approx(0, abs=1e-3)
        assert own["recall-pixels"]["value"] == 1
        assert own.keys() == {f"{name}-pixels" for name in (*SHARES, "FD", "KD")}
    assert re.search(r"^class +FD-pixels .*authenticity-pixels\n0 ", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("count", [2, 131])
def test_few_samples_have_the_scores_that_they_allow_for(arrays, tmp_path, capsys, count):
    """Every score is given, or stands among the others with what it needs."""
    argv = (f"--fakes={arrays}/one.npz", f"--reals={arrays}/other.npz", "--features=pixels", f"--num={count}")
    found = scored(tmp_path, *argv)
    for kind in ("scores", "real_images"):
        given, missing = found[kind], found["not_given"][kind]
        assert not given.keys() & missing.keys()
        assert given.keys() | missing.keys() == {f"{name}-pixels" for name in (*SHARES, "FD", "KD")}
        assert all(np.isfinite([*score.values()]).all() for score in given.values())
    assert found["not_given"]["scores"]["FD-pixels"] == {"samples": 132}
    line = f"\nnot given with {count} samples and {count} real images: FD-pixels (needs 132 samples)"
    assert line in capsys.readouterr().out


@pytest.mark.parametrize(("name", "least"), {"FD": 20, "coverage": 30, "IS": 20, "KD": 2, "KL": 2}.items())
def test_a_score_is_given_from_the_number_of_samples_on_that_it_needs(name, least):
    """Of features of width 8."""
    generator = np.random.default_rng(0)
    values, logits = generator.normal(size=(40, 8)), generator.normal(size=(40, 3))
    both = Samples(features.Features(np.float32(values), np.float32(logits)))
    fewer, enough = (scores.score(both.of(slice(count)), both, "lenet") for count in (least - 1, least))
    assert f"{name}-lenet" not in fewer.found
    assert fewer.missing[f"{name}-lenet"] == {"samples": least}
    assert f"{name}-lenet" in enough.found
    assert enough.found.keys().isdisjoint(enough.missing)


def test_few_real_images_have_the_scores_that_they_allow_for(arrays, tmp_path):
    """Of 2 real images no half can be compared with the other one."""
    np.savez(tmp_path / "two.npz", images=IMAGES[:2])
    found = scored(tmp_path, f"--fakes={arrays}/one.npz", f"--reals={tmp_path}/two.npz", "--features=pixels")
    assert found["scores"].keys() == {"FD-pixels", "KD-pixels", "authenticity-pixels"}
    assert found["not_given"]["scores"]["coverage-pixels"] == {"real_images": 30}
    assert found["real_images"] == {}
    assert found["not_given"]["real_images"]["KD-pixels"] == {"samples": 2, "real_images": 2}


SHARES = ("precision", "recall", "density", "coverage", "authenticity")


def test_features_in_files_are_scored_like_their_images(arrays, tmp_path, capsys):
    for name, other in (("one", "other"), ("other", "one")):
        argv = (f"--fakes={arrays}/{name}.npz", f"--reals={arrays}/{other}.npz", "--features=random")
        found = scored(tmp_path, *argv, f"--save_features={tmp_path}/{name}.npz")
    out = tmp_path / "kept.json"
    assert evaluate.main([f"--fakes={tmp_path}/other.npz", f"--reals={tmp_path}/one.npz", f"--out={out}"]) == 0
    kept = json.loads(out.read_text())
    assert kept["scores"].keys() == found["scores"].keys()
    for name, score in found["scores"].items():
        assert kept["scores"][name]["value"] == pytest.approx(score["value"], rel=1e-4), name
    assert kept["about"]["features"] == {"random": {"digest": found["about"]["features"]["random"]["digest"]}}
    one, other = (features.load(tmp_path / f"{name}.npz") for name in ("one", "other"))
    np.testing.assert_array_equal(one.labels, LABELS[:600])
    features.save(tmp_path / "others.npz", other._replace(digest="another"))
    for place, message in {
        "others.npz": "features of different extractors cannot be compared",
        "cut.npz": "is damaged",
    }.items():
        if message == "is damaged":
            content = (tmp_path / "one.npz").read_bytes()
            (tmp_path / "cut.npz").write_bytes(content[:5000] + bytes(100) + content[5100:])
        assert evaluate.main([f"--fakes={tmp_path}/{place}", f"--reals={tmp_path}/one.npz", f"--out={tmp_path}/x"]) == 2
        assert message in capsys.readouterr().err


# Runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The tiny experiment, conditional, on all digits."""
    workdir = tmp_path_factory.mktemp("scored") / "run"
    conditional = ("--config.conditioning.generator=cbn", "--config.conditioning.discriminator=projection")
    assert train_tiny(workdir, *conditional) == 0
    return workdir


def test_the_samples_of_a_run_are_those_of_sample_py(run, tmp_path):
    """And its distance is that of their features from those of its data."""
    found = scored(tmp_path, f"--workdir={run}", "--num=320", "--seed=3", "--features=random,lenet")
    assert sample.main([f"--workdir={run}", f"--out={tmp_path}/samples.npz", "--num=320", "--seed=3"]) == 0
    with np.load(tmp_path / "samples.npz") as file:
        samples = file["images"]
    examples = decoded(run_folder.restore(run).exp.config)
    extract = features.extractor("random", examples)
    sides = extract(samples).values, extract(examples.images).values  # of all real images
    expected = frechet.frechet_distance(*map(statistics, sides))
    assert found["scores"]["FD-random"]["raw"] == pytest.approx(expected, rel=1e-5)
    assert found["scores"]["FD-random"]["value"] > 10 * found["real_images"]["FD-random"]["raw"]  # hardly trained
    cells = np.array(found["confusion"]["lenet"])
    np.testing.assert_array_equal(cells.sum(1), 32)  # of each digit
    assert found["scores"]["GAN-test-lenet"]["value"] == np.trace(cells) / 320
    about = found["about"]
    assert (about["step"], about["average"], about["seed"], about["source"]) == (12, True, 3, "digits")
    assert about["features"]["random"]["digest"] == extract.digest
    again = scored(tmp_path, f"--workdir={run}", "--num=320", "--seed=3", "--features=random,lenet")
    assert again == found


def test_standing_statistics_score_the_samples_that_have_them(run, tmp_path):
    options = (f"--workdir={run}", "--num=320", "--standing_statistics=2")
    found = scored(tmp_path, *options, "--features=pixels")
    assert sample.main([*options, f"--out={tmp_path}/drawn.npz"]) == 0
    examples = decoded(run_folder.restore(run).exp.config)
    extract = features.extractor("pixels", examples)
    with np.load(tmp_path / "drawn.npz") as file:
        sides = extract(file["images"]).values, extract(examples.images).values
    expected = frechet.frechet_distance(*map(statistics, sides))
    assert found["scores"]["FD-pixels"]["raw"] == pytest.approx(expected, rel=1e-5)
    assert found["about"]["standing_statistics"] == 2


def test_a_test_split_is_what_nothing_was_trained_on(tmp_path):
    """It is scored beside the samples, and judges a classifier that learned from samples alone.

    A class that the test split alone has, the first of all, is none of the run.
    """
    three = np.flatnonzero(LABELS < 3)
    assert len(three) == 537
    for split, rows in {"train": three[:270], "test": [*three[270:], *np.flatnonzero(LABELS == 9)[:5]]}.items():
        for row in rows:
            place = tmp_path / "data" / split / str(LABELS[row]).replace("9", "!") / f"{row}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(IMAGES[row, ..., 0]).save(place)
    conditional = ("--config.conditioning.generator=cbn", "--config.conditioning.discriminator=projection")
    assert train_tiny(tmp_path / "run", *conditional, f"--config.data.source=folder:{tmp_path}/data") == 0
    assert run_folder.read_classes(tmp_path / "run") == ["0", "1", "2"]
    found = scored(tmp_path, f"--workdir={tmp_path}/run", "--num=270", "--features=lenet", "--gan_train")
    assert found["about"]["real_images"] == "the test split"
    assert found["real_images"]["GAN-test-lenet"]["value"] > 0.9
    assert found["scores"]["GAN-test-lenet"]["value"] < 0.7  # hardly trained
    assert 0.1 < found["scores"]["GAN-train-lenet"]["value"] < 0.9


def test_the_scores_of_a_mixture_of_gaussians_are_exact(tmp_path, capsys):
    toy = {"data.source": "world:ring", "model.family": "toy_mlp", "steps": 4}
    workdir = tmp_path / "run"
    assert evaluate.main(["--workdir", str(workdir)]) == 2
    assert train_tiny(workdir, *(f"--config.{name}={value}" for name, value in toy.items())) == 0
    assert evaluate.main([f"--workdir={workdir}", "--features=pixels"]) == 2
    assert "--features needs images, and world:ring has exact scores instead" in capsys.readouterr().err
    out = tmp_path / "scores.json"
    assert evaluate.main([f"--workdir={workdir}", "--num=2500", f"--out={out}"]) == 0
    found = json.loads(out.read_text())
    assert found["scores"].keys() == {"modes", "high_quality", "reverse_kl"}
    assert all(score["low"] <= score["value"] <= score["high"] for score in found["scores"].values())
    assert found["scores"]["high_quality"]["ideal"] == pytest.approx(1 - np.exp(-4.5))
    assert found["scores"]["modes"]["value"] < 8  # hardly trained
    assert re.search(r"^score +value +95% interval +raw +ideal sampler\nmodes ", capsys.readouterr().out, re.MULTILINE)


# While training

SCORED = ("--config.eval.every=4", "--config.eval.num=300", "--config.eval.features=random")


def test_a_run_is_scored_as_evaluate_scores_it_and_the_best_checkpoint_stays(tmp_path, capsys):
    workdir = tmp_path / "run"
    best = ("--config.checkpoint.best=FD-random", "--config.checkpoint.keep=1", "--config.log_every=3")
    assert train_tiny(workdir, *SCORED, *best) == 0
    out = capsys.readouterr().out
    assert re.search("^real images score FD-random .*coverage-random", out, re.MULTILINE)
    found = {line["step"]: line["FD-random"] for line in records(workdir) if "FD-random" in line}
    assert list(found) == [4, 8, 12]  # log steps or not
    assert saved_steps(workdir) == sorted({12, min(found, key=found.get)})
    expected = scored(tmp_path, f"--workdir={workdir}", "--num=300", "--features=random")["scores"]
    assert found[12] == pytest.approx(expected["FD-random"]["value"], rel=1e-9)
    with Image.open(workdir / "curves.png") as curves:
        assert curves.size == (700, 1200)  # with a panel for the distance
    assert train_tiny(workdir, *SCORED, *best, "--config.eval.every=1000", "--config.steps=13") == 0


def test_the_best_checkpoint_may_be_chosen_by_exact_scores(tmp_path):
    toy = {"data.source": "world:gaussian1d", "model.family": "toy_mlp", "checkpoint.keep": 1}
    toy |= {"checkpoint.best": "wasserstein", "checkpoint.best_mode": "max"}
    assert train_tiny(tmp_path / "run", *(f"--config.{name}={value}" for name, value in toy.items())) == 0
    found = {line["step"]: line["wasserstein"] for line in records(tmp_path / "run") if "wasserstein" in line}
    assert list(found) == [4, 8, 12]
    assert saved_steps(tmp_path / "run") == sorted({12, max(found, key=found.get)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--config.eval.num=1",), "config.eval.num=1 samples beside 1797 real images are too few"),
        (
            ("--config.eval.num=50", "--config.eval.features=random", "--config.checkpoint.best=FD-random"),
            r"config.checkpoint.best=FD-random: not given with 50 samples and 50 real images: FD-random \(needs 260",
        ),
        (("--config.eval.features=lennet",), "unknown config.eval.features 'lennet': did you mean lenet"),
        (("--config.eval.features=inception",), "--inception_weights=FILE.pth"),
        (
            ("--config.data.source=world:ring", "--config.model.family=toy_mlp"),
            "a mixture of Gaussians has exact",
        ),
        (("--config.eval.weights=a.pth",), "config.eval.weights has no effect here: eval.features=inception has it"),
        (("--config.checkpoint.best=FID",), "unknown config.checkpoint.best 'FID'"),
    ],
)
def test_what_cannot_be_scored_is_an_error_before_training(tmp_path, capsys, settings, message):
    argv = ("--config.eval.every=4", "--config.eval.num=300", "--config.eval.features=lenet", *settings)
    assert train_tiny(tmp_path / "run", *argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


def test_few_samples_are_scored_while_training_as_well(tmp_path, capsys):
    """By the scores that they allow for; one of these may choose the best checkpoint."""
    few = ("--config.eval.num=20", "--config.checkpoint.best=KD-random")
    assert train_tiny(tmp_path / "run", *SCORED, *few) == 0
    assert re.search(r"warning: config.eval.num=20: not given .* FD-random \(needs 260", capsys.readouterr().err)
    (found, *_) = (line for line in records(tmp_path / "run") if "KD-random" in line)
    assert {name for name in found if name.endswith("-random")} == {"KD-random", "authenticity-random"}


# Mistakes


MISTAKES = {
    "": "give either --workdir=RUN, or --fakes and --reals",
    "--fakes={0}/one.npz": "give either --workdir=RUN, or --fakes and --reals",
    "--workdir={1} --fakes={0}/one.npz --reals={0}/one.npz": "give either --workdir=RUN, or",
    "--workdir={0}": "holds no run",
    "--workdir={1} --num=0": "--num=0 must be at least 2",
    "--workdir={1} --num=1": "--num=1 must be at least 2",
    "--workdir={1} --standing_statistics=0": "--standing_statistics=0 must be at least 1",
    "--fakes={0}/one.npz --reals={0}/other.npz --standing_statistics=2": "--standing_statistics is about samples of",
    "--workdir={1} --features=lennet": "unknown extractor 'lennet': did you mean lenet",
    "--workdir={1} --features=inception": "needs --inception_weights=FILE",
    "--workdir={1} --inception_weights={0}/one.npz": "--inception_weights needs --features=inception, and not lenet",
    "--workdir={1} --features=inception --inception_weights={0}/one.npz": "one.npz",
    "--workdir={1} --num=300 --features=pixels --gan_train": "--gan_train needs samples with labels, and .* test split",
    "--fakes={0}/one.npz --reals={0}/none.npz": "none.npz",
    "--fakes={0}/one.npz --reals={0}/other.npz --raw": "--raw is about samples of a run: leave it out, or give --workd",
    "--fakes={0}/one.npz --reals={0}/other.npz --step=4": "--step is about samples of a run",
    "--fakes={0}/one.npz --reals={0}/other.npz --member=1": "--member is about samples of a run",
    "--fakes={0}/one.npz --reals={0}/other.npz --seed=1": "--seed is about samples of a run",
    "--fakes={0}/nowhere --reals={0}/one.npz": "--fakes=.*nowhere must be a folder or archive of images",
    "--fakes={0}/one.npz --reals=world:ring": "--reals=world:ring holds no images: runs on it are scored by --workdir",
    "--fakes={0}/large.npz --reals={0}/one.npz": "has image 0 of 16x16 and --reals=.* of 8x8 pixels.*: --size=8",
    "--fakes={0}/wide.npz --reals={0}/one.npz": "has image 0 of 8x9 and --reals=.* of 8x8 pixels.*: --size=8",
    "--fakes={0}/float.npz --reals={0}/one.npz": "images of type float64 .* must be uint8",
    "--fakes={0}/plain.npz --reals={0}/one.npz --features=pixels --per_class": "--per_class needs samples .* labels",
    "--fakes={0}/one.npz --reals={0}/other.npz --features=random,lennet": "unknown extractor 'lennet'",
    "--fakes={0}/one.npz --reals={0}/other.npz --features=none": "--features=none leaves nothing to score",
    "--fakes={0}/one.npz --reals={0}/plain.npz --features=lenet": "examples of two classes at least: choose pixels",
    "--fakes={0}/one.npz --reals={0}/other.npz --features=stacked": "features=stacked needs images of stacked:SOURCE",
    "--fakes={0}/tiny.npz --reals={0}/tiny.npz --features=lenet": "needs images of 4x4 pixels or more, and not of 3x3",
    "--fakes={0}/single.npz --reals={0}/one.npz": "scores need 2 samples and 2 real images: there are 1 and 600",
    "--fakes={0}/one.npz --reals={0}/single.npz": "scores need 2 samples and 2 real images: there are 600 and 1",
    "--fakes={0}/empty.npz --reals={0}/one.npz": r"empty.npz: images of type uint8 and shape \(0, 8, 8, 1\)",
    "--fakes={0}/one.npz --reals={0}/other.npz --out={0}": "--out=.* is a folder: it must be a file",
    "--fakes={0}/one.npz --reals={0}/other.npz --out={0}/one.npz/x.json": "one.npz is a file, and must be a folder",
    "--fakes={0}/one.npz --reals={0}/other.npz --out={0}/one.npz": "is the file of --fakes as well: choose another",
    "--fakes={0}/one.npz --reals={0}/other.npz --out=x --neighbours=x": "--neighbours=x is the file of --out as well",
    "--fakes={0}/one.npz --reals={0}/other.npz --save_features=/proc/x/y.npz": "--save_features=.*/proc",
    "--fakes={0}/one.npz --reals={0}/other.npz --gan_train": "--gan_train needs samples with labels, and",
    "--fakes={0}/one.npz --reals={0}/other.npz --features=inception --inception_weights={0}/x": "/x: No such file",
    "--workdir={1} --num=300 --features=pixels --save_features={1}": "--save_features=.* is a folder",
    "--workdir={1} --num_held_out=1": "--num_held_out=1 must be at least 2",
    "--workdir={1} --white=4095": "--white is about --fakes and --reals",
    "--fakes={0}/one.npz --reals={0}/other.npz --white=-1": "--white=-1.0 must be at least 0",
    "--fakes={0}/one.npz --reals={0}/other.npz --max_pixels=0": "--max_pixels=0 must be at least 1",
    "--fakes={0}/one.npz --reals={0}/other.npz --on_bad_image=keep": "invalid choice: 'keep'",
}


@pytest.fixture(scope="module")
def wrong(arrays):
    np.savez(arrays / "large.npz", images=np.zeros((300, 16, 16, 1), np.uint8))
    np.savez(arrays / "wide.npz", images=np.zeros((300, 8, 9, 1), np.uint8))
    np.savez(arrays / "float.npz", images=IMAGES[:300] / 255)
    np.savez(arrays / "plain.npz", images=IMAGES[:300])
    np.savez(arrays / "tiny.npz", images=IMAGES[:300, :3, :3], labels=LABELS[:300])
    np.savez(arrays / "single.npz", images=IMAGES[:1], labels=LABELS[:1])
    np.savez(arrays / "empty.npz", images=IMAGES[:0], labels=LABELS[:0])
    return arrays


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_an_error_of_one_line_before_any_network_runs(wrong, run, tmp_path, capsys, monkeypatch, command):
    """And nothing is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lenet, "fit", None)  # it would fail if a classifier were trained
    monkeypatch.setattr(inference, "run_task", None)
    monkeypatch.setattr(features.Extractor, "__call__", None)
    assert evaluate.main(command.format(wrong, run).split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"error: .*{MISTAKES[command]}", line)
    assert list(tmp_path.iterdir()) == []
