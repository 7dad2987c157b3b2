"""A lane: weight lists, multiplier, accumulators."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.accumulator import Accumulator
from jpnet_hw.layouts import acc_read_layout, group_token_layout, list_load_layout
from jpnet_hw.weight_lists import WeightLists
from jpnet_spec.config import AcceleratorConfig

__all__ = ["Lane"]


class Lane(wiring.Component):
    """Multiply every activation with the weights that it meets and scatter the products.

    One product per cycle while lists are waiting. The first product of a token is in memory
    `LATENCY` cycles after the token came.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    i_valid, i, room, load_valid, load, issue, empty
        As in `jpnet_hw.weight_lists.WeightLists`.
    drain_valid, drain, sum, done
        As in `jpnet_hw.accumulator.Accumulator`.
    """

    LATENCY = WeightLists.LATENCY + Accumulator.LATENCY
    DRAIN_LATENCY = Accumulator.DRAIN_LATENCY

    i_valid: Signal
    i: data.View
    room: Signal
    load_valid: Signal
    load: data.View
    drain_valid: Signal
    drain: data.View
    sum: Signal
    done: Signal
    issue: Signal
    empty: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "i_valid": In(1),
                "i": In(group_token_layout(config)),
                "room": Out(1),
                "load_valid": In(1),
                "load": In(list_load_layout(config)),
                "drain_valid": In(1),
                "drain": In(acc_read_layout(config)),
                "sum": Out(signed(config.acc_width)),
                "done": Out(config.contexts),
                "issue": Out(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.lists = lists = WeightLists(self._config)
        m.submodules.accumulator = accumulator = Accumulator(self._config)
        m.d.comb += [
            lists.i_valid.eq(self.i_valid),
            lists.i.eq(self.i),
            lists.load_valid.eq(self.load_valid),
            lists.load.eq(self.load),
            self.room.eq(lists.room),
            self.issue.eq(lists.issue),
            self.empty.eq(lists.empty),
            accumulator.i_valid.eq(lists.o_valid),
            accumulator.i.eq(lists.o),
            accumulator.drain_valid.eq(self.drain_valid),
            accumulator.drain.eq(self.drain),
            self.sum.eq(accumulator.sum),
            self.done.eq(accumulator.done),
        ]
        return m
