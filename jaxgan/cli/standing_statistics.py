"""The option --standing_statistics, which programs that draw samples share."""

import argparse

from jaxgan import inference
from jaxgan.errors import UserError
from jaxgan.io.run_folder import RestoredRun


def add(parser: argparse.ArgumentParser) -> None:
    """The option."""
    parser.add_argument(
        "--standing_statistics",
        type=int,
        metavar="N",
        help=f"BatchNorm's moments of N batches of {inference.BATCH} latents, and not those of training; 16 say",
    )


def check(options: argparse.Namespace) -> None:
    """Raises a `UserError` for a value out of its range."""
    if options.standing_statistics is not None and options.standing_statistics < 1:
        raise UserError(f"--standing_statistics={options.standing_statistics} must be at least 1")


def use(options: argparse.Namespace, restored: RestoredRun, task: str, truncation: float | None = None) -> RestoredRun:
    """The run, with these statistics if they are asked for.

    Raises:
        UserError: the task cannot have them.
    """
    if options.standing_statistics is None:
        return restored
    own = restored.variables, options.seed, options.standing_statistics, truncation
    return restored._replace(variables=inference.with_standing_statistics(restored.exp, task, *own))
