"""Makes tests/golden/ada.npz: what the authors' augmentations do to an image where each draw is a fixed quantile.

    git clone https://github.com/NVlabs/stylegan2-ada-pytorch
    python tests/make_golden_ada.py stylegan2-ada-pytorch

needs torch 2.13 and scipy. The draws of the quantile q are q where they are uniform, and erfinv(2 q - 1) where they are
normal. The rotation after the other ones is left out, and noise, which is random nevertheless.
"""

import sys
from pathlib import Path

import numpy as np
import torch

QUANTILES = (0.15, 0.8)
ONE_BY_ONE = ("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac", "brightness", "contrast")
ONE_BY_ONE += ("lumaflip", "hue", "saturation", "cutout")
SIZES = {"colours": (11, 14, 3), "grey": (24, 23, 1)}  # the filter needs 22 pixels


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from training.augment import AugmentPipe  # noqa: PLC0415

    def run(image: np.ndarray, quantile: float, *names: str) -> np.ndarray:
        pipe = AugmentPipe(**dict.fromkeys(names, 1))
        out = pipe(torch.from_numpy(image.transpose(2, 0, 1)[None]), debug_percentile=quantile)
        return out[0].numpy().transpose(1, 2, 0)

    random = np.random.default_rng(0)
    found = {name: random.uniform(-1, 1, size).astype(np.float32) for name, size in SIZES.items()}
    for quantile in QUANTILES:
        for name in ONE_BY_ONE:
            found[f"colours/{quantile}/{name}"] = run(found["colours"], quantile, name)
        found[f"colours/{quantile}/all"] = run(found["colours"], quantile, *ONE_BY_ONE)
        found[f"grey/{quantile}/imgfilter"] = run(found["grey"], quantile, "imgfilter")
        found[f"grey/{quantile}/all"] = run(found["grey"], quantile, *ONE_BY_ONE, "imgfilter")
    np.savez_compressed(Path(__file__).parent / "golden" / "ada.npz", **found)


if __name__ == "__main__":
    main()
