"""Scores a trained run, or any set of images beside another one.

    python evaluate.py --workdir=runs/mnist
    python evaluate.py --fakes=theirs.npz --reals=folder/of/images --features=random,pixels

Prints a table and writes scores.json, each score with its 95% interval, with what other programs print for the same
samples ("raw") where that is another number, and with its floor: what real images score that the run was not trained
on. Scores are called by the features that they are made of: FID, KID and IS need --inception_weights.

A set of images is a folder, an .npz file with an array `images` uint8 [N, H, W, C] and `labels` if it has any, a data
set of TensorFlow Datasets (tfds:mnist), or features that --save_features wrote. A run on a mixture of Gaussians has
exact scores.
"""

import argparse
import io
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jaxgan import config as configuration
from jaxgan import inference
from jaxgan.core import devices
from jaxgan.core.settings import MAX_SEED
from jaxgan.data import cache, sources
from jaxgan.data.cache import CHUNK, LazyDataset
from jaxgan.data.dataset import ArrayDataset, from_arrays, with_digest
from jaxgan.data.decode import Stored
from jaxgan.data.selection import select
from jaxgan.data.sources.mixture import mixture_of
from jaxgan.errors import Parser, UserError, exit_code, warn
from jaxgan.io import run_folder
from jaxgan.metrics import features, lenet, prdc, scores
from jaxgan.metrics.classes import accuracy, confusion
from jaxgan.metrics.features import EXTRACTORS, Extractor, Features, SavedFeatures
from jaxgan.metrics.moments import Statistics, statistics
from jaxgan.metrics.report import Result, report
from jaxgan.metrics.scores import CLASSIFIERS, Samples, Score
from jaxgan.viz import grid

GREY = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # kinds of pictures with one channel
COLUMNS = 8  # samples in the picture of neighbours, each above its nearest training examples
NEIGHBOURS = 5
MOST_CONFUSED = 100  # classes of a confusion matrix


OF_RUNS = {"step": None, "raw": False, "member": 0, "seed": 0}  # options for samples of a run, as they are unless given
OF_IMAGES = ("features", "inception_weights", "per_class", "gan_train", "save_features", "neighbours")


class ImageSet(NamedTuple):
    """One set of images.

    Attributes:
        images: uint8 [N, H, W, C].
        labels: int32 [N]; None where there are none.
    """

    images: np.ndarray
    labels: np.ndarray | None


class EvalTask(NamedTuple):
    """What is scored beside what.

    Attributes:
        fakes: to be scored.
        reals: training examples, or the other set.
        held_out: examples that nothing was trained on; None where there are none.
        about: what decides the scores besides features, for scores.json.
        folder: where files go if nothing else is said.
        features: that it is scored by if nothing else is said.
    """

    fakes: ImageSet
    reals: ArrayDataset
    held_out: ArrayDataset | None
    about: dict[str, object]
    folder: Path
    features: str


def parse(argv: list[str]) -> argparse.Namespace:
    """The options, checked."""
    parser = Parser("evaluate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, help="the run folder that train.py made")
    parser.add_argument("--fakes", help="or any set of images, with --reals: FOLDER, FILE.npz, or tfds:NAME")
    parser.add_argument("--reals", help="what they are compared with")
    parser.add_argument(
        "--num", type=int, default=10_000, help="how many samples, and at most how many real images in scores of pairs"
    )
    parser.add_argument("--features", help=f"of {', '.join(EXTRACTORS)}: one or several (lenet if there are labels)")
    parser.add_argument("--inception_weights", type=Path, metavar="FILE.pth", help="of pytorch-fid or torch-fidelity")
    parser.add_argument("--per_class", action="store_true", help="the scores of each class as well")
    parser.add_argument(
        "--gan_train", action="store_true", help="train a classifier on samples and test it on real ones"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument("--step", type=int, help="an older checkpoint than the newest")
    parser.add_argument("--raw", action="store_true", help="the generator itself, not its moving average")
    parser.add_argument("--member", type=int, default=0, help="which one of a population")
    parser.add_argument(
        "--save_features", type=Path, metavar="FILE.npz", help="the samples' features, to be scored later"
    )
    parser.add_argument("--neighbours", type=Path, metavar="FILE.png", help="a picture (neighbours.png, as below)")
    parser.add_argument("--out", type=Path, help="the table as JSON (scores.json in the run folder, or here)")
    options = parser.parse_args(argv)
    if (options.workdir is None) == (options.fakes is None) or (options.fakes is None) != (options.reals is None):
        raise UserError("give either --workdir=RUN, or --fakes and --reals (see evaluate.py --help)")
    for name, usual in OF_RUNS.items():
        if options.fakes and getattr(options, name) != usual:
            raise UserError(f"--{name} is about samples of a run: leave it out, or give --workdir=RUN")
    if options.num < 1:
        raise UserError(f"--num={options.num} must be at least 1")
    if not 0 <= options.seed <= MAX_SEED:
        raise UserError(f"--seed={options.seed} must be from 0 to {MAX_SEED}")
    return options


def decoded(config: ConfigDict) -> ArrayDataset:
    """The examples of a configuration, all of them decoded."""
    examples = sources.open_dataset(config)
    skip = config.data.get("on_bad_image") == "skip"
    return cache.in_memory(examples, skip) if isinstance(examples, LazyDataset) else with_digest(examples)


def held_out(config: ConfigDict) -> ArrayDataset | None:
    """The test split, where there is one that the run did not see."""
    reader, place = sources.source_of(config.data).read, config.data.source.partition(":")[2]
    if reader is None or "test" not in reader(place).splits or "test" in config.data.split:
        return None
    other = config.copy_and_resolve_references()
    other.data.split = "test"
    return decoded(other)


def of_run(options: argparse.Namespace) -> EvalTask | None:
    """Samples of a run beside its data; None if that is a mixture of Gaussians, whose exact scores are printed."""
    exp, variables, classes, step = run_folder.restore(options.workdir, options.step, options.raw, options.member)
    config = exp.config
    mixture = mixture_of(config.data)
    for name in OF_IMAGES if mixture else ():
        if getattr(options, name):
            raise UserError(f"--{name} needs images, and {config.data.source} has exact scores instead")
    inference.task_of(exp, "sample")
    inference.check_count(exp, options.num)
    labels = inference.mixed_labels(exp, options.num)
    drawn = inference.sample(exp, variables, options.seed, options.num, labels)
    about = {"step": step, "average": not options.raw, "member": options.member, "seed": options.seed}
    about |= {"samples": options.num}
    if mixture:
        exact = Result(scores.of_mixture(mixture, drawn), {}, {}, None)
        report(options.out or options.workdir / "scores.json", about, {"exact": exact}, [])
        return None
    reals = decoded(config)
    run_folder.check_data(options.workdir, reals)
    about |= {"source": config.data.source, "split": config.data.get("split"), "digest": reals.digest}
    asked = labels if exp.algorithm.draws_classes(exp) and classes else None
    usual = config.eval.features if config.eval.features != "lenet" else usual_features(reals)
    return EvalTask(ImageSet(drawn, asked), reals, held_out(config), about, options.workdir, usual)


def usual_features(reals: ArrayDataset) -> str:
    """Those that need nothing but the examples."""
    return "lenet" if lenet.can_learn(reals) else "random"


def shape_of(stored: Stored) -> tuple[int, int, int]:
    """Height, width and channels of an image as it is stored."""
    if isinstance(stored, tuple):
        return (*shape_of(stored[0])[:2], len(stored))
    if isinstance(stored, np.ndarray):
        return (*stored.shape, 1)[:3]
    with Image.open(stored if isinstance(stored, str) else io.BytesIO(stored)) as image:
        return image.height, image.width, 1 if image.mode in GREY else 3


def open_image_set(option: str, place: str) -> ArrayDataset:
    """A set of images that an option names, just as they are.

    Raises:
        UserError: there is no such set, or it has no images, or they are not all squares of one size.
    """
    path = Path(place)
    known = place.partition(":")[0] in sources.SOURCES and not path.exists()
    in_file = path.suffix in (".npz", ".npy")
    if not (known or in_file or path.is_dir()):
        raise UserError(f"{option}={place} must be a folder of images, an .npz file, or tfds:NAME")
    source = place if known else f"array:{place}" if in_file else f"folder:{place}"
    config = configuration.default({"data.source": source})
    data = config.data
    if "size" not in data:
        raise UserError(f"{option}={place} holds no images: runs on it are scored by --workdir")
    stored = sources.source_of(data).read(source.partition(":")[2])
    data.split = "train" if "train" in stored.splits else next(iter(stored.splits))
    selection = select(data, stored)
    expected = None
    for start in range(0, 1 if selection.in_arrays else len(selection), CHUNK):  # an array's images have one shape
        for item in selection.read(np.arange(start, min(start + CHUNK, len(selection)))):
            found = shape_of(item.image)
            expected = expected or (found[0], found[0], found[2])
            if found != expected:
                raise UserError(f"{option}: {item.name} is {format_shape(found)}, and must be {format_shape(expected)}")
    data.size, data.channels = expected[1:]
    return decoded(config)


def format_shape(shape: tuple[int, ...]) -> str:
    """An image's shape as text."""
    return "x".join(map(str, shape))


def of_two_sets(options: argparse.Namespace) -> EvalTask:
    """One set of images beside another one."""
    fakes, reals = open_image_set("--fakes", options.fakes), open_image_set("--reals", options.reals)
    if fakes.shape != reals.shape:
        raise UserError(
            f"--fakes={options.fakes} has images of {format_shape(fakes.shape)}, and --reals={options.reals} of "
            f"{format_shape(reals.shape)}: they must be equal"
        )
    count = min(len(fakes), options.num)
    labels = fakes.labels[:count] if fakes.classes and fakes.classes == reals.classes else None
    about = {"fakes": options.fakes, "reals": options.reals, "samples": count, "digest": reals.digest}
    return EvalTask(ImageSet(fakes.images[:count], labels), reals, None, about, Path(), usual_features(reals))


def reference_scores(
    extract: Extractor, task: EvalTask, reals: Samples, whole: Statistics, count: int
) -> dict[str, Score]:
    """What real images score: the test split beside the training examples or, without one, these half beside half.

    Where there are too few for that, nothing, with a warning.
    """
    try:
        if task.held_out is None:
            return scores.real_vs_real(Samples(*features.features_of(extract, task.reals, 2 * count)), extract.name)
        others = Samples(*features.features_of(extract, task.held_out, count))
        return scores.score(others, reals, extract.name, whole)
    except UserError as error:
        warn(f"what real images score is not known: {error}")
        return {}


def evaluate_features(extract: Extractor, task: EvalTask, fakes: Features, options: argparse.Namespace) -> Result:
    """All scores by the features of one extractor, given the samples' features."""
    whole = features.statistics_of(extract, task.reals)
    reals = Samples(*features.features_of(extract, task.reals, options.num))
    samples = Samples(fakes, task.fakes.labels)
    found = scores.score(samples, reals, extract.name, whole)
    floor = reference_scores(extract, task, reals, whole, options.num)
    names, cells = task.reals.classes, None
    by_class = scores.per_class(samples, reals, names, extract.name) if options.per_class else {}
    if samples.labels is not None and extract.name in CLASSIFIERS and len(names) <= MOST_CONFUSED:
        known = samples.labels >= 0
        cells = confusion(fakes.logits[known].argmax(1), samples.labels[known], len(names))
    return Result(found, floor, by_class, cells)


def of_features(options: argparse.Namespace) -> int:
    """Scores one file of features beside another one."""
    for name in OF_IMAGES:
        if getattr(options, name):
            raise UserError(f"--{name} needs images, and {options.fakes} and {options.reals} hold features")
    places = {"--fakes": options.fakes, "--reals": options.reals}
    kept = [features.load(Path(place)) for place in places.values()]
    made = [f"{place} of {side.extractor} {side.digest}" for place, side in zip(places, kept, strict=True)]
    if kept[0][:2] != kept[1][:2]:
        raise UserError(f"{made[0]} and {made[1]}: features of different extractors cannot be compared")
    fakes, reals = (Samples(side.features, side.labels).of(slice(options.num)) for side in kept)
    name = kept[0].extractor
    result = Result(
        scores.score(fakes, reals, name, statistics(reals.features.values)), scores.real_vs_real(reals, name), {}, None
    )
    about = {"fakes": options.fakes, "reals": options.reals, "samples": len(fakes.features.values)}
    about |= {"features": {name: {"digest": kept[0].digest}}, "real_images": "halves of the real images"}
    report(options.out or Path("scores.json"), about, {name: result}, [])
    return 0


def gan_train(task: EvalTask) -> Result:
    """The accuracy on real test images of a classifier that learned from samples alone, or from real ones."""
    known = np.arange(0) if task.held_out is None else np.flatnonzero(task.held_out.labels >= 0)
    if task.fakes.labels is None or not len(known):
        raise UserError("--gan_train needs samples with labels, and a data set with labels in a test split")
    made = from_arrays(np.asarray(task.fakes.images), task.fakes.labels, task.reals.classes)
    asked, names = task.held_out.labels[known], task.reals.classes
    classifiers = (features.extractor("lenet", taught) for taught in (made, task.reals))
    both = (classify(task.held_out.images).logits[known] for classify in classifiers)
    decided, by_real = (logits.argmax(1) for logits in both)
    found, floor = ({"GAN-train-lenet": Score(accuracy(side, asked))} for side in (decided, by_real))
    return Result(found, floor, {}, confusion(decided, asked, len(names)) if len(names) <= MOST_CONFUSED else None)


def draw_neighbours(path: Path, task: EvalTask, extract: Extractor, fakes: Features, count: int) -> None:
    """A picture of some samples, in the first row, and below each the training examples nearest by its features."""
    reals, _ = features.features_of(extract, task.reals, count)
    columns = min(COLUMNS, len(fakes.values))
    near = prdc.nearest(fakes.values[:columns], reals.values, min(NEIGHBOURS, len(reals.values)))
    chosen = features.rows_of(task.reals, count)[near.index.T]
    rows = [task.fakes.images[:columns], *(task.reals.images[row] for row in chosen)]
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["sample", *(f"nearest {place}" for place in range(1, len(rows)))]
    grid.save_png(path, grid.image_grid(np.concatenate(rows), columns, names))
    print(path)


def run(argv: list[str]) -> int:
    """Parses, draws, scores and writes."""
    options = parse(argv)
    devices.enable_compilation_cache()
    if options.fakes and all(features.is_features_file(Path(place)) for place in (options.fakes, options.reals)):
        return of_features(options)
    task = of_run(options) if options.workdir else of_two_sets(options)
    if task is None:
        return 0
    fakes, reals, names = task.fakes, task.reals, list(task.reals.classes)
    if options.per_class and (fakes.labels is None or not names):
        raise UserError("--per_class needs samples and real images with labels of the same classes")
    chosen = [name.strip() for name in (options.features or task.features).split(",")]
    if options.inception_weights and "inception" not in chosen:
        raise UserError(f"--inception_weights needs --features=inception, and not {','.join(chosen)}")
    results, used = {}, {}
    for name in chosen:
        extract = features.extractor(name, reals, options.inception_weights)
        found = extract(fakes.images)
        results[extract.name] = evaluate_features(extract, task, found, options)
        used[extract.name] = {"digest": extract.digest, "resizer": extract.resizer, "width": found.values.shape[1]}
        if name == chosen[0]:
            draw_neighbours(options.neighbours or task.folder / "neighbours.png", task, extract, found, options.num)
            if options.save_features:
                features.save(options.save_features, SavedFeatures(extract.name, extract.digest, found, fakes.labels))
    if options.gan_train:
        results["GAN-train"] = gan_train(task)
    beside = "the test split" if task.held_out is not None else "halves of the real images"
    about = task.about | {"reals": len(reals), "reals_in_pairs": min(len(reals), options.num)}
    about |= {"features": used, "real_images": beside}
    about |= {"quantiser": "round to uint8", "precision": "float32, statistics float64", "jax": jax.__version__}
    report(options.out or task.folder / "scores.json", about, results, names)
    return 0


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    return exit_code(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
