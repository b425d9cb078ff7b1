"""Makes tests/golden/stylegan3.npz: outputs of small synthesis networks of StyleGAN3 by their authors' code.

    git clone https://github.com/NVlabs/stylegan3
    PYTHONPATH=stylegan3 python tests/make_golden_stylegan3.py

needs torch 2.13. Weights and inputs are those of `made_up.numbers`, by PyTorch's names without sizes; test_stylegan3.py
has the same sizes.
"""

import re
from pathlib import Path

import numpy as np
import torch
from made_up import numbers
from training.networks_stylegan3 import SynthesisNetwork

OUT = Path(__file__).parent / "golden" / "stylegan3.npz"
SIDE, W_DIM, LAYERS, DECAY = 32, 8, 5, 0.5**0.1
ROTATION = {"conv_kernel": 1, "use_radial_filters": True}


def made_up(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(numbers(re.sub(r"^L(\d+)_\d+_\d+", r"layer\1", name), tuple(shape)))


def outputs(width: int, clamp: float | None, **options) -> dict[str, np.ndarray]:
    """Of two images while training; each layer's tracked mean square after them."""
    channels = {"channel_base": width * 32, "channel_max": width * 4}
    options |= {"num_layers": LAYERS, "magnitude_ema_beta": DECAY, "conv_clamp": clamp, **channels}
    network = SynthesisNetwork(W_DIM, SIDE, 1, **options).train()
    with torch.no_grad():
        for name, array in [*network.named_parameters(), *network.named_buffers()]:
            if "filter" not in name and "magnitude" not in name and "transform" not in name:
                array.copy_(made_up(name, array.shape))
        images = network(made_up("ws", (2, network.num_ws, W_DIM)), update_emas=True)
    squares = [getattr(network, name).magnitude_ema for name in network.layer_names]
    return {"images": images.numpy(), "squares": torch.stack(squares).numpy()}


def main() -> None:
    groups = {"translation": outputs(1, None), "rotation": outputs(2, 3.0, **ROTATION)}
    np.savez_compressed(OUT, **{f"{group}/{name}": a for group, own in groups.items() for name, a in own.items()})


if __name__ == "__main__":
    main()
