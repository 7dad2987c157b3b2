"""The accelerator's parts and what passes between them, as a drawing."""

from dataclasses import dataclass

import schemdraw
from schemdraw import elements, flow

__all__ = ["block_diagram"]

_HEIGHT = 1.3
_ROLES = {"bus": "#f3eee2", "activations": "#e8f1f8", "weights": "#eaf4ea", "control": "#f1eef6"}


@dataclass(frozen=True, slots=True)
class _Block:
    """A box: its text, role, left edge and middle, width."""

    text: str
    role: str
    x: float
    y: float
    width: float = 3.2


_BLOCKS = {
    "registers": _Block("registers\nAXI4-Lite", "bus", 0, 8.6),
    "loader": _Block("program loader\nchecks, prefetches", "bus", 0, 6.6),
    "dma": _Block("image and\nresult DMA", "bus", 0, 3.4),
    "control": _Block("run control\nimages in flight", "control", 5, 8.6),
    "fetch": _Block("instructions", "control", 9.6, 8.6),
    "monitor": _Block("counters of\nlane cycles", "control", 18.8, 8.6, 3.4),
    "bank": _Block("activation bank", "activations", 5, 3.4),
    "skipper": _Block("zero skipper", "activations", 9.6, 3.4),
    "dispatcher": _Block("dispatcher", "activations", 14.2, 3.4),
    "lists": _Block("weight lists", "weights", 18.8, 3.4, 3.4),
    "multiplier": _Block("multiplier", "weights", 18.8, 1.2, 3.4),
    "sums": _Block("accumulators\nof all images", "weights", 18.8, -1, 3.4),
    "tree": _Block("sum of groups", "activations", 18.8, -6.3, 3.4),
    "requantiser": _Block("requantiser\nbias, scale, ReLU", "activations", 14.2, -6.3),
    "pool": _Block("largest of\na window", "activations", 9.6, -6.3),
    "writer": _Block("row writer", "activations", 5, -6.3),
    "threshold": _Block("magnitude counters\nfind θ", "activations", 14.2, -4.1),
}

_WIRES = (
    ("registers", "E", "control", "W", "start", "-"),
    ("control", "E", "fetch", "W", "", "-"),
    ("dma", "E", "bank", "W", "images", "-"),
    ("bank", "E", "skipper", "W", "words", "-"),
    ("skipper", "E", "dispatcher", "W", "tokens", "-"),
    ("dispatcher", "E", "lists", "W", "", "-"),
    ("lists", "S", "multiplier", "N", "pairs", "-"),
    ("multiplier", "S", "sums", "N", "products", "-"),
    ("sums", "S", "tree", "N", "rows", "-"),
    ("tree", "W", "requantiser", "E", "", "-"),
    ("requantiser", "W", "pool", "E", "", "-"),
    ("requantiser", "N", "threshold", "S", "|a|", "-"),
    ("threshold", "W", "skipper", "S", "", "-|"),
    ("pool", "W", "writer", "E", "", "-"),
    ("writer", "N", "bank", "S", "rows", "-"),
    ("fetch", "S", "skipper", "N", "layer", "-"),
    ("loader", "E", "lists", "N", "", "-|"),
    ("lists", "E", "monitor", "E", "", "c"),
)
"""From, side, to, side, label, way: straight, with one corner or around."""

_FRAMES = (
    ("cluster", ("bank", "skipper", "dispatcher", "lists", "multiplier", "sums"), 0.8),
    ("lane", ("lists", "multiplier", "sums"), 0.3),
    ("drain", ("tree", "requantiser", "pool", "writer", "threshold"), 0.4),
)


def block_diagram() -> bytes:
    """Return the drawing as SVG."""
    schemdraw.use("svg")
    drawing = schemdraw.Drawing(show=False, fontsize=10, unit=1, lw=1.2)
    boxes = {}
    for name, block in _BLOCKS.items():
        box = flow.Box(w=block.width, h=_HEIGHT).at((block.x, block.y)).anchor("W")
        boxes[name] = drawing.add(box.label(block.text).fill(_ROLES[block.role]))
    for title, names, margin in _FRAMES:
        frame = elements.EncircleBox([boxes[name] for name in names], padx=margin, pady=margin)
        drawing.add(frame.linestyle("--").color("#777777").label(title, fontsize=9))
    for source, source_side, target, target_side, label, way in _WIRES:
        start, end = getattr(boxes[source], source_side), getattr(boxes[target], target_side)
        wire = elements.Wire(way, arrow="->").at(start).to(end).color("#333333")
        side = "top" if target_side in "EW" else "right"
        drawing.add(wire.label(label, loc=side, fontsize=8, ofst=0.15))
    return bytes(drawing.get_imagedata("svg"))
