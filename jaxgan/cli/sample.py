"""Draws from a trained run: samples, reconstructions, whatever its algorithm can do.

    python sample.py --workdir=runs/digits --out=digits.png --num=64 --seed=0

The output is one grid (FILE.png), an array by name, such as `images` uint8 [N, H, W, C], with its `labels` if there are
any, which count the names in `classes` from 0 (FILE.npz), or a folder of single pictures (FOLDER/), with a folder for
each label if labels are asked for. A folder that holds other pictures is refused. Image i depends on the seed, on its
label and on i alone. With --interpolate=OTHER_SEED row i instead walks from image i of --seed to image i of OTHER_SEED,
which have the same label. With several --labels there is a row for each.

--task asks for something else than the algorithm's first task. A task that needs examples takes them from --input, an
.npz file with arrays by field or a folder of images, or from the run's own data. A task that walks through latents,
such as `interpolate` and `traverse`, makes a grid of --num images in rows of --columns. Points are drawn as a plot, or
written as an array `points` float32 [N, D]. Shapes are drawn as shaded surfaces, or written as an array `voxels` bool
[N, X, Y, Z], as a turning animation (FILE.gif, FILE.webp), or as a mesh (FILE.obj, FILE.ply, FILE.glb).

A run that translates takes pictures of any size:

    python sample.py --workdir=runs/summer2winter --input=photo.jpg --out=winter.png
    python sample.py --workdir=runs/summer2winter --input=photos/ --out=winter/ --direction=ab

Each becomes a picture of the same size, in FOLDER/ under its own name as PNG; archives are folders as well. --tile=N
translates tiles of NxN pixels that overlap, for pictures that memory cannot hold. With instance normalisation tiles
differ in what they are normalised by, so a whole picture is better where it fits. Without --input the run's own test
images are translated, to a grid with each above its translation and, of pairs, above the right one.

A run that animates makes a portrait move as a clip does, a folder of frames or a video:

    python sample.py --workdir=runs/heads --source=portrait.jpg --driving=clip/ --out=moving.webp

The output is an animation (FILE.webp, FILE.gif, FILE.mp4), a folder of frames (FOLDER/), or a picture of the portrait,
some of the clip's frames and what became of them (FILE.png). With --strip every frame shows all three.
"""

import sys

from jaxgan import entry

if __name__ == "__main__":
    sys.exit(entry.sample())

import argparse
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxgan import inference
from jaxgan.cli import animate, image_options, standing_statistics, translate
from jaxgan.core import devices
from jaxgan.core.experiment import Experiment
from jaxgan.core.settings import MAX_SEED
from jaxgan.core.types import Task
from jaxgan.data import cache, sources
from jaxgan.data.archives import is_archive
from jaxgan.data.cache import LazyDataset
from jaxgan.data.dataset import no_rows
from jaxgan.errors import Parser, UserError, check_path, choose, exit_code
from jaxgan.io import run_folder
from jaxgan.io.files import name_as_text
from jaxgan.io.run_folder import RestoredRun
from jaxgan.metrics import held_out
from jaxgan.viz import output, snapshot

MOST_GIVEN = 1000  # examples that a task with a layout looks at


def parse(argv: list[str]) -> argparse.Namespace:
    """The options, checked."""
    parser = Parser("sample.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="the run folder that train.py made")
    parser.add_argument(
        "--out", required=True, help="FILE.png, FILE.npz or FOLDER/; of shapes also FILE.gif, .webp, .obj, .ply or .glb"
    )
    parser.add_argument("--task", help="what to do, out of what the algorithm can (its first task)")
    parser.add_argument(
        "--input",
        help="for a task that needs examples: FILE.npz or a folder of images; a picture, to be translated (the run's "
        "data)",
    )
    parser.add_argument("--direction", choices=("ab", "ba"), help="which way to translate, in the place of --task")
    image_options.add(
        parser,
        "bring pictures to N pixels on the shorter side first, or to HEIGHTxWIDTH as training does (their own size)",
    )
    parser.add_argument("--tile", type=int, metavar="N", help="translate overlapping tiles of NxN pixels")
    parser.add_argument("--batch_size", type=int, help="pictures of one size, or tiles, translated at once (1)")
    animate.add(parser)
    parser.add_argument("--num", type=int, help="how many (64; 8 for each of several labels)")
    parser.add_argument(
        "--labels", help="what to draw: a class or several (3, rose, 0,1,2), by name or by number from 0 on, or all"
    )
    parser.add_argument("--member", type=int, default=0, help="which one of a population draws")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truncation", type=float, help="latents only from within +-this; smaller is more typical")
    standing_statistics.add(parser)
    parser.add_argument(
        "--truncation_psi",
        type=float,
        help="styles this far from their mean: 1 as they are, 0.7 more typical, 0 the mean",
    )
    parser.add_argument("--truncation_cutoff", type=int, metavar="N", help="only the styles of the first N layers")
    parser.add_argument("--interpolate", type=int, metavar="SEED", help="walk to this seed's images")
    parser.add_argument(
        "--arithmetic",
        metavar="A-B+C",
        help="rows of images A, B and C of the seed, and of what A's latents minus B's plus C's make; 0-1+2,3-4+5 say",
    )
    parser.add_argument("--columns", type=int, help="images in a row of the grid (8 with --interpolate)")
    parser.add_argument("--step", type=int, help="an older checkpoint than the newest")
    parser.add_argument("--raw", action="store_true", help="the networks themselves, not their moving averages")
    options = parser.parse_args(argv)
    if any(isinstance(value, list) for value in vars(options).values()):  # as Python's parser reads --num=--
        raise UserError("-- is no value of an option (see sample.py --help)")
    image_options.check(options)
    standing_statistics.check(options)
    for name in ("num", "columns", "tile", "batch_size", "truncation_cutoff"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name}={value} must be at least 1")
    for name in ("seed", "interpolate"):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= MAX_SEED:
            raise UserError(f"--{name}={value} must be from 0 to {MAX_SEED}")
    if options.truncation is not None and not 1e-6 <= options.truncation <= 1e6:  # beyond, float32 knows no better
        raise UserError(f"--truncation={options.truncation} must be above 0, 1 say")
    if options.truncation_psi is not None and not -2 <= options.truncation_psi <= 2:
        raise UserError(f"--truncation_psi={options.truncation_psi} must be from -2 to 2, 0.7 say")
    if options.truncation_cutoff is not None and options.truncation_psi is None:
        raise UserError(f"--truncation_cutoff={options.truncation_cutoff} needs --truncation_psi, 0.7 say")
    animate.check(options)
    if options.source is None and not options.out.endswith((".png", ".npz", "/", os.sep, *output.OF_SHAPES)):
        raise UserError(
            f"--out={options.out} must end in .png, in .npz, or in / for a folder of pictures; of shapes also in "
            f"{', '.join(output.OF_SHAPES)}; of a portrait that moves also in {', '.join(animate.SUFFIXES)}"
        )
    check_path("workdir", options.workdir)
    check_path("out", options.out)
    return options


def check_options(options: argparse.Namespace, exp: Experiment, name: str, task: Task) -> None:
    """Raises a `UserError` for an option that the task does not have."""
    animate.check_task(options, exp, name, task)
    shapes = name == "sample" and "bits" in task.outputs(exp).values()
    if options.out.endswith(output.OF_SHAPES) and not shapes and options.source is None:
        raise UserError(f"--out={options.out} is for shapes, and --task={name} makes none: end it in .png or .npz")
    truncations = ("truncation", "truncation_psi", "truncation_cutoff")
    needed = {"labels": "labels", "interpolate": "end_seed", "arithmetic": "plus"} | {
        name: name for name in truncations
    }
    for option, own in needed.items():
        if getattr(options, option) is not None and own not in task.options:
            raise UserError(f"--{option} has no effect with --task={name}: leave it out")
    if options.input is not None and not task.needs(exp):
        raise UserError(
            f"--input has no effect with algorithm={exp.config.algorithm} and --task={name}, which needs no "
            "examples: leave it out"
        )
    for option in () if translate.takes_pictures(options, task) else translate.OPTIONS:
        if getattr(options, option) is not None:
            raise UserError(
                f"--{option} is about pictures that a run translates, --input=FILE --out=FILE.png or --input=FOLDER "
                f"--out=FOLDER/: leave it out"
            )


def choose_task(options: argparse.Namespace, exp: Experiment) -> str:
    """The task that --task or --direction asks for, or else the first one.

    Raises:
        UserError: the run does not translate that way.
    """
    tasks = exp.algorithm.tasks
    if options.direction is None:
        return options.task or next(iter(tasks))
    if options.task is not None:
        raise UserError(f"--direction={options.direction} chooses the task: leave --task={options.task} out")
    ways = {"".join((*task.needs(exp), *task.outputs(exp))): name for name, task in tasks.items() if task.sides}
    if not ways:
        raise UserError(f"--direction has no effect with algorithm={exp.config.algorithm}: leave it out")
    if options.direction not in ways:
        raise UserError(f"--direction={options.direction}: this run was trained to translate {' or '.join(ways)} alone")
    return ways[options.direction]


def asked_labels(text: str, exp: Experiment, names: list[str]) -> list[int]:
    """The labels that --labels asks for, by number or name.

    Raises:
        UserError: the generator cannot be asked, or there is no such label.
    """
    count = exp.algorithm.choices(exp)
    if not count:
        raise UserError(
            f"--labels={text}: this run is unconditional, so it draws no labels on request: leave --labels out"
        )
    text = name_as_text(text)
    if text == "all":
        return list(range(count))
    labels, numbered = [], bool(names) and all(name.isdecimal() for name in names)  # a number is then a name
    for part in [text] if text in names else map(str.strip, text.split(",")):
        if part in names or numbered or not re.fullmatch("-?[0-9]{1,18}", part):
            labels.append(names.index(choose("class", part, names)))
        elif 0 <= int(part) < count:
            labels.append(int(part))
        else:
            raise UserError(f"--labels={text}: {part} must be from 0 to {count - 1}")
    return labels


def task_inputs(
    options: argparse.Namespace, exp: Experiment, asked: list[int]
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The inputs of all images, in the order of the grid, and their labels; each walk has one label.

    Args:
        options: of the command.
        exp: the experiment.
        asked: the labels that were asked for; they are mixed if there are none.
    """
    if options.arithmetic is not None:
        return arithmetic_inputs(options, exp, asked)
    columns = 1 if options.interpolate is None else options.columns
    count = options.num // columns  # of images, or of walks between two
    labels = np.repeat(np.int32(asked), count // len(asked)) if asked else inference.mixed_labels(exp, count)
    inputs = inference.seed_inputs(options.seed, count, labels)
    for name, kind in {"truncation": np.float32, "truncation_psi": np.float32, "truncation_cutoff": np.int32}.items():
        if getattr(options, name) is not None:
            inputs[name] = np.full(count, getattr(options, name), kind)
    if options.interpolate is None:
        return inputs, labels
    inputs = {name: np.repeat(array, columns) for name, array in inputs.items()}
    inputs["end_seed"] = np.full(count * columns, options.interpolate, np.uint32)
    inputs["fraction"] = np.tile(np.linspace(0, 1, columns, dtype=np.float32), count)
    return inputs, None if labels is None else np.repeat(labels, columns)


def arithmetic_inputs(
    options: argparse.Namespace, exp: Experiment, asked: list[int]
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The inputs of A, B, C and of A - B + C, row by row, and their labels: each row has A's, or the one asked for."""
    terms = np.int32([re.split("[-+]", part.strip()) for part in options.arithmetic.split(",")])
    own = inference.mixed_labels(exp, int(terms.max()) + 1)
    labels = None if own is None else np.repeat(np.int32(asked * len(terms)) if asked else own[terms[:, 0]], 4)
    inputs = inference.seed_inputs(options.seed, 4 * len(terms), labels)
    inputs["index"] = np.concatenate([terms, terms[:, :1]], axis=1).ravel()
    inputs["minus"], inputs["plus"] = (np.repeat(terms[:, place], 4) for place in (1, 2))
    inputs["fraction"] = np.tile(np.float32([0, 0, 0, 1]), len(terms))
    return inputs, labels


def given_examples(options: argparse.Namespace, exp: Experiment, name: str, most: int) -> dict[str, np.ndarray]:
    """The examples that a task needs, at most `most`, by field, as they lie in a data set; with them, of pairs in the
    run's own data, the right outputs, by the names of `snapshot.truths`.

    Raises:
        UserError: there are none, or they do not fit the networks.
    """
    task, path = exp.algorithm.tasks[name], Path(options.input) if options.input else None
    truths = {} if path else snapshot.truths(exp, name)
    wanted = (*task.needs(exp), *truths.values())
    fields = {field.name: field for field in exp.fields if field.name in wanted}
    if path is not None and path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in fields}
        # Of a damaged file NumPy and the modules under it raise whatever they stumble over.
        except Exception as error:
            raise UserError(f"--input={path} must hold the arrays {', '.join(fields)} ({error})") from error
    else:
        config = exp.config.copy_and_resolve_references()
        if path is not None:
            if "size" not in config.data or not (path.is_dir() or is_archive(path)):
                raise UserError(f"--input={path} must be an .npz file with {', '.join(fields)}, or a folder of images")
            if "labels" in fields:
                raise UserError(f"--input={path} has no labels of this run: give an .npz file with {', '.join(fields)}")
            config.data.update(source=f"folder:{path}", split="train", classes=())
        elif task.sides or "initial" in task.options:
            config.data.split = held_out.split_of(config, None) or config.data.split
        try:
            dataset = sources.open_dataset(config)
        except UserError as error:
            if path is None or not task.sides:
                raise
            raise UserError(f"--input={path}: {error}; --out=FOLDER/ translates each picture on its own") from error
        if isinstance(dataset, LazyDataset):
            dataset = cache.in_memory(dataset, config.data.on_bad_image == "skip")
        if path is None and dataset.rows is not no_rows:
            found = dataset.take(np.arange(min(most, len(dataset))))
        else:  # a folder holds images, whatever the run calls them
            found = {name: dataset.array(name if path is None else "images")[:most] for name in fields}
    for name, field in fields.items():
        kind = {"pixels": np.uint8, "labels": np.integer}.get(field.kind, np.floating)
        wrong = found[name].ndim != 1 + len(field.shape) or not np.issubdtype(found[name].dtype, kind)
        small = any(have < want for have, want in zip(found[name].shape[1:], field.shape, strict=False))
        if wrong or small or found[name].shape[1:][-1:] != field.shape[-1:]:
            raise UserError(
                f"--input: {name} of type {found[name].dtype} and shape {found[name].shape} must be "
                f"{np.dtype(kind) if kind is np.uint8 else kind.__name__}, [{', '.join(map(str, ('N', *field.shape)))}]"
            )
        if field.kind == "labels" and not ((found[name] >= 0) & (found[name] < exp.classes)).all():
            raise UserError(f"--input: {name} must be from 0 to {exp.classes - 1}")
    count = min(most, *map(len, found.values()))
    shown = {field: name for name, field in truths.items()}
    return {shown.get(name, name): array[:count] for name, array in found.items()}


def arrange(options: argparse.Namespace, labels: list[int]) -> None:
    """Settles how many images there are and how many in a row.

    Raises:
        UserError: they make no whole rows where whole rows are asked for.
    """
    several = len(labels) > 1
    if options.arithmetic is not None:
        if not re.fullmatch(r"(\s*\d{1,9}-\d{1,9}\+\d{1,9}\s*(,|$))+", options.arithmetic):
            raise UserError(f"--arithmetic={options.arithmetic} must be like 0-1+2 or 0-1+2,3-4+5: places of images")
        for name in ("num", "columns", "interpolate"):
            if getattr(options, name) is not None:
                raise UserError(f"--{name} has no effect with --arithmetic, which makes rows of 4: leave it out")
        if several:
            raise UserError(f"--labels={options.labels} must be one label with --arithmetic")
        options.columns, options.num = 4, 4 * len(options.arithmetic.split(","))
        return
    if options.interpolate is not None:
        options.num, options.columns = options.num or 64, options.columns or 8
        if options.columns < 2 or options.num % options.columns:
            raise UserError(
                f"--interpolate makes whole rows: --num={options.num} must be a multiple of "
                f"--columns={options.columns}, and that at least 2"
            )
        if several and options.num // options.columns % len(labels):
            raise UserError(
                f"--labels has {len(labels)} labels and --num={options.num} with --columns={options.columns} makes "
                f"{options.num // options.columns} rows: there must be as many for each label"
            )
        return
    options.num = options.num or (8 * len(labels) if several else 64)
    if several:
        if options.num % len(labels):
            raise UserError(f"--num={options.num} must be a multiple of the {len(labels)} labels")
        if options.columns not in (None, options.num // len(labels)):
            raise UserError(
                f"--columns={options.columns} must be {options.num // len(labels)}, the images of a label, or absent"
            )
        options.columns = options.num // len(labels)


def run_layout(options: argparse.Namespace, restored: RestoredRun, name: str) -> str:
    """Runs a task that makes a grid of given examples, and writes the grid; returns what it wrote."""
    exp, variables, *_ = restored
    task, columns, num = exp.algorithm.tasks[name], options.columns or 8, options.num or 64
    if columns < 2 or num % columns:
        raise UserError(f"--task={name}: --num={num} must be a multiple of --columns={columns}, and that at least 2")
    output.check_folder(options.out, output.picture_paths(Path(options.out), num))
    given = given_examples(options, exp, name, MOST_GIVEN)

    def run_task(name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return inference.run_task(exp, name, variables, inputs)

    inputs = inference.seed_inputs(options.seed, min(map(len, given.values()))) | snapshot.as_inputs(exp, given)
    layout = task.layout(exp, run_task, inputs, num // columns, columns)
    ((made, drawn),) = run_task(name, layout.inputs).items()
    if task.outputs(exp)[made] == "points":
        output.write_points(options.out, exp, drawn, f"{exp.config.data.source}, {name}")
    else:
        output.write_images(options.out, drawn, columns, None, [], layout.names)
    return f"{num} {made}"


def run_on_examples(options: argparse.Namespace, restored: RestoredRun, name: str) -> str:
    """Runs a task on given examples, and writes its outputs; returns what it wrote."""
    exp, variables, _, step = restored
    task = exp.algorithm.tasks[name]
    most = snapshot.most_shown(exp, name) if task.sides and options.out.endswith(".png") else 64
    given = given_examples(options, exp, name, options.num or most)
    count = min(map(len, given.values()))
    folders = [output.folder_of(Path(options.out), made, task.outputs(exp)) for made in task.outputs(exp)]
    output.check_folder(options.out, [path for each in folders for path in output.picture_paths(each, count)])
    inputs = inference.seed_inputs(options.seed, count) | snapshot.as_inputs(exp, given)
    drawn = inference.run_task(exp, name, variables, inputs, inference.batch_of(exp))
    output.write_outputs(options.out, exp, task.outputs(exp), given, drawn, step)
    return f"{count} {' and '.join(task.outputs(exp))}"


def run_on_seeds(options: argparse.Namespace, restored: RestoredRun, name: str) -> str:
    """Runs a task that needs seeds and labels alone, and writes its output; returns what it wrote."""
    exp, variables, classes, _ = restored
    names = classes if exp.algorithm.draws_classes(exp) else [str(i) for i in range(exp.algorithm.choices(exp))]
    asked = asked_labels(options.labels, exp, names) if options.labels is not None else []
    arrange(options, asked)
    inference.check_count(exp, options.num)
    if options.columns is not None and options.columns > options.num:
        raise UserError(f"--columns={options.columns} must be at most --num={options.num}")
    inputs, labels = task_inputs(options, exp, asked)
    names = names if asked else []
    output.check_folder(options.out, output.picture_paths(Path(options.out), options.num, labels, names))
    ((made, drawn),) = inference.run_task(exp, name, variables, inputs).items()
    if exp.algorithm.tasks[name].outputs(exp)[made] == "points":
        output.write_points(options.out, exp, drawn, f"{exp.config.data.source}, {options.num} samples")
        return f"{len(drawn)} points"
    known = classes if exp.algorithm.draws_classes(exp) else ()
    if exp.algorithm.tasks[name].outputs(exp)[made] == "bits":
        output.write_shapes(options.out, drawn, options.columns, labels, names, known)
        return f"{len(drawn)} shapes"
    output.write_images(options.out, drawn, options.columns, labels, names, classes=known)
    return f"{len(drawn)} images"


def way_to_run(
    options: argparse.Namespace, exp: Experiment, task: Task
) -> Callable[[argparse.Namespace, RestoredRun, str], str]:
    """The function that runs a task and writes what it made."""
    if options.source is not None:
        return animate.run_on_portrait
    if translate.takes_pictures(options, task):
        return translate.run_on_pictures
    return run_layout if task.layout else run_on_examples if task.needs(exp) else run_on_seeds


def run(argv: list[str]) -> int:
    """Parses, restores, runs the task and writes."""
    options = parse(argv)
    devices.enable_compilation_cache()
    restored = run_folder.restore(options.workdir, options.step, options.raw, options.member)
    name = choose_task(options, restored.exp)
    task = inference.task_of(restored.exp, name)
    check_options(options, restored.exp, name, task)
    restored = standing_statistics.use(options, restored, name, options.truncation)
    print(f"{way_to_run(options, restored.exp, task)(options, restored, name)}: {options.out}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    return exit_code(lambda: run(sys.argv[1:] if argv is None else argv))
