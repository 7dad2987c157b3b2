"""The trace of a run: every drained row and every threshold."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.layouts import context_shape, row_write_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["Monitor", "trace_members"]


def trace_members(config: AcceleratorConfig) -> dict[str, wiring.Member]:
    """Return the outputs of the trace; members with a common prefix are valid together."""
    return {
        "trace_row_valid": Out(1),
        "trace_row_context": Out(context_shape(config)),
        "trace_row_image": Out(32),
        "trace_row_layer": Out(10),
        "trace_row_banks": Out(config.clusters),
        "trace_row_address": Out(config.act_addr_width),
        "trace_row_column": Out(row_write_layout(config).members["column"]),
        "trace_row_data": Out(8 * config.lanes * config.clusters),
        "trace_theta_valid": Out(1),
        "trace_theta_context": Out(context_shape(config)),
        "trace_theta_image": Out(32),
        "trace_theta_layer": Out(10),
        "trace_theta_value": Out(7),
    }


class Monitor(wiring.Component):
    """Name image and instruction of every drained row and threshold.

    Rows leave after one cycle. Thresholds leave after two; of several in the same cycle the
    lowest context's goes first.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    row_valid, row : in
        From the drain.
    image, layer : in, per context
        Image and instruction that the context is at.
    theta_valid, theta, theta_layer : in, per context
        Pulse with a threshold and its instruction.
    trace_* : out
        As `trace_members`.
    """

    row_valid: Signal
    row: data.View
    image: list[Signal]
    layer: list[Signal]
    theta_valid: list[Signal]
    theta: list[Signal]
    theta_layer: list[Signal]
    trace_row_valid: Signal
    trace_row_context: Signal
    trace_row_image: Signal
    trace_row_layer: Signal
    trace_row_banks: Signal
    trace_row_address: Signal
    trace_row_column: Signal
    trace_row_data: Signal
    trace_theta_valid: Signal
    trace_theta_context: Signal
    trace_theta_image: Signal
    trace_theta_layer: Signal
    trace_theta_value: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "row_valid": In(1),
                "row": In(row_write_layout(config)),
                "image": In(32).array(config.contexts),
                "layer": In(10).array(config.contexts),
                "theta_valid": In(1).array(config.contexts),
                "theta": In(7).array(config.contexts),
                "theta_layer": In(10).array(config.contexts),
                **trace_members(config),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += [
            self.trace_row_valid.eq(self.row_valid),
            self.trace_row_context.eq(self.row.context),
            self.trace_row_address.eq(self.row.address),
            self.trace_row_column.eq(self.row.column),
            self.trace_row_banks.eq(self.row.banks),
            self.trace_row_data.eq(self.row.acts),
            self.trace_theta_valid.eq(0),
        ]
        waiting = [Signal(name=f"waiting_{number}") for number in range(self._config.contexts)]
        for number in reversed(range(self._config.contexts)):
            with m.If(self.row.context == number):
                m.d.sync += [
                    self.trace_row_image.eq(self.image[number]),
                    self.trace_row_layer.eq(self.layer[number]),
                ]
            image = Signal(32, name=f"theta_image_{number}", reset_less=True)
            layer = Signal(10, name=f"theta_layer_{number}", reset_less=True)
            theta = Signal(7, name=f"theta_{number}", reset_less=True)
            with m.If(self.theta_valid[number]):
                m.d.sync += [
                    waiting[number].eq(1),
                    image.eq(self.image[number]),
                    layer.eq(self.theta_layer[number]),
                    theta.eq(self.theta[number]),
                ]
            with m.Elif(~Cat(waiting[:number]).any()):
                m.d.sync += waiting[number].eq(0)
            with m.If(waiting[number]):
                m.d.sync += [
                    self.trace_theta_valid.eq(1),
                    self.trace_theta_context.eq(number),
                    self.trace_theta_image.eq(image),
                    self.trace_theta_layer.eq(layer),
                    self.trace_theta_value.eq(theta),
                ]
        return m
