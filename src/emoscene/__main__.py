"""`python -m emoscene`: the command line, for launchers such as torchrun."""

import sys

from emoscene.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
