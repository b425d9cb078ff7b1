"""Scores of translations: of images by hand, and of runs of evaluate.py."""

import json

import numpy as np
import pytest
from PIL import Image
from programs import records
from scipy import special

from jaxgan.algorithms import ALGORITHMS
from jaxgan.cli import evaluate, train
from jaxgan.config import build, default
from jaxgan.core.types import Field
from jaxgan.data.sources.domains import same_originals
from jaxgan.metrics import domains, features, held_out, image_quality, translations
from jaxgan.metrics.translations import MAX_PSNR, Direction, Domains

COUNT = 40
FIELDS = {name: Field(name, (8, 8, 3), "pixels", name) for name in "ab"}
AB = Direction("translate", FIELDS["a"], FIELDS["b"])


def noise(seed: int, low: int = 0, high: int = 256, count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (count, 8, 8, 3), np.uint8)


def domains_of(train: tuple, test: tuple | None = None, paired: bool = False, aligned: bool = True) -> Domains:
    """Domains of images that are given as pairs of arrays."""
    sides = [
        {name: translations.unlabelled(images, images.tobytes()) for name, images in zip("ab", both, strict=True)}
        for both in (train, test or train)
    ]
    return Domains(*sides, test is not None, paired, aligned)


def reference(found: Domains, count: int = COUNT) -> translations.Reference:
    return translations.reference(AB, found, features.extractor("pixels", found.train["b"]), count)


# A classifier of domains


def test_a_classifier_of_one_feature_is_at_the_known_minimum():
    """Of -1 and 1 with the penalty p the weight w has p w = 1 / (1 + exp w)."""
    found = domains.fit(-np.ones((3, 1)), np.ones((5, 1)))
    (weight,) = found.weights
    assert domains.PENALTY * weight == pytest.approx(special.expit(-weight), abs=1e-5)
    assert found.bias == pytest.approx(0, abs=1e-5)


def test_a_classifier_does_not_depend_on_units_order_or_constant_features():
    rng = np.random.default_rng(0)
    first, second, other = rng.normal(0, 1, (50, 3)), rng.normal(1, 1, (80, 3)), rng.normal(0.5, 1, (200, 3))
    decided = domains.fit(first, second).is_second(other)
    assert 20 < decided.sum() < 180
    scale, shift = np.array([1e-3, 1.0, 50.0]), np.array([7.0, 0.0, -30.0])
    units = domains.fit(first * scale + shift, second * scale + shift)
    np.testing.assert_array_equal(units.is_second(other * scale + shift), decided)
    np.testing.assert_array_equal(~domains.fit(second, first).is_second(other), decided)
    wider = [np.concatenate([side, np.full((len(side), 1), 9.0)], axis=1) for side in (first, second, other)]
    np.testing.assert_array_equal(domains.fit(*wider[:2]).is_second(wider[2]), decided)


# Images by hand


def test_right_translations_have_no_error_and_inputs_that_of_unchanged_ones():
    a, b = noise(0), noise(1)
    found = domains_of((a, b))
    rows = translations.rows_of(AB, found, 30)
    right, same = (translations.by_images(AB, found, rows, side[rows]) for side in (b, a))
    values = {name: score.estimate.value for name, score in right.scores.found.items()}
    assert values["L1-ab"] == 0
    assert values["SSIM-ab"] == pytest.approx(1)
    assert values["PSNR-ab"] == pytest.approx(MAX_PSNR)
    assert len(rows) == right.scores.samples == 30
    assert values["source_SSIM-ab"] == pytest.approx(image_quality.grey_ssim(a[rows], b[rows]).mean())
    assert same.scores.found["source_SSIM-ab"].estimate.value == pytest.approx(1)
    assert right.unchanged == same.unchanged
    assert same.unchanged.found == {name: same.scores.found[name] for name in ("L1-ab", "PSNR-ab", "SSIM-ab")}
    assert abs(right.floor.found["source_SSIM-ab"].estimate.value) < 0.1  # of images that do not belong together


def test_only_what_is_known_is_scored():
    """No errors without right translations; with pairs the structure of the source is no aim; no SSIM of few pixels."""
    a, b = noise(0), noise(1)
    rows = np.arange(COUNT)

    def names(images: np.ndarray, **known: bool) -> tuple[set, set]:
        found = translations.by_images(AB, domains_of((images, b[:, : images.shape[1]]), **known), rows, images).scores
        return {*found.found}, {*found.missing}

    truth = {"L1-ab", "PSNR-ab", "SSIM-ab"}
    assert names(a, aligned=False) == ({"source_SSIM-ab"}, set())
    assert names(a, paired=True) == (truth, set())
    assert names(a) == (truth | {"source_SSIM-ab"}, set())
    assert names(a[:, :6]) == ({"L1-ab", "PSNR-ab"}, {"SSIM-ab", "source_SSIM-ab"})


def test_inputs_in_the_place_of_translations_score_as_unchanged_ones():
    """Bright images beside dark ones: each feature tells them apart, and each real image is taken for what it is."""
    train, test = (noise(0, 60), noise(1, 0, 200)), (noise(2, 60), noise(3, 0, 200))
    found = domains_of(train, test)
    beside = reference(found)
    same, right = (translations.compare(beside, images[features.rows_of(found.test["a"], COUNT)]) for images in test)
    assert same.scores.found == same.unchanged.found
    shares = "target_domain-pixels-ab"
    assert same.scores.found[shares].estimate.value == 0
    assert right.scores.found[shares].estimate.value == 1
    assert right.scores.found["precision-pixels-ab"].estimate.value == 1
    assert right.scores.found["raw_FD-pixels-ab"].estimate.value == pytest.approx(0, abs=1e-9)
    assert beside.floor.found["domain_accuracy-pixels-ab"].estimate.value == 1
    assert beside.floor.found[shares].estimate.value == 1
    assert same.scores.missing["FD-pixels-ab"] == {"samples": 388, "real_images": 388}
    assert "authenticity-pixels-ab" not in same.scores.found


def test_domains_that_cannot_be_told_apart_have_no_share(capsys):
    beside = reference(domains_of((noise(0), noise(1)), (noise(2), noise(3))))
    assert "pixels features do not tell a from b" in capsys.readouterr().err
    assert not any("domain" in name for side in (beside.floor, beside.unchanged) for name in side.found)


def test_lenet_learns_to_tell_the_domains_apart():
    found = translations.taught_by("lenet", domains_of((noise(0), noise(1)[:30])))
    assert found.classes == ("a", "b")
    np.testing.assert_array_equal(np.bincount(found.labels), [COUNT, 30])


def test_directions_are_those_of_the_tasks():
    """Also of an algorithm that has one direction; none of those that draw, or reconstruct."""
    for name, expected in {"cyclegan": ["ab", "ba"], "pix2pix": ["ab"], "gan": [], "vae": []}.items():
        exp = build(default({"algorithm": name, **ALGORITHMS[name].smallest}), 0)
        assert [way.name for way in translations.directions(exp)] == expected
    exp = build(default({"algorithm": "pix2pix", **ALGORITHMS["pix2pix"].smallest, "direction": "ba"}), 0)
    assert [way.name for way in translations.directions(exp)] == ["ba"]


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ("unpaired:digits|edited:inverted:digits", True),
        ("unpaired:edited:rotated:digits|edited:inverted:digits", True),
        ("unpaired:array:x.npz|edited:inverted:array:x.npz", True),
        ("unpaired:array:y.npz|edited:inverted:array:x.npz", False),
        ("unpaired:photos", False),
        ("unpaired:a|b", False),
    ],
)
def test_right_translations_are_known_where_both_domains_are_the_same_images(source, known):
    assert same_originals(source) == known


# Programs


def pictures(folder, images: np.ndarray, suffix: str = "png"):
    """Writes images as files."""
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index}.{suffix}")


def test_the_test_split_of_two_domains_is_held_out(tmp_path):
    for name, count in {"trainA": 6, "trainB": 5, "testA": 3, "testB": 4}.items():
        pictures(tmp_path / "seasons" / name, noise(0, count=count))
    source = f"unpaired:{tmp_path / 'seasons'}"
    config = default({"algorithm": "cyclegan", "data.source": source})
    assert held_out.split_of(config, None) == "test"
    config.data.split = "train+test"
    assert held_out.split_of(config, None) is None
    digits = default({"algorithm": "cyclegan", **ALGORITHMS["cyclegan"].smallest})
    assert held_out.split_of(digits, None) is None
    assert held_out.split_of(digits, "train[:50%]") == "train[:50%]"


def small_run(workdir, name: str, **settings: object) -> None:
    """Trains the smallest experiment of an algorithm for two steps."""
    settings = {"algorithm": name, **ALGORITHMS[name].smallest, "steps": 2, "log_every": 1, **settings}
    place = workdir.with_suffix(".py")
    place.write_text(f"from jaxgan.config import default\n\n\ndef get_config():\n    return default({settings!r})\n")
    assert train.main([f"--config={place}", f"--workdir={workdir}"]) == 0


def scored(run, *argv: str) -> dict:
    """What evaluate.py writes."""
    assert evaluate.main([f"--workdir={run}", *argv]) == 0
    return json.loads((run / "scores.json").read_text())


@pytest.fixture(scope="module")
def unpaired(tmp_path_factory):
    """A run in two directions, with scores while it trains."""
    run = tmp_path_factory.mktemp("translations") / "unpaired"
    evaluated = {"eval.every": 2, "eval.num": 100, "eval.features": "pixels", "checkpoint.best": "L1-ab"}
    small_run(run, "cyclegan", **{"data.split": "train[:80%]"}, **evaluated)
    return run


def test_scores_while_training_are_those_of_the_program(unpaired, capsys):
    last = records(unpaired)[-1]
    found = scored(unpaired, "--num=100", "--features=pixels")
    values = {name: score["value"] for name, score in found["scores"].items()}
    assert {"L1-ab", "SSIM-ba", "source_SSIM-ab", "KD-pixels-ba", "target_domain-pixels-ab"} <= values.keys()
    for name, value in values.items():
        assert last[name] == pytest.approx(value, rel=1e-6), name
    assert found["unchanged"]["L1-ab"] == found["unchanged"]["L1-ba"]
    assert "unchanged" in capsys.readouterr().out


def test_one_direction_of_two_has_the_same_scores(unpaired):
    held = ("--split=train[80%:]", "--features=pixels", "--num=50")
    both, one = scored(unpaired, *held), scored(unpaired, *held, "--direction=ba")
    assert one["scores"] == {name: score for name, score in both["scores"].items() if name.endswith("-ba")}
    assert one["about"]["translated"]["split"] == "train[80%:]"


def test_without_features_right_translations_are_still_compared(unpaired):
    found = scored(unpaired, "--features=none", "--num=10", "--direction=ab")
    assert [*found["scores"]] == ["L1-ab", "PSNR-ab", "SSIM-ab", "source_SSIM-ab"]


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--direction=ac"], "unknown --direction 'ac'"),
        (["--per_class"], "--per_class has no effect on algorithm=cyclegan, which translates"),
        (["--k=3"], "--k has no effect"),
        (["--split=nowhere"], "unknown split 'nowhere'"),
        (["--features=stacked"], "stacked"),
        (["--paired"], "--paired is about --fakes and --reals"),
    ],
)
def test_what_makes_no_sense_for_translations_is_refused(unpaired, argv, text, capsys):
    assert evaluate.main([f"--workdir={unpaired}", *argv]) == 2
    assert text in capsys.readouterr().err


def test_pairs_are_scored_also_of_a_network_that_learned_from_their_differences_alone(tmp_path):
    """Without a discriminator's gradient, whatever its initial weights."""
    small_run(tmp_path / "run", "pix2pix", adversarial=0.0, **{"data.split": "train[:50%]"})
    assert "SSIM-ab" in scored(tmp_path / "run", "--split=train[50%:]", "--num=40", "--features=none")["scores"]


# Two sets of images


def test_two_folders_are_compared_pair_by_pair(tmp_path, capsys):
    """By name, whatever the order and the format; what has no partner is left out, with a warning."""
    first, second = noise(0), noise(1)
    pictures(tmp_path / "ours", first)
    pictures(tmp_path / "theirs", second[:30], "bmp")
    out = tmp_path / "scores.json"
    sets = (f"--fakes={tmp_path / 'ours'}", f"--reals={tmp_path / 'theirs'}", f"--out={out}", "--features=none")
    assert evaluate.main([*sets, "--paired"]) == 0
    found = json.loads(out.read_text())
    for name, score in {"L1": image_quality.l1, "PSNR": image_quality.psnr, "SSIM": image_quality.ssim}.items():
        assert found["scores"][name]["value"] == pytest.approx(score(first[:30], second[:30]).mean())
    assert found["about"]["pairs"] == 30
    assert "10 images of" in capsys.readouterr().err
    assert evaluate.main([*sets]) == 2
    np.savez(tmp_path / "array.npz", images=first)
    mixed = (f"--fakes={tmp_path / 'ours'}", f"--reals={tmp_path / 'array.npz'}", "--paired")
    assert evaluate.main([*mixed, f"--out={out}"]) == 2
    assert "images of a folder have names, and pair with those of a folder" in capsys.readouterr().err
