"""Residual additions and affine layers against plain Python arithmetic."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from jpnet_spec.artefact import ArtefactError
from jpnet_spec.convolution import Convolution
from jpnet_spec.layer import AFFINE_UNIT, Layer, LayerOp
from jpnet_spec.model_file import load_network, save_network
from jpnet_spec.network import INPUT, IntegerNetwork
from jpnet_spec.numbers import requantise_with_addend
from jpnet_spec.shortcut import Shortcut, ShortcutKind
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_spec.window import Window


def round_and_clamp(total, shift):
    """Python's round is half to even, and exact on fractions."""
    return max(-127, min(127, round(Fraction(total, 2**shift))))


def test_addition_is_rounded_once():
    # 3/8 + 3/8 = 3/4 rounds to 1; each alone would be 0.
    ones = np.ones(1, dtype=np.uint16)
    acc = np.array([[3]], dtype=np.int64)
    found = requantise_with_addend(
        acc, acc, multiplier=ones, negative_multiplier=ones, addend_multiplier=1, shift=3
    )
    assert found.tolist() == [[1]]


def test_addition_equals_plain_integers(rng):
    acc = rng.integers(-(2**23), 2**23, (500, 8))
    acc[:4] = [[-(2**23)] * 8, [2**23 - 1] * 8, [0] * 8, [1] * 8]
    addend = rng.integers(-508, 509, (500, 8))
    addend[:4] = [[-508] * 8, [508] * 8, [0] * 8, [-1] * 8]
    multiplier = rng.integers(1, 2**16, 8).astype(np.uint16)
    negative = np.where(rng.random(8) < 0.5, multiplier, 0).astype(np.uint16)
    for shift, scale in ((0, 1), (1, 65535), (16, 40000), (33, 65535), (40, 3)):
        found = requantise_with_addend(
            acc,
            addend,
            multiplier=multiplier,
            negative_multiplier=negative,
            addend_multiplier=scale,
            shift=shift,
        )
        for row, sums in enumerate(acc.tolist()):
            for channel, value in enumerate(sums):
                total = value * int(multiplier[channel]) + int(addend[row, channel]) * scale
                total = 0 if total < 0 and negative[channel] == 0 else total
                assert found[row, channel] == round_and_clamp(total, shift)


def slow_addend(shortcut, maps, channel, row, column):
    inner = channel - shortcut.first_channel
    if not 0 <= inner < shortcut.input_shape[0]:
        return 0
    stride = shortcut.stride
    if shortcut.kind is ShortcutKind.SUBSAMPLE:
        return maps[inner][row * stride][column * stride]
    return sum(
        maps[inner][row * stride + y][column * stride + x]
        for y in range(stride)
        for x in range(stride)
    )


@pytest.mark.parametrize("kind", list(ShortcutKind))
@pytest.mark.parametrize("size", [(4, 4), (5, 7), (2, 3)])
def test_addend_equals_element_by_element(rng, kind, size):
    shortcut = Shortcut(input_shape=(3, *size), multiplier=9, kind=kind, stride=2, first_channel=2)
    tensor = rng.integers(-127, 128, (2, 3, *size)).astype(np.int8)
    tensor[0] = -127
    found = shortcut.addend(tensor, 6)
    assert found.shape == (2, 6, *shortcut.output_size)
    for index in np.ndindex(found.shape):
        assert found[index] == slow_addend(shortcut, tensor[index[0]].tolist(), *index[1:])


def convolution(name, rng, *, inputs, shape, oc, stride=1, slope=1.0, top_n=None, shortcut=None):
    multiplier = rng.integers(300, 900, oc).astype(np.uint16)
    weight = rng.integers(-127, 128, (oc, shape[0], 3, 3)) * (
        rng.random((oc, shape[0], 3, 3)) < 0.5
    )
    return Layer(
        name=name,
        op=LayerOp.CONVOLUTION,
        inputs=inputs,
        weight=weight.astype(np.int8),
        bias=rng.integers(-2000, 2000, oc).astype(np.int32),
        multiplier=multiplier,
        negative_multiplier=np.rint(multiplier * slope).astype(np.uint16),
        shift=17,
        top_n=top_n or TopN(),
        convolution=Convolution(
            input_shape=shape, window=Window(size=(3, 3), stride=stride, padding=(1, 1, 1, 1))
        ),
        shortcut=shortcut,
    )


def affine(name, rng, *, source, shape, top_n=None):
    channels = shape[0]
    multiplier = rng.integers(5000, 60000, channels).astype(np.uint16)
    signs = rng.choice([-1, 1], channels) * AFFINE_UNIT
    return Layer(
        name=name,
        op=LayerOp.AFFINE,
        inputs=(source,),
        weight=signs.astype(np.int8).reshape(-1, 1, 1, 1),
        bias=rng.integers(-3000, 3000, channels).astype(np.int32),
        multiplier=multiplier,
        negative_multiplier=np.rint(multiplier * 0.1).astype(np.uint16),
        shift=21,
        top_n=top_n or TopN(),
        convolution=Convolution(
            input_shape=shape, window=Window(size=(1, 1)), channel_groups=channels
        ),
    )


def residual_network(rng, *, kind=ShortcutKind.AVERAGE, slope=1.0):
    """One strided block with more channels; the image's convolution feeds both branches."""
    shape, made = (2, 6, 6), (5, 3, 3)
    top = TopN(mode=ThresholdMode.EXACT, winners=30)
    shortcut = Shortcut(input_shape=shape, multiplier=20000, kind=kind, stride=2, first_channel=1)
    return IntegerNetwork(
        name="residual",
        input_shape=(1, 6, 6),
        layers=(
            convolution("conv", rng, inputs=(INPUT,), shape=(1, 6, 6), oc=2, slope=0.1, top_n=top),
            convolution("in", rng, inputs=("conv",), shape=shape, oc=5, stride=2, slope=0.1),
            convolution(
                "sum", rng, inputs=("in", "conv"), shape=made, oc=5, slope=slope, shortcut=shortcut
            ),
            affine("act", rng, source="sum", shape=made, top_n=TopN(mode=top.mode, winners=17)),
            convolution("last", rng, inputs=("act",), shape=made, oc=3),
        ),
    )


def slow_run(network, image):
    """Every layer's tensor, threshold, survivors and pairs, one product at a time."""
    stored, kept, found = {INPUT: image}, {INPUT: image}, {}
    for layer in network.layers:
        affine_layer = layer.op is LayerOp.AFFINE
        given = (stored if affine_layer else kept)[layer.inputs[0]]
        window = layer.convolution.window
        pad = window.padding[0]
        pairs = 0
        tensor = np.zeros(layer.sums_shape, dtype=int)
        for oc, row, column in np.ndindex(layer.sums_shape):
            acc = int(layer.bias[oc])
            for ic, ky, kx in np.ndindex(layer.weight.shape[1:]):
                y, x = row * window.stride + ky - pad, column * window.stride + kx - pad
                if 0 <= y < given.shape[1] and 0 <= x < given.shape[2]:
                    weight = int(layer.weight[oc, ic, ky, kx])
                    act = int(given[oc if affine_layer else ic, y, x])
                    acc += weight * act
                    pairs += weight != 0 and act != 0
            scale, negative = int(layer.multiplier[oc]), int(layer.negative_multiplier[oc])
            if layer.shortcut is None:
                total = acc * (negative if acc < 0 else scale)
            else:
                maps = stored[layer.inputs[1]].tolist()
                added = slow_addend(layer.shortcut, maps, oc, row, column)
                total = acc * scale + added * layer.shortcut.multiplier
                total = 0 if total < 0 and negative == 0 else total
            tensor[oc, row, column] = round_and_clamp(total, layer.shift)
        limit = 0
        if layer.top_n.winners:
            while (np.abs(tensor) > limit).sum() > layer.top_n.winners:
                limit += 1
        survivors = np.where(np.abs(tensor) > limit, tensor, 0)
        stored[layer.name], kept[layer.name] = tensor, survivors
        found[layer.name] = (tensor, limit, survivors, 0 if affine_layer else pairs)
    return found


@pytest.mark.parametrize("kind", list(ShortcutKind))
@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_every_layer_equals_plain_arithmetic(rng, kind, slope):
    network = residual_network(rng, kind=kind, slope=slope)
    images = rng.integers(-127, 128, (3, 1, 6, 6)).astype(np.int8)
    traces = network.run(images)
    for index, image in enumerate(images):
        for name, (tensor, limit, survivors, pairs) in slow_run(network, image).items():
            trace = traces[name]
            assert np.array_equal(trace.tensor[index], tensor), name
            assert trace.threshold[index] == limit
            assert np.array_equal(trace.survivors[index], survivors)
            assert trace.macs_effective[index] == pairs
    # The filters and the shortcut have something to decide.
    assert (traces["conv"].tensor != traces["conv"].survivors).any()
    assert (traces["act"].tensor != traces["act"].survivors).any()
    assert len(np.unique(traces["sum"].tensor)) > 20
    assert (traces["act"].tensor < 0).any()


def test_affine_layers_cost_and_read_nothing(rng):
    network = residual_network(rng)
    images = rng.integers(-127, 128, (2, 1, 6, 6)).astype(np.int8)
    layer, trace = network.layers[3], network.run(images)["act"]
    assert (layer.macs_dense, layer.macs_weight_only) == (0, 0)
    assert not trace.inputs_read.any()
    assert not trace.inputs_zero.any()
    assert not trace.inputs_below.any()
    others = [layer.macs_dense for layer in network.layers if layer.op is LayerOp.CONVOLUTION]
    assert network.macs_dense == sum(others) > 0


def test_model_file_carries_shortcuts_and_affine_layers(rng, tmp_path):
    network = residual_network(rng)
    images = rng.integers(-127, 128, (2, 1, 6, 6)).astype(np.int8)
    path = tmp_path / "model.safetensors"
    save_network(network, path)
    loaded = load_network(path)
    assert loaded.layers[2].shortcut == network.layers[2].shortcut
    assert loaded.content_hash == network.content_hash
    assert np.array_equal(loaded.run(images)["last"].tensor, network.run(images)["last"].tensor)


def test_content_hash_depends_on_the_shortcut(rng):
    network = residual_network(rng)
    layers = list(network.layers)
    layers[2] = replace(layers[2], shortcut=replace(layers[2].shortcut, multiplier=20001))
    assert replace(network, layers=tuple(layers)).content_hash != network.content_hash


def test_unknown_kinds_in_a_model_file_are_refused(rng, tmp_path, monkeypatch):
    network = residual_network(rng)
    path = tmp_path / "model.safetensors"
    monkeypatch.setattr("jpnet_spec.model_file.asdict", lambda made: {"kind": "median"})
    save_network(network, path)
    monkeypatch.undo()
    with pytest.raises(ArtefactError, match="malformed model"):
        load_network(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multiplier": 0}, "multiplier must be between 1 and 65535, not 0"),
        ({"multiplier": 65536}, "multiplier must be between 1 and 65535, not 65536"),
        ({"stride": 0}, "stride must be at least 1"),
        ({"first_channel": -1}, "first_channel at least 0, not 1 and -1"),
        ({"input_shape": (2, 6)}, "input_shape must be channels, height and width"),
        ({"kind": ShortcutKind.AVERAGE}, "stride must be between 2 and 6 to average, not 1"),
        ({"kind": ShortcutKind.AVERAGE, "stride": 7}, "to average, not 7"),
    ],
)
def test_impossible_shortcuts_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Shortcut(**{"input_shape": (2, 6, 6), "multiplier": 1, **change})


def test_layers_refuse_shortcuts_that_do_not_fit(rng):
    layer = residual_network(rng).layers[2]
    small = replace(layer.shortcut, stride=3)
    with pytest.raises(ValueError, match=r"layer 'sum': shortcut must give maps of \(3, 3\)"):
        replace(layer, shortcut=small)
    with pytest.raises(ValueError, match=r"within 5 channels, not of .* within 6"):
        replace(layer, shortcut=replace(layer.shortcut, first_channel=4))
    leaky = (layer.multiplier // 2).astype(np.uint16)
    with pytest.raises(ValueError, match="negative_multiplier must be 0 or the multiplier"):
        replace(layer, negative_multiplier=leaky)
    with pytest.raises(ValueError, match="shortcut must be that of a convolution without pool"):
        replace(layer, pool=Window(size=(2, 2)))


def test_affine_layers_refuse_other_weights_and_pooling(rng):
    layer = residual_network(rng).layers[3]
    with pytest.raises(ValueError, match=r"weights of \+-64 and no pooling"):
        replace(layer, weight=(layer.weight // 2).astype(np.int8))
    with pytest.raises(ValueError, match=r"weights of \+-64 and no pooling"):
        replace(layer, pool=Window(size=(2, 2)))
    wide = Convolution(input_shape=(5, 3, 3), window=Window(size=(1, 1), stride=2))
    with pytest.raises(ValueError, match="weight must have shape"):
        replace(layer, convolution=wide)
    strided = replace(wide, channel_groups=5)
    with pytest.raises(ValueError, match="1x1 convolution of each channel with stride 1"):
        replace(layer, convolution=strided)


def test_graphs_whose_inputs_do_not_fit_are_refused(rng):
    network = residual_network(rng)
    first, inner, total, act, last = network.layers

    def refused(layers, message):
        with pytest.raises(ValueError, match=message):
            replace(network, layers=layers)

    one = replace(total, inputs=("in",))
    refused((first, inner, one, act, last), "'sum': inputs must be two earlier layers, not")
    later = replace(total, inputs=("in", "act"))
    refused((first, inner, later, act, last), "'sum': inputs must be two earlier layers, not")
    other = replace(total, inputs=("in", "in"))
    refused((first, inner, other, act, last), r"'sum': shortcut must take the \(5, 3, 3\) of 'in'")
    image = affine("act", rng, source=INPUT, shape=(1, 6, 6))
    refused((image,), "'act': an affine layer must follow a layer, not the image")
