"""Scores a trained run, or any set of images beside another one.

    python evaluate.py --workdir=runs/mnist
    python evaluate.py --fakes=theirs.npz --reals=folder/of/images --features=random,pixels

Prints a table and writes scores.json, each score with its 95% interval, with what other programs print for the same
samples ("raw") where that is another number, and with its floor: what real images score that the run was not trained
on. Scores are called by the features that they are made of: FID, KID and IS need --inception_weights.

A set of images is a folder, an .npz file with an array `images` uint8 [N, H, W, C] and `labels` if it has any, or a
data set of TensorFlow Datasets (tfds:mnist). Of a run on a toy world the exact scores are printed.
"""

import argparse
import io
import json
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jaxgan import config as configuration
from jaxgan import images, parallel, pictures, runs, sampling
from jaxgan.data import cache, pipeline, sources
from jaxgan.data.cache import CHUNK, Examples, Undecoded
from jaxgan.data.decode import Stored
from jaxgan.errors import Parser, UserError, exit_code, warn
from jaxgan.files import replacing
from jaxgan.metrics import features, manifold, scores
from jaxgan.metrics.classes import accuracy
from jaxgan.metrics.features import EXTRACTORS, Extractor, Features
from jaxgan.metrics.scores import Samples, Score

GREY = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # kinds of pictures with one channel
COLUMNS = 8  # samples in the picture of neighbours, each above its nearest training examples
NEIGHBOURS = 5


class Side(NamedTuple):
    """One set of images.

    Attributes:
        images: uint8 [N, H, W, C].
        labels: int32 [N]; None where there are none.
    """

    images: np.ndarray
    labels: np.ndarray | None


class Contest(NamedTuple):
    """What is scored beside what.

    Attributes:
        fakes: to be scored.
        reals: training examples, or the other set.
        held_out: examples that nothing was trained on; None where there are none.
        about: what decides the scores besides features, for scores.json.
        folder: where files go if nothing else is said.
    """

    fakes: Side
    reals: Examples
    held_out: Examples | None
    about: dict[str, object]
    folder: Path


def parse(argv: list[str]) -> argparse.Namespace:
    """The options, checked."""
    parser = Parser("evaluate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, help="the run folder that train.py made")
    parser.add_argument("--fakes", help="or any set of images, with --reals: FOLDER, FILE.npz, or tfds:NAME")
    parser.add_argument("--reals", help="what they are compared with")
    parser.add_argument("--num", type=int, default=10_000, help="how many samples, and how many real images at most")
    parser.add_argument("--features", help=f"of {', '.join(EXTRACTORS)}: one or several (lenet if there are labels)")
    parser.add_argument("--inception_weights", type=Path, metavar="FILE.pth", help="of pytorch-fid or torch-fidelity")
    parser.add_argument("--per_class", action="store_true", help="the Fréchet distance of each class as well")
    parser.add_argument(
        "--gan_train", action="store_true", help="train a classifier on samples and test it on real ones"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument("--step", type=int, help="an older checkpoint than the newest")
    parser.add_argument("--raw", action="store_true", help="the generator itself, not its moving average")
    parser.add_argument("--member", type=int, default=0, help="which one of a population")
    parser.add_argument("--neighbours", type=Path, metavar="FILE.png", help="a picture (neighbours.png, as below)")
    parser.add_argument("--out", type=Path, help="the table as JSON (scores.json in the run folder, or here)")
    options = parser.parse_args(argv)
    if (options.workdir is None) == (options.fakes is None) or (options.fakes is None) != (options.reals is None):
        raise UserError("give either --workdir=RUN, or --fakes and --reals (see evaluate.py --help)")
    if options.num < 1:
        raise UserError(f"--num={options.num} should be at least 1")
    if not 0 <= options.seed <= configuration.MOST_SEED:
        raise UserError(f"--seed={options.seed} should be from 0 to {configuration.MOST_SEED}")
    return options


def decoded(config: ConfigDict) -> Examples:
    """The examples of a configuration, all of them decoded."""
    examples = pipeline.open_examples(config)
    skip = config.data.on_bad_image == "skip"
    return cache.in_memory(examples, skip) if isinstance(examples, Undecoded) else examples


def held_out(config: ConfigDict) -> Examples | None:
    """The test split, where there is one that the run did not see."""
    kind, _, place = config.data.source.partition(":")
    if "test" not in sources.SOURCES[kind](place).splits or "test" in config.data.split:
        return None
    other = config.copy_and_resolve_references()
    other.data.split = "test"
    return decoded(other)


def of_run(options: argparse.Namespace) -> Contest | None:
    """Samples of a run beside its data; None if that is a toy world, whose scores have been told."""
    gan, variables, classes, step = runs.restore(options.workdir, options.step, options.raw, options.member)
    config = gan.config
    sampling.check_count(options.num, config)
    labels = sampling.mixed_labels(gan, options.num)
    drawn = sampling.draw(gan, variables, options.seed, options.num, labels)
    about = {"step": step, "average": not options.raw, "member": options.member, "seed": options.seed}
    about |= {"samples": options.num}
    if world := sources.world_of(config.data):
        found = pictures.scores(world, drawn[None])
        print(f"step {step:,}, {options.num:,} samples: {pictures.told(found) or 'samples are not finite'}")
        write(options.out or options.workdir / "scores.json", {"about": about, "scores": found})
        return None
    reals = decoded(config)
    runs.check_data(options.workdir, reals)
    about |= {"source": config.data.source, "split": config.data.split, "digest": reals.digest}
    asked = labels if gan.classes and classes else None
    return Contest(Side(drawn, asked), reals, held_out(config), about, options.workdir)


def shape_of(stored: Stored) -> tuple[int, int, int]:
    """Height, width and channels of an image as it is stored."""
    if isinstance(stored, np.ndarray):
        return (*stored.shape, 1)[:3]
    with Image.open(stored if isinstance(stored, str) else io.BytesIO(stored)) as image:
        return image.height, image.width, 1 if image.mode in GREY else 3


def opened(option: str, place: str) -> Examples:
    """A set of images that an option names, just as they are.

    Raises:
        UserError: there is no such set, or its images are not all squares of one size.
    """
    data = configuration.default().data
    path = Path(place)
    known = place.partition(":")[0] in sources.SOURCES and not path.exists()
    data.source = place if known else f"array:{place}" if path.suffix in (".npz", ".npy") else f"folder:{place}"
    kind, _, rest = data.source.partition(":")
    splits = sources.SOURCES[kind](rest).splits
    data.split = "train" if "train" in splits else next(iter(splits))
    selection = sources.select(data)
    expected = None
    for start in range(0, 1 if selection.in_arrays else len(selection), CHUNK):  # an array's images have one shape
        for item in selection.read(np.arange(start, min(start + CHUNK, len(selection)))):
            found = shape_of(item.image)
            expected = expected or (found[0], found[0], found[2])
            if found != expected:
                raise UserError(f"{option}: {item.name} is {told(found)}, and should be {told(expected)}")
    data.size, data.channels = expected[1:]
    config = configuration.default()
    config.data = data
    return decoded(config)


def told(shape: tuple[int, ...]) -> str:
    """An image's shape as text."""
    return "x".join(map(str, shape))


def of_two_sets(options: argparse.Namespace) -> Contest:
    """One set of images beside another one."""
    fakes, reals = opened("--fakes", options.fakes), opened("--reals", options.reals)
    if fakes.shape != reals.shape:
        raise UserError(
            f"--fakes={options.fakes} has images of {told(fakes.shape)}, and --reals={options.reals} of "
            f"{told(reals.shape)}: they should be equal"
        )
    count = min(len(fakes), options.num)
    labels = fakes.labels[:count] if fakes.classes and fakes.classes == reals.classes else None
    about = {"fakes": options.fakes, "reals": options.reals, "samples": count, "digest": reals.digest}
    return Contest(Side(fakes.images[:count], labels), reals, None, about, Path())


def floors(extract: Extractor, contest: Contest, count: int) -> dict[str, Score]:
    """What real images score: the test split beside the training examples or, without one, these half beside half.

    Where there are too few for that, nothing, with a warning.
    """
    try:
        if contest.held_out is None:
            return scores.of_halves(Samples(*features.of_examples(extract, contest.reals, 2 * count)), extract.name)
        sides = [features.of_examples(extract, examples, count) for examples in (contest.held_out, contest.reals)]
        return scores.score(*(Samples(*side) for side in sides), extract.name)
    except UserError as error:
        warn(f"what real images score is not known: {error}")
        return {}


def table(found: dict[str, Score], floor: dict[str, Score]) -> str:
    """Scores as text."""
    rows = [("score", "value", "95% interval", "raw", "real images")]
    for name, (estimate, raw) in found.items():
        value, low, high = (f"{number:.4g}" for number in estimate)
        beside = f"{floor[name].estimate.value:.4g}" if name in floor else ""
        between = "" if low == high else f"{low} to {high}"
        rows.append((name, value, between, "" if raw is None else f"{raw:.4g}", beside))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def as_json(found: dict[str, Score]) -> dict[str, dict[str, float]]:
    """Scores for scores.json."""
    return {name: estimate._asdict() | ({} if raw is None else {"raw": raw}) for name, (estimate, raw) in found.items()}


def write(path: Path, content: dict) -> None:
    """Writes it as JSON, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
    print(path)


def gan_train(contest: Contest) -> Score:
    """The accuracy on real images of a classifier that learned from samples alone."""
    if contest.fakes.labels is None or contest.held_out is None:
        raise UserError("--gan_train needs samples with labels, and a data set with a test split to judge by")
    made = cache.held(np.asarray(contest.fakes.images), contest.fakes.labels, contest.reals.classes)
    classifier = features.extractor("lenet", made)
    decided = classifier(contest.held_out.images).logits.argmax(1)
    return Score(accuracy(decided, contest.held_out.labels))


def draw_neighbours(path: Path, contest: Contest, extract: Extractor, fakes: Features, count: int) -> None:
    """A picture of some samples, in the first row, and below each the training examples nearest by its features."""
    reals, _ = features.of_examples(extract, contest.reals, count)
    columns = min(COLUMNS, len(fakes.values))
    near = manifold.nearest(fakes.values[:columns], reals.values, min(NEIGHBOURS, len(reals.values)))
    chosen = features.rows_of(contest.reals, count)[near.index.T]
    rows = [contest.fakes.images[:columns], *(contest.reals.images[row] for row in chosen)]
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["sample", *(f"nearest {place}" for place in range(1, len(rows)))]
    images.save_png(path, images.grid(np.concatenate(rows), columns, names))
    print(path)


def run(argv: list[str]) -> int:
    """Parses, draws, scores and writes."""
    options = parse(argv)
    parallel.cache_compilations()
    contest = of_run(options) if options.workdir else of_two_sets(options)
    if contest is None:
        return 0
    fakes, reals, names = contest.fakes, contest.reals, list(contest.reals.classes)
    if options.per_class and (fakes.labels is None or not names):
        raise UserError("--per_class needs samples and real images with labels of the same classes")
    chosen = options.features.split(",") if options.features else ["lenet" if len(names) > 1 else "random"]
    found, floor, used, by_class = {}, {}, {}, {}
    for name in chosen:
        extract = features.extractor(name.strip(), reals, options.inception_weights)
        of_fakes, (of_reals, labels) = extract(fakes.images), features.of_examples(extract, reals, options.num)
        sides = Samples(of_fakes, fakes.labels), Samples(of_reals, labels)
        found |= scores.score(*sides, extract.name)
        floor |= floors(extract, contest, options.num)
        used[extract.name] = {"digest": extract.digest, "resizer": extract.resizer, "width": of_fakes.values.shape[1]}
        if options.per_class:
            by_class[extract.name] = scores.per_class(*sides, names, scores.frechet_distance)
        if name == chosen[0]:
            draw_neighbours(
                options.neighbours or contest.folder / "neighbours.png", contest, extract, of_fakes, options.num
            )
    if options.gan_train:
        found["GAN-train-lenet"] = gan_train(contest)
    beside = "the test split" if contest.held_out is not None else "halves of the real images"
    about = contest.about | {"reals": min(len(reals), options.num), "features": used, "real images": beside}
    about |= {"quantiser": "round to uint8", "precision": "float32, statistics float64", "jax": jax.__version__}
    print(table(found, floor))
    for name, rows in by_class.items():
        print(f"\nFréchet distance by {name}, of each class\n{table(rows, {})}")
    content = {"about": about, "scores": as_json(found), "real images": as_json(floor)}
    content |= {"per class": {name: as_json(rows) for name, rows in by_class.items()}} if by_class else {}
    write(options.out or contest.folder / "scores.json", content)
    return 0


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    return exit_code(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
