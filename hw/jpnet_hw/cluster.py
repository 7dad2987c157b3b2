"""A cluster: groups behind one dispatcher."""

from functools import reduce
from operator import add, and_

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.dispatcher import Dispatcher
from jpnet_hw.group import Group
from jpnet_hw.layouts import acc_read_layout, load_layout, struct_signal, token_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["Cluster"]


class Cluster(wiring.Component):
    """Compute the products of one share of the activations.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    number : in
        The cluster's in load entries; always the same.
    i : in, stream of tokens
        From the zero skipper.
    load_valid, load : in
        Entries for the lanes' memories.
    drain_valid, drain : in
        Accumulator row to read in all lanes, and to re-arm or keep.
    sums : out, signed(acc_width), per group and lane
        The row's partial sums, `DRAIN_LATENCY` cycles later.
    restart : in
        As in `jpnet_hw.dispatcher.Dispatcher`.
    arm : in, one bit per context
        Forget that the context's last job is done.
    done : out, one bit per context
        All products of the context's job are in memory; stays until the end of the `arm` cycle.
    issue_count, empty_count : out
        Lanes that issue a product, and that dropped an empty list instead, `COUNT_LATENCY` cycles
        ago.
    blocked : out
        A token waits and no group takes it, in this cycle.
    """

    DRAIN_LATENCY = 1 + Group.DRAIN_LATENCY
    COUNT_LATENCY = 2

    number: Signal
    i: stream.Interface
    load_valid: Signal
    load: data.View
    drain_valid: Signal
    drain: data.View
    sums: data.View
    restart: Signal
    arm: Signal
    done: Signal
    issue_count: Signal
    empty_count: Signal
    blocked: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        row = data.ArrayLayout(signed(config.acc_width), config.lanes)
        lanes = range(config.lanes * config.groups + 1)
        super().__init__(
            {
                "number": In(range(max(2, config.clusters))),
                "i": In(stream.Signature(token_layout(config))),
                "load_valid": In(1),
                "load": In(load_layout(config)),
                "drain_valid": In(1),
                "drain": In(acc_read_layout(config)),
                "sums": Out(data.ArrayLayout(row, config.groups)),
                "restart": In(1),
                "arm": In(config.contexts),
                "done": Out(config.contexts),
                "issue_count": Out(lanes),
                "empty_count": Out(lanes),
                "blocked": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.dispatcher = dispatcher = Dispatcher(config)
        m.d.comb += [dispatcher.restart.eq(self.restart), self.blocked.eq(dispatcher.blocked)]
        wiring.connect(m, dispatcher.i, wiring.flipped(self.i))
        groups = [Group(config) for _ in range(config.groups)]
        # Without reset, as what they come from has one: it would reach from here to there.
        load_valid_q = Signal(config.groups, reset_less=True)
        load_q = struct_signal(load_layout(config), reset_less=True)
        drain_valid_q = Signal(reset_less=True)
        drain_q = struct_signal(acc_read_layout(config), reset_less=True)
        arm_q = Signal(config.contexts, reset_less=True)
        m.d.sync += [
            load_q.eq(self.load),
            drain_valid_q.eq(self.drain_valid),
            drain_q.eq(self.drain),
            arm_q.eq(self.arm),
        ]
        m.d.comb += self.done.eq(reduce(and_, (group.done for group in groups)) & ~arm_q)
        for number, group in enumerate(groups):
            m.submodules[f"group_{number}"] = group
            wiring.connect(m, dispatcher.o[number], group.i)
            m.d.comb += [
                group.load_valid.eq(load_valid_q[number]),
                group.load.eq(load_q),
                group.drain_valid.eq(drain_valid_q),
                group.drain.eq(drain_q),
                group.arm.eq(arm_q),
                self.sums[number].eq(group.sums),
            ]
            m.d.sync += load_valid_q[number].eq(
                self.load_valid
                & (self.load.all_clusters | (self.load.cluster == self.number))
                & (self.load.all_groups | (self.load.group == number))
            )
        for name, count in (("issue", self.issue_count), ("empty", self.empty_count)):
            flags_q = Signal(config.lanes * config.groups, name=f"{name}_q", reset_less=True)
            count_q = Signal.like(count, name=f"{name}_count_q", reset_less=True)
            m.d.comb += count.eq(count_q)
            m.d.sync += [
                flags_q.eq(Cat(getattr(group, name) for group in groups)),
                count_q.eq(reduce(add, list(flags_q))),
            ]
        return m
