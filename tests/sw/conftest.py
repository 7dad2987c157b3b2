import shutil
import sys
from collections import OrderedDict
from itertools import count

import numpy as np
import pytest
import torch
from torch import nn

from jpnet_sw.quantisation import CapturedLayer, capture
from jpnet_sw.recipe import (
    AugmentConfig,
    DenseConfig,
    DistillConfig,
    FilterConfig,
    PruneConfig,
    QuantiseConfig,
    RecipeConfig,
    TeacherView,
)
from jpnet_sw.sparsity import WeightMasks
from jpnet_sw.sparsity.channels import channel_links
from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.methods import build_method
from jpnet_sw.sparsity.pruner import Pruner
from jpnet_sw.sparsity.target import PrunableLayer, PruningTarget

TRAIN_MODULE = sys.modules["jpnet_sw.recipe.train"]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def short_recipe():
    return RecipeConfig(
        name="short",
        model="mlp3",
        dataset="digits",
        batch_size=64,
        held_out=238,
        augment=AugmentConfig(rotation_radians=0.1, shift=0.05),
        dense=DenseConfig(epochs=4, dropout=0.1),
        prune=PruneConfig(densities=(0.2, 0.1, 0.3), epochs=4, rounds=20, l1=1e-3, l2=1e-3),
        top_n=FilterConfig(epochs=2, dropout_factor=0.5),
        quantise=QuantiseConfig(epochs=2, calibration_images=500),
        distill=DistillConfig(view=TeacherView.CLEAN),
    )


@pytest.fixture(scope="session")
def train_and_keep():
    """A function that trains into `folder / "whole"` and returns the model's path.

    It keeps copies of what is on the disk after each epoch, as a process that is killed then would
    leave it: `folder / "1"`, `folder / "2"` and so on.
    """

    def run(train_into, folder):
        out, numbers, write = folder / "whole", count(1), TRAIN_MODULE.write_history

        def copy_and_write(*args, **kwargs):
            shutil.copytree(out, folder / str(next(numbers)))
            write(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TRAIN_MODULE, "write_history", copy_and_write)
            return train_into(out)

    return run


@pytest.fixture
def pruning_target():
    """A function that makes the target of a model whose layers have given densities."""

    def make(model, densities, *, rounds=1):
        layers = tuple(
            PrunableLayer(name=layer.name, linear=layer.linear, norm=layer.norm)
            for layer in capture(model)
            if isinstance(layer, CapturedLayer)
        )
        names = [layer.name for layer in layers]
        return PruningTarget(
            model=model,
            layers=layers,
            masks=WeightMasks({layer.name: layer.linear.weight for layer in layers}),
            densities=dict(zip(names, densities, strict=True)),
            rounds=rounds,
            links=channel_links(model),
        )

    return make


@pytest.fixture
def one_layer():
    """A function that makes a network of one fully connected layer without bias."""

    def make(columns, rows=1):
        return nn.Sequential(OrderedDict(fc=nn.Linear(columns, rows, bias=False)))

    return make


@pytest.fixture
def set_weight():
    """A function that sets the weights of a `one_layer`."""

    def change(model, values):
        with torch.no_grad():
            model.fc.weight.copy_(values)

    return change


@pytest.fixture
def quadratic():
    """A function that makes a loss of the weights of a `one_layer`."""

    def make(model, curvature, optimum):
        return lambda: 0.5 * (curvature * (model.fc.weight - optimum).square()).sum()

    return make


class MethodTrainer:
    """The training loop on a loss of the weights."""

    def __init__(self, target, name, options=None, *, rate=0.1, momentum=0.0, active=100, epoch=10):
        self.target = target
        self.method = build_method(name, options or {}, target)
        self.pruner = Pruner(self.method)
        own = list(self.method.parameters())
        self.optimiser = torch.optim.SGD(
            [*target.model.parameters(), *own], lr=rate, momentum=momentum
        )
        self.active, self.epoch, self.at = active, epoch, 0

    def step(self, loss):
        clock = Clock(step=self.at, active_steps=self.active, epoch_steps=self.epoch, images=100)
        self.pruner.before_step(clock)
        self.optimiser.zero_grad()
        total, penalty = loss(), self.pruner.penalty()
        (total if penalty is None else total + penalty).backward()
        self.pruner.after_backward()
        self.optimiser.step()
        self.pruner.after_step(0.1)
        self.target.masks.apply()
        self.at += 1

    def run(self, loss, steps):
        for _ in range(steps):
            self.step(loss)


@pytest.fixture
def method_trainer():
    """Makes a `MethodTrainer` of a target, a method's name and its options."""
    return MethodTrainer
