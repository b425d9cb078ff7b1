"""Times the ways of examples to the device, beside PyTorch's.

    python -m benchmarks.data [--folder PATH] [--workers 2] [--rounds 5]

Streaming: 128x128 JPEGs in a folder (made up, unless --folder names one) to batches of 64x64, against PyTorch's
DataLoader with as many workers and Pillow; needs `pip install -e '.[bench]'`. Resident: what the resident loader adds
to a step. Opening: 60,000 images whose cache is warm. Memory: the streaming loader of 10,000 and of 1,000,000 images.
What is compared is measured in turns; ratios are medians over the turns, with their quartiles. The result is appended
to benchmarks/RESULTS.md.
"""

import argparse
import contextlib
import functools
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from benchmarks import report
from jaxgan.cli.train import load_config
from jaxgan.config import build, default
from jaxgan.core import population
from jaxgan.core.program import train_steps
from jaxgan.data import loader, sources

BATCH = 64
SIZE = 64
IMAGES = 2_000
ROOM = 2**40  # bytes: whatever is asked for fits


def make_folder(root: Path) -> Path:
    """Photographs that nobody took: smooth colours with some noise, 128x128, in two classes."""
    generator = np.random.default_rng(0)
    for index in range(IMAGES):
        coarse = Image.fromarray(generator.integers(0, 256, (9, 9, 3), np.uint8)).resize(
            (128, 128), Image.Resampling.BICUBIC
        )
        pixels = np.asarray(coarse) + generator.normal(0, 8, (128, 128, 3))
        path = root / str(index % 2) / f"{index:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return root


def folder_config(folder: Path, **settings: object) -> ConfigDict:
    """The experiment whose data is streamed."""
    return images_config(f"folder:{folder}", SIZE, 3, **settings)


def images_config(source: str, size: int, channels: int, **settings: object) -> ConfigDict:
    """An experiment with streamed images."""
    config = default({"data.source": source})
    config.batch_size = BATCH
    config.data.update(size=size, channels=channels, placement="streaming", **settings)
    return config


def make_loader(config: ConfigDict, room: int = ROOM) -> loader.DeviceLoader | loader.PrefetchLoader:
    """The loader of an experiment with a batch in each step."""
    return loader.make_loader(config, sources.open_dataset(config), 1, room)


# Streaming


def plain_pillow(resample: Image.Resampling, path: str) -> np.ndarray:
    """What one writes for a DataLoader: the whole image resized in one go."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIZE, SIZE), resample))


class TorchImages:
    """A map-style data set of PyTorch: uint8 images and labels."""

    def __init__(self, paths: list[str], labels: np.ndarray, decode: Callable[[str], np.ndarray]):
        self.paths, self.labels, self.decode = paths, labels, decode

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.decode(self.paths[index]), int(self.labels[index])


def torch_batches(paths: list[str], labels: np.ndarray, decode: Callable[[str], np.ndarray], workers: int) -> Iterator:
    """Shuffled batches without end."""
    import torch  # noqa: PLC0415  (an optional peer)

    loader = torch.utils.data.DataLoader(
        TorchImages(paths, labels, decode),
        BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=True,
        prefetch_factor=8,
        multiprocessing_context="spawn",  # JAX does not survive a fork
    )
    while True:
        yield from loader


def jaxgan_batches(config: ConfigDict) -> Iterator[dict[str, np.ndarray]]:
    """Batches without end."""
    batches = make_loader(config)
    try:
        step = 0
        while True:
            yield batches.inputs_at(step, 1)
            step += 1
    finally:
        batches.close()


def rate(batches: Iterator, seconds: float) -> float:
    """Images per second once everything runs."""
    for _ in range(30):
        next(batches)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        next(batches)
        count += BATCH
    return count / (time.perf_counter() - started)


def streaming(folder: Path, workers: int, rounds: int) -> str:
    """Images per second of each system, in turns."""
    examples = sources.open_dataset(folder_config(folder, cache=False))
    split = examples.selection.parts[0][0]
    systems = {}
    if importlib.util.find_spec("torch"):
        peers = {
            "PyTorch, Pillow's Lanczos": functools.partial(plain_pillow, Image.Resampling.LANCZOS),
            "PyTorch, Pillow's bilinear": functools.partial(plain_pillow, Image.Resampling.BILINEAR),
            "PyTorch, decoding as jaxgan does": functools.partial(_transformed, examples.transform),
        }
        for name, decode in peers.items():
            systems[name] = lambda decode=decode: torch_batches(split.paths, split.targets, decode, workers)
    else:
        print("PyTorch is missing and left out: pip install -e '.[bench]'")
    systems["jaxgan"] = lambda: jaxgan_batches(folder_config(folder, cache=False, workers=workers))
    systems["jaxgan, cache warm"] = lambda: jaxgan_batches(folder_config(folder))
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, start in systems.items():
            with contextlib.closing(start()) as batches:
                rates[name].append(rate(batches, seconds=3.0))
    peers = [name for name in systems if name.startswith("PyTorch")]
    rows = []
    for name, values in rates.items():
        ratios = [_ratio(values, rates[peer]) for peer in peers]
        rows.append([name, f"{statistics.median(values):,.0f}", *ratios])
    heads = [f"times {peer.removeprefix('PyTorch, ')}" for peer in peers]
    return report.table([f"{workers} workers", "images/s", *heads], rows)


def _transformed(transform: Callable[[str, str], np.ndarray], path: str) -> np.ndarray:
    return transform(path, path)


def _ratio(values: list[float], others: list[float]) -> str:
    ratios = [value / other for value, other in zip(values, others, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.2f} to {high:.2f})"


# Resident


def experiments() -> dict[str, ConfigDict]:
    """The default experiment, and PyTorch's DCGAN on as many images as the flowers have."""
    dcgan = default()
    dcgan.data.update(size=SIZE, channels=3)
    return {"digits": load_config("configs/digits.py"), "DCGAN 64x64": dcgan}


def stepper(config: ConfigDict, loads: bool) -> Callable[[int], int]:
    """Runs some training steps: on the batches of the resident loader, or all on one batch that is on the device.

    The function runs a number of further steps, and returns the step of its state.
    """
    exp = build(config)
    batches = make_loader(config)
    batch_fn = loader.make_batch_fn(config, batches)
    data = jax.device_put(batches.data)
    if not loads:
        first = jax.tree.map(lambda array: array[0], batches.inputs_at(0, 1))
        data = jax.jit(batch_fn)(data, first, np.uint32(0), np.int32(0))
        batch_fn = lambda data, inputs, seed, step: data  # noqa: E731
    state = jax.jit(lambda: population.init_state(exp))()
    inputs = batches.inputs_at(0, 1) if loads else np.zeros(1, np.int32)
    run = functools.partial(train_steps, exp, batch_fn)
    compiled = jax.jit(run, donate_argnums=0).lower(state, (data, ()), inputs).compile()
    now = [state, 0]

    def several(count: int) -> int:
        for step in range(now[1], now[1] + count):
            now[0], metrics = compiled(now[0], (data, ()), batches.inputs_at(step, 1) if loads else inputs)
        now[1] += count
        jax.block_until_ready((now[0], metrics))
        return int(now[0].step)

    return several


def resident(rounds: int) -> str:
    """Milliseconds per training step with and without the loader, in turns."""
    rows = []
    for name, config in experiments().items():
        ways = {loads: stepper(config, loads) for loads in (False, True)}
        count = 1
        while (taken := _seconds(ways[False], count)) < 0.2:  # short turns, since a machine's speed changes
            count *= 2
        times: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(max(16, int(3 * rounds / taken))):
            for loads in (False, True) if turn % 2 else (True, False):
                times[loads].append(_seconds(ways[loads], count) / count * 1000)
        medians = [f"{statistics.median(times[loads]):.2f}" for loads in (False, True)]
        rows.append([name, *medians, _ratio(times[True], times[False])])
    return report.table(["training step", "without loader, ms", "with, ms", "ratio"], rows)


def _seconds(several: Callable[[int], None], count: int) -> float:
    started = time.perf_counter()
    several(count)
    return time.perf_counter() - started


# Opening and memory, each in a process of its own

OPEN = """
import sys, time
import numpy
from benchmarks.data import images_config
from jaxgan.data import sources
started = time.perf_counter()
examples = sources.open_dataset(images_config(f"folder:{sys.argv[1]}", 28, 1))
examples.take(numpy.array([0, len(examples) - 1]))
print(time.perf_counter() - started)
"""

STREAM = """
import sys
from pathlib import Path
import jax.numpy
from benchmarks.data import images_config, make_loader
batches = make_loader(images_config(f"array:{sys.argv[1]}", 32, 3), 0)
for step in range(400):
    batches.inputs_at(step, 1)
batches.close()
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("RssAnon")))
"""


def run(code: str, *arguments: str) -> float:
    """The number that a program prints."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def opening(root: Path) -> str:
    """Seconds to open a folder of 60,000 PNG files, first without a cache and then with it."""
    picture = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    for index in range(60_000):
        path = root / str(index % 10) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture[0, :3] = index % 256, index // 256 % 256, index // 65536
        Image.fromarray(picture).save(path, compress_level=0)
    cold, *warm = [run(OPEN, str(root)) for _ in range(4)]
    rows = [["60,000 PNG files of 28x28", f"{cold:.1f}", f"{statistics.median(warm):.2f}"]]
    return report.table(["opening", "cache cold, s", "cache warm, s"], rows)


def memory(root: Path) -> str:
    """Memory of a process that streams 25,600 images out of few and out of many."""
    rows = []
    for count in (10_000, 1_000_000):
        path = root / f"{count}.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, (count, 32, 32, 3)).flush()  # holes, which take no disk
        rows.append([f"{count:,}", f"{run(STREAM, str(path)) / 1024:.0f}"])
    return report.table(["images to stream", "memory, MiB"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="JPEGs, in folders by class")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        os.environ["JAXGAN_DATA_CACHE"] = str(root / "cache")
        folder = options.folder or make_folder(root / "jpeg")
        parts = [
            streaming(folder, options.workers, options.rounds),
            resident(options.rounds),
            opening(root / "png"),
            memory(root),
        ]
    packages = ["jax", "grain", "pillow", *(["torch"] if importlib.util.find_spec("torch") else [])]
    command = f"python -m benchmarks.data {' '.join(sys.argv[1:])}".strip()
    report.append("Data", command, "\n\n".join([report.machine(*packages), *parts]))


if __name__ == "__main__":
    main()
