import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from jpnet import cli
from jpnet_spec.model_file import load_network
from jpnet_sw.models import mlp3
from jpnet_sw.quantisation import CapturedLayer, capture
from jpnet_sw.sparsity import Clock, PrunableLayer, Pruner, PruningTarget, WeightMasks
from jpnet_sw.sparsity.channels import channel_links
from jpnet_sw.sparsity.methods import add_method, build_method, find_method, method_type, registry

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
EXAMPLE = next(
    example
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    if "class Movement" in example
)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / "movement.py"
    path.write_text(EXAMPLE)
    return path


def make_target(model: nn.Module, density: float) -> PruningTarget:
    layers = tuple(
        PrunableLayer(name=layer.name, linear=layer.linear)
        for layer in capture(model)
        if isinstance(layer, CapturedLayer)
    )
    return PruningTarget(
        model=model,
        layers=layers,
        masks=WeightMasks({layer.name: layer.linear.weight for layer in layers}),
        densities={layer.name: density for layer in layers},
        rounds=4,
        links=channel_links(model),
    )


def test_the_example_is_short() -> None:
    assert len([line for line in EXAMPLE.splitlines() if line]) <= 40


def test_the_example_prunes_what_moves_towards_zero(example: Path) -> None:
    name = find_method(f"{example}:Movement")
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    target = make_target(model, 0.5)
    weight = target.layers[0].linear.weight
    start = torch.tensor([[1.0, -2.0, 3.0, -4.0]])
    with torch.no_grad():
        weight.copy_(start)
    pruner = Pruner(build_method(name, {}, target))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    # The first and the last are pushed away from 0, the others towards it.
    push = torch.tensor([[-1.0, -1.0, 1.0, 1.0]])
    for step in range(9):
        pruner.before_step(Clock(step=step, active_steps=8))
        optimiser.zero_grad()
        (push * weight).sum().backward()  # type: ignore[no-untyped-call]
        pruner.after_backward()
        optimiser.step()
        pruner.after_step(0.01)
        target.masks.apply()
    assert pruner.finished
    assert target.masks.masks["0"].tolist() == [[1, 0, 0, 1]]


def test_the_example_is_trained_from_its_file(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["methods", f"{example}:Movement"]) == 0
    listed = capsys.readouterr().out
    assert "memory" in listed
    assert "arXiv 2005.07683" in listed
    arguments = [
        *("train", "--data", "digits", "--build", str(tmp_path), "--activation", "none"),
        *("--method", f"{example}:Movement", "--option", "memory=0.9"),
        *("--option", "densities=0.25", "--option", "epochs=2"),
    ]
    assert cli.run(arguments) == 0
    network = load_network(tmp_path / "mlp3-digits-movement" / "model.safetensors")
    prune = network.metadata["recipe_settings"]["prune"]
    assert (prune["method"], prune["options"]) == ("movement", {"memory": 0.9})
    living = [layer.weight.astype(bool).sum() for layer in network.layers]
    assert all(
        int(0.2 * size) < found <= 0.25 * size
        for found, size in zip(living, (300 * 64, 100 * 300, 1000), strict=True)
    )
    history = json.loads((tmp_path / "mlp3-digits-movement" / "history.json").read_text())
    assert [entry["stage"] for entry in history["epochs"]].count("prune") == 2


def test_what_the_example_keeps_is_in_its_state(example: Path) -> None:
    name = find_method(f"{example}:Movement")
    method = build_method(name, {}, make_target(mlp3((1, 4, 4)), 0.5))
    assert set(method.state_dict()) == {"pushed:fc1", "pushed:fc2", "pushed:fc3"}


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (None, "Movement", "method's file must be a Python file that exists, not"),
        ("x = 1\n", "Movement", "method must be a class of this file, not 'Movement'"),
        ("class Movement: pass\n", "Movement", "must be a PruningMethod with SUMMARY and SOURCE"),
        ("import nothing_like_this\n", "Movement", "must load, not end with ModuleNotFoundError"),
        ("def (\n", "Movement", "must load, not end with SyntaxError"),
        (EXAMPLE.replace("Movement", "Admm"), "Admm", "must not be that of jpnet's own method"),
        (EXAMPLE.replace("Movement", "Zähler"), "Zähler", "must be lower-case letters and digits"),
    ],
)
def test_files_without_a_method_end_with_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, kind: str, message: str
) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    arguments = ["--data", "digits", "--build", str(tmp_path / "build")]
    assert cli.run(["train", *arguments, "--method", f"{path}:{kind}"]) == 2
    found = capsys.readouterr()
    assert message in found.err
    assert found.err.count("\n") == 1
    assert not (tmp_path / "build").exists()


def test_a_method_of_ones_own_may_be_replaced(example: Path) -> None:
    find_method(f"{example}:Movement")
    first = method_type("movement")
    find_method(f"{example}:Movement")
    assert method_type("movement") is not first
    add_method("movement", first)
    assert method_type("movement") is first
