"""Writes all drawings: ``python -m jpnet_cosim.diagrams FOLDER``."""

import sys
from pathlib import Path

from jpnet_cosim.diagrams.drawings import DRAWINGS

for name, draw in DRAWINGS.items():
    (Path(sys.argv[1]) / name).write_bytes(draw())
