"""Performance counters: every lane accounts for every cycle of a run."""

from functools import reduce
from operator import add

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.cluster import Cluster
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.counters import COUNTER_WIDTH, Counter

__all__ = ["PerformanceCounters"]


class PerformanceCounters(wiring.Component):
    """Count events and, for every lane without a product, why it has none.

    All events are brought to the same delay, so products and idle cycles of all causes add up to
    lanes times cycles at any time when nothing runs. The counters are final `LATENCY` cycles after
    `running` falls.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    clear : in
        Pulse: all counters become 0, events on their way are forgotten.
    running : in
        A cycle of the run.
    issue_count, empty_count : in, per cluster
        Lanes with a product, and lanes that dropped an empty list instead,
        `Cluster.COUNT_LATENCY` cycles ago.
    blocked : in, one bit per cluster
        The dispatcher holds a token back.
    skipping : in, one bit per cluster
        A zero skipper of the cluster is busy.
    computing, draining, topn : in
        Some context computes, drains, waits for its threshold.
    read_count, zero_count, below_count : in, per cluster
        Activations examined and dropped.
    counts : out, unsigned(48) per `Counter`
    """

    LATENCY = Cluster.COUNT_LATENCY + 3

    clear: Signal
    running: Signal
    issue_count: list[Signal]
    empty_count: list[Signal]
    blocked: Signal
    skipping: Signal
    computing: Signal
    draining: Signal
    topn: Signal
    read_count: list[Signal]
    zero_count: list[Signal]
    below_count: list[Signal]
    counts: list[Signal]

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        lanes = range(config.lanes * config.groups + 1)
        acts = range(config.act_word + 1)
        super().__init__(
            {
                "clear": In(1),
                "running": In(1),
                "issue_count": In(lanes).array(config.clusters),
                "empty_count": In(lanes).array(config.clusters),
                "blocked": In(config.clusters),
                "skipping": In(config.clusters),
                "computing": In(1),
                "draining": In(1),
                "topn": In(1),
                "read_count": In(acts).array(config.clusters),
                "zero_count": In(acts).array(config.clusters),
                "below_count": In(acts).array(config.clusters),
                "counts": Out(COUNTER_WIDTH).array(len(Counter)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        lanes = range(config.mac_units + 1)
        acts = range(config.clusters * config.act_word + 1)
        running = self._delay(m, self.running, "running", Cluster.COUNT_LATENCY + 1)
        events = {
            counter: Signal(lanes, name=f"{counter.name.lower()}_count", reset_less=True)
            for counter in Counter
            if counter.name.startswith("IDLE_")
        }
        self._build_causes(m, events)
        products = Signal(lanes, reset_less=True)
        m.d.sync += products.eq(reduce(add, self.issue_count))
        events[Counter.CYCLES] = Signal(name="cycles_count")
        events[Counter.MACS] = products
        m.d.comb += events[Counter.CYCLES].eq(1)
        for counter, counts in (
            (Counter.ACTS_READ, self.read_count),
            (Counter.ACTS_ZERO, self.zero_count),
            (Counter.ACTS_BELOW, self.below_count),
        ):
            event = Signal(acts, name=f"{counter.name.lower()}_count", reset_less=True)
            m.d.sync += event.eq(reduce(add, counts))
            events[counter] = event
        for counter, event in events.items():
            step = Signal.like(event, name=f"{counter.name.lower()}_step")
            m.d.sync += step.eq(Mux(running & ~self.clear, event, 0))
            with m.If(self.clear):
                m.d.sync += self.counts[counter].eq(0)
            with m.Else():
                m.d.sync += self.counts[counter].eq(self.counts[counter] + step)
        return m

    def _delay(self, m: Module, level: Value, name: str, cycles: int) -> Value:
        for stage in range(cycles):
            level_q = Signal.like(level, name=f"{name}_{stage}", init=0)
            m.d.sync += level_q.eq(Mux(self.clear, 0, level))
            level = level_q
        return level

    def _build_causes(self, m: Module, events: dict[Counter, Signal]) -> None:
        """Split the idle lanes of a cycle by cause."""
        config = self._config
        delay = Cluster.COUNT_LATENCY
        levels = Cat(self.computing, self.draining, self.topn, self.blocked | ~self.skipping)
        levels_q = self._delay(m, levels, "levels", delay)
        computing, draining, topn = levels_q[0], levels_q[1], levels_q[2]
        waiting: dict[Counter, list] = {counter: [] for counter in events}
        cluster_lanes = config.lanes * config.groups
        for cluster in range(config.clusters):
            issue, empty = self.issue_count[cluster], self.empty_count[cluster]
            imbalance = levels_q[3 + cluster]
            idle = Signal(range(cluster_lanes + 1), name=f"idle_{cluster}")
            m.d.comb += idle.eq(cluster_lanes - issue - empty)
            conditions = {
                Counter.IDLE_LIST_EMPTY: 1,
                Counter.IDLE_IMBALANCE: computing & imbalance,
                Counter.IDLE_NO_ACTIVATION: computing & ~imbalance,
                Counter.IDLE_DRAIN: ~computing & draining,
                Counter.IDLE_TOPN: ~computing & ~draining & topn,
                Counter.IDLE_MEMORY: ~computing & ~draining & ~topn,
            }
            for counter, condition in conditions.items():
                lanes = empty if counter is Counter.IDLE_LIST_EMPTY else idle
                waiting[counter].append(Mux(condition, lanes, 0))
        for counter, counts in waiting.items():
            m.d.sync += events[counter].eq(reduce(add, counts))
