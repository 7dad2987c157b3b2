"""The weight lists of one lane: from an activation to the weights that it meets."""

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.layouts import context_shape, group_token_layout, load_layout, struct_signal
from jpnet_hw.memory import SyncMemory
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory

__all__ = ["WeightLists", "operand_layout"]


def operand_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Operands of one product, or with ``end`` the end of a context's job."""
    return data.StructLayout(
        {
            "weight": signed(8),
            "act": signed(8),
            "row": unsigned(config.acc_addr_width),
            "context": context_shape(config),
            "end": unsigned(1),
        }
    )


def _run_layout(config: AcceleratorConfig) -> data.StructLayout:
    return data.StructLayout(
        {
            "act": signed(8),
            "context": context_shape(config),
            "start": unsigned(config.start_width),
            "length": unsigned(config.run_width),
            "last": unsigned(1),
        }
    )


class WeightLists(wiring.Component):
    """Look every activation's list up and walk it, one weight per cycle.

    Lists follow each other without a gap while any are waiting; a list of length 0 is dropped at
    the look-up. The first weight of a list leaves `LATENCY` cycles after its token came.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    i_valid, i : in, group token
        An activation, or the end of a context's job.
    room : out
        A token may come one, two and three cycles from now without being told again.
    load_valid, load : in
        This lane's entries of the weight memory and the list table; others are ignored.
    o_valid, o : out, operands
        One product's operands, or an end.
    issue : out
        A weight is being read in this cycle.
    empty : out
        No weight is being read, and a list of length 0 was dropped.
    """

    LATENCY = 6

    i_valid: Signal
    i: data.View
    room: Signal
    load_valid: Signal
    load: data.View
    o_valid: Signal
    o: data.View
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
                "load": In(load_layout(config)),
                "o_valid": Out(1),
                "o": Out(operand_layout(config)),
                "issue": Out(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        weights = SyncMemory(shape=config.entry_width, depth=config.weight_depth)
        lists = SyncMemory(shape=config.pointer_width, depth=config.pointer_depth)
        m.submodules.weights = weights
        m.submodules.lists = lists
        m.submodules.runs = runs = fifo.SyncFIFO(
            width=_run_layout(config).size, depth=config.fifo_depth
        )
        self._build_load(m, weights, lists)
        dropped = self._build_lookup(m, lists, runs)
        self._build_walker(m, weights, runs)

        outstanding = Signal(range(config.fifo_depth + 1))
        following = Signal(range(config.fifo_depth + 2))
        taken = runs.r_en & runs.r_rdy
        # A dropped list gives its room back a cycle late: off the path behind the table.
        dropped_q = Signal()
        m.d.sync += dropped_q.eq(dropped)
        m.d.comb += [
            following.eq(outstanding + self.i_valid - taken - dropped_q),
            self.empty.eq(dropped & ~self.issue),
        ]
        m.d.sync += [
            outstanding.eq(following),
            self.room.eq(following <= config.fifo_depth - 3),
        ]
        return m

    def _build_load(self, m: Module, weights: SyncMemory, lists: SyncMemory) -> None:
        for part, number in ((weights, Memory.WEIGHT), (lists, Memory.POINTER)):
            m.d.comb += [
                part.w_en.eq(self.load_valid & (self.load.memory == number)),
                part.w_addr.eq(self.load.address),
                part.w_data.eq(self.load.data),
            ]

    def _build_lookup(self, m: Module, lists: SyncMemory, runs: fifo.SyncFIFO) -> Signal:
        """Connect token, list table and FIFO; return the pulse for a list of length 0."""
        config = self._config
        valid: Signal = self.i_valid
        token: data.View = self.i
        for stage in range(lists.latency):
            valid_q = Signal(name=f"lookup_valid_{stage}")
            token_q = struct_signal(
                group_token_layout(config), name=f"lookup_{stage}", reset_less=True
            )
            m.d.sync += [valid_q.eq(valid), token_q.eq(token)]
            valid, token = valid_q, token_q
        entry = data.View(
            data.StructLayout(
                {"start": unsigned(config.start_width), "length": unsigned(config.run_width)}
            ),
            lists.r_data,
        )
        run = struct_signal(_run_layout(config))
        dropped = Signal()
        m.d.comb += [
            lists.r_addr.eq(self.i.pointer),
            run.act.eq(token.act),
            run.context.eq(token.context),
            run.start.eq(entry.start),
            run.length.eq(entry.length),
            run.last.eq(token.last),
            dropped.eq(valid & (entry.length == 0) & ~token.last),
            runs.w_en.eq(valid & ~dropped),
            runs.w_data.eq(run),
        ]
        return dropped

    def _build_walker(self, m: Module, weights: SyncMemory, runs: fifo.SyncFIFO) -> None:
        config = self._config
        run = data.View(_run_layout(config), runs.r_data)
        active = Signal()
        final = Signal()
        address = Signal(config.weight_addr_width, reset_less=True)
        left = Signal(config.run_width, reset_less=True)
        operand = struct_signal(operand_layout(config), reset_less=True)
        end = Signal()
        m.d.comb += [
            runs.r_en.eq(~active | final),
            weights.r_addr.eq(address),
            self.issue.eq(active),
        ]
        m.d.sync += [address.eq(address + 1), left.eq(left - 1), final.eq(left == 2)]
        with m.If(runs.r_en):
            m.d.sync += [
                active.eq(runs.r_rdy & ~run.last),
                end.eq(runs.r_rdy & run.last),
                final.eq(run.length == 1),
                address.eq(run.start << 1),
                left.eq(run.length),
                operand.act.eq(run.act),
                operand.context.eq(run.context),
            ]
        valid, carried, ends = active | end, operand, end
        for stage in range(weights.latency):
            valid_q = Signal(name=f"weight_valid_{stage}")
            carried_q = struct_signal(
                operand_layout(config), name=f"weight_{stage}", reset_less=True
            )
            ends_q = Signal(name=f"weight_end_{stage}")
            m.d.sync += [valid_q.eq(valid), carried_q.eq(carried), ends_q.eq(ends)]
            valid, carried, ends = valid_q, carried_q, ends_q
        m.d.comb += [
            self.o_valid.eq(valid),
            self.o.eq(carried),
            self.o.weight.eq(weights.r_data[:8]),
            self.o.row.eq(weights.r_data[8:]),
            self.o.end.eq(ends),
        ]
