"""`python -m emoscene`: the command line, for launchers such as torchrun."""

import sys

from emoscene.cli import main

if __name__ == "__main__":
    sys.exit(main())
