"""Makes tests/golden/translators: small generators as the authors of CycleGAN, CUT and pix2pix save theirs.

    git clone https://github.com/taesungp/contrastive-unpaired-translation
    python tests/make_golden_translators.py contrastive-unpaired-translation

needs torch 2.13. Each NAME.pth has random weights, and NAME.npz an input, uint8 [H, W, C], with the network's output,
float32 [H, W, C], which is computed in float64: six residual blocks in float32 are wrong by 1e-5 themselves.
"""

import functools
import importlib
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent / "golden" / "translators"
INSTANCE = functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
BATCH = functools.partial(nn.BatchNorm2d, affine=True, track_running_stats=True)
SHARP = {"no_antialias": True, "no_antialias_up": True}


def networks(root: str) -> types.ModuleType:
    """The authors' module `models.networks`, without what `models` itself imports."""
    package = types.ModuleType("models")
    package.__path__ = [f"{root}/models"]
    sys.modules["models"] = package
    return importlib.import_module("models.networks")


def as_old(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of several devices, and the moments of InstanceNorm that PyTorch kept before version 0.4."""
    moments = {
        f"model.2.{name}": torch.full((2,), value) for name, value in (("running_mean", 0.5), ("running_var", 2.0))
    }
    return {f"module.{name}": tensor for name, tensor in (state | moments).items()}


def save(name: str, network: nn.Module, size: tuple[int, int], zipped: bool, change=lambda state: state) -> None:
    """Writes a network with random weights, and what it makes of random pixels while it trains, but for dropout."""
    torch.manual_seed(0)
    for array in network.parameters():
        nn.init.normal_(array, 0.0, 0.3)
    channels = next(network.parameters()).shape[1]
    pixels = np.random.default_rng(0).integers(0, 256, (*size, channels), np.uint8)
    inputs = torch.from_numpy(pixels.transpose(2, 0, 1)[None] / 127.5 - 1)
    torch.save(change(network.state_dict()), HERE / f"{name}.pth", _use_new_zipfile_serialization=zipped)
    for module in network.train().modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad():
        output = network.double()(inputs)[0].numpy().transpose(1, 2, 0)
    np.savez(HERE / f"{name}.npz", pixels=pixels, output=np.float32(output))


def main() -> None:
    found = networks(sys.argv[1])
    HERE.mkdir(parents=True, exist_ok=True)

    def residual(blocks: int, norm=INSTANCE, dropout: bool = False, **options: bool) -> nn.Module:
        return found.ResnetGenerator(3, 3, 2, norm, dropout, blocks, **options)

    save("resnet_zip", residual(6, **SHARP), (16, 12), True)
    save("resnet_old", residual(2, dropout=True, **SHARP), (16, 12), False, as_old)
    save("resnet_batch", residual(1, BATCH, **SHARP), (16, 12), True)
    save("resnet_antialias", residual(1), (16, 12), True)
    save("unet", found.UnetGenerator(1, 1, 5, 2, BATCH, True), (32, 64), False)
    save("unet_instance", found.UnetGenerator(1, 1, 6, 1, INSTANCE), (64, 64), True)
    torch.save(found.NLayerDiscriminator(3, 2, 1, INSTANCE, True).state_dict(), HERE / "discriminator.pth")


if __name__ == "__main__":
    main()
