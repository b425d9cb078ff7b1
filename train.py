"""Trains an experiment: python train.py --help."""

import sys

from jaxgan.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
