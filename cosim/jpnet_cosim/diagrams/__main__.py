"""Writes all drawings: ``python -m jpnet_cosim.diagrams FOLDER``."""

import sys
from pathlib import Path

from jpnet_cosim.diagrams.drawings import DRAWINGS


def main(folder: Path) -> None:
    """Draw everything into a folder that exists."""
    for name, draw in DRAWINGS.items():
        (folder / name).write_bytes(draw())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
