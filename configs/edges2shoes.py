"""Drawings of shoes to photographs, 64x64 in colour: pix2pix on few pairs.

The data are pairs of pix2pix's edges2shoes, each side in a folder of its own: edges2shoes/train/edges and
edges2shoes/train/photo, with equal names, and the same in val. The authors' own files, which hold both sides in one
picture, are side_by_side:PATH. A hundred pairs give shapes, and one colour to a shoe; the authors have 50,000.

Command:  python train.py --config=configs/edges2shoes.py --workdir=runs/edges2shoes \\
              --config.data.source=paired:edges2shoes
          python sample.py --workdir=runs/edges2shoes --input=drawing.png --out=shoe.png
Time:     some 20 minutes on two CPU cores, beside other work
Expect:   L1 .123, PSNR 14.7 and SSIM .596 on the 20 pairs of val; the unchanged drawing has .285, 8.1 and .404
"""

from ml_collections import ConfigDict

from jaxgan.configs import facades


def get_config() -> ConfigDict:
    config = facades.get_config()
    config.data.source = "paired:edges2shoes"
    config.model.discriminator.depth = 3  # whole shoes: small patches made shoes of several colours
    config.augment = ("translation", "cutout")  # a hundred pairs are few
    config.steps = 6000
    for network in config.optimizer.values():
        network.constant_steps = network.decay_steps = config.steps // 2
    return config
