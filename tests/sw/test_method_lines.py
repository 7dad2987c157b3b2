"""How much of the pruning engine is shared: code lines that at least two methods run."""

import ast
import io
import re
import sys
import tokenize
from collections import OrderedDict
from dataclasses import fields
from enum import StrEnum
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import nn

import jpnet_sw.sparsity
from jpnet_sw.recipe.pruning import without_channels
from jpnet_sw.sparsity.methods import method_names, method_type
from jpnet_sw.sparsity.options import describe

ROOT = Path(jpnet_sw.sparsity.__file__).parent
OWN = ROOT / "methods"
PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
NOT_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}


def code_lines(text, tree):
    """Lines that hold code: no blank ones, comments or docstrings."""
    documentation = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            documentation |= set(range(node.lineno, node.end_lineno + 1))
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOT_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines - documentation


def statements(path):
    """Each statement's own lines, those of statements in it left out, and its function's lines."""
    text = path.read_text()
    tree = ast.parse(text)
    code, found = code_lines(text, tree), []

    def visit(node, function):
        inside = function
        if isinstance(node, ast.FunctionDef):
            inside = range(node.lineno, node.end_lineno + 1)
        children = [visit(child, inside) for child in ast.iter_child_nodes(node)]
        lines = set().union(*children)
        if isinstance(node, ast.stmt):
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            whole = set(range(first, node.end_lineno + 1)) & code
            found.append((whole - lines, inside))
            lines = whole
        return lines

    visit(tree, None)
    return [(own, function) for own, function in found if own]


def family(name):
    """The first method of those that build upon each other: GReg-2 is GReg-1's, DARB is BMWM's."""
    return next(
        kind
        for kind in reversed(method_type(name).__mro__)
        if kind.__module__.startswith("jpnet_sw.sparsity.methods.")
    )


def choices(name):
    """The defaults, and every other choice of each option alone."""
    yield {}
    for entry in fields(method_type(name).Options):
        if isinstance(entry.default, bool):
            yield {entry.name: not entry.default}
        elif isinstance(entry.default, StrEnum):
            yield from ({entry.name: other} for other in type(entry.default))


def lines_run(work):
    """The lines of the engine that a function runs, by file."""
    lines = {}

    def trace(frame, event, argument):
        path = frame.f_code.co_filename
        if not path.startswith(str(ROOT)):
            return None
        seen = lines.setdefault(Path(path), set())
        seen.add(frame.f_lineno if event != "call" else frame.f_code.co_firstlineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


def small_network():
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 4, 3),
            norm=nn.BatchNorm2d(4),
            relu=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(4 * 16, 8),
            relu1=nn.ReLU(),
            fc2=nn.Linear(8, 3),
        )
    )


@pytest.fixture
def life_of(pruning_target, method_trainer):
    """A function that returns the life of a method: described, trained, resumed, finished."""

    def make(name, options):
        def work():
            describe(method_type(name).Options)
            torch.manual_seed(0)
            model = small_network()
            target = pruning_target(model, (0.5, 0.5, 1.0), rounds=3)
            trainer = method_trainer(target, name, options, rate=0.01, active=6, epoch=2)

            def loss():
                return model(torch.rand(4, 1, 6, 6)).square().mean()

            trainer.run(loss, 4)
            state = trainer.method.state_dict()
            trainer.method.detach()
            target.masks.load(target.masks.masks, target.masks.shadows)
            resumed = method_trainer(target, name, options, rate=0.01, active=6, epoch=2)
            resumed.pruner.load(state)
            resumed.at = trainer.at
            resumed.run(loss, 4)
            model.eval()(torch.rand(1, 1, 6, 6))
            resumed.pruner.facts()
            target.masks.densities()
            without_channels(resumed.pruner, model, target.masks)

        return work

    return make


@pytest.fixture
def lines_of_methods(life_of):
    """The names of the methods that run a statement, and its number of code lines, by file."""
    runs = {}
    for name in method_names():
        for options in choices(name):
            for path, lines in lines_run(life_of(name, options)).items():
                for line in lines:
                    runs.setdefault(path, {}).setdefault(line, set()).add(name)
    found = {}
    for path, by_line in sorted(runs.items()):
        for lines, function in statements(path):
            names = set().union(*(by_line.get(line, set()) for line in lines))
            # A branch that nobody took is its function's; outside of functions all is the file's.
            if not names and function is not None:
                names = set().union(*(by_line.get(line, set()) for line in function))
            elif function is None:
                names = set().union(*by_line.values())
            if names:
                found.setdefault(path, []).append((names, len(lines)))
    return found


def percent_shared(lines, owner):
    counted = [(len({owner(n) for n in names}), size) for names, size in chain(*lines.values())]
    return 100 * sum(size for count, size in counted if count > 1) / sum(s for _, s in counted)


def test_seven_in_ten_lines_are_shared_as_the_page_says(lines_of_methods):
    by_method = percent_shared(lines_of_methods, str)
    by_family = percent_shared(lines_of_methods, family)
    assert by_method >= 70
    found = re.search(r"(\d+) % of the code lines.*?(\d+) %", PAGE.read_text(), re.DOTALL)
    assert found is not None
    assert [float(number) for number in found.groups()] == pytest.approx(
        [by_method, by_family], abs=1
    )


def test_no_method_is_longer_than_200_lines():
    for path in OWN.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 200
