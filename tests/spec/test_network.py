from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from jpnet_spec.artefact import ArtefactError
from jpnet_spec.model_file import load_network, save_network
from jpnet_spec.network import IntegerNetwork


def slow_layer(layer, inputs):
    """Plain Python integers, one product at a time."""
    outputs, pairs = [], 0
    for row, bias, positive, negative in zip(
        layer.weight, layer.bias, layer.multiplier, layer.negative_multiplier, strict=True
    ):
        acc = int(bias)
        for weight, act in zip(row, inputs, strict=True):
            acc += int(weight) * int(act)
            pairs += weight != 0 and act != 0
        scale = int(negative) if acc < 0 else int(positive)
        outputs.append(max(-127, min(127, round(Fraction(acc * scale, 2**layer.shift)))))
    magnitudes = [abs(value) for value in outputs]
    limit = 0
    if layer.top_n.winners:
        while sum(m > limit for m in magnitudes) > layer.top_n.winners:
            limit += 1
    return outputs, limit, [v if abs(v) > limit else 0 for v in outputs], pairs


def images_for(rng, count, elements):
    images = rng.integers(-127, 128, (count, elements)) * (rng.random((count, elements)) < 0.4)
    return images.astype(np.int8)


def test_every_layer_equals_plain_integer_arithmetic(network, rng):
    images = images_for(rng, 5, 40)
    traces = network.run(images)
    for index, image in enumerate(images):
        acts = image.tolist()
        for layer in network.layers:
            tensor, limit, acts, pairs = slow_layer(layer, acts)
            trace = traces[layer.name]
            assert trace.tensor[index].tolist() == tensor
            assert trace.threshold[index] == limit
            assert trace.survivors[index].tolist() == acts
            assert trace.macs_effective[index] == pairs


def test_counts_of_read_zero_and_dropped_inputs_add_up(network, rng):
    images = images_for(rng, 20, 40)
    traces = network.run(images)
    first, second = traces["fc1"], traces["fc2"]
    assert np.array_equal(first.inputs_zero, (images == 0).sum(axis=1))
    assert not first.inputs_below.any()
    kept = (first.survivors != 0).sum(axis=1)
    assert np.array_equal(second.inputs_read - second.inputs_zero - second.inputs_below, kept)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 41), dtype=np.int8), "images must be int8 of shape"),
        (np.zeros((1, 40), dtype=np.uint8), "images must be int8 of shape"),
        (np.full((1, 40), -128, dtype=np.int8), "images must be at least -127"),
    ],
)
def test_unfit_images_are_refused(network, images, message):
    with pytest.raises(ValueError, match=message):
        network.run(images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": np.full((30, 40), -128, dtype=np.int8)}, "found -128"),
        ({"bias": np.zeros(29, dtype=np.int32)}, r"bias must be int32 of shape \(30,\)"),
        ({"multiplier": np.ones(30, dtype=np.int32)}, "multiplier must be uint16"),
        ({"shift": 41}, "shift must be between 0 and 40"),
        ({"weight": np.zeros((30, 0), dtype=np.int8)}, "weight must have shape"),
    ],
)
def test_malformed_layers_are_refused_by_name(network, change, message):
    with pytest.raises(ValueError, match=f"layer 'fc1'.*{message}"):
        replace(network.layers[0], **change)


def test_layers_that_do_not_chain_are_refused(network):
    first, _, third = network.layers
    with pytest.raises(ValueError, match="'fc3': inputs must be one earlier layer"):
        IntegerNetwork(name="x", input_shape=(40,), layers=(first, third))
    with pytest.raises(ValueError, match="'fc1': weight must take 41 inputs"):
        IntegerNetwork(name="x", input_shape=(41,), layers=(first,))


def test_model_file_round_trips(network, rng, tmp_path):
    images = images_for(rng, 3, 40)
    path = tmp_path / "model.safetensors"
    save_network(replace(network, metadata={"seed": 3}), path)
    loaded = load_network(path)
    assert loaded.metadata == {"seed": 3}
    assert loaded.content_hash == network.content_hash
    assert np.array_equal(loaded.logits(images), network.logits(images))


def test_model_file_is_identical_when_written_again(network, tmp_path):
    for name in ("a", "b"):
        save_network(network, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_damaged_model_files_are_refused(network, tmp_path):
    path = tmp_path / "model.safetensors"
    save_network(network, path)
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    with pytest.raises(ArtefactError, match="truncated or not a safetensors file"):
        load_network(path)
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ArtefactError, match="altered, expected content hash"):
        load_network(path)
    path.write_bytes(good.replace(b"fully_connected", b"fully_konnected"))
    with pytest.raises(ArtefactError, match="altered"):
        load_network(path)
    with pytest.raises(ArtefactError, match=r"missing.*cannot be read"):
        load_network(tmp_path / "missing")
