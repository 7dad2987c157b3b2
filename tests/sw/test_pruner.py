import pytest
import torch
from torch import nn

from jpnet_sw.models import mlp3
from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.method import PruningMethod
from jpnet_sw.sparsity.options import MethodOptions
from jpnet_sw.sparsity.pruner import Pruner


class Recorder(PruningMethod):
    """Writes down which hook is called."""

    def __init__(self, target):
        super().__init__(target, MethodOptions())
        self.calls = []

    def attach(self):
        self.calls.append("attach")

    def detach(self):
        self.calls.append("detach")

    def before_step(self, clock):
        self.calls.append(f"before {clock.step}")

    def penalty(self, clock):
        self.calls.append("penalty")

    def after_backward(self, clock):
        self.calls.append("backward")

    def after_step(self, clock):
        self.calls.append("after")

    def learning_rate(self, scheduled, clock):
        return scheduled / 2

    def finalise(self):
        self.calls.append("finalise")


def step(pruner, index, *, active=2):
    pruner.before_step(Clock(step=index, active_steps=active))
    pruner.penalty()
    pruner.after_backward()
    pruner.after_step(0.1)
    pruner.method.masks.apply()


@pytest.fixture
def target(pruning_target):
    torch.manual_seed(0)
    return pruning_target(mlp3((1, 4, 4)), (0.5, 0.5, 0.5))


def test_hooks_run_in_order_until_the_active_part_is_over(target):
    pruner = Pruner(Recorder(target))
    for index in range(4):
        step(pruner, index)
    each = ["penalty", "backward", "after"]
    assert pruner.method.calls == [
        "attach",
        *("before 0", *each),
        *("before 1", *each),
        *("finalise", "detach"),
    ]
    pruner.finalise()
    assert pruner.method.calls.count("finalise") == 1


class Rounds(PruningMethod):
    """Writes down its rounds and sees its gradients."""

    def prepare(self):
        self.begun, self.seen = [], []

    @property
    def rounds(self):
        return 3

    def begin_round(self, done):
        assert not torch.is_grad_enabled()
        self.begun.append(done)

    def on_gradient(self, layer, gradient):
        self.seen.append(layer.name)
        gradient.zero_()


def test_rounds_begin_evenly_and_gradients_come_layer_by_layer(target):
    pruner = Pruner(Rounds(target, MethodOptions()))
    for index in range(6):
        pruner.before_step(Clock(step=index, active_steps=6))
        assert len(pruner.method.begun) == index // 2 + 1
    assert pruner.method.begun == pytest.approx([1 / 3, 2 / 3, 1])
    target.model(torch.rand(2, 1, 4, 4)).sum().backward()
    target.layers[1].linear.weight.grad = None
    pruner.after_backward()
    assert pruner.method.seen == ["fc1", "fc3"]
    assert not target.layers[0].linear.weight.grad.any()


def test_learning_rate_is_the_methods_only_while_it_is_active(target):
    pruner = Pruner(Recorder(target))
    pruner.before_step(Clock(step=0, active_steps=1))
    assert pruner.learning_rate(1.0) == 0.5
    pruner.before_step(Clock(step=1, active_steps=1))
    assert pruner.learning_rate(1.0) == 1.0


def test_regularisation_goes_on_after_the_masks_are_final(target):
    pruner = Pruner(Recorder(target), l2=1.0)
    step(pruner, 5)
    assert pruner.finished
    before = target.masks.weight("fc1").detach().clone()
    step(pruner, 6)
    assert torch.allclose(target.masks.weight("fc1"), before * 0.9)


def test_finished_state_is_saved_and_restored(target):
    first = Pruner(Recorder(target))
    step(first, 9)
    second = Pruner(Recorder(target))
    second.load({name: t.reshape(-1) for name, t in first.method.state_dict().items()})
    step(second, 10)
    assert second.finished
    assert second.method.calls == ["attach", "detach"]


def test_hidden_weights_are_moved_by_the_masked_networks_gradient(target):
    masks = target.masks
    masks.keep_shadows()
    masks.tighten({"fc1": 0.5})
    weight = masks.weight("fc1")
    shadow = masks.dense("fc1").clone()
    assert torch.equal(weight, shadow * masks.masks["fc1"])
    inputs = torch.rand(8, 16)
    nn.functional.linear(inputs, weight).square().sum().backward()
    gradient = 2 * (inputs @ (shadow * masks.masks["fc1"]).T).T @ inputs
    assert torch.allclose(weight.grad, gradient, atol=1e-4)
    masks.reveal()
    assert torch.equal(weight, shadow)
    with torch.no_grad():
        weight.sub_(0.01 * weight.grad)
    masks.apply()
    masks.apply()
    assert torch.allclose(masks.dense("fc1"), shadow - 0.01 * gradient, atol=1e-5)
    assert torch.all(weight[masks.masks["fc1"] == 0] == 0)


def test_tied_vectors_are_zero_with_their_row(target):
    masks = target.masks
    bias = target.layers[0].linear.bias
    before = bias.detach().clone()
    masks.tie_rows("fc1", [bias])
    mask = torch.ones(300, 16)
    mask[7] = 0
    masks.set({"fc1": mask})
    assert bias[7] == 0
    assert torch.equal(bias[:7], before[:7])
