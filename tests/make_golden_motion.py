"""Makes golden/motion.npz: what small networks of the First Order Motion Model's authors compute.

    git clone https://github.com/AliaksandrSiarohin/first-order-model
    PYTHONPATH=first-order-model python tests/make_golden_motion.py

needs torch. Weights are random, and stand in the file as Flax names them: a bias before a BatchNorm is part of its
mean. `grid_sample` aligns corners, as all of PyTorch did when the published weights were trained.
"""

import functools
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

functional.grid_sample = functools.partial(functional.grid_sample, align_corners=True)
functional.sigmoid = torch.sigmoid
torchvision = types.ModuleType("torchvision")
torchvision.models = None
sys.modules["torchvision"] = torchvision

from modules.discriminator import MultiScaleDiscriminator  # noqa: E402
from modules.generator import OcclusionAwareGenerator  # noqa: E402
from modules.keypoint_detector import KPDetector  # noqa: E402
from modules.model import Transform  # noqa: E402

COUNT, BLOCKS, SIDE = 3, 2, 32
HOURGLASS = {"block_expansion": 4, "max_features": 12, "num_blocks": BLOCKS, "scale_factor": 0.5}


def randomized(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Gives a network random weights and moments, and returns them by PyTorch's names."""
    module.eval()
    with torch.no_grad():
        for name, array in module.state_dict().items():
            if name.endswith("running_var"):
                array.uniform_(0.5, 1.5)
            elif "down.weight" not in name and array.is_floating_point():
                array.add_(0.1 * torch.randn(array.shape))
    return {name: array.numpy().copy() for name, array in module.state_dict().items()}


class Flax:
    """Arrays by Flax's paths, made from PyTorch's."""

    def __init__(self, network: str, state: dict[str, np.ndarray]):
        self.network, self.state, self.arrays = network, state, {}

    def put(self, path: str, array: np.ndarray) -> None:
        collection, _, rest = path.partition("/")
        self.arrays[f"{self.network}/{collection}/{rest}"] = array

    def conv(self, ours: str, theirs: str, bias: bool = True) -> None:
        self.put(f"params/{ours}/kernel", self.state[f"{theirs}.weight"].transpose(2, 3, 1, 0))
        if bias:
            self.put(f"params/{ours}/bias", self.state[f"{theirs}.bias"])

    def norm(self, ours: str, theirs: str, folded: str | None = None) -> None:
        self.put(f"params/{ours}/scale", self.state[f"{theirs}.weight"])
        self.put(f"params/{ours}/bias", self.state[f"{theirs}.bias"])
        bias = self.state[f"{folded}.bias"] if folded else 0
        self.put(f"batch_stats/{ours}/mean", self.state[f"{theirs}.running_mean"] - bias)
        self.put(f"batch_stats/{ours}/var", self.state[f"{theirs}.running_var"])

    def blocks(self, names: list[str]) -> None:
        for index, name in enumerate(names):
            self.conv(f"ConvBlock_{index}/Conv_0", f"{name}.conv", bias=False)
            self.norm(f"ConvBlock_{index}/BatchNorm_0", f"{name}.norm", f"{name}.conv")


def hourglass_names(prefix: str) -> list[str]:
    down = [f"{prefix}.encoder.down_blocks.{index}" for index in range(BLOCKS)]
    return down + [f"{prefix}.decoder.up_blocks.{index}" for index in range(BLOCKS)]


def main() -> None:
    torch.manual_seed(0)
    detector = KPDetector(num_kp=COUNT, num_channels=3, temperature=0.1, estimate_jacobian=True, **HOURGLASS)
    generator = OcclusionAwareGenerator(
        num_channels=3,
        num_kp=COUNT,
        block_expansion=4,
        max_features=12,
        num_down_blocks=2,
        num_bottleneck_blocks=2,
        estimate_occlusion_map=True,
        dense_motion_params=HOURGLASS,
        estimate_jacobian=True,
    )
    sizes = {"block_expansion": 2, "max_features": 6, "num_blocks": 2, "num_channels": 3}
    discriminators = {
        name: MultiScaleDiscriminator(scales=[1], use_kp=use, num_kp=COUNT if use else 0, **sizes)
        for name, use in (("with", True), ("without", False))
    }

    kp = Flax("keypoints", randomized(detector))
    kp.blocks(hourglass_names("predictor"))
    kp.conv("heatmaps", "kp", bias=False)
    kp.conv("jacobian_maps", "jacobian")
    kp.arrays["keypoints/params/jacobian_maps/bias"] -= np.tile(np.float32([1, 0, 0, 1]), COUNT)

    state = randomized(generator)
    motion = Flax("motion", state)
    motion.blocks(hourglass_names("dense_motion_network.hourglass"))
    motion.conv("masks", "dense_motion_network.mask")
    motion.conv("occlusion_map", "dense_motion_network.occlusion")
    paint = Flax("generator", state)
    paint.blocks(["first", *(f"{way}_blocks.{index}" for way in ("down", "up") for index in range(2))])
    for index in range(2):
        name, block = f"bottleneck.r{index}", f"ResidualBlock_{index}"
        paint.norm(f"{block}/BatchNorm_0", f"{name}.norm1")
        paint.conv(f"{block}/Conv_0", f"{name}.conv1", bias=False)
        paint.norm(f"{block}/BatchNorm_1", f"{name}.norm2", f"{name}.conv1")
        paint.conv(f"{block}/Conv_1", f"{name}.conv2")
    paint.conv("image", "final")

    source, driving = torch.rand(2, 2, 3, SIDE, SIDE)
    with torch.no_grad():
        kp_source, kp_driving = detector(source), detector(driving)
        found = generator(source, kp_driving=kp_driving, kp_source=kp_source)
    arrays = kp.arrays | motion.arrays | paint.arrays
    arrays |= {"source": source.numpy().transpose(0, 2, 3, 1), "driving": driving.numpy().transpose(0, 2, 3, 1)}
    for name, own in (("source", kp_source), ("driving", kp_driving)):
        arrays |= {f"{name} positions": own["value"].numpy(), f"{name} jacobians": own["jacobian"].numpy()}
    with torch.no_grad():
        dense = generator.dense_motion_network(source_image=source, kp_driving=kp_driving, kp_source=kp_source)
    arrays["flow"] = dense["deformation"].numpy()
    arrays["occlusion"] = found["occlusion_map"].numpy().transpose(0, 2, 3, 1)
    arrays["prediction"] = found["prediction"].numpy().transpose(0, 2, 3, 1)
    arrays["deformed"] = found["deformed"].numpy().transpose(0, 2, 3, 1)

    for name, network in discriminators.items():
        flax = Flax(f"discriminator {name}", randomized(network))
        flax.conv("Patches_0/Conv_0", "discs.1.down_blocks.0.conv")
        flax.conv("Patches_0/Conv_1", "discs.1.down_blocks.1.conv", bias=False)
        flax.put("params/Patches_0/norm_1_scale", flax.state["discs.1.down_blocks.1.norm.weight"])
        flax.put("params/Patches_0/norm_1_bias", flax.state["discs.1.down_blocks.1.norm.bias"])
        flax.conv("Patches_0/Conv_2", "discs.1.conv")
        with torch.no_grad():
            out = network({"prediction_1": driving}, kp_driving)
        arrays |= flax.arrays | {f"logits {name}": out["prediction_map_1"].numpy()[:, 0]}
        for index, features in enumerate(out["feature_maps_1"]):
            arrays[f"features {name} {index}"] = features.numpy().transpose(0, 2, 3, 1)

    transform = Transform(2, sigma_affine=0.05, sigma_tps=0.005, points_tps=5)
    places = torch.rand(2, 7, 2) * 2 - 1
    places.requires_grad_()
    arrays |= {"theta": transform.theta.numpy(), "control": transform.control_params.numpy()[:, 0]}
    arrays |= {
        "places": places.detach().numpy(),
        "transformed places": transform.warp_coordinates(places).detach().numpy(),
        "transformed jacobians": transform.jacobian(places).detach().numpy(),
        "transformed frame": transform.transform_frame(source).detach().numpy().transpose(0, 2, 3, 1),
    }
    arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    np.savez_compressed(Path(__file__).parent / "golden" / "motion.npz", **arrays)


if __name__ == "__main__":
    main()
