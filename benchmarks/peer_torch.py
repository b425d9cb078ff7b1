"""The training step in PyTorch, as its users write it well: eager or compiled, NCHW or channels last.

Adam is the fused one. The discriminator's gradients are not computed where the generator alone learns. The moving
average is `torch.optim.swa_utils`'. PyTorch's compiler does not differentiate a gradient that autograd took outside, so
the gradients of R1 and R2 are compiled as part of the forward pass, by `torch.func`.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch._functorch import config as functorch_config
from torch.nn.functional import conv2d, conv_transpose2d, softplus
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks import workloads
from benchmarks.turns import best_seconds
from benchmarks.workloads import Layer

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


class Residual(nn.Sequential):
    """What layers make of features, added to those."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + super().forward(hidden)


class Maxout(nn.Module):
    """The largest of so many pieces of each unit."""

    def __init__(self, pieces: int):
        super().__init__()
        self.pieces = pieces

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.unflatten(1, (self.pieces, -1)).amax(1)


class Smooth(nn.Module):
    """Depthwise convolutions with the weights 1, 3, 3, 1 on each axis.

    Args:
        channels: of images.
        gain: the sum of all weights.
    """

    def __init__(self, channels: int, gain: float = 1.0):
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.channels = channels
        self.register_buffer("kernel", (gain * taps.outer(taps)).repeat(channels, 1, 1, 1))


class Upsample(Smooth):
    """Twice the rows and columns."""

    def __init__(self, channels: int):
        super().__init__(channels, gain=4.0)  # of four places three are zeros

    def forward(self, hidden: Tensor) -> Tensor:
        return conv_transpose2d(hidden, self.kernel, stride=2, padding=1, groups=self.channels)


class Downsample(Smooth):
    """Half the rows and columns."""

    def forward(self, hidden: Tensor) -> Tensor:
        return conv2d(hidden, self.kernel, stride=2, padding=1, groups=self.channels)


class Basis(nn.Module):
    """[batch, channels] -> [batch, channels, rows, columns]: the product with learned features of that size."""

    def __init__(self, rows: int, columns: int, channels: int):
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, rows, columns))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden[:, :, None, None] * self.basis.to(hidden.dtype)


class BasisProduct(Basis):
    """[batch, channels, rows, columns] -> [batch, channels]: the sum of the products with learned features."""

    def forward(self, hidden: Tensor) -> Tensor:
        return (hidden * self.basis.to(hidden.dtype)).sum((2, 3))


def module(layer: Layer, before: Layer | None) -> nn.Module:
    """The layer in PyTorch, where another one comes before it."""
    match layer:
        case workloads.Dense(inputs, features, bias):
            return nn.Linear(inputs, features, bias)
        case workloads.Conv(inputs, features, size, stride, bias, reflect, groups):
            options = {"groups": groups, "bias": bias, "padding_mode": "reflect" if reflect else "zeros"}
            return nn.Conv2d(inputs, features, size, stride, (size - 1) // 2, **options)
        case workloads.ConvTranspose(inputs, features, size, stride, bias):
            padding = (size - 1) // 2
            grow = stride + 2 * padding - size
            return nn.ConvTranspose2d(inputs, features, size, stride, padding, grow, bias=bias)
        case workloads.Upsample(features):
            return Upsample(features)
        case workloads.Downsample(features):
            return Downsample(features)
        case workloads.Basis(rows, columns, features):
            return Basis(rows, columns, features)
        case workloads.BasisProduct(rows, columns, features):
            return BasisProduct(rows, columns, features)
        case workloads.BatchNorm(features):
            return (nn.BatchNorm1d if isinstance(before, workloads.Dense) else nn.BatchNorm2d)(features)
        case workloads.InstanceNorm(features):
            return nn.InstanceNorm2d(features)
        case workloads.Residual(layers):
            return Residual(*stack(layers))
        case workloads.LeakyReLU(slope):
            return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
        case workloads.Tanh():
            return nn.Tanh()
        case workloads.Dropout(rate):
            return nn.Dropout(rate)
        case workloads.Maxout(pieces):
            return Maxout(pieces)
        case workloads.Reshape(rows, columns, channels):
            return nn.Unflatten(1, (channels, rows, columns))
        case workloads.Flatten():
            return nn.Flatten()
    raise TypeError(layer)


def stack(layers: Sequence[Layer]) -> list[nn.Module]:
    """The layers in PyTorch."""
    return list(itertools.starmap(module, zip(layers, [None, *layers], strict=False)))


def networks(config: ConfigDict) -> dict[str, nn.Module]:
    """The networks of a workload."""
    return {name: nn.Sequential(*stack(layers)) for name, layers in workloads.layers(config).items()}


LOSSES = {  # real logits, fake logits -> the discriminator's loss, the generator's
    "non_saturating": (
        lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),
        lambda real, fake: softplus(-fake).mean(),
    ),
    "relativistic": (
        lambda real, fake: softplus(fake - real).mean(),
        lambda real, fake: softplus(real - fake).mean(),
    ),
}


def logits_and_slopes(critic: nn.Module, examples: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and their gradients by the examples, to be differentiated once more."""
    examples = examples.detach().requires_grad_()
    logits = critic(examples).float()
    (slopes,) = torch.autograd.grad(logits.sum(), examples, create_graph=True)
    return logits, slopes


def compiled_logits_and_slopes(mode: str) -> Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]:
    """The same for torch.compile, which takes the first of the gradients as part of the forward pass."""

    def forward(critic: nn.Module, examples: Tensor) -> tuple[Tensor, Tensor]:
        logits, vjp = torch.func.vjp(lambda own: critic(own).float(), examples.detach())
        (slopes,) = vjp(torch.ones_like(logits))
        return logits, slopes

    return torch.compile(forward, mode=mode)


class Program:
    """The workload in training.

    Args:
        config: the workload.
        real: its batches, [count, batch, ...], channels last.
        precision: "bfloat16" is autocast's; "tf32" lets a GPU round the inputs of float32 products.
        compiled: whether both networks go through torch.compile, on a GPU with CUDA graphs.
        channels_last: whether images and kernels lie so in memory.
    """

    networks = staticmethod(networks)
    channels_last = torch.channels_last

    def __init__(self, config: ConfigDict, real: np.ndarray, precision: str, compiled: bool, channels_last: bool):
        use_precision(precision)
        torch.manual_seed(0)
        self.config, self.dispatch = config, 1
        layout = self.channels_last if channels_last else torch.contiguous_format
        own = {name: network.to(DEVICE, memory_format=layout) for name, network in self.networks(config).items()}
        self.parameters = {name: list(network.parameters()) for name, network in own.items()}
        self.optimizers = {
            name: torch.optim.Adam(
                self.parameters[name], settings.learning_rate, (settings.b1, settings.b2), fused=True
            )
            for name, settings in config.optimizer.items()
        }
        self.averaged = own["generator"]
        if config.ema_decay:
            self.average = AveragedModel(self.averaged, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        mode = "reduce-overhead" if GPU else "default"
        compiled_or_not = {
            name: torch.compile(network, mode=mode) if compiled else network for name, network in own.items()
        }
        self.generator, self.discriminator = compiled_or_not["generator"], compiled_or_not["discriminator"]
        self.penalties = config.penalties.r1, config.penalties.r2
        self.critic = own["discriminator"]
        self.logits_and_slopes = compiled_logits_and_slopes(mode) if compiled else logits_and_slopes
        self.d_loss, self.g_loss = LOSSES[config.loss]
        self.autocast = torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16")
        batches = torch.from_numpy(real)
        if batches.ndim > 3:
            batches = batches.movedim(-1, 2)
        self.batches = itertools.cycle([batch.contiguous(memory_format=layout).to(DEVICE) for batch in batches])
        self.records = compiled and GPU
        if config.update_rule == "simultaneous":
            functorch_config.donated_buffer = False  # a graph is kept for its second backward pass
        self.step = self.simultaneous if config.update_rule == "simultaneous" else self.alternating
        how = [f"torch.compile ({mode})" if compiled else "eager", "channels last" if channels_last else "NCHW"]
        self.settings = ", ".join(
            [f"PyTorch {torch.__version__}", *how, "fused Adam", f"{torch.get_num_threads()} threads"]
        )

    def run(self, steps: int) -> None:
        """Makes so many steps and waits for the last."""
        for _ in range(steps):
            if self.records:
                torch.compiler.cudagraph_mark_step_begin()
            self.step(next(self.batches))
            if self.config.ema_decay:
                self.average.update_parameters(self.averaged)
        if GPU:
            torch.cuda.synchronize()

    def fakes(self) -> Tensor:
        """A batch of them, of new latents."""
        return self.generator(torch.randn(self.config.batch_size, self.config.latent_dim, device=DEVICE))

    def alternating(self, real: Tensor) -> None:
        """The discriminator's update, then the generator's by the new discriminator."""
        with self.autocast, torch.set_grad_enabled(self.config.reuse_fakes):
            fake = self.fakes()
        with self.autocast:
            real_logits, real_penalty = self.discriminate(real, self.penalties[0])
            fake_logits, fake_penalty = self.discriminate(fake.detach(), self.penalties[1])
        self.update("discriminator", self.d_loss(real_logits, fake_logits) + real_penalty + fake_penalty)
        self.discriminator.requires_grad_(False)
        with self.autocast:
            fake = fake if self.config.reuse_fakes else self.fakes()
            real_logits = None  # which most generators' losses have no use for
            if self.config.loss == "relativistic":
                real_logits = self.discriminator(real).float()
            fake_logits = self.discriminator(fake).float()
        self.update("generator", self.g_loss(real_logits, fake_logits))
        self.discriminator.requires_grad_(True)

    def simultaneous(self, real: Tensor) -> None:
        """Both updates from one forward pass, with two backward passes."""
        with self.autocast:
            fake = self.fakes()
            logits = self.discriminator(real).float(), self.discriminator(fake).float()
        for name, loss in (("discriminator", self.d_loss(*logits)), ("generator", self.g_loss(*logits))):
            self.optimizers[name].zero_grad(set_to_none=True)
            loss.backward(inputs=self.parameters[name], retain_graph=name == "discriminator")
        for optimizer in self.optimizers.values():  # whose parameters both backward passes had to find as they were
            optimizer.step()

    def discriminate(self, examples: Tensor, weight: float) -> tuple[Tensor, Tensor | float]:
        """Logits, and the weighted penalty on their gradients by the examples."""
        if not weight:
            return self.discriminator(examples).float(), 0.0
        logits, slopes = self.logits_and_slopes(self.critic, examples)
        return logits, 0.5 * weight * slopes.square().sum() / len(examples)

    def update(self, name: str, loss: Tensor) -> None:
        """One step of a network's Adam."""
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward(inputs=self.parameters[name])
        self.optimizers[name].step()


def use_precision(precision: str) -> None:
    """Sets what a GPU may round the inputs of float32 products to."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


def device_peak() -> int | None:
    """The most bytes of a GPU's memory that were in use; None on a CPU."""
    return torch.cuda.max_memory_allocated() if GPU else None


def product_seconds(size: int, precision: str) -> float:
    """The time that a product of two square matrices takes, the best of several."""
    use_precision(precision)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left, right = torch.randn(2, size, size, device=DEVICE).to(dtype)

    def run() -> None:
        left @ right
        if GPU:
            torch.cuda.synchronize()

    return best_seconds(run)
