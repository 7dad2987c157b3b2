"""One lane of the drain: adder trees, channel parameters, requantisation."""

from functools import reduce
from operator import add

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.layouts import param_layout
from jpnet_hw.local_register import local_register
from jpnet_hw.memory import SyncMemory
from jpnet_hw.places import by_cluster, by_place, row_turns, turns_of
from jpnet_hw.requantiser import ADDEND_WIDTH, Requantiser
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.layer import AFFINE_UNIT
from jpnet_spec.numbers import MULTIPLIER_WIDTH

__all__ = ["DrainLane"]


class DrainLane(wiring.Component):
    """Bring one lane's sums back to int8, of every cluster at once or of all clusters together.

    One row per cycle, no stalls: sums to `magnitudes` `latency` cycles, to `acts` one more. Sums
    are modulo ``2**acc_width``. The trees add four terms a stage. All clusters' outputs of a row
    belong to one channel and share its parameters. A row may go through twice: its outputs times
    `AFFINE_UNIT`, or minus that where the channel is inverted, then take the place of sums.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    w_en, w_addr, w_data : in
        Writes a row of channel parameters.
    param_row : in
        Parameter row of the output, `PARAM_CYCLES` before its sums leave the tree, that is
        ``tree_latency - PARAM_CYCLES`` after its `sums`.
    sums : in, per cluster an array signed(acc_width) of the groups
    together : in
        With `sums`: cluster 0's output is the sum over all clusters, the others mean nothing.
    again : in
        As the sums leave the tree: instead of them the outputs that leave now are requantised.
    adding : in
        As the sums leave the tree: something is added.
    summed : in
        `CARRIED_DELAY` cycles later: what is added are the low bits of the sums of that cycle, not
        `carried`.
    carried : in, one signed(8) a place
        With it: what is added.
    carried_turn : in, range(clusters)
        A cycle before it: place k's sums are those of the cluster that much further.
    addend_multiplier : in, unsigned(16)
        `Requantiser.ADDEND_DELAY` cycles after the sums leave the tree: of what is added; 0 without
        `adding`.
    shift : in, unsigned(6)
        ``tree_latency + Requantiser.SHIFT_DELAY`` cycles after `sums`.
    turn : in, range(clusters)
        A cycle before `magnitudes`: place k's `acts` is the output that the cluster that much
        further has.
    magnitudes : out, unsigned(7) a cluster
        Of the outputs.
    phase : out, unsigned(8)
        The channel's place in the sampling pattern, a cycle before `magnitudes`.
    acts : out, signed(8) a place
        The outputs, one cycle after `magnitudes`.
    """

    PARAM_CYCLES = 2
    CARRIED_DELAY = Requantiser.ADDEND_DELAY - 1

    w_en: Signal
    w_addr: Signal
    w_data: data.View
    param_row: Signal
    sums: list[data.View]
    together: Signal
    again: Signal
    adding: Signal
    summed: Signal
    carried: data.View
    carried_turn: Signal
    addend_multiplier: Signal
    shift: Signal
    turn: Signal
    magnitudes: data.View
    phase: Signal
    acts: data.View

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        row = range(config.param_depth)
        super().__init__(
            {
                "w_en": In(1),
                "w_addr": In(row),
                "w_data": In(param_layout(config)),
                "param_row": In(row),
                "sums": In(data.ArrayLayout(signed(config.acc_width), config.groups)).array(
                    config.clusters
                ),
                "together": In(1),
                "again": In(1),
                "adding": In(1),
                "summed": In(1),
                "carried": In(data.ArrayLayout(signed(8), config.clusters)),
                "carried_turn": In(range(max(2, config.clusters))),
                "addend_multiplier": In(MULTIPLIER_WIDTH),
                "shift": In(6),
                "turn": In(range(max(2, config.clusters))),
                "magnitudes": Out(data.ArrayLayout(unsigned(7), config.clusters)),
                "phase": Out(8),
                "acts": Out(data.ArrayLayout(signed(8), config.clusters)),
            }
        )

    @property
    def tree_latency(self) -> int:
        """Cycles of the adder trees."""
        return max(1, (exact_log2(self._config.groups * self._config.clusters) + 1) // 2)

    @property
    def latency(self) -> int:
        """Cycles from `sums` to `magnitudes`."""
        return self.tree_latency + Requantiser.LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.params = params = SyncMemory(
            shape=param_layout(config), depth=config.param_depth
        )
        param = data.View(param_layout(config), params.r_data)
        m.d.comb += [
            params.w_en.eq(self.w_en),
            params.w_addr.eq(self.w_addr),
            params.w_data.eq(self.w_data),
            params.r_addr.eq(self.param_row),
        ]
        outputs: list[Value] = []
        carried_turn = local_register(len(self.carried_turn), name="carried_turn")
        m.d.sync += carried_turn.eq(self.carried_turn)
        carried = by_cluster(
            m,
            [self.carried[place] for place in range(config.clusters)],
            carried_turn,
            turns_of(config),
            name="carried_act",
        )
        for cluster in range(config.clusters):
            own: list[Value] = [self.sums[cluster][group] for group in range(config.groups)]
            if cluster == 0:
                others = (self.sums[other] for other in range(1, config.clusters))
                own += [
                    Mux(self.together, sums[group], 0)
                    for sums in others
                    for group in range(config.groups)
                ]
            requantiser = Requantiser(config)
            m.submodules[f"requantiser_{cluster}"] = requantiser
            outputs.append(Cat(requantiser.magnitude, requantiser.negative))
            m.d.comb += self.magnitudes[cluster].eq(requantiser.magnitude)
            total = self._build_tree(m, own, cluster)
            addend = Signal(signed(ADDEND_WIDTH), name=f"addend_{cluster}", reset_less=True)
            m.d.sync += addend.eq(
                Mux(self.summed, total[:ADDEND_WIDTH].as_signed(), carried[cluster].as_signed())
            )
            self._build_operands(m, requantiser, (total, addend), param)
        self._build_acts(m, outputs)
        phase: Value = param.phase
        for stage in range(Requantiser.LATENCY - 1):
            phase_q = Signal(8, name=f"phase_{stage}", reset_less=True)
            m.d.sync += phase_q.eq(phase)
            phase = phase_q
        m.d.comb += self.phase.eq(phase)
        return m

    def _build_operands(
        self, m: Module, requantiser: Requantiser, terms: tuple[Value, Value], param: data.View
    ) -> None:
        """Give a requantiser a sum, or the output that leaves it, and what is added."""
        total, addend = terms
        negated = requantiser.negative ^ param.inverted
        # A negative one as its complement and one more, in the place of a sum.
        output = (requantiser.magnitude << exact_log2(AFFINE_UNIT)) ^ negated.replicate(len(total))
        m.d.comb += [
            requantiser.acc.eq(Mux(self.again, output, total)),
            requantiser.increment.eq(self.again & negated),
            requantiser.bias.eq(param.bias),
            requantiser.multiplier.eq(param.multiplier),
            requantiser.negative_multiplier.eq(param.negative_multiplier),
            requantiser.adding.eq(self.adding),
            requantiser.addend.eq(addend),
            requantiser.addend_multiplier.eq(self.addend_multiplier),
            requantiser.shift.eq(self.shift),
        ]

    def _build_acts(self, m: Module, outputs: list[Value]) -> None:
        """Turn magnitudes and signs over to the windows' places and make numbers of them."""
        turn = local_register(len(self.turn), name="turn")
        m.d.sync += turn.eq(self.turn)
        turned = by_place(m, outputs, turn, row_turns(self._config), name="output")
        for place, (act, output) in enumerate(zip(self.acts, turned, strict=True)):
            act_q = Signal(signed(8), name=f"act_{place}", reset_less=True)
            m.d.sync += act_q.eq(Mux(output[-1], -output[:-1], output[:-1]))
            m.d.comb += act.eq(act_q)

    def _build_tree(self, m: Module, terms: list[Value], cluster: int) -> Value:
        """Return the sum of the terms after `tree_latency` cycles, however few they are."""
        for stage in range(self.tree_latency):
            parts = [terms[start : start + 4] for start in range(0, len(terms), 4)]
            terms = []
            for index, part in enumerate(parts):
                total = Signal(
                    signed(self._config.acc_width),
                    name=f"sum_{cluster}_{stage}_{index}",
                    reset_less=True,
                )
                m.d.sync += total.eq(reduce(add, part))
                terms.append(total)
        return terms[0]
