"""A group: lanes that share one stream of activations."""

from functools import reduce
from operator import and_

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.lane import Lane
from jpnet_hw.layouts import acc_read_layout, group_token_layout, load_layout, struct_signal
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory, section_lanes

__all__ = ["Group"]


class Group(wiring.Component):
    """Give every activation to all lanes; each has its own queue of lists.

    One token per cycle while every lane has room, but none while a list table is written, because
    the tables look tokens up through the same port. `ready` is registered.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    i : in, stream of group tokens
        Activations and ends of jobs.
    load_valid, load : in
        Entries for this group; each lane gets its own.
    drain_valid, drain : in
        Accumulator row to read in all lanes, and to re-arm or keep.
    sums : out, one signed(acc_width) per lane
        The row, `DRAIN_LATENCY` cycles later.
    arm : in, one bit per context
        Forget that the context's last job is done.
    done : out, one bit per context
        All lanes have finished the context's job; stays until `arm`.
    issue, empty : out, one bit per lane
        As in `jpnet_hw.weight_lists.WeightLists`.
    """

    DRAIN_LATENCY = Lane.DRAIN_LATENCY

    i: stream.Interface
    load_valid: Signal
    load: data.View
    drain_valid: Signal
    drain: data.View
    sums: data.View
    arm: Signal
    done: Signal
    issue: Signal
    empty: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(group_token_layout(config))),
                "load_valid": In(1),
                "load": In(load_layout(config)),
                "drain_valid": In(1),
                "drain": In(acc_read_layout(config)),
                "sums": Out(data.ArrayLayout(signed(config.acc_width), config.lanes)),
                "arm": In(config.contexts),
                "done": Out(config.contexts),
                "issue": Out(config.lanes),
                "empty": Out(config.lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        lanes = [Lane(config) for _ in range(config.lanes)]
        load_q, load_q2 = (
            struct_signal(load_layout(config), name=name, reset_less=True)
            for name in ("load_q", "load_q2")
        )
        load_valid_q = Signal(reset_less=True)
        load_valid_q2 = Signal(config.lanes, reset_less=True)
        token_valid_q = Signal()
        token_q = struct_signal(group_token_layout(config), reset_less=True)
        room_q = Signal()
        m.d.comb += self.i.ready.eq(room_q)
        m.d.sync += [
            token_valid_q.eq(self.i.valid & self.i.ready),
            token_q.eq(self.i.payload),
            load_valid_q.eq(self.load_valid),
            load_q.eq(self.load),
            load_q2.eq(load_q),
            # The entry reaches its lane when the token that is not taken would have.
            room_q.eq(
                reduce(and_, (lane.room for lane in lanes))
                & ~(self.load_valid & (self.load.memory == Memory.POINTER))
            ),
        ]
        finished = [
            Signal(config.contexts, name=f"finished_{lane}") for lane in range(config.lanes)
        ]
        m.d.comb += self.done.eq(reduce(and_, finished))
        for number, lane in enumerate(lanes):
            m.submodules[f"lane_{number}"] = lane
            m.d.comb += [
                lane.i_valid.eq(token_valid_q),
                lane.i.eq(token_q),
                lane.load_valid.eq(load_valid_q2[number]),
                lane.load.memory.eq(load_q2.memory),
                lane.load.address.eq(load_q2.address),
                lane.load.data.eq(load_q2.lists[number % len(load_q2.lists)]),
                lane.drain_valid.eq(self.drain_valid),
                lane.drain.eq(self.drain),
                self.sums[number].eq(lane.sum),
                self.issue[number].eq(lane.issue),
                self.empty[number].eq(lane.empty),
            ]
            m.d.sync += [
                finished[number].eq((finished[number] | lane.done) & ~self.arm),
                load_valid_q2[number].eq(load_valid_q & _is_loaded(load_q, number, config.lanes)),
            ]
        return m


def _is_loaded(load: data.View, lane: int, lanes: int) -> Value:
    """Return whether an entry of lists is for a lane, too; the loader refuses those of no lane."""

    def shares(together: int) -> Value:
        low, high = exact_log2(together), exact_log2(lanes)
        same: Value = load.lane[low : max(low, high)] == lane // together
        return same

    wide, short = (section_lanes(Memory.WEIGHT, wide=wide) for wide in (True, False))
    return Mux(load.wide, shares(wide), shares(short))
