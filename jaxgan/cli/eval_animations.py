"""evaluate.py of a run that animates: clips that the run was not trained on, made again from their first frame."""

import argparse

import jax

from jaxgan.cli import eval_task
from jaxgan.cli.eval_task import NO_FEATURES
from jaxgan.data import sources
from jaxgan.data.clips import frames_of
from jaxgan.data.dataset import central_crop
from jaxgan.data.sizes import height_width
from jaxgan.data.sources import cartoon_heads
from jaxgan.errors import UserError, warn
from jaxgan.io import run_folder
from jaxgan.io.run_folder import RestoredRun
from jaxgan.metrics import animations, held_out
from jaxgan.metrics.report import Result

OF_SAMPLES = ("inception_weights", "per_class", "gan_train", "save_features", "neighbours", "k", "direction")


def score(options: argparse.Namespace, restored: RestoredRun) -> tuple[dict[str, object], dict[str, Result]]:
    """What decides the scores, and the scores.

    Raises:
        UserError: an option is about samples, or there is one clip alone.
    """
    exp, config = restored.exp, restored.exp.config.copy_and_resolve_references()
    for name in OF_SAMPLES:
        if getattr(options, name):
            raise UserError(f"--{name} has no effect on algorithm={config.algorithm}, which animates")
    if options.features not in (None, NO_FEATURES):
        raise UserError(f"--features={options.features} has no effect on algorithm={config.algorithm}: leave it out")
    run_folder.check_data(options.workdir, sources.open_dataset(config))
    if options.on_bad_image and "on_bad_image" not in config.data:
        raise UserError(f"--on_bad_image has no effect on {config.data.source}: leave it out")
    config.data.update(eval_task.on_bad_image(options))
    split = held_out.split_of(config, options.split)
    if split is None:
        warn(f"these scores are of training clips ({config.data.split}); --split=SPLIT names other ones")
    config.data.split = split or config.data.split
    dataset = sources.open_dataset(config)
    shape = exp.fields[0].shape
    clips = [central_crop(clip, shape[:2]) for clip in frames_of(dataset)][: options.num_held_out]
    if len(clips) < 2:
        raise UserError(f"config.data.split={config.data.split} has {len(clips)} clip: scores with intervals need 2")
    animate = animations.animator(exp, restored.variables)
    results = {"clips": animations.reconstruction(animate, clips)}
    if config.data.source == "cartoon_heads":
        heads = cartoon_heads.heads_of(config.data).first(len(clips))
        results["heads"] = animations.heads_scores(animate, heads, height_width(config.data.size))
    about = eval_task.about_run(options, restored.step)
    about |= {"source": config.data.source, "split": config.data.split, "digest": dataset.digest, "clips": len(clips)}
    return about | {"precision": "float32, statistics float64", "jax": jax.__version__}, results
