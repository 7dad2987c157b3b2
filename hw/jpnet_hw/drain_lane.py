"""One lane of the drain: adder tree, channel parameters, requantisation."""

from functools import reduce
from operator import add

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.layouts import param_layout
from jpnet_hw.memory import SyncMemory
from jpnet_hw.requantiser import Requantiser
from jpnet_spec.config import AcceleratorConfig

__all__ = ["DrainLane"]


class DrainLane(wiring.Component):
    """Add one lane's sums of all groups and clusters and bring the result back to int8.

    One output per cycle, no stalls: sums to `magnitude` `latency` cycles, to `act` one more. Sums
    are modulo ``2**acc_width``. The tree adds four terms a stage.

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
    sums : in, array of groups * clusters signed(acc_width)
    shift : in, unsigned(6)
        ``tree_latency + Requantiser.SHIFT_DELAY`` cycles after `sums`.
    magnitude : out, unsigned(7)
        Of the output.
    sampled : out
        The output's phase is 0: the sampled threshold counts it. Together with `magnitude`.
    act : out, signed(8)
        The output, one cycle after `magnitude`.
    """

    PARAM_CYCLES = 2

    w_en: Signal
    w_addr: Signal
    w_data: data.View
    param_row: Signal
    sums: data.View
    shift: Signal
    magnitude: Signal
    sampled: Signal
    act: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self._terms = config.groups * config.clusters
        row = range(config.param_depth)
        super().__init__(
            {
                "w_en": In(1),
                "w_addr": In(row),
                "w_data": In(param_layout(config)),
                "param_row": In(row),
                "sums": In(data.ArrayLayout(signed(config.acc_width), self._terms)),
                "shift": In(6),
                "magnitude": Out(7),
                "sampled": Out(1),
                "act": Out(signed(8)),
            }
        )

    @property
    def tree_latency(self) -> int:
        """Cycles of the adder tree."""
        return (exact_log2(self._terms) + 1) // 2

    @property
    def latency(self) -> int:
        """Cycles from `sums` to `magnitude`."""
        return self.tree_latency + Requantiser.LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.requantiser = requantiser = Requantiser(config)
        m.submodules.params = params = SyncMemory(
            shape=param_layout(config), depth=config.param_depth
        )
        terms: list[Value] = [self.sums[index] for index in range(self._terms)]
        for stage in range(self.tree_latency):
            parts = [terms[start : start + 4] for start in range(0, len(terms), 4)]
            terms = []
            for index, part in enumerate(parts):
                total = Signal(
                    signed(config.acc_width), name=f"sum_{stage}_{index}", reset_less=True
                )
                m.d.sync += total.eq(reduce(add, part))
                terms.append(total)
        param = data.View(param_layout(config), params.r_data)
        phase_zero = Signal(Requantiser.LATENCY, reset_less=True)
        m.d.comb += [
            params.w_en.eq(self.w_en),
            params.w_addr.eq(self.w_addr),
            params.w_data.eq(self.w_data),
            params.r_addr.eq(self.param_row),
            requantiser.acc.eq(terms[0]),
            requantiser.bias.eq(param.bias),
            requantiser.multiplier.eq(param.multiplier),
            requantiser.negative_multiplier.eq(param.negative_multiplier),
            requantiser.shift.eq(self.shift),
            self.magnitude.eq(requantiser.magnitude),
            self.sampled.eq(phase_zero[-1]),
        ]
        m.d.sync += [
            phase_zero.eq(Cat(param.phase == 0, phase_zero)),
            self.act.eq(Mux(requantiser.negative, -requantiser.magnitude, requantiser.magnitude)),
        ]
        return m
