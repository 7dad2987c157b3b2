"""A float network under a search: what changes cost it, and its training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import ceil, inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from jpnet_spec.network import IntegerNetwork
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler import CompileError
from jpnet_sw.quantisation import CapturedLayer, calibrate, quantise, to_integer_network
from jpnet_sw.quantisation.network import input_activations
from jpnet_sw.recipe.epoch import seed_epoch, train_epoch
from jpnet_sw.recipe.half_precision import half_precision
from jpnet_sw.recipe.stages import Run, epoch_plan
from jpnet_sw.sparsity.clock import Clock, cubic_density
from jpnet_sw.sparsity.selector import kept_count
from jpnet_sw.tuning.rounds import Load, TuneConfig
from jpnet_sw.tuning.space import Point

__all__ = ["CycleCount", "TunedNetwork", "train_epochs"]

CycleCount = Callable[[IntegerNetwork, NDArray[np.int8], NDArray[np.int8]], float]
"""Compiles a network with the first images, int8 of shape (images, *input_shape), and returns the
cycles that each of the second ones takes; `CompileError` where the network does not fit."""

_SPARSEST = 1e-9
_BATCH = 500
_TIGHTENINGS = 20
"""Steps in which a round's densities are reached."""


def train_epochs(
    run: Run,
    *,
    name: str,
    epochs: float,
    learning_rate: float,
    before_step: Callable[[int, int], None] = lambda steps, step: None,
) -> None:
    """Train a run's current network under its masks, with one cosine of learning rates.

    Parameters
    ----------
    run
        Its stage says in which numbers.
    name
        With the run's seed it decides the random numbers.
    epochs
        Passes over the training images; other than whole ones are passes over a share of them.
    learning_rate
        At the top of the cosine.
    before_step
        Called with the number of all steps and of the next one.
    """
    state, count = run.state, ceil(epochs)
    state.optimiser = None
    optimiser = state.start_optimiser(learning_rate)
    for epoch in range(count):
        seed_epoch(state.seed, name, epoch)
        plan = epoch_plan(
            run, epoch=epoch, epochs=count, learning_rate=learning_rate, share=epochs / count
        )
        acts = partial(before_step, plan.stage_steps)
        train_epoch(state.trained, optimiser, run.images, replace(plan, before_step=acts))
    state.optimiser = None


class TunedNetwork:
    """The float network of a run, for `jpnet_sw.tuning.rounds.run_rounds`.

    A combination is put on the weights as they are: the smallest magnitudes die.

    Parameters
    ----------
    run
        In the stage TOP_N.
    config
        Images that measure changes, and epochs.
    cycles
        Predicts the cycles of an integer network.
    densities
        The present ones; by default everything lives.
    """

    def __init__(
        self,
        run: Run,
        config: TuneConfig,
        cycles: CycleCount,
        *,
        densities: dict[str, float] | None = None,
    ) -> None:
        self._run, self._config, self._cycles = run, config, cycles
        state = run.state
        self._layers = [layer for layer in state.layers if isinstance(layer, CapturedLayer)]
        self._filters = {
            layer.name: layer.top_n
            for layer in state.layers
            if layer.top_n is not None
            and state.recipe.top_n.mode_of(layer.name) is not ThresholdMode.NONE
        }
        densities = densities or {layer.name: 1.0 for layer in self._layers}
        rates = {name: state.rates.get(name, 1.0) for name in self._filters}
        self._point = Point(densities=densities, rates=rates)
        self._predicted: tuple[Point, float] | None = None
        self._before: tuple[Point, dict[str, Tensor], dict[str, Tensor]] | None = None
        self._calibrate()

    @property
    def point(self) -> Point:
        """The present combination."""
        return self._point

    @property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        """Name of each layer with weights to the filtered layers that it reads."""
        return {
            layer.name: tuple(name for name in layer.inputs if name in self._filters)
            for layer in self._layers
        }

    @torch.no_grad()
    def occupied(self) -> dict[str, float]:
        """Return the share of each filter's tensor that is not zero before the filter."""
        found: dict[str, float] = {}

        def watch(name: str) -> Callable[[object, tuple[Tensor, ...]], None]:
            def count(module: object, inputs: tuple[Tensor, ...]) -> None:
                found[name] = float((inputs[0] != 0).float().mean())

            return count

        handles = [
            module.register_forward_pre_hook(watch(name)) for name, module in self._filters.items()
        ]
        self._logits(self._config.images)
        for handle in handles:
            handle.remove()
        return found

    def loss(self, point: Point) -> float:
        """Return the mean cross entropy of the present weights under a combination."""
        labels = self._run.images.held_out_labels[: self._config.images]
        with self._under(point):
            return float(functional.cross_entropy(self._logits(self._config.images), labels))

    def load(self, point: Point, kind: Load) -> float:
        """Return a load of the present weights under a combination."""
        if kind is Load.WEIGHTS:
            return float(
                sum(
                    kept_count(point.densities[layer.name], layer.linear.weight.numel())
                    for layer in self._layers
                )
            )
        if self._predicted is None or self._predicted[0] != point:
            try:
                self._predicted = (point, self._predict(point))
            except CompileError:
                self._predicted = (point, inf)
        return self._predicted[1]

    def check_fits(self) -> None:
        """Refuse an accelerator that even the sparsest network does not fit.

        Raises
        ------
        ValueError
            If it does not.
        """
        self._predict(Point(densities=dict.fromkeys(self._point.densities, _SPARSEST), rates={}))

    def train(self, point: Point, number: int) -> float:
        """Train the network while its densities fall to those of a combination.

        Its rates apply from the first step. Returns the held-out accuracy in percent.
        """
        state = self._run.state
        kept = {name: value.clone() for name, value in state.model.state_dict().items()}
        self._before = (self._point, kept, dict(state.masks.masks))
        self._set_rates(point)
        now, ends = self._point.densities, self._lower(point)

        def tighten(steps: int, step: int) -> None:
            clock = Clock(step=step, active_steps=max(1, int(state.recipe.prune.ramp * steps)))
            done = clock.round_begun(_TIGHTENINGS)
            if done == 1:
                state.masks.tighten(ends)
            elif done is not None:
                shares = {name: cubic_density(end / now[name], done) for name, end in ends.items()}
                state.masks.tighten({name: now[name] * share for name, share in shares.items()})

        train_epochs(
            self._run,
            name=f"tune {number}",
            epochs=self._config.epochs,
            learning_rate=state.recipe.prune.learning_rate,
            before_step=tighten,
        )
        self._point = point
        self._calibrate()
        return self._accuracy_percent()

    def undo(self) -> None:
        """Go back to the network before the last training."""
        assert self._before is not None
        self._point, weights, masks = self._before
        state = self._run.state
        state.model.load_state_dict(weights)
        state.masks.load(masks)
        self._set_rates(self._point)
        self._calibrate()

    def _calibrate(self) -> None:
        """Take what follows from the weights anew."""
        self._scales = calibrate(self._run.state.layers, self._run.images.calibration_images)
        self._predicted = None

    def _accuracy_percent(self) -> float:
        labels = self._run.images.held_out_labels
        right = self._logits(len(labels)).argmax(dim=1) == labels
        return 100 * float(right.double().mean())

    @torch.no_grad()
    def _logits(self, count: int) -> Tensor:
        """Return the first held-out images' logits, multiplied in the numbers of the training."""
        state, images = self._run.state, self._run.images.held_out_images[:count]
        state.model.eval()
        with half_precision(images.device, wanted=state.recipe.bfloat16):
            parts = [state.model(batch).float() for batch in torch.split(images, _BATCH)]
        return torch.cat(parts)

    def _predict(self, point: Point) -> float:
        state, images = self._run.state, self._run.images
        with self._under(point):
            network = to_integer_network(
                quantise(state.layers, self._scales).eval(),
                name=state.recipe.model,
                input_shape=state.image_shape,
                metadata={},
            )
        count = self._config.cycle_images
        return self._cycles(
            network,
            _integers(images.calibration_images[:count]),
            _integers(images.held_out_images[:count]),
        )

    def _set_rates(self, point: Point) -> None:
        self._run.state.rates = dict(point.rates)
        self._run.state.set_filters()

    def _lower(self, point: Point) -> dict[str, float]:
        """Return the densities that are below the present ones."""
        now = self._point.densities
        return {name: share for name, share in point.densities.items() if share < now[name]}

    @contextmanager
    def _under(self, point: Point) -> Iterator[None]:
        """Let the network be under a combination for a while."""
        masks = self._run.state.masks
        kept = dict(masks.masks)
        weights = {name: masks.weight(name).detach().clone() for name in kept}
        masks.tighten(self._lower(point))
        self._set_rates(point)
        try:
            yield
        finally:
            masks.load(kept)
            with torch.no_grad():
                for name, weight in weights.items():
                    masks.weight(name).copy_(weight)
            self._set_rates(self._point)


def _integers(images: Tensor) -> NDArray[np.int8]:
    found: NDArray[np.int8] = input_activations(images).cpu().numpy().astype(np.int8)
    return found
