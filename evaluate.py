"""Scores a trained run or a set of images: python evaluate.py --help."""

import sys

from jaxgan.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
