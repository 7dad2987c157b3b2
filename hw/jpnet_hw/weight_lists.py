"""The weight lists of one lane: from an activation to the weights that it meets."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.context_space import accumulator_place
from jpnet_hw.layouts import (
    context_shape,
    group_token_layout,
    list_load_layout,
    struct_signal,
)
from jpnet_hw.memory import PairMemory, SyncMemory
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory

__all__ = ["WeightLists", "operand_layout"]


def operand_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Operands of one product, or with ``end`` the end of a context's job.

    Of a product, ``context`` and ``row`` are the accumulator memory and the row in it.
    """
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
            "base": unsigned(config.acc_row_width),
            "start": unsigned(config.weight_addr_width),
            "length": unsigned(config.weight_addr_width),
            "last": unsigned(1),
        }
    )


def _walk_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return what is kept of the run that is walked."""
    members = _run_layout(config).members
    return data.StructLayout({name: members[name] for name in ("act", "context", "base")})


class WeightLists(wiring.Component):
    """Look every activation's run of lists up and walk it, one weight per cycle.

    The table tells where each list starts; one ends where the next starts, so a run of lists is
    one stretch of the weight memory. Starts are compared modulo the memory's depth. Runs follow
    each other without a gap while any are waiting; an empty run is dropped at the look-up. The
    first weight of a run leaves `LATENCY` cycles after its token came.

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
        Entries of the weight memory and the list table; those of other memories are ignored. None
        of a list that a token meets at that time, and of the table only where no token comes.
    o_valid, o : out, operands
        One product's operands, or an end.
    issue : out
        A weight is being read in this cycle.
    empty : out
        No weight is being read, and an empty run was dropped.
    """

    LATENCY = 7

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
                "load": In(list_load_layout(config)),
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
        lists = PairMemory(shape=config.weight_addr_width, depth=config.pointer_depth)
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

    def _build_load(self, m: Module, weights: SyncMemory, lists: PairMemory) -> None:
        for part, number in ((weights, Memory.WEIGHT), (lists, Memory.POINTER)):
            m.d.comb += [
                part.w_en.eq(self.load_valid & (self.load.memory == number)),
                part.w_addr.eq(self.load.address),
                part.w_data.eq(self.load.data),
            ]

    def _build_lookup(self, m: Module, lists: PairMemory, runs: fifo.SyncFIFO) -> Signal:
        """Connect token, list table and FIFO; return the pulse for an empty run."""
        config = self._config
        valid: Signal = self.i_valid
        token: data.View = self.i
        for stage in range(lists.LATENCY):
            valid_q = Signal(name=f"lookup_valid_{stage}")
            token_q = struct_signal(
                group_token_layout(config), name=f"lookup_{stage}", reset_less=True
            )
            m.d.sync += [valid_q.eq(valid), token_q.eq(token)]
            valid, token = valid_q, token_q
        start, stop = lists.r_data
        run = struct_signal(_run_layout(config))
        dropped = Signal()
        m.d.comb += [
            lists.r_addrs[0].eq(self.i.pointer),
            lists.r_addrs[1].eq(self.i.stop),
            run.act.eq(token.act),
            run.context.eq(token.context),
            run.base.eq(token.base),
            run.start.eq(start),
            run.length.eq(stop - start),
            run.last.eq(token.last),
            dropped.eq(valid & (start == stop) & ~token.last),
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
        left = Signal(config.weight_addr_width, reset_less=True)
        operand = struct_signal(_walk_layout(config), reset_less=True)
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
                address.eq(run.start),
                left.eq(run.length),
                operand.act.eq(run.act),
                operand.context.eq(run.context),
                operand.base.eq(run.base),
            ]
        valid, carried, ends = active | end, operand, end
        for stage in range(weights.latency):
            valid_q = Signal(name=f"weight_valid_{stage}")
            carried_q = struct_signal(_walk_layout(config), name=f"weight_{stage}", reset_less=True)
            ends_q = Signal(name=f"weight_end_{stage}")
            m.d.sync += [valid_q.eq(valid), carried_q.eq(carried), ends_q.eq(ends)]
            valid, carried, ends = valid_q, carried_q, ends_q
        placed = struct_signal(operand_layout(config), reset_less=True)
        row = Signal(config.acc_row_width)
        memory, place = accumulator_place(config, carried.context, row)
        m.d.comb += row.eq(carried.base + weights.r_data[8:].as_signed())
        m.d.sync += [
            self.o_valid.eq(valid),
            placed.act.eq(carried.act),
            placed.weight.eq(weights.r_data[:8]),
            placed.row.eq(place),
            placed.context.eq(Mux(ends, carried.context, memory)),
            placed.end.eq(ends),
        ]
        m.d.comb += self.o.eq(placed)
