"""Shared by all tests: the compilation cache, the cache of decoded images, and a finished run to copy."""

import atexit
import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# Before JAX is imported: what one test compiles no other one compiles again, and programs started by tests neither.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/jaxgan"))
# Each worker has a cache of its own: JAX would read what another one has written half of.
os.environ["JAX_COMPILATION_CACHE_DIR"] += "/" + os.environ.get("PYTEST_XDIST_WORKER", "alone")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Programs this small cost more to compile than to run.
QUICKLY = ["--xla_backend_optimization_level=0"]
if importlib.metadata.version("jax").startswith("0.10."):  # later ones know no emitters but the new ones
    QUICKLY += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *QUICKLY]).strip()

# Before NumPy is imported: a worker's threads of linear algebra would wait for each other while another one computes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Decoded images go to a folder of this session alone, never to the user's; programs started by tests inherit it.
os.environ["JAXGAN_DATA_CACHE"] = tempfile.mkdtemp(prefix="jaxgan-data-")
atexit.register(shutil.rmtree, os.environ["JAXGAN_DATA_CACHE"], ignore_errors=True)

# How long an example takes says nothing beside another busy worker, and a failure should come again.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")


# Files that take longest come first, so that at the end no worker waits for another one's last file.
LONGEST = (
    "reliability",
    "train",
    "contracts",
    "multihost",
    "devices",
    "config",
    "fused_r1",
    "gan_steps",
    "population",
    "fuzz",
    "evaluate",
    "golden_steps",
    "workers",
    "stabilisers",
    "train_data",
    "cli",
    "vae",
    "inception",
    "nonfinite",
    "loader",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders files, and leaves the tests of each in their order."""
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(autouse=True, scope="module")
def no_compiled_programs_left() -> Iterator[None]:
    """Gives back the memory of compiled programs, which hardly ever serve two modules."""
    yield
    if jax := sys.modules.get("jax"):
        jax.clear_caches()


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory) -> Path:
    """The tiny experiment, trained in one go; tests copy the folder."""
    from programs import train_tiny  # noqa: PLC0415  # imports JAX, which must find the environment set

    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    assert train_tiny(workdir) == 0
    return workdir


@pytest.fixture
def workdir(unbroken, tmp_path) -> Path:
    """A copy of that run's folder, to change."""
    return shutil.copytree(unbroken, tmp_path / "run")
