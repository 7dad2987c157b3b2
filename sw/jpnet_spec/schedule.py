"""``schedule.safetensors``: a network compiled for one accelerator configuration."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.artefact import ArtefactError, read_artefact, write_artefact
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import HeaderWord
from jpnet_spec.layer import INPUT

__all__ = ["LayerPlan", "Schedule", "load_schedule", "save_schedule"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerPlan:
    """What became of one layer, and where its output lies.

    Parameters
    ----------
    name
        The network's layer.
    instructions
        Its instructions: 1, or its tiles and those that sum a shortcut; 0 of an affine layer.
    base
        Word address of its output in each image's activation memory.
    second_of
        Of an affine layer the one whose instructions write it, else None.
    rows
        Rows of the output in the order of the bus, `lanes` elements each.
    positions : int32, shape (elements,)
        Place ``row * lanes + lane`` of each output element, in row-major order.
    divided
        Whether the inputs are divided among the groups.
    weights
        Weight entries of the fullest lane that belong to this layer.
    """

    name: str
    instructions: int
    base: int
    rows: int
    positions: NDArray[np.int32]
    divided: bool
    weights: int
    second_of: str | None = None

    def stored_rows(self, lanes: int) -> NDArray[np.bool_]:
        """Return which rows are stored, shape (rows,); all but the padding of a map's words."""
        stored = np.zeros(self.rows, dtype=np.bool_)
        stored[self.positions // lanes] = True
        return stored


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Schedule:
    """Program image and the maps between logical and physical order.

    Parameters
    ----------
    config
        The accelerator it was compiled for.
    network_name, network_hash
        The network it was compiled from.
    dense
        Whether every activation is issued, zeros too.
    program : uint32, shape (words,)
        What the loader reads, and the stream of blocks, see `jpnet_spec.image`.
    layers
        In execution order.
    input_rows
        Rows of one image in the order of the bus, `lanes` elements each.
    input_positions : int32, shape (elements,)
        Place ``row * lanes + lane`` of each element of an image, in row-major order.
    cycles_limit_load, cycles_limit_image
        No load takes longer, and no image: bounds from the work in the program, for a memory
        that answers within 64 cycles and takes a beat at least every fourth cycle.
    metadata
        JSON-serialisable facts about the making.
    """

    config: AcceleratorConfig
    network_name: str
    network_hash: str
    dense: bool
    program: NDArray[np.uint32]
    layers: tuple[LayerPlan, ...]
    input_rows: int
    input_positions: NDArray[np.int32]
    cycles_limit_load: int
    cycles_limit_image: int
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def input_elements(self) -> int:
        """Elements of one image."""
        return len(self.input_positions)

    @property
    def image_bytes(self) -> int:
        """Distance between images in memory."""
        return self._whole_beats(self.input_rows * self.config.lanes)

    @property
    def result_bytes(self) -> int:
        """Distance between results in memory."""
        return self._whole_beats(self.layers[-1].rows * self.config.lanes)

    @property
    def in_flight(self) -> int:
        """Images in flight."""
        return int(self.program[HeaderWord.IN_FLIGHT])

    @property
    def stream_blocks(self) -> int:
        """Blocks of lists that are loaded while images run; 0 where all lists are resident."""
        return int(self.program[HeaderWord.BLOCKS])

    @property
    def stream_bytes(self) -> int:
        """Bytes of all blocks, read once for every `in_flight` images."""
        return int(self.program.nbytes - 4 * self.program[HeaderWord.TOTAL_WORDS].item())

    @property
    def stream_bytes_per_image(self) -> float:
        """Bytes of weights read for each image in a long run; 0 where all lists are resident."""
        return self.stream_bytes / self.in_flight

    @property
    def instruction_layers(self) -> NDArray[np.int64]:
        """Place in `layers` of the layer that each instruction belongs to."""
        counts = [plan.instructions for plan in self.layers]
        return np.repeat(np.arange(len(counts)), counts)

    def _whole_beats(self, size: int) -> int:
        return -(-size // self.config.beat_bytes) * self.config.beat_bytes

    def check_config(self, config: AcceleratorConfig) -> None:
        """Refuse a configuration other than the one compiled for.

        Raises
        ------
        ValueError
            Naming the parameters that differ.
        """
        ours, other = self.config.as_dict(), config.as_dict()
        differing = [
            f"{name} {ours[name]} not {other[name]}" for name in ours if ours[name] != other[name]
        ]
        if differing:
            raise ValueError(
                f"schedule of {self.network_name} was compiled for another configuration: "
                + ", ".join(differing)
            )

    def layout_images(self, images: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return images as the accelerator reads them, int8, shape (images, image_bytes).

        Raises
        ------
        ValueError
            If an image does not have `input_elements` int8 elements.
        """
        flat = images.reshape(len(images), -1)
        if flat.dtype != np.int8 or flat.shape[1] != self.input_elements:
            raise ValueError(
                f"images must be int8 with {self.input_elements} elements each, "
                f"not {flat.dtype} with {flat.shape[1]}"
            )
        laid = np.zeros((len(flat), self.image_bytes), dtype=np.int8)
        laid[:, self.input_positions] = flat
        return laid

    def logical(self, layer: int, physical: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return a layer's tensors in row-major order.

        Parameters
        ----------
        layer
            Its place in `layers`.
        physical : int8, shape (images, at least rows * lanes)
            In the order of the bus.

        Returns
        -------
        int8, shape (images, elements)
        """
        return physical[:, self.layers[layer].positions]


def save_schedule(schedule: Schedule, path: Path) -> str:
    """Write a schedule and return its content hash."""
    header = {
        "config": schedule.config.as_dict(),
        "network_name": schedule.network_name,
        "network_hash": schedule.network_hash,
        "dense": schedule.dense,
        "input_rows": schedule.input_rows,
        "cycles_limit_load": schedule.cycles_limit_load,
        "cycles_limit_image": schedule.cycles_limit_image,
        "metadata": dict(schedule.metadata),
        "layers": [
            {key: value for key, value in asdict(plan).items() if key != "positions"}
            for plan in schedule.layers
        ],
    }
    tensors: dict[str, NDArray] = {
        "program": schedule.program,
        f"{INPUT}.positions": schedule.input_positions,
    }
    tensors |= {f"{plan.name}.positions": plan.positions for plan in schedule.layers}
    return write_artefact(path, kind="schedule", header=header, tensors=tensors)


def load_schedule(path: Path) -> Schedule:
    """Read a schedule.

    Raises
    ------
    ArtefactError
        If the file is missing, truncated, altered or malformed.
    """
    header, tensors = read_artefact(path, kind="schedule")
    try:
        return Schedule(
            config=AcceleratorConfig(**header["config"]),
            layers=tuple(
                LayerPlan(**plan, positions=tensors[f"{plan['name']}.positions"])
                for plan in header["layers"]
            ),
            program=tensors["program"],
            input_positions=tensors[f"{INPUT}.positions"],
            **{
                key: header[key]
                for key in (
                    "network_name",
                    "network_hash",
                    "dense",
                    "input_rows",
                    "cycles_limit_load",
                    "cycles_limit_image",
                    "metadata",
                )
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path}: malformed schedule, {error}") from error
