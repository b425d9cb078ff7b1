"""Trains an experiment: python train.py --help."""

import sys

from jaxgan import entry

if __name__ == "__main__":
    sys.exit(entry.train())
