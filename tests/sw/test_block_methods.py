import pytest
import torch

from jpnet_sw.models import mlp3
from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.methods import build_method
from jpnet_sw.sparsity.structure import block_max_mask


def test_hard_blocks_move_only_survivors_and_may_swap_early(
    pruning_target, one_layer, set_weight, quadratic, method_trainer
):
    model = one_layer(4)
    set_weight(model, torch.tensor([[2.0, 1.0, 0.5, 0.4]]))
    target = pruning_target(model, (0.5,))
    trainer = method_trainer(target, "bmwm", {"mode": "hard"}, rate=0.1, active=90, epoch=10)
    loss = quadratic(model, torch.ones(1, 4), torch.tensor([[0.1, 9.0, 0.5, 9.0]]))
    trainer.step(loss)
    assert target.masks.masks["fc"].tolist() == [[1, 0, 1, 0]]
    assert model.fc.weight.grad[0, 1] == 0
    assert target.masks.dense("fc")[0, 1] == 1.0
    trainer.run(loss, 10)
    # The first fell below the hidden second, which the epoch's choice brings back.
    assert target.masks.masks["fc"].tolist() == [[0, 1, 1, 0]]
    kept = target.masks.masks["fc"].clone()
    trainer.run(loss, 100)
    assert torch.equal(target.masks.masks["fc"], kept)


@pytest.mark.parametrize("name", ["bmwm", "darb"])
def test_progressive_blocks_only_remove_and_end_at_their_sizes(
    pruning_target, name, method_trainer
):
    torch.manual_seed(2)
    model = mlp3((1, 8, 8))
    with torch.no_grad():
        model.fc1.weight.mul_(torch.linspace(0.1, 3, 300)[:, None])
    target = pruning_target(model, (0.06, 0.25, 0.5))
    trainer = method_trainer(target, name, rate=0.0, active=40)
    before = {n: m.clone() for n, m in target.masks.masks.items()}
    start = {n: w.detach().clone() for n, w in ((n, target.masks.weight(n)) for n in before)}
    for _ in range(41):
        trainer.step(lambda: 0 * model.fc1.weight.sum() + 0 * model.fc2.weight.sum())
        for layer, mask in target.masks.masks.items():
            assert torch.all(mask <= before[layer])
            before[layer] = mask.clone()
    for layer, mask in target.masks.masks.items():
        sizes = trainer.method.sizes[layer]
        assert torch.equal(mask, block_max_mask(start[layer].abs(), sizes))
    wanted = {1} if name == "bmwm" else {2, 3, 4, 5, 6}
    assert len(set(trainer.method.sizes["fc1"].tolist())) in wanted


@pytest.mark.parametrize(("name", "options"), [("darb", {}), ("admm", {"projection": "darb"})])
def test_blocks_refuse_a_density_below_one_weight_a_row(pruning_target, name, options):
    target = pruning_target(mlp3((1, 8, 8)), (0.1, 0.001, 0.3))
    with pytest.raises(ValueError, match=r"layer 'fc2': density must be at least 0.00333"):
        build_method(name, options, target)


def test_lanes_get_equal_shares_in_every_round(pruning_target, method_trainer):
    torch.manual_seed(0)
    target = pruning_target(mlp3((1, 8, 8)), (0.1, 0.05, 0.5), rounds=10)
    trainer = method_trainer(target, "lanes", {"lanes": 4}, active=10)
    for step in range(10):
        trainer.pruner.before_step(Clock(step=step, active_steps=10))
        mask = target.masks.masks["fc1"]
        assert len({float(mask[lane::4].sum()) for lane in range(4)}) == 1
    assert target.masks.densities()["fc1"] == pytest.approx(0.1)


def test_lanes_by_sensitivity_keep_what_the_loss_feels(
    pruning_target, one_layer, set_weight, quadratic, method_trainer
):
    model = one_layer(4, rows=2)
    set_weight(model, torch.tensor([[1.0, 1.0, 3.0, 0.5], [4.0, 3.0, 2.0, 1.0]]))
    target = pruning_target(model, (0.5,))
    curvature = torch.tensor([[5.0, 1.0, 0.0, 9.0], [0.0, 0.1, 1.0, 9.0]])
    trainer = method_trainer(target, "lanes", {"score": "sensitivity"}, rate=0.0, active=3)
    trainer.run(quadratic(model, curvature, torch.zeros(2, 4)), 4)
    assert target.masks.masks["fc"].tolist() == [[1, 0, 0, 1], [0, 0, 1, 1]]


@pytest.mark.parametrize("name", ["bmwm", "darb"])
def test_lists_of_lanes_have_a_survivor_in_each_block(pruning_target, name, method_trainer):
    torch.manual_seed(4)
    model = mlp3((1, 8, 8))
    with torch.no_grad():
        model.fc1.weight.mul_(torch.linspace(0.05, 3, 64)[None])
    target = pruning_target(model, (0.1, 0.2, 0.5))
    trainer = method_trainer(target, name, {"lanes": 4}, rate=0.0, active=20)
    for _ in range(21):
        trainer.step(lambda: 0 * model.fc1.weight.sum())
    for layer, mask in target.masks.masks.items():
        sizes = trainer.method.sizes[layer]
        channels = -(-len(mask) // 4)
        assert len(sizes) == mask[0].numel()
        for column, size in enumerate(sizes.tolist()):
            for lane in range(4):
                chosen = mask[lane::4, column]
                blocks = [chosen[first : first + size].sum() for first in range(0, channels, size)]
                assert all(count <= 1 for count in blocks)
                assert sum(blocks) >= len(blocks) - 1
    assert target.masks.densities()["fc1"] <= 0.1 or name == "bmwm"
    assert (len(set(trainer.method.sizes["fc1"].tolist())) > 1) is (name == "darb")
