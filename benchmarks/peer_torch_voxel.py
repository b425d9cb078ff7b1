"""3D-GAN's training step in PyTorch, as its users write it well: eager or compiled, NCDHW or channels last.

All but the networks is as in `peer_torch`.
"""

import itertools

import torch
from ml_collections import ConfigDict
from torch import nn

from benchmarks import peer_torch
from benchmarks.peer_torch import device_peak, product_seconds
from jaxgan.data.sources import example_shape
from jaxgan.models.voxel import halvings

__all__ = ["Program", "device_peak", "product_seconds"]


def activated(features: int, norm: str, slope: float) -> list[nn.Module]:
    """BatchNorm, if there is one, and LeakyReLU or ReLU."""
    return [*[nn.BatchNorm3d(features)] * (norm == "batch"), nn.LeakyReLU(slope) if slope else nn.ReLU()]


def networks(config: ConfigDict) -> dict[str, nn.Module]:
    """Those of `jaxgan.models.voxel` in their plain form."""
    side, *_, channels = example_shape(config.data)

    net = config.model.generator
    widths = [net.base_channels * 2**stage for stage in reversed(range(halvings(side, net.smallest)))]
    plain = net.norm == "none"
    generator = [nn.Linear(config.latent_dim, net.smallest**3 * widths[0], plain)]
    generator += [nn.Unflatten(1, (widths[0], *[net.smallest] * 3)), *activated(widths[0], net.norm, 0.0)]
    for inputs, features in itertools.pairwise(widths):
        generator += [nn.ConvTranspose3d(inputs, features, 4, 2, 1, bias=plain), *activated(features, net.norm, 0.0)]
    generator += [nn.ConvTranspose3d(widths[-1], channels, 4, 2, 1), nn.Tanh()]

    net, inputs, discriminator = config.model.discriminator, channels, []
    for stage in range(halvings(side, net.smallest)):
        features, norm = net.base_channels * 2**stage, net.norm if stage else "none"
        discriminator.append(nn.Conv3d(inputs, features, 4, 2, 1, bias=norm == "none"))
        discriminator += activated(features, norm, net.negative_slope)
        inputs = features
    discriminator += [nn.Flatten(), nn.Linear(net.smallest**3 * inputs, 1)]
    return {"generator": nn.Sequential(*generator), "discriminator": nn.Sequential(*discriminator)}


class Program(peer_torch.Program):
    """The workload in training; arguments as of `peer_torch.Program`."""

    networks = staticmethod(networks)
    channels_last = torch.channels_last_3d
