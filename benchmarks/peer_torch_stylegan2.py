"""StyleGAN2's training step in PyTorch, as its users write it well: eager or compiled, NCHW or channels last.

Styles scale features in the place of kernels, so that one convolution serves all examples. Adam is the fused one, one
optimizer for each player. A player's gradients are not computed where the other one alone learns. The gradients that
penalties are of are compiled as part of the forward pass, as in `peer_torch`.
"""

import itertools
import math
import random

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, linear, softplus
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks import workloads
from benchmarks.peer_torch import (
    DEVICE,
    GPU,
    Downsample,
    Smooth,
    Upsample,
    compiled_logits_and_slopes,
    device_peak,
    logits_and_slopes,
    product_seconds,
    use_precision,
)
from jaxgan.data.sources import example_shape
from jaxgan.models.stylegan2 import FIRST, channels_at, sizes

__all__ = ["Program", "device_peak", "product_seconds"]


def activate(features: Tensor, clamp: float = 0.0, gain: float = 1.0) -> Tensor:
    """LeakyReLU times sqrt(2) and a further gain, cut off at `clamp` times that gain; 0: not cut off."""
    out = leaky_relu(features, 0.2) * (math.sqrt(2) * gain)
    return out.clamp(-clamp * gain, clamp * gain) if clamp else out


class Dense(nn.Module):
    """A fully connected layer with an equalised learning rate."""

    def __init__(self, inputs: int, features: int, bias: float = 0.0, multiplier: float = 1.0, activated: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, inputs) / multiplier)
        self.bias = nn.Parameter(torch.full((features,), bias))
        self.multiplier, self.activated = multiplier, activated

    def forward(self, inputs: Tensor) -> Tensor:
        scale = self.multiplier / math.sqrt(self.weight.shape[1])
        out = linear(inputs, self.weight * scale, self.bias * self.multiplier)
        return activate(out) if self.activated else out


class Conv(nn.Module):
    """A convolution with an equalised learning rate and LeakyReLU."""

    def __init__(self, inputs: int, features: int, size: int, clamp: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(features))
        self.scale, self.padding, self.clamp = 1 / math.sqrt(inputs * size**2), size // 2, clamp

    def forward(self, images: Tensor) -> Tensor:
        return activate(conv2d(images, self.weight * self.scale, self.bias, padding=self.padding), self.clamp)


class HalvingConv(Conv):
    """The same behind a blur, of half the rows and columns, times sqrt(1/2)."""

    def __init__(self, inputs: int, features: int, clamp: float):
        super().__init__(inputs, features, 3, clamp)
        self.blur = Smooth(inputs)

    def forward(self, images: Tensor) -> Tensor:
        blurred = conv2d(images, self.blur.kernel, padding=2, groups=self.blur.channels)
        out = conv2d(blurred, self.weight * self.scale, self.bias, stride=2)
        return activate(out, self.clamp, math.sqrt(0.5))


class Shortcut(nn.Module):
    """Images of half the rows and columns and of other channels, times sqrt(1/2)."""

    def __init__(self, inputs: int, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, inputs, 1, 1))
        self.scale = math.sqrt(0.5 / inputs)
        self.downsample = Downsample(inputs)

    def forward(self, images: Tensor) -> Tensor:
        return conv2d(self.downsample(images), self.weight * self.scale)


class Mapping(nn.Module):
    """Latents to styles; `w_avg` is their moving average."""

    def __init__(self, latent_dim: int, w_dim: int, depth: int, multiplier: float):
        super().__init__()
        inputs = [latent_dim, *[w_dim] * (depth - 1)]
        for i, count in enumerate(inputs):
            self.add_module(f"dense{i}", Dense(count, w_dim, multiplier=multiplier, activated=True))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, latents: Tensor) -> Tensor:
        hidden = latents * (latents.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.children():
            hidden = layer(hidden)
        return hidden


class StyledConv(nn.Module):
    """A modulated and demodulated convolution, noise, a bias, and LeakyReLU."""

    def __init__(self, inputs: int, features: int, w_dim: int, doubles: bool, clamp: float):
        super().__init__()
        self.affine = Dense(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(features, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(features))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.blur = Smooth(features, gain=4.0) if doubles else None
        self.clamp = clamp

    def forward(self, hidden: Tensor, w: Tensor) -> Tensor:
        styles = self.affine(w)
        out = self.convolve(hidden * styles[:, :, None, None])
        lengths = styles.square() @ self.weight.square().sum((2, 3)).T
        out = out * (lengths + 1e-8).rsqrt()[:, :, None, None]
        noise = self.noise_strength * torch.randn(len(out), 1, *out.shape[2:], device=out.device)
        bias = self.bias[:, None, None]
        return activate(out + noise.to(out.dtype) + bias.to(out.dtype), self.clamp)

    def convolve(self, hidden: Tensor) -> Tensor:
        """The convolution, of twice the rows and columns where there is a blur."""
        if self.blur is None:
            return conv2d(hidden, self.weight, padding=1)
        grown = conv_transpose2d(hidden, self.weight.transpose(0, 1), stride=2)
        return conv2d(grown, self.blur.kernel, padding=1, groups=self.blur.channels)


class ToRGB(nn.Module):
    """A modulated convolution of single pixels to an image."""

    def __init__(self, inputs: int, channels: int, w_dim: int, clamp: float):
        super().__init__()
        self.affine = Dense(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale, self.clamp = 1 / math.sqrt(inputs), clamp

    def forward(self, hidden: Tensor, w: Tensor) -> Tensor:
        styles = self.affine(w) * self.scale
        out = conv2d(hidden * styles[:, :, None, None], self.weight, self.bias).float()
        return out.clamp(-self.clamp, self.clamp) if self.clamp else out


class SynthesisBlock(nn.Module):
    """The features and the image so far, both of them doubled, with what the new features add to the image."""

    def __init__(self, inputs: int, features: int, channels: int, w_dim: int, clamp: float):
        super().__init__()
        self.conv0 = StyledConv(inputs, features, w_dim, True, clamp) if inputs else None
        self.conv1 = StyledConv(features, features, w_dim, False, clamp)
        self.to_rgb = ToRGB(features, channels, w_dim, clamp)
        self.upsample = Upsample(channels)

    def forward(self, hidden: Tensor, images: Tensor | None, ws: list[Tensor]) -> tuple[Tensor, Tensor]:
        if images is not None:
            hidden, images = self.conv0(hidden, ws[0]), self.upsample(images)
        hidden = self.conv1(hidden, ws[-2])
        added = self.to_rgb(hidden, ws[-1])
        return hidden, added if images is None else images + added


class Synthesis(nn.Module):
    """Styles [batch, layers, w_dim] to images."""

    def __init__(self, side: int, channels: int, w_dim: int, net: ConfigDict):
        super().__init__()
        features = [channels_at(size, net.channel_base, net.channel_max) for size in sizes(side)]
        self.constant = nn.Parameter(torch.randn(features[0], FIRST, FIRST))
        for before, own, size in zip([0, *features], features, sizes(side), strict=False):
            self.add_module(f"block{size}", SynthesisBlock(before, own, channels, w_dim, net.clamp))
        self.num_ws = 2 * len(features)

    def forward(self, ws: Tensor) -> Tensor:
        hidden, images, by_layer = self.constant.expand(len(ws), -1, -1, -1), None, ws.unbind(1)
        for level, block in enumerate(self.children()):
            hidden, images = block(hidden, images, by_layer[max(2 * level - 1, 0) : 2 * level + 2])
        return images


class DiscriminatorBlock(nn.Module):
    """A residual block of half the rows and columns."""

    def __init__(self, inputs: int, features: int, clamp: float):
        super().__init__()
        self.conv0 = Conv(inputs, inputs, 3, clamp)
        self.conv1 = HalvingConv(inputs, features, clamp)
        self.shortcut = Shortcut(inputs, features)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv1(self.conv0(images)) + self.shortcut(images)


class Discriminator(nn.Module):
    """Images to logits."""

    def __init__(self, side: int, channels: int, net: ConfigDict):
        super().__init__()
        *features, last = [channels_at(size, net.channel_base, net.channel_max) for size in reversed(sizes(side))]
        self.from_rgb = Conv(channels, features[0], 1, net.clamp)
        blocks = zip(features, [*features[1:], last], reversed(sizes(side)[1:]), strict=True)
        self.blocks = nn.Sequential()
        for before, own, size in blocks:
            self.blocks.add_module(f"block{size}", DiscriminatorBlock(before, own, net.clamp))
        self.group = net.minibatch_stddev
        self.conv = Conv(last + (self.group > 0), last, 3, net.clamp)
        self.dense = Dense(last * FIRST**2, last, activated=True)
        self.out = Dense(last, 1)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.blocks(self.from_rgb(images)).float()
        if self.group:
            hidden = torch.cat([hidden, self.minibatch_stddev(hidden)], 1)
        return self.out(self.dense(self.conv(hidden).flatten(1)))[:, 0]

    def minibatch_stddev(self, hidden: Tensor) -> Tensor:
        """The mean standard deviation of each example's group as a channel."""
        groups = hidden.unflatten(0, (-1, self.group))
        stddev = (groups.var(1, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
        return stddev.repeat_interleave(self.group)[:, None, None, None].expand(-1, 1, *hidden.shape[2:])


def path_lengths(synthesis: nn.Module, styles: Tensor, noise: Tensor) -> Tensor:
    """The root mean square of what noise pulls back to each style, for each image."""
    fake = synthesis(styles)
    (slopes,) = torch.autograd.grad(fake, styles, noise / math.sqrt(noise[0, 0].numel()), create_graph=True)
    return slopes.float().square().sum(2).mean(1).sqrt()


def compilable_path_lengths(synthesis: nn.Module, styles: Tensor, noise: Tensor) -> Tensor:
    """The same for torch.compile, which takes this gradient as part of the forward pass."""
    _, vjp = torch.func.vjp(synthesis, styles)
    (slopes,) = vjp(noise / math.sqrt(noise[0, 0].numel()))
    return slopes.float().square().sum(2).mean(1).sqrt()


def networks(config: ConfigDict) -> dict[str, nn.Module]:
    """The networks of a workload, whose images are squares."""
    side, _, channels = example_shape(config.data)
    mapping, synthesis, discriminator = (config.model[name] for name in ("mapping", "synthesis", "discriminator"))
    return {
        "mapping": Mapping(config.latent_dim, mapping.w_dim, mapping.depth, mapping.lr_multiplier),
        "synthesis": Synthesis(side, channels, mapping.w_dim, synthesis),
        "discriminator": Discriminator(side, channels, discriminator),
    }


class Program:
    """The workload in training.

    Args:
        config: the workload.
        real: its batches, [count, batch, ...], channels last.
        precision: "bfloat16" is autocast's; "tf32" lets a GPU round the inputs of float32 products.
        compiled: whether all networks go through torch.compile, and the penalties' gradients with them.
        channels_last: whether images and kernels lie so in memory.
    """

    def __init__(self, config: ConfigDict, real: np.ndarray, precision: str, compiled: bool, channels_last: bool):
        use_precision(precision)
        torch.manual_seed(0)
        random.seed(0)
        self.config, self.dispatch, self.steps = config, workloads.period(config), 0
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.own = nn.ModuleDict(networks(config)).to(DEVICE, memory_format=layout)
        self.players = {
            "generator": nn.ModuleList([self.own["mapping"], self.own["synthesis"]]),
            "discriminator": self.own["discriminator"],
        }
        self.optimizers = {
            player: torch.optim.Adam(
                self.players[player].parameters(), settings.learning_rate, (settings.b1, settings.b2), fused=True
            )
            for player, settings in config.optimizer.items()
        }
        self.average = AveragedModel(self.players["generator"], multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        self.networks = {name: torch.compile(network) if compiled else network for name, network in self.own.items()}
        self.logits_and_slopes = compiled_logits_and_slopes("default") if compiled else logits_and_slopes
        self.lengths = torch.compile(compilable_path_lengths) if compiled else path_lengths
        self.mean_length = torch.zeros((), device=DEVICE)
        self.autocast = torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16")
        batches = torch.from_numpy(real).movedim(-1, 2)
        self.batches = itertools.cycle([batch.contiguous(memory_format=layout).to(DEVICE) for batch in batches])
        how = ["torch.compile" if compiled else "eager", "channels last" if channels_last else "NCHW"]
        how += ["fused Adam", f"{torch.get_num_threads()} threads"]
        self.settings = ", ".join([f"PyTorch {torch.__version__}", *how])

    def run(self, steps: int) -> None:
        """Makes so many steps and waits for the last."""
        for _ in range(steps):
            self.step(next(self.batches))
        if GPU:
            torch.cuda.synchronize()

    def step(self, real: Tensor) -> dict[str, Tensor]:
        """An update of the generator, one by its penalty, and the same for the discriminator; the losses."""
        batch_size = self.config.batch_size
        self.players["discriminator"].requires_grad_(False)
        losses = {"generator": self.generator_loss(self.latents(batch_size))}
        self.update("generator", losses["generator"])
        if self.due("generator_penalty_interval", "path_length"):
            value, mean = self.path_length(self.latents(batch_size // 2), torch.randn_like(real[: batch_size // 2]))
            self.update("generator", self.weight("generator_penalties", "path_length") * value)
            self.mean_length, losses["path_length"] = mean.detach(), value
        self.players["discriminator"].requires_grad_(True)
        losses["discriminator"] = self.discriminator_loss(real, self.latents(batch_size))
        self.update("discriminator", losses["discriminator"])
        if self.due("penalty_interval", "r1"):
            losses["r1"] = self.r1(real)
            self.update("discriminator", self.weight("penalties", "r1") * losses["r1"])
        self.average.update_parameters(self.players["generator"])
        self.steps += 1
        return losses

    def due(self, intervals: str, penalty: str) -> bool:
        """Whether a penalty is taken in this step."""
        return self.steps % self.config[intervals][penalty] == 0

    def weight(self, group: str, penalty: str) -> float:
        """Of a penalty where it is taken."""
        return self.config[group][penalty] * workloads.intervals(self.config)[f"{group}.{penalty}"]

    def latents(self, count: int) -> list[Tensor]:
        """Those of some fakes, and where styles are mixed, others."""
        mixes = random.random() < self.config.style_mixing
        return [torch.randn(count, self.config.latent_dim, device=DEVICE) for _ in range(1 + mixes)]

    def styles(self, mapping: nn.Module, latents: list[Tensor]) -> Tensor:
        """[batch, layers, w_dim]; of two batches of latents, the second one's from a random layer on."""
        count = self.own["synthesis"].num_ws
        ws = [mapping(own)[:, None] for own in latents]
        if len(ws) == 1:
            return ws[0].expand(-1, count, -1)
        first = random.randrange(1, count)
        return torch.cat([ws[0].expand(-1, first, -1), ws[1].expand(-1, count - first, -1)], 1)

    def generator_loss(self, latents: list[Tensor]) -> Tensor:
        """How far the fakes are from passing as real; the average of styles moves."""
        with self.autocast:
            styles = self.styles(self.networks["mapping"], latents)
            fake = self.networks["synthesis"](styles)
            logits = self.networks["discriminator"](fake).float()
        average = self.own["mapping"].w_avg
        average.lerp_(styles[:, 0].detach().float().mean(0), 1 - self.config.model.mapping.decay)
        return softplus(-logits).mean()

    def discriminator_loss(self, real: Tensor, latents: list[Tensor]) -> Tensor:
        """How far the discriminator is from telling real from fake."""
        with self.autocast:
            with torch.no_grad():
                fake = self.networks["synthesis"](self.styles(self.networks["mapping"], latents))
            real_logits, fake_logits = (self.networks["discriminator"](images).float() for images in (real, fake))
        return softplus(-real_logits).mean() + softplus(fake_logits).mean()

    def r1(self, real: Tensor) -> Tensor:
        """Half the mean squared gradient of logits by real images."""
        with self.autocast:
            _, slopes = self.logits_and_slopes(self.own["discriminator"], real)
        return 0.5 * slopes.square().sum() / len(real)

    def path_length(self, latents: list[Tensor], noise: Tensor) -> tuple[Tensor, Tensor]:
        """The mean squared distance of path lengths from their moving average, and the new average."""
        with self.autocast:
            styles = self.styles(self.own["mapping"], latents)
            lengths = self.lengths(self.own["synthesis"], styles, noise)
        mean = self.mean_length.lerp(lengths.mean(), self.config.penalty_settings.path_length_rate)
        return (lengths - mean).square().mean(), mean

    def update(self, player: str, loss: Tensor) -> None:
        """One step of a player's Adam."""
        self.optimizers[player].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[player].step()
