import numpy as np
import pytest
import torch
from torch import nn

from jpnet_spec.network import INPUT, IntegerNetwork, Layer
from jpnet_spec.numbers import quantise_unit_image
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_sw.metrics import accuracy, measure
from jpnet_sw.models import convnet5, mlp3
from jpnet_sw.quantisation import (
    QuantisedLayer,
    calibrate,
    capture,
    quantise,
    to_integer_network,
)
from jpnet_sw.sparsity import WeightMasks
from jpnet_sw.sparsity.density import measure_density


def sparse_network(rng):
    layers, source = [], INPUT
    for index, (ic, oc) in enumerate([(40, 30), (30, 20), (20, 10)]):
        weight = rng.integers(-127, 128, (oc, ic)) * (rng.random((oc, ic)) < 0.2)
        last = index == 2
        multiplier = rng.integers(2**15, 2**16, oc).astype(np.uint16)
        layers.append(
            Layer(
                name=f"fc{index}",
                inputs=(source,),
                weight=weight.astype(np.int8),
                bias=rng.integers(-3000, 3000, oc).astype(np.int32),
                multiplier=multiplier,
                negative_multiplier=multiplier * np.uint16(last),
                shift=23,
                top_n=TopN() if last else TopN(mode=ThresholdMode.EXACT, winners=8),
            )
        )
        source = f"fc{index}"
    return IntegerNetwork(name="sparse", input_shape=(40,), layers=tuple(layers))


def images_and_labels(rng, count=70):
    images = rng.integers(0, 128, (count, 40)) * (rng.random((count, 40)) < 0.4)
    return images.astype(np.int8), rng.integers(0, 10, count).astype(np.uint8)


def test_effective_macs_equal_a_forward_pass_of_zeros_and_ones(rng):
    network = sparse_network(rng)
    images, labels = images_and_labels(rng)
    counts = measure(network, images, labels)
    traces = network.run(images)
    for layer, found in zip(network.layers, counts.layers, strict=True):
        source = layer.inputs[0]
        given = images if source == INPUT else traces[source].survivors
        ones = (given != 0).astype(np.int64) @ (layer.weight != 0).astype(np.int64).T
        assert found.macs_effective == ones.sum() / len(images)
        assert found.activation_density == (given != 0).mean()
        assert found.weight_density == (layer.weight != 0).mean()


def test_totals_are_sums_and_percentages_refer_to_the_dense_macs(rng):
    network = sparse_network(rng)
    summary = measure(network, *images_and_labels(rng)).summary()
    layers = summary["layers"]
    assert summary["macs_dense"] == network.macs_dense == 40 * 30 + 30 * 20 + 20 * 10
    assert summary["macs_weight_only"] == sum(np.count_nonzero(x.weight) for x in network.layers)
    assert summary["macs_effective"] == sum(layer["macs_effective"] for layer in layers)
    assert summary["mac_percent_effective"] == 100 * summary["macs_effective"] / network.macs_dense
    for layer in layers:
        product = layer["macs_dense"] * layer["weight_density"] * layer["activation_density"]
        assert layer["macs_product"] == pytest.approx(product)


def test_accuracy_is_the_share_of_right_answers(rng):
    network = sparse_network(rng)
    images, _ = images_and_labels(rng)
    answers = network.logits(images).argmax(axis=1).astype(np.uint8)
    wrong = answers.copy()
    wrong[:7] = (wrong[:7] + 1) % 10
    assert measure(network, images, answers).accuracy_int8 == 1
    assert measure(network, images, wrong).accuracy_int8 == pytest.approx(0.9)


def test_black_images_cost_only_what_the_biases_wake(rng):
    network = sparse_network(rng)
    counts = measure(network, np.zeros((3, 40), np.int8), np.zeros(3, np.uint8))
    assert counts.layers[0].macs_effective == 0
    assert counts.layers[0].activation_density == 0


def test_no_images_are_refused(rng):
    network = sparse_network(rng)
    with pytest.raises(ValueError, match=r"images must be as many as the 0 labels"):
        measure(network, np.zeros((0, 40), np.int8), np.zeros(0, np.uint8))


def test_float_densities_equal_a_forward_pass_of_zeros_and_ones(rng):
    torch.manual_seed(4)
    model = mlp3((1, 8, 8))
    layers = capture(model)
    masks = WeightMasks({layer.name: layer.linear.weight for layer in layers})
    masks.tighten({layer.name: 0.1 for layer in layers})
    layers[0].top_n.top_n = TopN(mode=ThresholdMode.EXACT, winners=9)
    images = torch.from_numpy(rng.random((50, 1, 8, 8)).astype(np.float32))
    found = measure_density(model, images)
    hidden = model.top_n1(model.relu1(model.fc1(images.flatten(1))))
    pairs = (hidden != 0).double() @ (model.fc2.weight != 0).double().T
    assert [layer.name for layer in found] == ["fc1", "fc2", "fc3"]
    assert found[1].macs_effective == pytest.approx(float(pairs.sum(1).mean()), rel=1e-5)
    assert found[1].activation <= 9 / 300 + 1e-6
    assert found[0].weight == pytest.approx(0.1, rel=1e-3)


def test_float_densities_of_convolutions_leave_out_what_padding_would_give(rng):
    torch.manual_seed(5)
    model = convnet5((3, 12, 12)).eval()
    layers = capture(model)
    masks = WeightMasks({layer.name: layer.linear.weight for layer in layers})
    masks.tighten({layer.name: 0.2 for layer in layers})
    layers[0].top_n.top_n = TopN(mode=ThresholdMode.EXACT, winners=900)
    pixels = (rng.integers(0, 256, (30, 3, 12, 12)) * (rng.random((30, 3, 12, 12)) < 0.5)) / 255
    images = torch.from_numpy(pixels.astype(np.float32))
    found = measure_density(model, images)
    hidden = model.pool1(model.top_n1(model.relu1(model.norm1(model.conv1(images)))))
    for density, layer, given in zip(found, layers, (images, hidden), strict=False):
        ones = (layer.linear.weight != 0).double()
        pairs = nn.functional.conv2d((given != 0).double(), ones, padding=2)
        assert density.macs_effective == pytest.approx(float(pairs.sum()) / 30, rel=1e-5)
        assert density.activation == pytest.approx(float((given != 0).double().mean()))
    assert [density.macs_dense for density in found[:3]] == [
        64 * 3 * 25 * 144,
        64 * 64 * 25 * 36,
        64 * 9 * 384,
    ]


def test_quantised_densities_equal_the_integer_network(rng):
    torch.manual_seed(6)
    model = convnet5((3, 8, 8)).eval()
    layers = capture(model)
    masks = WeightMasks({layer.name: layer.linear.weight for layer in layers})
    masks.tighten({layer.name: 0.3 for layer in layers})
    pixels = rng.integers(0, 256, (20, 3, 8, 8)).astype(np.uint8)
    images = torch.from_numpy(pixels.astype(np.float32) / 255)
    quantised = quantise(layers, calibrate(layers, images)).eval()
    # A weight that rounds to 0 counts as one here; none does.
    with torch.no_grad():
        for layer in quantised.chain():
            layer.weight.mul_((layer.integer_weight() != 0).float())
    found = measure_density(quantised, images, kinds=(QuantisedLayer,))
    network = to_integer_network(quantised, name="x", input_shape=(3, 8, 8), metadata={})
    counts = measure(network, quantise_unit_image(pixels), np.zeros(20, np.uint8))
    for density, layer in zip(found, counts.layers, strict=True):
        assert density.macs_effective == pytest.approx(layer.macs_effective, rel=1e-5)
        assert density.macs_dense == layer.macs_dense
        assert density.weight == pytest.approx(layer.weight_density)


def test_torch_accuracy_leaves_the_training_mode():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).train()
    images = torch.zeros(5, 1, 8, 8)
    right = accuracy(model, images, model(images).argmax(dim=1))
    assert right == 1
    assert model.training
