"""A lane at work, cycle by cycle, as a timing diagram recorded from its simulation."""

from itertools import pairwise
from typing import Any

import schemdraw
from amaranth.sim import Simulator
from schemdraw import logic

from jpnet_hw.lane import Lane
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory

__all__ = ["lane_timing", "record_lane"]

_CONFIG = AcceleratorConfig(
    contexts=1, weight_depth=16, pointer_depth=16, acc_depth=8, fifo_depth=8
)
_LISTS = (((0, 3), (2, -1), (5, 4)), ((1, 2), (5, 1)), (), ((0, -2), (3, 1), (4, 2), (7, 5)))
"""Per input channel the pairs of accumulator row and weight."""
_TOKENS = ((5, 0), (2, 1), (7, 2), (1, 3))
"""Activation and input channel; then comes the end of the job."""


def record_lane() -> dict[str, list[int | None]]:
    """Simulate a lane that takes a token a cycle; return each signal's value in every cycle.

    Returns
    -------
    dict
        ``token``: the channel taken, None for no token and -1 for the end of the job. ``issue``: 1
        while a weight is read. ``done``: 1 once all products are in memory.
    """
    lane = Lane(_CONFIG)
    record: dict[str, list[int | None]] = {"token": [], "issue": [], "done": []}

    async def bench(ctx: Any) -> None:
        await _load(ctx, lane)
        tokens = [*(channel for _, channel in _TOKENS), -1]
        while not ctx.get(lane.done):
            channel = tokens.pop(0) if tokens else None
            _give(ctx, lane, channel)
            record["token"].append(channel)
            record["issue"].append(ctx.get(lane.issue))
            record["done"].append(0)
            await ctx.tick()
        for name, value in (("token", None), ("issue", 0), ("done", 1)):
            record[name].append(value)

    simulator = Simulator(lane)
    simulator.add_clock(1e-8)  # type: ignore[no-untyped-call]
    simulator.add_testbench(bench)
    simulator.run()  # type: ignore[no-untyped-call]
    return record


def lane_timing() -> bytes:
    """Return the timing diagram as SVG."""
    record = record_lane()
    cycles = len(record["issue"])
    products = [f"{act}·{weight}" for act, channel in _TOKENS for _, weight in _LISTS[channel]]
    issue = record["issue"]
    rows: list[dict[str, Any]] = [
        {"name": "clk", "wave": "p" + "." * (cycles - 1)},
        {"name": "token", **_token_wave(record["token"])},
        {"name": "product", "wave": "".join("3" if on else "x" for on in issue), "data": products},
        {"name": "lane idle", "wave": _level("".join("0" if on else "1" for on in issue))},
        {"name": "done", "wave": _level("".join(str(value) for value in record["done"]))},
    ]
    schemdraw.use("svg")
    drawing = schemdraw.Drawing(show=False, fontsize=9)
    drawing.add(logic.TimingDiagram({"signal": rows, "head": {"tick": 0}}, xscale=1.4))
    return bytes(drawing.get_imagedata("svg"))


def _token_wave(tokens: list[int | None]) -> dict[str, Any]:
    names = {-1: "end", **{channel: f"a{channel}={act}" for act, channel in _TOKENS}}
    return {
        "wave": "".join("x" if token is None else "4" for token in tokens),
        "data": [names[token] for token in tokens if token is not None],
    }


def _level(wave: str) -> str:
    """Replace repetitions by dots."""
    return wave[0] + "".join("." if value == before else value for before, value in pairwise(wave))


async def _load(ctx: Any, lane: Lane) -> None:
    """Fill the list table and the weight memory, and re-arm the accumulators."""
    start, entries = 0, []
    for pointer, pairs in enumerate((*_LISTS, ())):
        entries.append((Memory.POINTER, pointer, start))
        for row, weight in pairs:
            entries.append((Memory.WEIGHT, start, row << 8 | weight & 0xFF))
            start += 1
    ctx.set(lane.load_valid, 1)
    for memory, address, value in entries:
        ctx.set(lane.load.memory, int(memory))
        ctx.set(lane.load.address, address)
        ctx.set(lane.load.data, value)
        await ctx.tick()
    ctx.set(lane.load_valid, 0)
    ctx.set(lane.drain_valid, 1)
    for row in range(_CONFIG.acc_depth):
        ctx.set(lane.drain.row, row)
        await ctx.tick()
    ctx.set(lane.drain_valid, 0)
    await ctx.tick().repeat(lane.DRAIN_LATENCY)


def _give(ctx: Any, lane: Lane, channel: int | None) -> None:
    """Drive a token: a channel's activation, -1 for the end, None for nothing."""
    ctx.set(lane.i_valid, int(channel is not None))
    if channel is None:
        return
    ctx.set(lane.i.last, int(channel < 0))
    if channel >= 0:
        ctx.set(lane.i.act, dict((c, act) for act, c in _TOKENS)[channel])
        ctx.set(lane.i.pointer, channel)
        ctx.set(lane.i.stop, channel + 1)
