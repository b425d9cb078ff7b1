"""evaluate.py of a run that translates: what is scored beside what, opened and checked before a network runs."""

import argparse

import jax

from jaxgan.cli import eval_task
from jaxgan.cli.eval_task import NO_FEATURES, USUAL
from jaxgan.errors import UserError, choose, warn
from jaxgan.io import run_folder
from jaxgan.io.run_folder import RestoredRun
from jaxgan.metrics import features, held_out, translations
from jaxgan.metrics.report import Result
from jaxgan.metrics.translations import Direction, Domains

OF_SAMPLES = ("per_class", "gan_train", "save_features", "neighbours", "k", "num_held_out")


def asked_directions(options: argparse.Namespace, restored: RestoredRun) -> list[Direction]:
    """The directions that are scored: all of them, or the one that is asked for.

    Raises:
        UserError: there is no such direction, or an option is about samples.
    """
    found = {way.name: way for way in translations.directions(restored.exp)}
    for name in OF_SAMPLES:
        if getattr(options, name):
            raise UserError(f"--{name} has no effect on algorithm={restored.exp.config.algorithm}, which translates")
    return [*found.values()] if options.direction is None else [found[choose("--direction", options.direction, found)]]


def open_domains(options: argparse.Namespace, restored: RestoredRun) -> tuple[Domains, dict[str, object]]:
    """The real images, and what decides the scores besides features, for scores.json."""
    exp, config = restored.exp, restored.exp.config
    split = held_out.split_of(config, options.split)
    train, test = eval_task.decoded_by(options, config), None
    run_folder.check_data(options.workdir, train)
    if split is None:
        warn(f"these scores are of training examples ({config.data.split}); --split=SPLIT names other ones")
    else:
        other = config.copy_and_resolve_references()
        other.data.split = split
        test = eval_task.decoded_by(options, other)
    about = eval_task.about_run(options, restored.step)
    about |= {"source": config.data.source, "split": config.data.split, "digest": train.digest}
    about["translated"] = {"split": split or config.data.split, "digest": (test or train).digest}
    return translations.domains_of(exp, train, test), about


def check(options: argparse.Namespace, found: Domains, ways: list[Direction], names: list[str]) -> None:
    """Raises a `UserError` if there are too few images, or an extractor cannot be made."""
    for way in ways:
        eval_task.check_counts(*(min(len(found.test[field.name]), options.num) for field in (way.source, way.target)))
    for name in names:
        features.check(name, translations.taught_by(name, found))


def score(options: argparse.Namespace, restored: RestoredRun) -> tuple[dict[str, object], dict[str, Result]]:
    """What decides the scores, and the scores of all directions; errors as of the functions above."""
    ways, settings, names, weights = asked_directions(options, restored), restored.exp.config.eval, [], None
    if options.features != NO_FEATURES:
        usual = settings.features if settings.features != USUAL or settings.every else None
        names = eval_task.feature_names(options, usual)
        weights = eval_task.inception_file(options, names, settings.get("weights"))
    found, about = open_domains(options, restored)
    names = eval_task.usual_features(found.train[ways[0].target.name]) if names is None else names
    check(options, found, ways, names)
    translated, results, used = {}, {}, {}
    for way in ways:
        rows = translations.rows_of(way, found, options.num)
        about["translated"][way.name] = len(rows)
        translated[way] = translations.translate(restored.exp, restored.variables, way, found, options.seed, rows)
        results[way.name] = translations.by_images(way, found, rows, translated[way])
    for name in names:
        extract = features.extractor(name, translations.taught_by(name, found), weights)
        used[extract.name] = {"digest": extract.digest, "resizer": extract.resizer}
        for way in ways:
            beside = translations.reference(way, found, extract, options.num)
            results[f"{extract.name}-{way.name}"] = translations.compare(beside, translated[way])
    about |= {"features": used, "real_images": "training images beside held-out ones" if found.held_out else "halves"}
    return about | {"precision": "float32, statistics float64", "jax": jax.__version__}, results
