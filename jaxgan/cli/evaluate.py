"""Scores a trained run, or any set of images beside another one.

    python evaluate.py --workdir=runs/mnist
    python evaluate.py --fakes=theirs.npz --reals=folder/of/images --features=random,pixels

Prints a table and writes scores.json, each score with its 95% interval, with what other programs print for the same
samples ("raw") where that is another number, and with its floor: what real images score that the run was not trained
on. Scores are called by the features that they are made of: FID, KID and IS need --inception_weights.

A run with an encoder also encodes held-out examples: the table then has their likelihood, if the run has one, their
reconstruction error, and the number of active latent units. --features=none computes these scores alone.

A run that translates has its translations of held-out images scored, in each direction or in the one that --direction
names: beside held-out images of the other domain and, where these are known, beside the right translations.

A run that animates has held-out clips made again from their first frame, beside that frame repeated; of drawn heads
the errors of keypoints and of identity are exact, and transfers to other people are scored as well.

A set of images is a folder or an archive, an .npz file with an array `images` uint8 [N, H, W, C] and `labels` if it
has any, a data set of TensorFlow Datasets (tfds:mnist), or features that --save_features wrote. With --size its images
may have any sizes. A run on a mixture of Gaussians has exact scores.

Shapes are scored by distances of pairs, beside as many held-out shapes: 1-NNA, the accuracy of nearest neighbours (half
is perfect), COV, coverage, and MMD, the minimum matching distance, by Chamfer distance and by intersection over union.
"""

import sys

from jaxgan import entry

if __name__ == "__main__":
    sys.exit(entry.evaluate())

import argparse
import tempfile
from pathlib import Path

import jax
import numpy as np

from jaxgan import inference
from jaxgan.cli import eval_animations, eval_shapes, eval_task, eval_translations, image_options, standing_statistics
from jaxgan.cli.eval_task import NO_FEATURES, Encoded, EvalTask
from jaxgan.core import devices
from jaxgan.core.settings import MAX_SEED
from jaxgan.data.dataset import ArrayDataset, from_arrays
from jaxgan.data.sources.mixture import mixture_of
from jaxgan.errors import Parser, UserError, check_path, choose, exit_code, warn
from jaxgan.io import run_folder
from jaxgan.io.run_folder import RestoredRun
from jaxgan.metrics import features, held_out, prdc, scores, translations
from jaxgan.metrics.classes import accuracy, confusion
from jaxgan.metrics.features import EXTRACTORS, Extractor, Features, SavedFeatures
from jaxgan.metrics.moments import Statistics, statistics
from jaxgan.metrics.report import Result, report
from jaxgan.metrics.scores import CLASSIFIERS, LEAST, Samples, Score, Scored
from jaxgan.viz import grid

COLUMNS = 8  # samples in the picture of neighbours, each above its nearest training examples
NEIGHBOURS = 5
MOST_CONFUSED = 100  # classes of a confusion matrix

# Options for samples of a run, as they are unless given.
OF_RUNS = {"step": None, "raw": False, "member": 0, "seed": 0, "direction": None, "standing_statistics": None}
OF_HELD_OUT = ("split", "k", "num_held_out")  # options for held-out examples of a run
OF_FEATURES = ("inception_weights", "per_class", "gan_train", "save_features", "neighbours")  # options for samples
OF_IMAGES = ("features", "size", "paired", *eval_task.OF_SETS, "on_bad_image", *OF_FEATURES)  # options for images
K = 5000  # latents of each example for its likelihood, as Burda et al., 2016, have it
MAX_K = 10**9


def parse(argv: list[str]) -> argparse.Namespace:
    """The options, checked."""
    parser = Parser("evaluate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, help="the run folder that train.py made")
    parser.add_argument("--fakes", help="or any set of images, with --reals: FOLDER, FILE.zip, FILE.npz, or tfds:NAME")
    parser.add_argument("--reals", help="what they are compared with")
    image_options.add(parser, "bring all images of both sets to N or HEIGHTxWIDTH pixels, as training does")
    parser.add_argument(
        "--paired", action="store_true", help="images of equal names (in arrays: of equal places) belong together"
    )
    parser.add_argument(
        "--num", type=int, default=10_000, help="how many samples, and at most how many real images in scores of pairs"
    )
    parser.add_argument(
        "--features",
        help=f"of {', '.join(EXTRACTORS)}: one or several (efficientnet for images in colour, if its weights are "
        "installed; else lenet if there are labels); or none",
    )
    parser.add_argument("--inception_weights", type=Path, metavar="FILE.pth", help="of pytorch-fid or torch-fidelity")
    parser.add_argument("--per_class", action="store_true", help="the scores of each class as well")
    parser.add_argument(
        "--gan_train", action="store_true", help="train a classifier on samples and test it on real ones"
    )
    parser.add_argument("--split", help="what is held out, such as train[80%%:] (the test split, if not trained on)")
    parser.add_argument("--direction", help="of a run that translates: ab or ba (all that it has)")
    parser.add_argument("--k", type=int, help=f"latents of each example for its likelihood ({K:,})")
    parser.add_argument("--num_held_out", type=int, help="at most how many held-out examples are encoded (all)")
    parser.add_argument("--seed", type=int, default=0, help="of samples, and of bits and latents of encoded examples")
    parser.add_argument("--step", type=int, help="an older checkpoint than the newest")
    parser.add_argument("--raw", action="store_true", help="the networks themselves, not their moving averages")
    parser.add_argument("--member", type=int, default=0, help="which one of a population")
    standing_statistics.add(parser)
    parser.add_argument(
        "--save_features", type=Path, metavar="FILE.npz", help="the samples' features, to be scored later"
    )
    parser.add_argument("--neighbours", type=Path, metavar="FILE.png", help="a picture (neighbours.png, as below)")
    parser.add_argument("--out", type=Path, help="the table as JSON (scores.json in the run folder, or here)")
    options = parser.parse_args(argv)
    if any(isinstance(value, list) for value in vars(options).values()):  # as Python's parser reads --num=--
        raise UserError("-- is no value of an option (see evaluate.py --help)")
    for name in ("workdir", "out"):
        check_path(name, getattr(options, name) or "")
    check_numbers(options)
    check_together(options)
    return options


def check_numbers(options: argparse.Namespace) -> None:
    """Raises a `UserError` for a number out of its range."""
    for name in ("num", "num_held_out"):
        value = getattr(options, name)
        if value is not None and value < LEAST:
            raise UserError(f"--{name}={value} must be at least {LEAST}")
    standing_statistics.check(options)
    if options.k is not None and not 1 <= options.k <= MAX_K:
        raise UserError(f"--k={options.k} must be from 1 to {MAX_K}")
    image_options.check(options)
    if not 0 <= options.seed <= MAX_SEED:
        raise UserError(f"--seed={options.seed} must be from 0 to {MAX_SEED}")


def check_together(options: argparse.Namespace) -> None:
    """Raises a `UserError` for options that do not go together, whatever the run."""
    if (options.workdir is None) == (options.fakes is None) or (options.fakes is None) != (options.reals is None):
        raise UserError("give either --workdir=RUN, or --fakes and --reals (see evaluate.py --help)")
    for subject, names in {"samples": OF_RUNS, "held-out examples": dict.fromkeys(OF_HELD_OUT)}.items():
        for name, usual in names.items():
            if options.fakes and getattr(options, name) != usual:
                raise UserError(f"--{name} is about {subject} of a run: leave it out, or give --workdir=RUN")
    for name in ("size", "paired", *eval_task.OF_SETS):
        if options.workdir and getattr(options, name) not in (None, False):
            raise UserError(f"--{name} is about --fakes and --reals: leave it out, since a run has its own")
    if options.features == NO_FEATURES:
        for name in OF_FEATURES:
            if getattr(options, name):
                raise UserError(f"--{name} has no effect with --features=none: leave one of them out")
        if options.fakes and not options.paired:
            raise UserError("--features=none leaves nothing to score: --fakes and --reals are compared by features")
    elif options.features:
        for name in eval_task.split_names(options.features):
            choose("extractor", name, EXTRACTORS)


def check_outputs(options: argparse.Namespace, *names: str) -> None:
    """Gives the outputs of these options their usual places; a `UserError` if one of them cannot be written."""
    folder = options.workdir or Path()
    usual = {"out": folder / "scores.json", "neighbours": folder / "neighbours.png"}
    inputs = {
        name: Path(value) for name in ("fakes", "reals", "inception_weights") if (value := getattr(options, name))
    }
    taken = {path.resolve(): name for name, path in inputs.items()}
    for name in names:
        path = getattr(options, name) or usual.get(name)
        if path is None:
            continue
        setattr(options, name, path)
        check_writable(name, path)
        if other := taken.get(path.resolve()):
            raise UserError(f"--{name}={path} is the file of --{other} as well: choose another one")
        taken[path.resolve()] = name
        for other, place in inputs.items():
            if path.suffix == ".png" and place.is_dir() and path.resolve().is_relative_to(place.resolve()):
                raise UserError(f"--{name}={path} would lie among the images of --{other}: choose another folder")


def check_writable(name: str, path: Path) -> None:
    """Raises a `UserError` if an option's file cannot be made."""
    if path.is_dir():
        raise UserError(f"--{name}={path} is a folder: it must be a file")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir():
        raise UserError(f"--{name}={path}: {there} is a file, and must be a folder")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(f"--{name}={path}: {there} cannot be written ({error.strerror or error})") from error


def of_mixture(options: argparse.Namespace, restored: RestoredRun) -> int:
    """Scores a run on a mixture of Gaussians, by its exact scores."""
    data = restored.exp.config.data
    for name in (*OF_IMAGES, *OF_HELD_OUT):
        if getattr(options, name):
            raise UserError(f"--{name} needs images, and {data.source} has exact scores instead")
    check_outputs(options, "out")
    drawn = eval_task.samples_of(options, restored).draw()
    exact = Result(Scored(scores.of_mixture(mixture_of(data), drawn)))
    report(options.out, eval_task.about_run(options, restored.step) | {"samples": options.num}, {"exact": exact}, [])
    return 0


def reference_scores(extract: Extractor, task: EvalTask, reals: Samples, whole: Statistics, count: int) -> Scored:
    """What real images score: those held out beside the training examples or, without any, these half beside half."""
    if task.held_out is None:
        return scores.real_vs_real(Samples(*features.features_of(extract, task.reals, 2 * count)), extract.name)
    others = Samples(*features.features_of(extract, task.held_out, count))
    return scores.score(others, reals, extract.name, whole)


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
    check_outputs(options, "out")
    fakes, reals = (Samples(side.features, side.labels).of(slice(options.num)) for side in kept)
    eval_task.check_counts(*(len(side.features.values) for side in (fakes, reals)))
    name = kept[0].extractor
    whole = statistics(reals.features.values)
    result = Result(scores.score(fakes, reals, name, whole), scores.real_vs_real(reals, name))
    about = {"fakes": options.fakes, "reals": options.reals, "samples": len(fakes.features.values)}
    about |= {"features": {name: {"digest": kept[0].digest}}, "real_images": "halves of the real images"}
    report(options.out, about, {name: result}, [])
    return 0


def gan_train(task: EvalTask, images: np.ndarray) -> Result:
    """The accuracy on real test images of a classifier that learned from samples alone, or from real ones."""
    known = np.flatnonzero(task.held_out.labels >= 0)
    made = from_arrays(np.asarray(images), task.fakes.labels, task.reals.classes)
    asked, names = task.held_out.labels[known], task.reals.classes
    classifiers = (features.extractor("lenet", taught) for taught in (made, task.reals))
    both = (classify(task.held_out.images).logits[known] for classify in classifiers)
    decided, by_real = (logits.argmax(1) for logits in both)
    found, floor = (Scored({"GAN-train-lenet": Score(accuracy(side, asked))}) for side in (decided, by_real))
    return Result(found, floor, {}, confusion(decided, asked, len(names)) if len(names) <= MOST_CONFUSED else None)


def draw_neighbours(
    path: Path, task: EvalTask, images: np.ndarray, extract: Extractor, fakes: Features, count: int
) -> None:
    """A picture of some samples, in the first row, and below each the training examples nearest by its features."""
    reals, _ = features.features_of(extract, task.reals, count)
    columns = min(COLUMNS, len(fakes.values))
    near = prdc.nearest(fakes.values[:columns], reals.values, min(NEIGHBOURS, len(reals.values)))
    chosen = features.rows_of(task.reals, count)[near.index.T]
    rows = [images[:columns], *(task.reals.images[row] for row in chosen)]
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["sample", *(f"nearest {place}" for place in range(1, len(rows)))]
    grid.save_png(path, grid.image_grid(np.concatenate(rows), columns, names))
    print(path)


def score_features(task: EvalTask, options: argparse.Namespace) -> tuple[dict[str, Result], dict[str, object]]:
    """The samples' scores by each extractor, and the settings behind them, for scores.json."""
    images, reals, results, used = task.fakes.draw(), task.reals, {}, {}
    for name in task.features:
        extract = features.extractor(name, reals, task.weights)
        found = extract(images)
        results[extract.name] = evaluate_features(extract, task, found, options)
        used[extract.name] = {"digest": extract.digest, "resizer": extract.resizer, "width": found.values.shape[1]}
        if name == task.features[0]:
            draw_neighbours(options.neighbours, task, images, extract, found, options.num)
            if options.save_features:
                saved = SavedFeatures(extract.name, extract.digest, found, task.fakes.labels)
                options.save_features.parent.mkdir(parents=True, exist_ok=True)
                features.save(options.save_features, saved)
    if options.gan_train:
        results["GAN-train"] = gan_train(task, images)
    beside = f"the {task.split} split" if task.held_out is not None else "halves of the real images"
    about = {"reals": len(reals), "reals_in_pairs": min(len(reals), options.num), "features": used}
    return results, about | {"real_images": beside, "quantiser": "round to uint8"}


def score_examples(
    examples: Encoded, options: argparse.Namespace, restored: RestoredRun
) -> tuple[Result, dict[str, object]]:
    """The scores that a run's own tasks make of held-out examples, and what decides them, for scores.json."""
    exp, (tasks, dataset, split, rows) = restored.exp, examples
    inputs = inference.seed_inputs(options.seed, len(rows))
    about, text = {"split": split, "count": len(rows), "digest": dataset.digest}, f"{len(rows):,} examples of {split}"
    if any("k" in exp.algorithm.tasks[name].options for name in tasks):
        about["k"] = options.k or K
        inputs["k"] = np.full(len(rows), about["k"], np.int32)
        text = f"{text}, {about['k']:,} latents of each for its likelihood"
    print(f"scoring {', '.join(tasks)} of {text}", flush=True)
    return Result(Scored(held_out.score(exp, restored.variables, tasks, dataset, inputs, rows))), about


def score_pairs(pairs: ArrayDataset, count: int) -> Result:
    """How far images are from those that belong to them."""
    rows = features.rows_of(pairs, count)
    images, truth = (pairs.array(name)[rows] for name in ("a", "b"))
    return Result(translations.beside_truth(images, truth))


def of_translations(options: argparse.Namespace, restored: RestoredRun) -> int:
    """Scores a run that translates."""
    check_outputs(options, "out")
    about, results = eval_translations.score(options, restored)
    report(options.out, about, results, [])
    return 0


def of_shapes(options: argparse.Namespace, restored: RestoredRun) -> int:
    """Scores a run that makes shapes, by distances of pairs."""
    for name in (*OF_IMAGES, "k", "num_held_out", "direction"):
        if getattr(options, name):
            raise UserError(f"--{name} has no effect on shapes, which are scored by distances of pairs: leave it out")
    check_outputs(options, "out")
    about, results = eval_shapes.score(options, restored)
    report(options.out, about, results, [])
    return 0


def of_animations(options: argparse.Namespace, restored: RestoredRun) -> int:
    """Scores a run that animates."""
    check_outputs(options, "out")
    about, results = eval_animations.score(options, restored)
    report(options.out, about, results, [])
    return 0


def of_images(options: argparse.Namespace) -> int:
    """Scores a run, or a set of images beside another one."""
    restored, tasks = None, []
    if options.workdir:
        restored = run_folder.restore(options.workdir, options.step, options.raw, options.member)
        restored = standing_statistics.use(options, restored, "sample")
        if mixture_of(restored.exp.config.data):
            return of_mixture(options, restored)
        if any(field.kind == "bits" for field in restored.exp.fields):
            return of_shapes(options, restored)
        if translations.directions(restored.exp):
            return of_translations(options, restored)
        if "animate" in restored.exp.algorithm.tasks:
            return of_animations(options, restored)
        if options.direction:
            algorithm = restored.exp.config.algorithm
            raise UserError(f"--direction={options.direction} is about translations: algorithm={algorithm} makes none")
        tasks = held_out.scored_tasks(restored.exp, {name: getattr(options, name) for name in ("k", "num_held_out")})
        if options.features == NO_FEATURES and not tasks:
            raise UserError(f"--features=none leaves nothing to score of algorithm={restored.exp.config.algorithm}")
    check_outputs(options, "out", *(() if options.features == NO_FEATURES else ("neighbours", "save_features")))
    task = eval_task.of_run(options, restored) if restored else eval_task.of_two_sets(options)
    examples = eval_task.encoded_examples(task, options, restored, tasks) if tasks else None
    results, about = score_features(task, options) if task.fakes else ({}, {})
    about = task.about | about | {"precision": "float32, statistics float64", "jax": jax.__version__}
    if examples:
        try:
            results["examples"], about["examples"] = score_examples(examples, options, restored)
        except UserError as error:  # a number is not finite
            if not results:
                raise
            warn(f"there are no scores of held-out examples: {error}")  # the others took their time
    if task.pairs:
        results["pairs"] = score_pairs(task.pairs, options.num)
        about["pairs"] = min(len(task.pairs), options.num)
    report(options.out, about, results, list(task.reals.classes))
    return 0


def run(argv: list[str]) -> int:
    """Parses, draws, scores and writes."""
    options = parse(argv)
    devices.enable_compilation_cache()
    kept = [place for place in (options.fakes, options.reals) if place and features.is_features_file(Path(place))]
    if len(kept) == 1:
        raise UserError(f"{kept[0]} holds features, which are compared with features that --save_features wrote alone")
    return of_features(options) if kept else of_images(options)


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    return exit_code(lambda: run(sys.argv[1:] if argv is None else argv))
