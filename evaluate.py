"""Scores a trained run or a set of images: python evaluate.py --help."""

import sys

from jaxgan import entry

if __name__ == "__main__":
    sys.exit(entry.evaluate())
