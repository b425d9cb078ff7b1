"""Draws from a trained run: python sample.py --help."""

import sys

from jaxgan.cli.sample import main

if __name__ == "__main__":
    sys.exit(main())
