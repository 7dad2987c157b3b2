from dataclasses import replace

import numpy as np
import pytest

from jpnet_spec.artefact import ArtefactError
from jpnet_spec.convolution import Convolution
from jpnet_spec.layer import Layer, LayerOp
from jpnet_spec.model_file import load_network, save_network
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.numbers import choose_multipliers, requantise
from jpnet_spec.pooling import max_pool
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_spec.window import Window


def convolution_layer(rng, name, shape, oc, window, *, density=0.3, leaky=0, **fields):
    conv = Convolution(
        input_shape=shape, window=window, channel_groups=fields.pop("channel_groups", 1)
    )
    kernels = (oc, shape[0] // conv.channel_groups, *window.size)
    weight = rng.integers(-127, 128, kernels) * (rng.random(kernels) < density)
    multiplier = rng.integers(2**15, 2**16, oc).astype(np.uint16)
    return Layer(
        name=name,
        op=LayerOp.CONVOLUTION,
        weight=weight.astype(np.int8),
        bias=rng.integers(-2000, 2000, oc).astype(np.int32),
        multiplier=multiplier,
        negative_multiplier=multiplier // 10 * leaky if leaky < 10 else multiplier,
        shift=22,
        convolution=conv,
        **fields,
    )


def fully_connected(rng, name, ic, oc, *, source, density=0.2, shift=22):
    multiplier = rng.integers(2**15, 2**16, oc).astype(np.uint16)
    weight = rng.integers(-127, 128, (oc, ic)) * (rng.random((oc, ic)) < density)
    return Layer(
        name=name,
        inputs=(source,),
        weight=weight.astype(np.int8),
        bias=np.zeros(oc, dtype=np.int32),
        multiplier=multiplier,
        negative_multiplier=multiplier,
        shift=shift,
    )


def average_layer(shape, window, **fields):
    channels, area = shape[0], window.size[0] * window.size[1]
    multipliers, shift = choose_multipliers([1 / area] * channels)
    return Layer(
        op=LayerOp.AVERAGE_POOL,
        weight=np.ones((channels, 1, *window.size), dtype=np.int8),
        bias=np.zeros(channels, dtype=np.int32),
        multiplier=multipliers,
        negative_multiplier=multipliers,
        shift=shift,
        convolution=Convolution(input_shape=shape, window=window, channel_groups=channels),
        **fields,
    )


def lenet4(rng, density=0.1):
    pool = Window(size=(2, 2), stride=2)
    conv1 = convolution_layer(
        rng, "conv1", (1, 28, 28), 20, Window(size=(5, 5)), pool=pool, density=density
    )
    conv2 = convolution_layer(
        rng, "conv2", (20, 12, 12), 50, Window(size=(5, 5)), pool=pool, density=density
    )
    conv1 = replace(conv1, top_n=TopN(mode=ThresholdMode.EXACT, winners=1000))
    conv2 = replace(
        conv2, inputs=("conv1",), top_n=TopN(mode=ThresholdMode.EXACT, winners=500), shift=24
    )
    fc1 = fully_connected(rng, "fc1", 800, 500, source="conv2")
    fc2 = fully_connected(rng, "fc2", 500, 10, source="fc1")
    return IntegerNetwork(name="lenet4", input_shape=(1, 28, 28), layers=(conv1, conv2, fc1, fc2))


def images_for(rng, count, shape, density=0.3):
    images = rng.integers(0, 128, (count, *shape)) * (rng.random((count, *shape)) < density)
    return images.astype(np.int8)


def slow_layer(layer, survivors):
    """Sums by definition, filter, then pooling, in that order; returns survivors and θ."""
    conv = layer.convolution
    padded = conv.window.pad(survivors.astype(np.int64), 0)
    rows, columns = conv.output_size
    stride = conv.window.stride
    ic, oc = layer.weight.shape[1], len(layer.weight) // conv.channel_groups
    sums = np.zeros((len(survivors), len(layer.weight), rows, columns), dtype=np.int64)
    for o, y, x in np.ndindex(*sums.shape[1:]):
        first = o // oc * ic
        met = padded[
            :,
            first : first + ic,
            y * stride : y * stride + conv.window.size[0],
            x * stride : x * stride + conv.window.size[1],
        ]
        sums[:, o, y, x] = (met * layer.weight[o].astype(np.int64)).sum(axis=(1, 2, 3))
    sums += layer.bias[:, None, None]
    acts = np.moveaxis(
        requantise(
            np.moveaxis(sums, 1, -1), layer.multiplier, layer.negative_multiplier, layer.shift
        ),
        -1,
        1,
    )
    threshold = layer.top_n.threshold(acts)
    kept = layer.top_n.keep(acts, threshold)
    return kept if layer.pool is None else max_pool(kept, layer.pool), threshold


@pytest.mark.parametrize("leaky", [0, 1, 10])
@pytest.mark.parametrize(
    "mode", [ThresholdMode.NONE, ThresholdMode.EXACT, ThresholdMode.SAMPLED, ThresholdMode.STATIC]
)
@pytest.mark.parametrize("pool", [None, Window(size=(2, 2), stride=2), Window(size=(3, 3))])
def test_layer_filters_the_unpooled_tensor_and_then_pools(rng, leaky, mode, pool):
    window = Window(size=(3, 3), padding=(1, 1, 1, 1))
    top_n = TopN(mode=mode, winners=60, static_threshold=40, sample_stride=3)
    layer = convolution_layer(
        rng, "conv", (2, 8, 8), 4, window, leaky=leaky, channel_groups=2, top_n=top_n, pool=pool
    )
    network = IntegerNetwork(name="x", input_shape=(2, 8, 8), layers=(layer,))
    images = images_for(rng, 5, (2, 8, 8))
    survivors, threshold = slow_layer(layer, images)
    trace = network.run(images)["conv"]
    assert np.array_equal(trace.survivors, survivors)
    assert np.array_equal(trace.threshold, threshold)
    assert trace.tensor.shape == (5, *layer.output_shape)
    assert np.array_equal(trace.survivors, top_n.keep(trace.tensor, trace.threshold))
    if leaky == 0:
        assert trace.tensor.min() >= 0
    assert len(np.unique(trace.tensor)) > 20


def test_exact_filter_counts_winners_before_pooling(rng):
    layer = convolution_layer(
        rng,
        "conv",
        (1, 12, 12),
        6,
        Window(size=(3, 3)),
        top_n=TopN(mode=ThresholdMode.EXACT, winners=50),
        pool=Window(size=(3, 3)),
    )
    images = images_for(rng, 10, (1, 12, 12), density=1.0)
    acts = layer.activations(images)
    assert acts.shape[1:] == layer.sums_shape == (6, 10, 10)
    threshold = layer.top_n.threshold(acts)
    winners = (np.abs(acts.astype(int)) > threshold[:, None, None, None]).sum(axis=(1, 2, 3))
    assert winners.max() <= 50
    trace = IntegerNetwork(name="x", input_shape=(1, 12, 12), layers=(layer,)).run(images)["conv"]
    # Overlapping windows see one winner several times.
    assert np.count_nonzero(trace.survivors[0]) > 50


@pytest.mark.parametrize(
    ("area", "values", "mean"),
    [
        ((2, 2), [1, 2, 3, 4], 2),  # 2.5 to even
        ((2, 2), [3, 4, 3, 4], 4),  # 3.5 to even
        ((2, 2), [-1, -2, -3, -4], -2),
        ((2, 2), [127, 127, 127, 127], 127),
        ((2, 2), [-127, -127, -127, -127], -127),
        ((1, 4), [0, 0, 0, 3], 1),
    ],
)
def test_average_rounds_half_to_even(area, values, mean):
    layer = average_layer((1, *area), Window(size=area), name="pool")
    images = np.array(values, dtype=np.int8).reshape(1, 1, *area)
    network = IntegerNetwork(name="x", input_shape=(1, *area), layers=(layer,))
    assert network.logits(images).ravel().tolist() == [mean]


@pytest.mark.parametrize("window", [Window(size=(8, 8)), Window(size=(3, 3), stride=2)])
def test_average_is_of_the_producers_survivors(rng, window):
    first = convolution_layer(
        rng,
        "conv",
        (2, 10, 10),
        3,
        Window(size=(3, 3)),
        top_n=TopN(mode=ThresholdMode.EXACT, winners=40),
    )
    second = average_layer((3, 8, 8), window, name="mean", inputs=("conv",))
    network = IntegerNetwork(name="x", input_shape=(2, 10, 10), layers=(first, second))
    traces = network.run(images_for(rng, 4, (2, 10, 10)))
    survivors, found = traces["conv"].survivors.astype(int), traces["mean"]
    scale = int(second.multiplier[0])
    for image, channel, y, x in np.ndindex(*found.tensor.shape):
        top, left = y * window.stride, x * window.stride
        met = survivors[image, channel, top : top + window.size[0], left : left + window.size[1]]
        assert found.tensor[image, channel, y, x] == np.rint(met.sum() * scale / 2**second.shift)
    if window.stride == 1:
        assert found.macs_effective.tolist() == np.count_nonzero(survivors, axis=(1, 2, 3)).tolist()


def test_effective_macs_equal_the_forward_pass_of_zeros_and_ones(rng):
    network = lenet4(rng)
    images = images_for(rng, 6, (1, 28, 28), density=0.2)
    traces = network.run(images)
    survivors = images
    for layer in network.layers:
        ones = replace(
            layer,
            weight=(layer.weight != 0).astype(np.int8),
            bias=np.zeros_like(layer.bias),
            pool=None,
        )
        sums = ones.sums((survivors != 0).astype(np.int8)).reshape(6, -1).sum(axis=1)
        trace = traces[layer.name]
        assert np.array_equal(trace.macs_effective, sums)
        assert np.array_equal(trace.inputs_read, np.full(6, survivors[0].size))
        assert np.array_equal(
            trace.inputs_read - trace.inputs_zero - trace.inputs_below,
            np.count_nonzero(survivors.reshape(6, -1), axis=1),
        )
        survivors = trace.survivors


def test_dense_macs_are_the_conventional_count(rng):
    network = lenet4(rng, density=1.0)
    assert [layer.macs_dense for layer in network.layers] == [288_000, 1_600_000, 400_000, 5_000]
    assert network.macs_dense == 2_293_000
    conv1 = network.layers[0]
    assert conv1.macs_weight_only == np.count_nonzero(conv1.weight) * 24 * 24
    padded = convolution_layer(
        rng, "c", (3, 24, 24), 64, Window(size=(5, 5), padding=(2, 2, 2, 2)), density=1.0
    )
    assert padded.macs_dense == 64 * 24 * 24 * 3 * 25
    assert padded.reach.sum() < padded.macs_dense


def test_largest_sum_bounds_every_sum(rng):
    layer = lenet4(rng).layers[1]
    extreme = np.where(layer.weight > 0, 127, -127).astype(np.int8)
    reached = [
        abs(int((extreme[o].astype(int) * layer.weight[o]).sum() + layer.bias[o]))
        for o in range(50)
    ]
    assert max(reached) <= layer.largest_sum
    assert layer.largest_sum == max(
        127 * int(np.abs(layer.weight[o].astype(int)).sum()) + abs(int(layer.bias[o]))
        for o in range(50)
    )


def test_zero_weights_and_dense_images_are_computed(rng):
    window = Window(size=(3, 3), padding=(1, 1, 1, 1))
    layer = convolution_layer(rng, "conv", (1, 5, 5), 2, window, density=0.0)
    network = IntegerNetwork(name="x", input_shape=(1, 5, 5), layers=(layer,))
    trace = network.run(np.full((2, 1, 5, 5), 127, dtype=np.int8))["conv"]
    assert trace.macs_effective.tolist() == [0, 0]
    assert trace.inputs_zero.tolist() == [0, 0]


def test_model_file_round_trips_convolutions(rng, tmp_path):
    network = lenet4(rng)
    average = average_layer((1, 28, 28), Window(size=(4, 4), stride=4), name="mean")
    path = tmp_path / "model.safetensors"
    for made in (
        network,
        IntegerNetwork(name="mean", input_shape=(1, 28, 28), layers=(average,)),
    ):
        save_network(made, path)
        loaded = load_network(path)
        images = images_for(rng, 3, (1, 28, 28))
        assert loaded.content_hash == made.content_hash
        assert np.array_equal(loaded.logits(images), made.logits(images))
        assert [layer.pool for layer in loaded.layers] == [layer.pool for layer in made.layers]


def test_hash_covers_geometry_and_pooling(rng):
    network = lenet4(rng)
    first = network.layers[0]
    assert first.convolution is not None
    strided = replace(
        first.convolution, window=replace(first.convolution.window, padding=(1, 0, 0, 0))
    )
    for changed in (replace(first, pool=Window(size=(3, 3))), replace(first, convolution=strided)):
        alone = IntegerNetwork(name="x", input_shape=(1, 28, 28), layers=(changed,))
        plain = IntegerNetwork(name="x", input_shape=(1, 28, 28), layers=(first,))
        assert alone.content_hash != plain.content_hash


def test_malformed_geometry_in_a_file_is_refused(rng, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    network = lenet4(rng)
    entry = {"convolution": {"input_shape": [1, 28, 28]}, "pool": None}
    monkeypatch.setattr("jpnet_spec.model_file._spatial_entry", lambda layer: entry)
    save_network(network, path)
    with pytest.raises(ArtefactError, match="malformed model, 'window'"):
        load_network(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"convolution": None}, "convolution must be given but where fully connected"),
        ({"op": LayerOp.FULLY_CONNECTED}, "convolution must be given but where fully connected"),
        (
            {"weight": np.zeros((20, 1, 3, 5), dtype=np.int8)},
            r"weight must have shape \(oc, 1, 5, 5\)",
        ),
        ({"pool": Window(size=(25, 25))}, "window of 25x25 must not be larger than the padded map"),
        ({"top_n": TopN(mode=ThresholdMode.EXACT, winners=11521)}, "at most the layer's 11520"),
        ({"op": LayerOp.AVERAGE_POOL}, "average must have one channel a group, weights of 1"),
    ],
)
def test_malformed_layers_are_refused_by_name(rng, change, message):
    layer = lenet4(rng).layers[0]
    with pytest.raises(ValueError, match=rf"layer 'conv1': .*{message}"):
        replace(layer, **change)


def test_pooling_after_a_fully_connected_layer_is_refused(rng):
    layer = fully_connected(rng, "fc", 4, 4, source="input")
    with pytest.raises(ValueError, match="layer 'fc': pool must be None where fully connected"):
        replace(layer, pool=Window(size=(2, 2)))


def test_convolution_of_another_shape_than_its_producers_is_refused(rng):
    network = lenet4(rng)
    with pytest.raises(
        ValueError,
        match=r"layer 'conv1': input_shape must be the \(28, 28\) of 'input', not \(1, 28, 28\)",
    ):
        replace(network, input_shape=(28, 28))
    smaller = replace(network.layers[1], pool=Window(size=(3, 3), stride=2))
    layers = (network.layers[0], smaller, network.layers[2])
    with pytest.raises(ValueError, match=r"layer 'fc1': weight must take 450 inputs from 'conv2'"):
        replace(network, layers=layers)
