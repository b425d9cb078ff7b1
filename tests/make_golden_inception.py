"""Makes the files by which tests without PyTorch compare with it; needs torch 2.13 and torch-fidelity 0.4.0.

    python tests/make_golden_inception.py

golden_inception.json has numbers of what torch-fidelity's Inception network makes of `random_images` by `random_state`;
golden_weights.pth and golden_weights_legacy.pth are small state dicts, as `torch.save` writes them today and did before
PyTorch 1.6.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from random_inception import random_images, random_state
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from jaxgan.metrics import inception_weights

HERE = Path(__file__).parent
NAMES = ("small", "large")  # of images
ENTRIES = 8  # of every tap


def network(state: dict[str, np.ndarray]) -> FeatureExtractorInceptionV3:
    """torch-fidelity's network with these weights; it refuses them unless names and shapes are its own."""
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save({name: torch.from_numpy(array) for name, array in state.items()}, file.name)
        taps = FeatureExtractorInceptionV3.get_provided_features_list()
        return FeatureExtractorInceptionV3("golden", list(taps), feature_extractor_weights_path=file.name)


def outputs(reference: FeatureExtractorInceptionV3, images: np.ndarray) -> dict[str, np.ndarray]:
    """Its taps for uint8 images [batch, height, width, channel]; grey ones become three channels first."""
    coloured = np.broadcast_to(images, (*images.shape[:3], 3)).transpose(0, 3, 1, 2)
    with torch.no_grad():
        values = reference(torch.from_numpy(np.ascontiguousarray(coloured)))
    return {tap: value.numpy() for tap, value in zip(reference.features_list, values, strict=True)}


def entries(values: np.ndarray) -> list[float]:
    """Some of a tap's numbers, from first to last."""
    return [float(value) for value in values[np.linspace(0, len(values) - 1, ENTRIES).astype(int)]]


def small_state() -> dict[str, torch.Tensor]:
    """Tensors of several types, that share storages, begin within them and skip numbers."""
    module = torch.nn.BatchNorm1d(2)
    numbers = torch.arange(24, dtype=torch.float32)
    state = module.state_dict()  # an OrderedDict with an attribute, which pickles say in an opcode of its own
    state["matrix"] = numbers.reshape(4, 6)
    state["turned"] = numbers.reshape(4, 6).T
    state["part"] = numbers.reshape(2, 3, 4)[1:, ::2, 1:3]
    state["halves"] = torch.tensor([0.5, -2.0], dtype=torch.float16)
    state["flags"] = torch.tensor([True, False])
    state["none"] = torch.zeros(0, 3)
    state["parameter"] = torch.nn.Parameter(torch.tensor([[1.0, 2.0]], dtype=torch.float64))
    return state


def main() -> None:
    reference, golden = network(random_state(inception_weights.torch_shapes())), {}
    for name in NAMES:
        taps = outputs(reference, random_images(name))
        golden[name] = {
            tap: {"rms": float(np.sqrt(np.mean(values**2))), "entries": entries(values[0])}
            for tap, values in taps.items()
        }
    (HERE / "golden_inception.json").write_text(json.dumps(golden, indent=1) + "\n")
    torch.save(small_state(), HERE / "golden_weights.pth")
    torch.save(small_state(), HERE / "golden_weights_legacy.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
