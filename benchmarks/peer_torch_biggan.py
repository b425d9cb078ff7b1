"""BigGAN's training step in PyTorch, as its users write it well: eager or compiled, NCHW or channels last.

Adam is the fused one. Real images and fakes pass the discriminator together, whose gradients are not computed where the
generator alone learns. Spectral norm takes one step of power iteration in each pass.
"""

import itertools

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, normalize, one_hot, relu
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks import workloads
from benchmarks.peer_torch import DEVICE, GPU, device_peak, product_seconds, use_precision
from jaxgan.data.sources import example_shape
from jaxgan.models.ops.pyramid import LEAST

__all__ = ["Program", "device_peak", "product_seconds"]


class SpectralNorm(nn.Module):
    """A parametrization: kernels [out, ...] divided by an estimate of their largest singular value."""

    def __init__(self, outputs: int):
        super().__init__()
        self.register_buffer("u", torch.randn(outputs))

    def forward(self, kernel: Tensor) -> Tensor:
        matrix = kernel.flatten(1)
        with torch.no_grad():
            v = normalize(self.u @ matrix, dim=0)
            u = normalize(matrix @ v, dim=0)
            if self.training:
                self.u.copy_(u)
        return kernel / (u @ matrix @ v)


def spectral(layer: nn.Module) -> nn.Module:
    """The layer with spectral norm."""
    nn.init.orthogonal_(layer.weight)
    norm = SpectralNorm(len(layer.weight))
    return nn.utils.parametrize.register_parametrization(layer, "weight", norm)


def conv(inputs: int, features: int, size: int, bias: bool = True) -> nn.Module:
    """A convolution between zeros."""
    return spectral(nn.Conv2d(inputs, features, size, padding=size // 2, bias=bias))


class Attention(nn.Module):
    """What each place gathers from all others, times a gain, added to the features."""

    def __init__(self, features: int):
        super().__init__()
        eighth, half = max(features // 8, 1), max(features // 2, 1)
        self.query, self.key = (conv(features, eighth, 1, bias=False) for _ in range(2))
        self.value, self.out = conv(features, half, 1, bias=False), conv(half, features, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        keys, values = (max_pool2d(layer(hidden), 2).flatten(2) for layer in (self.key, self.value))
        weights = (self.query(hidden).flatten(2).transpose(1, 2) @ keys).softmax(2)
        gathered = (values @ weights.transpose(1, 2)).unflatten(2, hidden.shape[2:])
        return hidden + self.gain * self.out(gathered)


class ModulatedNorm(nn.Module):
    """BatchNorm whose scales and shifts are linear in each example's modulation."""

    def __init__(self, features: int, modulation: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(features, affine=False)
        self.scale, self.shift = (spectral(nn.Linear(modulation, features, bias=False)) for _ in range(2))

    def forward(self, hidden: Tensor, modulation: Tensor) -> Tensor:
        scale, shift = (layer(modulation)[:, :, None, None] for layer in (self.scale, self.shift))
        return self.norm(hidden) * (1 + scale) + shift


class GeneratorBlock(nn.Module):
    """A residual block of twice the rows and columns."""

    def __init__(self, inputs: int, features: int, modulation: int):
        super().__init__()
        self.norm1, self.norm2 = ModulatedNorm(inputs, modulation), ModulatedNorm(features, modulation)
        self.conv1, self.conv2 = conv(inputs, features, 3), conv(features, features, 3)
        self.shortcut = conv(inputs, features, 1)

    def forward(self, inputs: Tensor, modulation: Tensor) -> Tensor:
        hidden = self.conv1(interpolate(relu(self.norm1(inputs, modulation)), scale_factor=2))
        hidden = self.conv2(relu(self.norm2(hidden, modulation)))
        return hidden + interpolate(self.shortcut(inputs), scale_factor=2)


class Generator(nn.Module):
    """Latents, of which each block has a part, and one-hot labels to images."""

    def __init__(self, side: int, channels: int, latent_dim: int, net: ConfigDict):
        super().__init__()
        first, *others = (net.base_channels * each for each in net.multipliers)
        self.parts = 1 + len(others)
        part = latent_dim // self.parts
        self.embedding = nn.Linear(workloads.CLASSES, net.embedding, bias=False)
        nn.init.orthogonal_(self.embedding.weight)
        self.dense, self.blocks, self.attention = spectral(nn.Linear(part, first * LEAST**2)), nn.ModuleList(), None
        size = LEAST
        for before, features in itertools.pairwise([first, *others]):
            self.blocks.append(GeneratorBlock(before, features, net.embedding + part))
            size *= 2
            if size in net.attention:
                self.attention, self.attends = Attention(features), len(self.blocks)
        self.norm, self.to_image = nn.BatchNorm2d(others[-1]), conv(others[-1], channels, 3)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        first, *parts = latents.chunk(self.parts, 1)
        embedded, hidden = self.embedding(labels), self.dense(first).unflatten(1, (-1, LEAST, LEAST))
        for number, (block, part) in enumerate(zip(self.blocks, parts, strict=True), 1):
            hidden = block(hidden, torch.cat([embedded, part], 1))
            if self.attention is not None and number == self.attends:
                hidden = self.attention(hidden)
        return self.to_image(relu(self.norm(hidden))).float().tanh()


class DiscriminatorBlock(nn.Module):
    """A residual block, of half the rows and columns if it halves."""

    def __init__(self, inputs: int, features: int, halves: bool, first: bool):
        super().__init__()
        self.conv1, self.conv2 = conv(inputs, features, 3), conv(features, features, 3)
        self.shortcut = conv(inputs, features, 1) if halves or inputs != features else nn.Identity()
        self.halves, self.first = halves, first

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.conv2(relu(self.conv1(inputs if self.first else relu(inputs))))
        if self.halves:
            hidden, inputs = avg_pool2d(hidden, 2), avg_pool2d(inputs, 2)
        return hidden + self.shortcut(inputs)


class Discriminator(nn.Module):
    """Images and one-hot labels to logits."""

    def __init__(self, side: int, channels: int, net: ConfigDict):
        super().__init__()
        widths, self.blocks = [net.base_channels * each for each in net.multipliers], nn.Sequential()
        for number, (before, features) in enumerate(itertools.pairwise([channels, *widths])):
            halves = number < net.downsamples
            self.blocks.add_module(f"stage{number}", DiscriminatorBlock(before, features, halves, number == 0))
            side = side // 2 if halves else side
            if halves and side in net.attention:
                self.blocks.add_module(f"attention{number}", Attention(features))
        self.dense, self.embedding = spectral(nn.Linear(widths[-1], 1)), nn.Embedding(workloads.CLASSES, widths[-1])
        spectral(self.embedding)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        features = relu(self.blocks(images)).float().sum((2, 3))
        return self.dense(features)[:, 0] + (self.embedding(labels.argmax(1)) * features).sum(1)


def networks(config: ConfigDict) -> dict[str, nn.Module]:
    """The networks of a workload, whose images are squares."""
    side, _, channels = example_shape(config.data)
    return {
        "generator": Generator(side, channels, config.latent_dim, config.model.generator),
        "discriminator": Discriminator(side, channels, config.model.discriminator),
    }


class Program:
    """The workload in training.

    Args:
        config: the workload.
        real: its batches, [count, batch, ...], channels last.
        precision: "bfloat16" is autocast's; "tf32" lets a GPU round the inputs of float32 products.
        compiled: whether both networks go through torch.compile.
        channels_last: whether images and kernels lie so in memory.
    """

    def __init__(self, config: ConfigDict, real: np.ndarray, precision: str, compiled: bool, channels_last: bool):
        use_precision(precision)
        torch.manual_seed(0)
        self.config, self.dispatch = config, 1
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.own = {name: network.to(DEVICE, memory_format=layout) for name, network in networks(config).items()}
        self.optimizers = {
            name: torch.optim.Adam(
                self.own[name].parameters(),
                settings.learning_rate,
                (settings.b1, settings.b2),
                settings.eps,
                fused=True,
            )
            for name, settings in config.optimizer.items()
        }
        self.average = AveragedModel(self.own["generator"], multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        called = {name: torch.compile(network) if compiled else network for name, network in self.own.items()}
        self.generator, self.discriminator = called["generator"], called["discriminator"]
        self.autocast = torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16")
        batches = torch.from_numpy(real).movedim(-1, 2)
        self.batches = itertools.cycle([batch.contiguous(memory_format=layout).to(DEVICE) for batch in batches])
        how = ["torch.compile" if compiled else "eager", "channels last" if channels_last else "NCHW"]
        how += ["fused Adam", f"{torch.get_num_threads()} threads"]
        self.settings = ", ".join([f"PyTorch {torch.__version__}", *how])

    def run(self, steps: int) -> None:
        """Makes `steps` steps and waits for the last."""
        for _ in range(steps):
            self.step()
        if GPU:
            torch.cuda.synchronize()

    def step(self) -> dict[str, Tensor]:
        """The discriminator's updates, each on a batch of its own, and then the generator's; the last losses."""
        self.own["discriminator"].requires_grad_(True)
        for _ in range(self.config.discriminator_steps):
            d_loss = self.discriminator_loss(next(self.batches), self.latents(), self.labels())
            self.update("discriminator", d_loss)
        self.own["discriminator"].requires_grad_(False)
        g_loss = self.generator_loss(self.latents(), self.labels())
        self.update("generator", g_loss)
        self.average.update_parameters(self.own["generator"])
        return {"discriminator": d_loss, "generator": g_loss}

    def latents(self) -> Tensor:
        """Those of a batch of fakes."""
        return torch.randn(self.config.batch_size, self.config.latent_dim, device=DEVICE)

    def labels(self) -> Tensor:
        """One-hot labels of a batch."""
        drawn = torch.randint(workloads.CLASSES, (self.config.batch_size,), device=DEVICE)
        return one_hot(drawn, workloads.CLASSES).float()

    def discriminator_loss(self, real: Tensor, latents: Tensor, labels: Tensor) -> Tensor:
        """The hinge loss of the discriminator."""
        with self.autocast:
            with torch.no_grad():
                fake = self.generator(latents, labels)
            logits = self.discriminator(torch.cat([real, fake]), torch.cat([labels, labels]))
        real_logits, fake_logits = logits.float().chunk(2)
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    def generator_loss(self, latents: Tensor, labels: Tensor) -> Tensor:
        """The hinge loss of the generator."""
        with self.autocast:
            logits = self.discriminator(self.generator(latents, labels), labels)
        return -logits.float().mean()

    def update(self, name: str, loss: Tensor) -> None:
        """One step of a network's Adam."""
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[name].step()
