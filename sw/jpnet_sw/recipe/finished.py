"""The trained network in integers, with what it is and scores."""

from dataclasses import replace
from typing import Any

from jpnet_spec.network import IntegerNetwork
from jpnet_sw.data import Dataset
from jpnet_sw.metrics import NetworkCounts, measure
from jpnet_sw.quantisation import to_integer_network
from jpnet_sw.recipe.state import TrainingState

__all__ = ["finished_network"]


def finished_network(
    state: TrainingState, dataset: Dataset
) -> tuple[IntegerNetwork, NetworkCounts]:
    """Return the quantised network, and its counts on the test images.

    Parameters
    ----------
    state
        With a quantised network; its facts go into the network's metadata.
    dataset
        Whose test images are counted on.
    """
    assert state.quantised is not None
    state.quantised.eval()
    facts: dict[str, Any] = {
        "model": state.recipe.model,
        "dataset": state.recipe.dataset,
        "recipe": state.recipe.name,
        "recipe_settings": state.recipe.settings(),
        "seed": state.seed,
        "winner_rates": state.rates,
        "activation_scales": {
            layer.name: scale
            for layer, scale in zip(state.quantised.chain(), state.output_scales, strict=True)
        },
        **({"teacher": state.taught_by} if state.taught_by else {}),
        **{key: value for key, value in state.facts.items() if key != "scan"},
    }
    network = to_integer_network(
        state.quantised, name=state.recipe.model, input_shape=state.image_shape, metadata={}
    )
    images, labels = dataset.test_activations(state.image_shape), dataset.test_labels
    counts = measure(network, images, labels)
    return replace(network, metadata={**facts, **counts.summary()}), counts
