"""How much of the pruning engine is shared: code lines that methods of different families run."""

import ast
import io
import sys
import tokenize
from dataclasses import fields
from enum import StrEnum
from pathlib import Path

import pytest
import torch

import jpnet_sw.sparsity
from jpnet_sw.models import convnet5
from jpnet_sw.recipe.pruning import without_channels
from jpnet_sw.sparsity.methods import build_method, method_names, method_type
from jpnet_sw.sparsity.pruner import Pruner

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


@pytest.fixture
def life_of(pruning_target, method_trainer):
    """A function that returns the life of a method: built, trained, resumed, finished."""

    def make(name, options):
        def work():
            torch.manual_seed(0)
            model = convnet5((1, 12, 12))
            target = pruning_target(model, (0.3, 0.3, 0.3, 0.3, 1.0), rounds=3)
            trainer = method_trainer(target, name, options, rate=0.01, active=6, epoch=2)

            def loss():
                return model(torch.rand(4, 1, 12, 12)).square().mean()

            trainer.run(loss, 4)
            again = Pruner(build_method(name, options, target))
            again.load(trainer.method.state_dict())
            again.method.detach()
            trainer.run(loss, 4)
            model.eval()(torch.rand(1, 1, 12, 12))
            trainer.pruner.facts()
            without_channels(trainer.pruner, model, target.masks)

        return work

    return make


@pytest.fixture
def shares(life_of):
    """The shared code lines, and those that single families have for themselves, by file."""
    users = {}
    for name in method_names():
        for options in choices(name):
            for path, lines in lines_run(life_of(name, options)).items():
                for line in lines:
                    users.setdefault(path, {}).setdefault(line, set()).add(family(name))
    shared, own = {}, {}
    for path in sorted(users):
        anyone = set().union(*users[path].values())
        for lines, function in statements(path):
            found = set().union(*(users[path].get(line, set()) for line in lines))
            # A branch that nobody took is its function's; outside of functions all is the file's.
            for line in found or function or ():
                found = found | users[path].get(line, set())
            if function is None:
                found = anyone
            if found:
                common = len(found) > 1 and OWN not in path.parents
                kind = shared if common else own
                kind[path] = kind.get(path, 0) + len(lines)
    return shared, own


def test_seven_in_ten_lines_of_the_engine_are_shared_by_families_of_methods(shares):
    shared, own = (sum(kind.values()) for kind in shares)
    percent = 100 * shared / (shared + own)
    for path in sorted(set(shares[0]) | set(shares[1])):
        print(path.relative_to(ROOT), shares[0].get(path, 0), shares[1].get(path, 0))
    print(shared, own, percent)
    assert percent >= 70
