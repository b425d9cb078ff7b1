"""Shared by all tests: the compilation cache, and small experiments whose compiled steps several tests use."""

import os

# Before JAX is imported: what one test compiles no other one compiles again, and programs started by tests neither.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/jaxgan"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
