"""One image in flight: activation memory, zero skippers and the sequence of its layers."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.activation_bank import ActivationBank
from jpnet_hw.drain import drain_job_layout
from jpnet_hw.layouts import load_layout, row_write_layout, token_layout
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode

__all__ = ["ImageContext", "image_beat_layout"]


def image_beat_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One bus beat of an image and its number in the image; the context knows where it goes."""
    beats = config.act_depth * config.clusters * config.act_word // config.beat_bytes
    return data.StructLayout(
        {
            "beat": unsigned((beats - 1).bit_length()),
            "data": unsigned(config.axi_data_width),
        }
    )


class ImageContext(wiring.Component):
    """Takes one image after another through all instructions of the program.

    Holds the image's activation memory (one bank a cluster) and the zero skippers, an instruction
    memory of its own and the remembered thresholds. For each instruction: the skippers stream the
    survivors, the clusters report that every product is summed, the drain writes the output and
    finds its threshold, and the next instruction starts in the very cycle of the drain's `done`.
    After the instruction with the flag RESULT the result is read out, then the next image begins.

    Transitions: `cluster_done` to `request` 0 cycles, `drain_done` to the skippers' start 0
    cycles, `result_done` or `image_ready` to the first instruction's start 2 cycles.

    Parameters
    ----------
    config
        The accelerator.
    number
        This context's number in row writes.

    Members
    -------
    flush : in
        While high: everything but memories is reset. Afterwards nothing happens until `start`.
    start : in
        Pulse at the beginning of a run, only while no image is in flight: fetch instruction 0.
    instructions : in
        Instructions of the program, at least 1 (the loader checks that); held stable.
    input_base, result_base : in
        First word address of the image and of the result; held stable.
    load_valid, load : in, `load_layout`
        Instruction words.
    beats : in stream of `image_beat_layout`
        Image data, any order. Beat b holds bytes ``b * beat_bytes`` onwards; they go to word
        ``b * beat_bytes // act_word``, which is in cluster ``word % clusters`` at address
        ``input_base + word // clusters``.
    input_free : out
        Level: the image's place may be overwritten. Falls in the cycle after `image_ready`.
    image_ready : in
        Pulse, after the image's last beat was taken: the image is complete.
    result_valid : out
        Level: the result lies in memory and may be read.
    result_word : in
        Number of the word in the result; every cycle while `result_valid` is a read.
    result_data : out, unsigned(8 * act_word)
        The word, `RESULT_LATENCY` cycles later.
    result_done : in
        Pulse, while `result_valid`: the last word was received.
    tokens : out streams of `token_layout`, one a cluster
    cluster_done : in, one bit a cluster
        This context's level `done` of each cluster: every product is summed.
    arm : out
        One-cycle pulse to the clusters at the beginning of a drain: fall back, `done`.
    request, job : out
        To the drain, this context's.
    drain_done, drain_theta, drain_written : in
        From the drain, this context's.
    row_valid, row : in, `row_write_layout`
        All drained rows; those of this context are written.
    error_valid, error : out
        One-cycle pulse: a wrong instruction was fetched. The context then makes no progress until
        `flush` or `start`.
    computing, draining, topn : out
        Levels, at most one of them: summing, draining rows, only waiting for the threshold.
    skipping : out, one bit a cluster
        This context's skipper of that cluster is busy.
    read_count, zero_count, below_count : out
        Activations read, dropped as zero and by the threshold, in one cycle, over all clusters.
    layer : out, unsigned(10)
        Number of the instruction that computes or drains.
    theta_valid, theta : out
        Trace: one-cycle pulse with each instruction's threshold; `layer` names the instruction.
    """

    RESULT_LATENCY = ActivationBank.LATENCY + 2

    flush: Signal
    start: Signal
    instructions: Signal
    input_base: Signal
    result_base: Signal
    load_valid: Signal
    load: data.View
    beats: stream.Interface
    input_free: Signal
    image_ready: Signal
    result_valid: Signal
    result_word: Signal
    result_data: Signal
    result_done: Signal
    tokens: list[stream.Interface]
    cluster_done: Signal
    arm: Signal
    request: Signal
    job: data.View
    drain_done: Signal
    drain_theta: Signal
    drain_written: Signal
    row_valid: Signal
    row: data.View
    error_valid: Signal
    error: Signal
    computing: Signal
    draining: Signal
    topn: Signal
    skipping: Signal
    read_count: Signal
    zero_count: Signal
    below_count: Signal
    layer: Signal
    theta_valid: Signal
    theta: Signal

    def __init__(self, config: AcceleratorConfig, *, number: int) -> None:
        self._config = config
        self._number = number
        count = range(config.clusters * config.act_word + 1)
        super().__init__(
            {
                "flush": In(1),
                "start": In(1),
                "instructions": In(range(config.program_depth + 1)),
                "input_base": In(config.act_addr_width),
                "result_base": In(config.act_addr_width),
                "load_valid": In(1),
                "load": In(load_layout(config)),
                "beats": In(stream.Signature(image_beat_layout(config))),
                "input_free": Out(1),
                "image_ready": In(1),
                "result_valid": Out(1),
                "result_word": In(range(config.act_depth * config.clusters)),
                "result_data": Out(8 * config.act_word),
                "result_done": In(1),
                "tokens": Out(stream.Signature(token_layout(config))).array(config.clusters),
                "cluster_done": In(config.clusters),
                "arm": Out(1),
                "request": Out(1),
                "job": Out(drain_job_layout(config)),
                "drain_done": In(1),
                "drain_theta": In(7),
                "drain_written": In(1),
                "row_valid": In(1),
                "row": In(row_write_layout(config)),
                "error_valid": Out(1),
                "error": Out(ErrorCode),
                "computing": Out(1),
                "draining": Out(1),
                "topn": Out(1),
                "skipping": Out(config.clusters),
                "read_count": Out(count),
                "zero_count": Out(count),
                "below_count": Out(count),
                "layer": Out(10),
                "theta_valid": Out(1),
                "theta": Out(7),
            }
        )

    def elaborate(self, platform: object) -> Module:
        return Module()
