from dataclasses import replace

import pytest

from jpnet_hw.cluster import Cluster
from jpnet_hw.counters import PerformanceCounters
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.counters import STALL_COUNTERS, Counter


def model(config, cycles):
    """Count cycles of (issue, empty, blocked, skipping, computing, draining, topn, acts)."""
    counts = dict.fromkeys(Counter, 0)
    for issue, empty, blocked, skipping, computing, draining, topn, acts in cycles:
        counts[Counter.CYCLES] += 1
        for context_counts in acts:
            for counter, value in zip(
                (Counter.ACTS_READ, Counter.ACTS_ZERO, Counter.ACTS_BELOW),
                context_counts,
                strict=True,
            ):
                counts[counter] += value
        for cluster in range(config.clusters):
            idle = config.lanes * config.groups - issue[cluster] - empty[cluster]
            counts[Counter.MACS] += issue[cluster]
            counts[Counter.IDLE_LIST_EMPTY] += empty[cluster]
            if computing:
                late = blocked[cluster] or not skipping[cluster]
                cause = Counter.IDLE_IMBALANCE if late else Counter.IDLE_NO_ACTIVATION
            elif draining:
                cause = Counter.IDLE_DRAIN
            else:
                cause = Counter.IDLE_TOPN if topn else Counter.IDLE_MEMORY
            counts[cause] += idle
    return counts


@pytest.mark.parametrize("clusters", [1, 4])
def test_every_lane_accounts_for_every_cycle(simulate, rng, clusters):
    config = replace(AcceleratorConfig(), clusters=clusters)
    dut = PerformanceCounters(config)
    lanes, most = config.lanes * config.groups, config.act_word

    def random_cycle():
        issue = rng.integers(0, lanes + 1, clusters)
        empty = [int(rng.integers(0, lanes + 1 - value)) for value in issue]
        bits = rng.integers(0, 2, (2, clusters))
        levels = rng.integers(0, 2, 3)
        acts = rng.integers(0, most + 1, (clusters, 3))
        return [int(value) for value in issue], empty, *bits.tolist(), *levels.tolist(), acts

    async def bench(ctx):
        for count in (100, 60):
            cycles = [random_cycle() for _ in range(count)]
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            for index in range(count + dut.LATENCY + 1):
                ctx.set(dut.running, int(index < count))
                now = cycles[min(index, count - 1)]
                then = cycles[min(max(index - Cluster.COUNT_LATENCY, 0), count - 1)]
                for cluster in range(clusters):
                    ctx.set(dut.issue_count[cluster], then[0][cluster])
                    ctx.set(dut.empty_count[cluster], then[1][cluster])
                    ctx.set(dut.blocked[cluster], now[2][cluster])
                    ctx.set(dut.skipping[cluster], now[3][cluster])
                    ctx.set(dut.read_count[cluster], int(then[7][cluster][0]))
                    ctx.set(dut.zero_count[cluster], int(then[7][cluster][1]))
                    ctx.set(dut.below_count[cluster], int(then[7][cluster][2]))
                for level, value in zip(
                    (dut.computing, dut.draining, dut.topn), now[4:7], strict=True
                ):
                    ctx.set(level, value)
                await ctx.tick()
            counts = {counter: ctx.get(dut.counts[counter]) for counter in Counter}
            assert counts == model(config, cycles)
            idle = sum(counts[counter] for counter in STALL_COUNTERS)
            assert counts[Counter.MACS] + idle == config.mac_units * count

    simulate(dut, bench, budget=400)
