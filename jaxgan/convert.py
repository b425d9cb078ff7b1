"""Makes a run of networks that their authors' PyTorch code saved.

    python -m jaxgan.convert network-snapshot-025000.pkl --workdir=runs/cats
    python sample.py --workdir=runs/cats --truncation_psi=0.7 --out=cats.png
    python -m jaxgan.convert latest_net_G.pth --workdir=runs/horse2zebra
    python -m jaxgan.convert latest_net_G_A.pth latest_net_G_B.pth --workdir=runs/horse2zebra
    python sample.py --workdir=runs/horse2zebra --input=horses/ --out=zebras/
    python -m jaxgan.convert generator.npz discriminator.npz --workdir=runs/svhn

A .pkl file has all networks of StyleGAN2-ADA, StyleGAN3 or R3GAN: the run has the generator, its moving average, and
the discriminator. --data names the run's data set (folder:PATH, tfds:NAME), which evaluate.py compares samples with,
and by which classes are called; without it they are called 0, 1, 2, ...

Two .npz files have the generator and the discriminator of DCGAN's first code, which was written with Theano, or one
has the generator alone; --data is as for a .pkl. The code kept no moments of BatchNorm: those of the run are averages
over batches of samples.

A .pth file has a generator of CycleGAN, CUT or pix2pix, which translates one way, as --direction names; two files make
a CycleGAN that translates both ways, the first one from a to b. A U-Net's file does not say whether it was trained with
dropout: pix2pix is, and --dropout=0 is for one that was not. Such files have no discriminators: those of the run are
untrained.

A .pth of BigGAN-PyTorch or of mimicry, or an .npz of SNGAN's Chainer code, has one network: give the generator's file,
and its moving average's and the discriminator's with it, if there are any. --data is as above:

    python -m jaxgan.convert G.pth G_ema.pth D.pth --workdir=runs/biggan --data=folder:PATH

What network a file holds is read off its arrays. Nothing that the file asks for is run. The run has no optimizer
states: `train.py --init_from=RUN` begins with its networks.
"""

import sys

from jaxgan import entry

if __name__ == "__main__":
    sys.exit(entry.convert())

import argparse
from collections.abc import Mapping
from pathlib import Path

from jaxgan.converters import Converted, holds_networks, of_networks, resnet, theano_dcgan, translators
from jaxgan.core import devices, population
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import Variables
from jaxgan.data import sources
from jaxgan.data.cache import LazyDataset
from jaxgan.data.dataset import ArrayDataset
from jaxgan.errors import Parser, UserError, check_path, exit_code
from jaxgan.io import run_folder
from jaxgan.io.checkpoint import Checkpoints

DATA = "folder:images"  # where nobody says what the data are
OF_TRANSLATORS, OF_OTHERS = ("direction", "dropout"), ("data",)  # options


def write(
    workdir: Path,
    exp: Experiment,
    networks: Mapping[str, Variables],
    origin: str,
    ema: Mapping[str, Variables] | None = None,
) -> None:
    """Makes a run folder with networks, at step 0.

    Args:
        workdir: the folder.
        exp: the experiment.
        networks: those that are not left as they begin.
        origin: what they were made of.
        ema: moving averages; the networks themselves where there are none.
    """
    run_folder.check_folder(workdir, exp.config)
    state = devices.compile_and_run(population.init_state, exp)
    every = dict(state.networks) | dict(networks)
    averages = every | dict(ema or {})
    state = state.replace(networks=every, ema={name: averages[name] for name in state.ema})
    with run_folder.lock_workdir(workdir):
        run_folder.save_config(workdir, exp.config)
        with Checkpoints(workdir / "checkpoints", keep=1) as checkpoints:
            checkpoints.save(0, state, {})
        run_folder.record_launch(workdir, 0, {}, origin)


def open_data(made: Converted, data: str) -> ArrayDataset | LazyDataset:
    """The data set that --data names; a `UserError` if it has other classes than the networks."""
    dataset = sources.open_dataset(made.exp.config)
    if made.classes and len(dataset.classes) != made.classes:
        raise UserError(f"--data={data} has {len(dataset.classes)} classes, and the networks know {made.classes}")
    return dataset


def converted(options: argparse.Namespace) -> Converted:
    """The run of the files; a `UserError` if something is wrong with them."""
    first, apply, others = options.files[0], OF_TRANSLATORS, OF_OTHERS
    of_several = holds_networks(first)
    of_resnet = not of_several and resnet.holds_resnet(first)
    of_theano = not of_resnet and first.suffix == ".npz"
    if of_several or of_resnet or of_theano:
        apply, others = others, apply
    for name in others:
        if (value := getattr(options, name)) is not None:
            able = ", ".join(f"--{each}" for each in apply)
            raise UserError(f"--{name}={value} has no effect with {first}, for which there is {able}: leave it out")
    if of_resnet:
        return resnet.convert(options.files, options.data or DATA)
    if of_theano:
        return theano_dcgan.convert(options.files, options.data or DATA)
    if not of_several:
        return translators.convert(options.files, options.direction, options.dropout)
    if len(options.files) > 1:
        raise UserError(f"{len(options.files)} files: {first} holds all networks of a run, so give it alone")
    return of_networks(first, options.data or DATA)


def run(argv: list[str]) -> int:
    """Parses, reads, converts and writes."""
    parser = Parser(
        "python -m jaxgan.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="one .pkl; one .pth, or two: a to b and b to a; those of a generator, its average and a discriminator",
    )
    parser.add_argument("--workdir", type=Path, required=True, help="the run folder that is made")
    parser.add_argument(
        "--data", metavar="SOURCE", help="but for a translator: the run's data set (folder:PATH, tfds:NAME)"
    )
    parser.add_argument("--direction", choices=("ab", "ba"), help="of one .pth: which way it translates (ab)")
    parser.add_argument("--dropout", type=float, help=f"of a U-Net's .pth ({translators.DROPOUT})")
    options = parser.parse_args(argv)
    check_path("workdir", options.workdir)
    if (options.workdir / "config.json").exists():
        raise UserError(f"{options.workdir} holds a run: choose a new --workdir")
    devices.enable_compilation_cache()
    made = converted(options)
    dataset = None if options.data is None else open_data(made, options.data)
    write(options.workdir, made.exp, made.networks, ", ".join(map(str, options.files)), made.ema)
    if dataset is not None:
        run_folder.save_data(options.workdir, dataset)
    elif made.classes:
        run_folder.save_classes(options.workdir, [str(label) for label in range(made.classes)])
    print(f"{made.about}: {options.workdir}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    return exit_code(lambda: run(sys.argv[1:] if argv is None else argv))
