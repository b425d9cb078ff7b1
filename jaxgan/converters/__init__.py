"""Converters of files that other programs wrote: one for each kind of network, chosen by what a file holds."""

from collections.abc import Callable, Mapping
from pathlib import Path

from jaxgan.converters import r3gan, stylegan2, stylegan3
from jaxgan.converters.networks import GENERATORS, Converted, Source, sources
from jaxgan.errors import UserError
from jaxgan.io import network_pickles
from jaxgan.io.torch_weights import MAGIC

# An array that generators of one kind have and no others -> (networks by name, data source) -> the run.
NETWORKS: dict[str, Callable[[Mapping[str, Source], str], Converted]] = {
    "synthesis.b4.const": stylegan2.convert,
    "synthesis.input.freqs": stylegan3.convert,
    "Model.MainLayers.0.Layers.0.Basis": r3gan.convert,
}


def holds_networks(path: Path) -> bool:
    """Whether a file is a pickle of networks, and no file of `torch.save`, by its suffix or its first bytes."""
    if path.suffix == ".pkl":
        return True
    with path.open("rb") as file:
        head = file.read(16)
    return head.startswith(b"\x80") and MAGIC.to_bytes(10, "little") not in head


def of_networks(path: Path, data: str) -> Converted:
    """The run of a file of networks.

    Args:
        path: of the file.
        data: the source of the run's data.

    Raises:
        UserError: the file cannot be read, or its networks are of no known kind or do not go together.
    """
    found = sources(path, network_pickles.read(path))
    generators = [found[name] for name in GENERATORS if name in found]
    if not generators:
        raise UserError(f"{path} holds no generator: it must have {' or '.join(GENERATORS)}")
    network = generators[-1].network
    kinds = [convert for name, convert in NETWORKS.items() if name in network.arrays]
    if not kinds:
        first = next(iter(network.arrays), "no arrays")
        raise UserError(
            f"{generators[-1].label} is a {network.class_name}, and no generator of StyleGAN2, StyleGAN3 or R3GAN: "
            f"it has {first}"
        )
    return kinds[0](found, data)
