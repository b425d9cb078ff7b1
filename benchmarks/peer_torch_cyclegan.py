"""CycleGAN's training step in PyTorch, as its users write it well: eager or compiled, NCHW or channels last.

Adam is the fused one, one optimizer for both networks of a player. The discriminators' gradients are not computed where
the generators alone learn.
"""

import itertools
import random

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import Tensor
from torch.nn.functional import l1_loss

from benchmarks.peer_torch import DEVICE, GPU, device_peak, networks, product_seconds, use_precision

__all__ = ["Program", "device_peak", "product_seconds"]


class Pool:
    """Former fakes: a full pool shows each new fake, or, as often, one of its images, which the fake then replaces."""

    def __init__(self, size: int):
        self.size, self.images = size, []

    def query(self, fakes: Tensor) -> Tensor:
        """What is shown in the place of fakes [batch, ...]."""
        return torch.stack([self.exchange(fake) for fake in fakes]) if self.size else fakes

    def exchange(self, fake: Tensor) -> Tensor:
        """What is shown in the place of one fake."""
        if len(self.images) < self.size:
            self.images.append(fake)
            return fake
        if random.random() < 0.5:
            return fake
        place = random.randrange(self.size)
        shown, self.images[place] = self.images[place], fake
        return shown


class Program:
    """The workload in training; arguments as in `peer_torch.Program`, with batches [count, 2, batch, ...].

    Args:
        config: the workload.
        real: its batches, channels last.
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
        own = {name: network.to(DEVICE, memory_format=layout) for name, network in networks(config).items()}
        self.parameters = {
            player: [
                value for name, network in own.items() if name.startswith(player) for value in network.parameters()
            ]
            for player in ("generator", "discriminator")
        }
        self.optimizers = {
            player: torch.optim.Adam(
                self.parameters[player], settings.learning_rate, (settings.b1, settings.b2), fused=True
            )
            for player, settings in config.optimizer.items()
        }
        self.networks = {name: torch.compile(network) if compiled else network for name, network in own.items()}
        self.pools = {domain: Pool(config.pool_size) for domain in "ab"}
        self.autocast = torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16")
        batches = torch.from_numpy(real).movedim(-1, 3)
        self.batches = itertools.cycle(
            [[images.contiguous(memory_format=layout).to(DEVICE) for images in pair] for pair in batches]
        )
        how = ["torch.compile" if compiled else "eager", "channels last" if channels_last else "NCHW", "fused Adam"]
        self.settings = ", ".join([f"PyTorch {torch.__version__}", *how, f"{torch.get_num_threads()} threads"])

    def run(self, steps: int) -> None:
        """Makes so many steps and waits for the last."""
        for _ in range(steps):
            self.step(*next(self.batches))
        if GPU:
            torch.cuda.synchronize()

    def step(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """One update of both generators, then one of both discriminators; their losses."""
        self.discriminate_requires_grad(False)
        with self.autocast:
            fake_a, fake_b, generators_loss = self.translate(a, b)
        self.update("generator", generators_loss)
        self.discriminate_requires_grad(True)
        losses = {"generators": generators_loss}
        for domain, real, fake in (("a", a, fake_a), ("b", b, fake_b)):
            shown = self.pools[domain].query(fake.detach())
            with self.autocast:
                logits = [self.networks[f"discriminator_{domain}"](images).float() for images in (real, shown)]
            losses[domain] = 0.5 * ((logits[0] - 1).square().mean() + logits[1].square().mean())
        self.update("discriminator", losses["a"] + losses["b"])
        return losses

    def translate(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Fakes of both domains, and what the generators minimise."""
        to_a, to_b = self.networks["generator_ba"], self.networks["generator_ab"]
        fake_a, fake_b = to_a(b), to_b(a)
        cycles = l1_loss(to_a(fake_b).float(), a) + l1_loss(to_b(fake_a).float(), b)
        identities = l1_loss(to_a(a).float(), a) + l1_loss(to_b(b).float(), b)
        logits = [self.networks["discriminator_a"](fake_a).float(), self.networks["discriminator_b"](fake_b).float()]
        adversarial = 0.5 * sum((each - 1).square().mean() for each in logits)
        weighted = self.config.adversarial * adversarial + self.config.cycle * cycles
        return fake_a, fake_b, weighted + self.config.cycle * self.config.identity * identities

    def discriminate_requires_grad(self, wanted: bool) -> None:
        """Whether gradients by the discriminators' parameters are computed."""
        for parameter in self.parameters["discriminator"]:
            parameter.requires_grad_(wanted)

    def update(self, player: str, loss: Tensor) -> None:
        """One step of a player's Adam."""
        self.optimizers[player].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[player].step()
