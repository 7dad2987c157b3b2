import numpy as np
import pytest

from jpnet.images import load_calibration_images, load_test_images
from jpnet_cosim.map_samples import random_convolutional_network
from jpnet_spec.network import IntegerNetwork
from jpnet_sw.data import load_dataset


def network_of_digits(largest: int) -> IntegerNetwork:
    """Return a convolutional network that says it was trained on digits."""
    drawn = random_convolutional_network(np.random.default_rng(3), largest=largest, channels=1)
    return IntegerNetwork(
        name="digits",
        input_shape=drawn.input_shape,
        layers=drawn.layers,
        metadata={"dataset": "digits"},
    )


def test_a_network_of_crops_takes_the_middle_of_each_image() -> None:
    network = network_of_digits(largest=6)
    _, height, width = network.input_shape
    top, left = (8 - height) // 2, (8 - width) // 2
    middle = np.s_[:, :, top : top + height, left : left + width]
    data = load_dataset("digits", None)
    taken = load_test_images(network, data_root=None, count=7)
    assert (height, width) != (8, 8)
    assert np.array_equal(taken.images, data.test_activations()[:7][middle])
    calibration = load_calibration_images(network, data_root=None)
    assert np.array_equal(calibration, data.train_activations()[: len(calibration)][middle])


def test_more_images_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match="digits has 359 test images, not 360"):
        load_test_images(network_of_digits(largest=6), data_root=None, count=360)


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="must contain those of shape"):
        load_test_images(network_of_digits(largest=40), data_root=None)
