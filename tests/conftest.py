"""Shared by all tests: the compilation cache, and small experiments whose compiled steps several tests use."""

import atexit
import os
import shutil
import tempfile

# Before JAX is imported: what one test compiles no other one compiles again, and programs started by tests neither.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/jaxgan"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Decoded images go to a folder of this session alone, never to the user's; programs started by tests inherit it.
os.environ["JAXGAN_DATA_CACHE"] = tempfile.mkdtemp(prefix="jaxgan-data-")
atexit.register(shutil.rmtree, os.environ["JAXGAN_DATA_CACHE"], ignore_errors=True)
