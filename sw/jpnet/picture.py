"""Pictures of measured figures on disk: equal bytes from equal figures."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jpnet_spec.artefact import atomic_path

__all__ = ["save_picture"]


def save_picture(figure: Figure, path: Path) -> Path:
    """Write a figure, the whole of it or nothing, and return its path.

    Parameters
    ----------
    figure
        Of no backend yet.
    path
        Its ending, ``.svg`` or ``.png``, says the format.
    """
    FigureCanvasAgg(figure)
    kind = path.suffix.removeprefix(".")
    # A fixed salt and no date give the same bytes from the same figure.
    metadata = {"Date": None} if kind == "svg" else None
    with mpl.rc_context({"svg.hashsalt": "jpnet", "svg.fonttype": "none"}), atomic_path(path) as to:
        figure.savefig(to, format=kind, dpi=120, metadata=metadata)
    return path
