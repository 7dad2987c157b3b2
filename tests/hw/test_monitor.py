import numpy as np

from jpnet_hw.monitor import Monitor
from jpnet_spec.config import AcceleratorConfig


def test_thresholds_of_one_cycle_all_leave(simulate):
    dut = Monitor(AcceleratorConfig(contexts=4))

    async def bench(ctx):
        for context in range(4):
            ctx.set(dut.image[context], 10 + context)
            ctx.set(dut.theta_layer[context], 3 + context)
            ctx.set(dut.theta[context], 100 + context)
            ctx.set(dut.theta_valid[context], 1)
        await ctx.tick()
        for context in range(4):
            ctx.set(dut.theta_valid[context], 0)
            ctx.set(dut.image[context], 0)
            ctx.set(dut.theta_layer[context], 0)
        seen = []
        for _ in range(8):
            if ctx.get(dut.trace_theta_valid):
                names = ("context", "image", "layer", "value")
                seen.append(tuple(ctx.get(getattr(dut, f"trace_theta_{name}")) for name in names))
            await ctx.tick()
        assert seen == [(number, 10 + number, 3 + number, 100 + number) for number in range(4)]

    simulate(dut, bench, budget=64)


def test_a_row_carries_its_context_s_image_and_layer(simulate, rng):
    config = AcceleratorConfig(act_word=8, clusters=4)
    dut = Monitor(config)

    async def bench(ctx):
        for _ in range(20):
            context, address = int(rng.integers(2)), int(rng.integers(config.act_depth))
            banks, column = int(rng.integers(1, 2**config.clusters)), int(rng.integers(2))
            acts = rng.integers(-127, 128, (config.clusters, config.lanes)).astype(np.int8)
            images = [int(image) for image in rng.integers(0, 2**32, 2)]
            for number in range(2):
                ctx.set(dut.image[number], images[number])
                ctx.set(dut.layer[number], 5 + number)
            ctx.set(dut.row_valid, 1)
            ctx.set(dut.row.context, context)
            ctx.set(dut.row.banks, banks)
            ctx.set(dut.row.address, address)
            ctx.set(dut.row.column, column)
            for cluster, values in enumerate(acts.tolist()):
                for lane, act in enumerate(values):
                    ctx.set(dut.row.acts[cluster][lane], act)
            await ctx.tick()
            assert ctx.get(dut.trace_row_valid)
            assert ctx.get(dut.trace_row_context) == context
            assert ctx.get(dut.trace_row_image) == images[context]
            assert ctx.get(dut.trace_row_layer) == 5 + context
            assert ctx.get(dut.trace_row_banks) == banks
            assert ctx.get(dut.trace_row_address) == address
            assert ctx.get(dut.trace_row_column) == column
            word = ctx.get(dut.trace_row_data).to_bytes(acts.size, "little")
            assert word == acts.tobytes()

    simulate(dut, bench, budget=64)
