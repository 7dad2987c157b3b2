"""Golden model of the accelerator: executes a program image, knowing nothing of its network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.program_editor import ProgramEditor
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import HeaderWord, Memory
from jpnet_spec.instruction import THRESHOLD_SLOTS, LayerFlag
from jpnet_spec.numbers import requantise
from jpnet_spec.topn import ThresholdMode

__all__ = ["LayerOutput", "ProgramModel"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerOutput:
    """What one instruction leaves behind.

    Parameters
    ----------
    tensor : int8, shape (images, rows * lanes)
        In physical order.
    threshold : int64, shape (images,)
    macs : int64, shape (images,)
        Products issued.
    """

    tensor: NDArray[np.int8]
    threshold: NDArray[np.int64]
    macs: NDArray[np.int64]


class ProgramModel:
    """The memories after the load of a program, and what a run does with them.

    Parameters
    ----------
    program : uint32, shape (words,)
        A valid image.
    config
        The accelerator.
    """

    def __init__(self, program: NDArray[np.uint32], config: AcceleratorConfig) -> None:
        self._config = config
        self._image = ProgramEditor(program)
        place = (config.clusters, config.groups, config.lanes)
        self._weights = np.zeros((*place, config.weight_depth), dtype=np.uint32)
        self._lists = np.zeros((*place, config.pointer_depth), dtype=np.uint32)
        self._params = np.zeros((config.lanes, config.param_depth, 3), dtype=np.uint32)
        for section in self._image.sections:
            words = self._image.words[section.offset + 2 :][: section.words]
            group = slice(None) if section.group is None else section.group
            if section.memory is Memory.PARAM:
                rows = words.reshape(-1, 3)
                self._params[section.lane, section.address :][: len(rows)] = rows
            elif section.memory is not Memory.INSTRUCTION:
                memory = self._weights if section.memory is Memory.WEIGHT else self._lists
                entries = slice(section.address, section.address + len(words))
                memory[section.cluster, group, section.lane, entries] = words

    def _field(self, instruction: int, name: str) -> int:
        return self._image.field(instruction, name)

    def _matrix(self, instruction: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return weights and numbers of list entries, each shape (outputs, inputs), physical."""
        config = self._config
        inputs = self._field(instruction, "source_rows") * config.lanes
        rows = self._field(instruction, "rows")
        divided = self._field(instruction, "flags") & LayerFlag.DIVIDED
        base = self._field(instruction, "pointer_base")
        weight = np.zeros((rows, config.lanes, inputs), dtype=np.int64)
        stored = np.zeros_like(weight)
        for position in range(inputs):
            row, slot = divmod(position, config.lanes)
            local = row // config.clusters * config.lanes + slot
            group = local % config.groups if divided else 0
            entry = base + (local // config.groups if divided else local)
            for lane in range(config.lanes):
                where = (row % config.clusters, group, lane)
                packed = int(self._lists[(*where, entry)])
                start = packed % 2**config.start_width * 2
                length = packed >> config.start_width
                entries = self._weights[where][start : start + length]
                values = (entries & 0xFF).astype(np.uint8).view(np.int8)
                np.add.at(weight[:, lane, position], entries >> 8, values)
                np.add.at(stored[:, lane, position], entries >> 8, 1)
        return weight.reshape(-1, inputs), stored.reshape(-1, inputs)

    def _threshold(
        self, instruction: int, tensor: NDArray[np.int8], phase: NDArray[np.uint32]
    ) -> NDArray[np.int64]:
        mode = ThresholdMode(self._field(instruction, "threshold_mode"))
        if mode is ThresholdMode.NONE:
            return np.zeros(len(tensor), dtype=np.int64)
        if mode is ThresholdMode.STATIC:
            return np.full(len(tensor), self._field(instruction, "static_threshold"))
        counted = np.abs(tensor.astype(np.int64))
        if mode is ThresholdMode.SAMPLED:
            counted = counted[:, phase == 0]
        over = (counted[:, :, None] > np.arange(128)).sum(axis=1)  # (images, thresholds)
        too_many: NDArray[np.int64] = (over > self._field(instruction, "winners")).sum(axis=1)
        return too_many

    def run(self, images: NDArray[np.int8]) -> list[LayerOutput]:
        """Run images.

        Parameters
        ----------
        images : int8, shape (images, image bytes)
            In physical order.

        Returns
        -------
        list
            One output per instruction.
        """
        config = self._config
        width = config.act_word * config.clusters
        memory = np.zeros((len(images), config.act_depth * width), dtype=np.int8)
        input_base = int(self._image.words[HeaderWord.INPUT_BASE]) * width
        memory[:, input_base : input_base + images.shape[1]] = images
        slots = np.zeros((THRESHOLD_SLOTS, len(images)), dtype=np.int64)
        outputs = []
        for index in range(int(self._image.words[HeaderWord.INSTRUCTIONS])):
            weight, stored = self._matrix(index)
            base = self._field(index, "source_base") * width
            source = memory[:, base : base + weight.shape[1]].astype(np.int64)
            limit = slots[self._field(index, "source_slot")][:, None]
            dense = self._field(index, "flags") & LayerFlag.DENSE
            kept = np.ones_like(source) if dense else np.abs(source) > limit
            first = self._field(index, "param_base")
            rows = self._params[:, first : first + self._field(index, "rows")]
            params = rows.transpose(1, 0, 2).reshape(-1, 3)  # (rows * lanes, 3)
            acc = (source * kept) @ weight.T + params[:, 0].view(np.int32)
            tensor = requantise(
                acc,
                (params[:, 1] & 0xFFFF).astype(np.uint16),
                (params[:, 1] >> 16).astype(np.uint16),
                self._field(index, "shift"),
            )
            threshold = self._threshold(index, tensor, params[:, 2])
            target = self._field(index, "target_base") * width
            memory[:, target : target + tensor.shape[1]] = tensor
            slots[self._field(index, "target_slot")] = threshold
            slots[0] = 0
            macs = kept.astype(np.int64) @ stored.sum(axis=0)
            outputs.append(LayerOutput(tensor=tensor, threshold=threshold, macs=macs))
        return outputs
