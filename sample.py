"""Draws from a trained run: python sample.py --help."""

import sys

from jaxgan import entry

if __name__ == "__main__":
    sys.exit(entry.sample())
