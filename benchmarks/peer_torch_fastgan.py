"""FastGAN's training step in PyTorch, as its users write it well: eager or compiled, NCHW or channels last.

Adam is the fused one, one optimizer for each player. The discriminator's gradients are not computed where the generator
alone learns. Written from the published description; widths and sizes are those of `jaxgan.models.fastgan`.
"""

import itertools
import random

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, glu, leaky_relu, relu
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.peer_torch import DEVICE, GPU, device_peak, product_seconds, use_precision
from jaxgan.data.sources import example_shape
from jaxgan.models.fastgan import (
    DOUBLE_CONVS,
    EXCITED,
    FIRST,
    GENERATOR_WIDTHS,
    LARGE_WIDTHS,
    LAST,
    SLOPE,
    SMALL_WIDTHS,
    channels,
    small_side,
)

__all__ = ["Program", "device_peak", "product_seconds"]


def conv(inputs: int, features: int, size: int, stride: int = 1, padding: int = 0) -> nn.Module:
    """A convolution with spectral norm and without a bias."""
    return spectral_norm(nn.Conv2d(inputs, features, size, stride, padding, bias=False))


class Gated(nn.BatchNorm2d):
    """BatchNorm and GLU."""

    def forward(self, hidden: Tensor) -> Tensor:
        return glu(super().forward(hidden), 1)


class Noise(nn.Module):
    """One random number for each place, times a learned strength."""

    def __init__(self):
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        noise = torch.randn(len(hidden), 1, *hidden.shape[2:], device=hidden.device, dtype=hidden.dtype)
        return hidden + self.strength * noise


def up_block(inputs: int, features: int, double: bool) -> nn.Sequential:
    """Doubled, convolved and gated; with a second convolution there is noise behind both."""
    layers = [nn.Upsample(scale_factor=2), conv(inputs, 2 * features, 3, 1, 1)]
    if not double:
        return nn.Sequential(*layers, Gated(2 * features))
    layers += [Noise(), Gated(2 * features), conv(features, 2 * features, 3, 1, 1), Noise(), Gated(2 * features)]
    return nn.Sequential(*layers)


class SkipExcitation(nn.Module):
    """Large maps, each channel of which is multiplied by a gate that small maps give."""

    def __init__(self, inputs: int, features: int):
        super().__init__()
        first, second = conv(inputs, features, FIRST), conv(features, features, 1)
        self.gate = nn.Sequential(first, nn.SiLU(), second, nn.Sigmoid())

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        return large * self.gate(adaptive_avg_pool2d(small, FIRST))


class Generator(nn.Module):
    """Latents to images and smaller ones."""

    def __init__(self, side: int, count: int, latent_dim: int, net: ConfigDict):
        super().__init__()
        widths = {rows: channels(net.base_channels, GENERATOR_WIDTHS, rows) for rows in GENERATOR_WIDTHS}
        first = spectral_norm(nn.ConvTranspose2d(latent_dim, 2 * widths[FIRST], FIRST, bias=False))
        self.first = nn.Sequential(first, Gated(2 * widths[FIRST]))
        self.sizes = [rows for rows in GENERATOR_WIDTHS if FIRST < rows <= side]
        double = DOUBLE_CONVS[net.double_convs]
        self.blocks = nn.ModuleDict(
            {str(rows): up_block(widths[rows // 2], widths[rows], double(rows)) for rows in self.sizes}
        )
        self.excitations = nn.ModuleDict(
            {str(rows): SkipExcitation(widths[rows // 16], widths[rows]) for rows in self.sizes if rows in EXCITED}
        )
        self.to_large, self.to_small = conv(widths[side], count, 3, 1, 1), conv(widths[small_side(side)], count, 1)
        self.small = small_side(side)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        maps = {FIRST: self.first(latents[:, :, None, None])}
        for rows in self.sizes:
            hidden = self.blocks[str(rows)](maps[rows // 2])
            if rows in EXCITED:
                hidden = self.excitations[str(rows)](maps[rows // 16], hidden)
            maps[rows] = hidden
        return self.to_large(hidden).float().tanh(), self.to_small(maps[self.small]).float().tanh()


class Leaky(nn.BatchNorm2d):
    """BatchNorm and LeakyReLU."""

    def forward(self, hidden: Tensor) -> Tensor:
        return leaky_relu(super().forward(hidden), SLOPE)


class DownBlock(nn.Module):
    """Half the rows and columns; the mean of two convolutions and a shortcut."""

    def __init__(self, inputs: int, features: int):
        super().__init__()
        first, second = conv(inputs, features, 4, 2, 1), conv(features, features, 3, 1, 1)
        self.main = nn.Sequential(first, Leaky(features), second, Leaky(features))
        self.shortcut = nn.Sequential(conv(inputs, features, 1), Leaky(features))

    def forward(self, hidden: Tensor) -> Tensor:
        return (self.main(hidden) + self.shortcut(avg_pool2d(hidden, 2))) / 2


class Discriminator(nn.Module):
    """Images of two sizes, of which the larger ones have 64 to 256 rows, to logits and features."""

    def __init__(self, side: int, count: int, net: ConfigDict):
        super().__init__()
        large = {rows: channels(net.base_channels, LARGE_WIDTHS, rows) for rows in LARGE_WIDTHS}
        small = {rows: channels(net.base_channels, SMALL_WIDTHS, rows) for rows in SMALL_WIDTHS}
        self.from_large = nn.Sequential(conv(count, large[side], 3, 1, 1), nn.LeakyReLU(SLOPE))
        self.side, self.sizes = side, [rows for rows in reversed(LARGE_WIDTHS) if LAST <= rows < side]
        self.blocks = nn.ModuleDict({str(rows): DownBlock(large[2 * rows], large[rows]) for rows in self.sizes})
        excited = [rows for rows in self.sizes if 8 * rows <= side]
        self.excitations = nn.ModuleDict({str(rows): SkipExcitation(large[8 * rows], large[rows]) for rows in excited})
        self.logits_large = nn.Sequential(conv(large[LAST], large[4], 1), Leaky(large[4]), conv(large[4], 1, 4))
        rows = small_side(side) // 2
        layers = [conv(count, small[rows], 4, 2, 1), nn.LeakyReLU(SLOPE)]
        while rows > LAST:
            rows //= 2
            layers += [conv(small[2 * rows], small[rows], 4, 2, 1), Leaky(small[rows])]
        self.from_small, self.logits_small = nn.Sequential(*layers), conv(small[LAST], 1, 4)

    def forward(self, images: Tensor, smaller: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        maps = {self.side: self.from_large(images)}
        for rows in self.sizes:
            maps[rows] = self.blocks[str(rows)](maps[2 * rows])
            if 8 * rows in maps:
                maps[rows] = self.excitations[str(rows)](maps[8 * rows], maps[rows])
        small = self.from_small(smaller)
        logits = [self.logits_large(maps[LAST]).flatten(1), self.logits_small(small).flatten(1)]
        return torch.cat(logits, 1).float(), (maps[LAST], maps[2 * LAST], small)


class Decoders(nn.Module):
    """Features of 8x8 places to images, three times."""

    def __init__(self, side: int, count: int, inputs: tuple[int, int, int], net: ConfigDict):
        super().__init__()
        sizes = [rows for rows in GENERATOR_WIDTHS if LAST < rows <= small_side(side)]
        widths = [channels(net.base_channels, GENERATOR_WIDTHS, rows) for rows in sizes]
        self.decoders = nn.ModuleList()
        for first in inputs:
            layers = [up_block(*pair, False) for pair in itertools.pairwise([first, *widths])]
            self.decoders.append(nn.Sequential(*layers, conv(widths[-1], count, 3, 1, 1), nn.Tanh()))

    def forward(self, whole: Tensor, part: Tensor, small: Tensor) -> list[Tensor]:
        return [decoder(own).float() for decoder, own in zip(self.decoders, (whole, part, small), strict=True)]


def networks(config: ConfigDict) -> dict[str, nn.Module]:
    """The networks of a workload, whose images are squares."""
    side, _, count = example_shape(config.data)
    base = config.model.discriminator.base_channels
    inputs = [channels(base, LARGE_WIDTHS, rows) for rows in (LAST, 2 * LAST)] + [channels(base, SMALL_WIDTHS, LAST)]
    return {
        "generator": Generator(side, count, config.latent_dim, config.model.generator),
        "discriminator": Discriminator(side, count, config.model.discriminator),
        "decoders": Decoders(side, count, tuple(inputs), config.model.decoders),
    }


def quarter(maps: Tensor, number: int) -> Tensor:
    """One of the four quarters of rows and columns."""
    rows, columns = (size // 2 for size in maps.shape[2:])
    top, left = number // 2 * rows, number % 2 * columns
    return maps[:, :, top : top + rows, left : left + columns]


class Program:
    """The workload in training; arguments as in `peer_torch.Program`.

    Args:
        config: the workload.
        real: its batches, [count, batch, ...], channels last.
        precision: "bfloat16" is autocast's; "tf32" lets a GPU round the inputs of float32 products.
        compiled: whether all networks go through torch.compile.
        channels_last: whether images and kernels lie so in memory.
    """

    def __init__(self, config: ConfigDict, real: np.ndarray, precision: str, compiled: bool, channels_last: bool):
        use_precision(precision)
        torch.manual_seed(0)
        random.seed(0)
        self.config, self.dispatch = config, 1
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.own = nn.ModuleDict(networks(config)).to(DEVICE, memory_format=layout)
        self.players = {
            "generator": self.own["generator"],
            "discriminator": nn.ModuleList([self.own["discriminator"], self.own["decoders"]]),
        }
        self.optimizers = {
            player: torch.optim.Adam(
                self.players[player].parameters(), settings.learning_rate, (settings.b1, settings.b2), fused=True
            )
            for player, settings in config.optimizer.items()
        }
        self.average = AveragedModel(self.own["generator"], multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        self.networks = {name: torch.compile(network) if compiled else network for name, network in self.own.items()}
        self.autocast = torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16")
        batches = torch.from_numpy(real).movedim(-1, 2)
        self.batches = itertools.cycle([batch.contiguous(memory_format=layout).to(DEVICE) for batch in batches])
        how = ["torch.compile" if compiled else "eager", "channels last" if channels_last else "NCHW"]
        how += ["fused Adam", f"{torch.get_num_threads()} threads"]
        self.settings = ", ".join([f"PyTorch {torch.__version__}", *how])

    def run(self, steps: int) -> None:
        """Makes `steps` steps and waits for the last."""
        for _ in range(steps):
            self.step(next(self.batches))
        if GPU:
            torch.cuda.synchronize()

    def step(self, real: Tensor) -> dict[str, Tensor]:
        """One update of discriminator and decoders, then one of the generator, of the same fakes; the losses."""
        latents = torch.randn(len(real), self.config.latent_dim, device=DEVICE)
        with self.autocast:
            fakes = self.networks["generator"](latents)
            hinge, distance = self.discriminator_losses(real, tuple(fake.detach() for fake in fakes))
        self.update("discriminator", hinge + self.config.reconstruction.weight * distance)
        self.players["discriminator"].requires_grad_(False)
        with self.autocast:
            loss = -self.networks["discriminator"](*fakes)[0].mean()
        self.update("generator", loss)
        self.players["discriminator"].requires_grad_(True)
        self.average.update_parameters(self.own["generator"])
        return {"discriminator": hinge, "reconstruction": distance, "generator": loss}

    def discriminator_losses(self, real: Tensor, fakes: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The hinge loss, and the distance of reconstructions."""
        step, number = real.shape[2] // fakes[1].shape[2], random.randrange(4)
        whole = real[:, :, ::step, ::step]
        part = quarter(real, number)
        part = part[:, :, :: part.shape[2] // whole.shape[2], :: part.shape[3] // whole.shape[3]]
        real_logits, (last, detail, small) = self.networks["discriminator"](real, whole)
        fake_logits, _ = self.networks["discriminator"](*fakes)
        found = self.networks["decoders"](last, quarter(detail, number), small)
        distance = sum((own - target).square().mean() for own, target in zip(found, (whole, part, whole), strict=True))
        low, high = self.config.margins
        margins = low + (high - low) * torch.rand_like(real_logits)
        return (relu(margins - real_logits) + relu(margins + fake_logits)).mean(), distance

    def update(self, player: str, loss: Tensor) -> None:
        """One step of a player's Adam."""
        self.optimizers[player].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[player].step()
