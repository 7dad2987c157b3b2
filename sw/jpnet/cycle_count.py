"""Cycles of an integer network on a configuration, as a search wants them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.counters import Counter
from jpnet_spec.network import IntegerNetwork

__all__ = ["cycle_counter"]


def cycle_counter(
    config: AcceleratorConfig,
) -> Callable[[IntegerNetwork, NDArray[np.int8], NDArray[np.int8]], float]:
    """Return a function that predicts the cycles an image of a network takes, back to back.

    It takes a network, images by which the compiler deals channels to lanes, and the images
    that run, both int8 of shape (images, *input_shape).

    Parameters
    ----------
    config
        The accelerator.

    Raises
    ------
    ValueError
        By the function, if the network does not fit.
    """
    from jpnet_sw.compiler import compile_network

    def count(
        network: IntegerNetwork, dealing: NDArray[np.int8], images: NDArray[np.int8]
    ) -> float:
        schedule = compile_network(network, config, dealing)
        counters = CycleModel(schedule, network.run(images), images).run().counters
        return counters[Counter.CYCLES] / len(images)

    return count
