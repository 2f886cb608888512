"""Help texts and docstrings: every setting of a command has one, and so has everything that is public."""

import ast
import importlib
import inspect
import re
import textwrap
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
import tyro

from maskkit import commands
from maskkit.commands.bench import BENCHMARKS
from maskkit.engine.settings import Pretrain
from maskkit.methods import methods_of
from maskkit.modality import find_modality, modality_names

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for room in ("maskkit", "modalities") for path in (ROOT / room).rglob("*.py"))


def documented(kind):
    """The fields of a class, or of its bases, that a docstring follows."""
    found = set()
    for base in inspect.getmro(kind):
        if not is_dataclass(base):
            continue
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError):  # composed from other classes, which are its bases
            continue
        for statement, following in zip(tree.body, tree.body[1:], strict=False):
            value = following.value if isinstance(following, ast.Expr) else None
            text = value.value if isinstance(value, ast.Constant) else None
            if isinstance(statement, ast.AnnAssign) and isinstance(text, str) and text.strip():
                found.add(statement.target.id)
    return found


def has_help(hint):
    """Whether an annotation itself carries a help text."""
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return any(getattr(extra, "help", None) for extra in extras)


def without_help(kind):
    """The settings of a class that have no help text; a setting that is a dataclass shows its own docstring."""
    known, hints = documented(kind), get_type_hints(kind, include_extras=True)
    missing = []
    for each in fields(kind):
        if isinstance(each.default_factory, type) and is_dataclass(each.default_factory):
            assert inspect.getdoc(each.default_factory)
        elif each.init and each.name not in known and not has_help(hints[each.name]):
            missing.append(each.name)
    return missing


def settings_of_pretrain():
    """Every settings class that ``maskkit pretrain`` can reach, by a readable name."""
    for name in modality_names():
        modality = find_modality(name)
        yield f"{name} data", modality.data
        yield f"{name} inputs", modality.input_settings
        for method, kind in methods_of(modality).items():
            yield f"{name} {method}", kind


def settings_of_commands():
    for path in sorted(Path(commands.__file__).parent.glob("*.py")):
        module = importlib.import_module(f"maskkit.commands.{path.stem}")
        for name, kind in vars(module).items():
            if (
                inspect.isclass(kind)
                and is_dataclass(kind)
                and kind.__module__ == module.__name__
                and hasattr(kind, "run")
            ):
                yield f"{path.stem}.{name}", kind
    for name, (module, kind, _) in BENCHMARKS.items():
        yield f"bench {name}", getattr(importlib.import_module(module), kind)


@pytest.mark.parametrize(("name", "kind"), [pytest.param(*pair, id=pair[0]) for pair in settings_of_pretrain()])
def test_every_setting_of_pretrain_has_a_help_text(name, kind):
    assert inspect.getdoc(kind) and not without_help(kind), (name, without_help(kind))


def test_every_setting_of_a_run_has_a_help_text():
    missing = set(without_help(Pretrain)) - {"model", "data"}  # settings classes, which show their own docstrings
    assert not missing and {"model", "data"} <= {each.name for each in fields(Pretrain)}
    optim = next(each for each in fields(Pretrain) if each.name == "optim").default_factory
    assert not without_help(optim)


@pytest.mark.parametrize(("name", "kind"), [pytest.param(*pair, id=pair[0]) for pair in settings_of_commands()])
def test_every_setting_of_a_command_has_a_help_text(name, kind):
    assert inspect.getdoc(kind) and not without_help(kind), (name, without_help(kind))


def test_a_setting_without_a_help_text_is_found():
    @dataclass
    class Some:
        """Settings."""

        steps: int = 1
        """Number of steps."""
        rate: Annotated[float, tyro.conf.arg(help="Learning rate.")] = 0.1
        batch: int = 2
        seed: Annotated[int, tyro.conf.Positional] = 0

    assert without_help(Some) == ["batch", "seed"]


def undocumented(tree):
    """Public functions, classes and methods of a module without a docstring; functions in functions are not public."""

    def visit(node, prefix):
        for child in node.body:
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            overload = any(isinstance(name, ast.Name) and name.id == "overload" for name in child.decorator_list)
            if child.name.startswith("_") or overload:
                continue
            if not (ast.get_docstring(child) or "").strip():
                yield f"{prefix}{child.name}"
            if isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}{child.name}.")

    return list(visit(tree, ""))


SHAPED = re.compile(r"\[[^]]*\]|any shape|scalar")  # a shape in brackets, or the word that there is none
# jaxtyping's kinds hold shapes; weights by name have those of the model
SHAPED_KIND = r"(?:Float|Int|Bool|UInt8|Shaped)\[[^]]*\]|(?:Mapping|dict)\[str, Tensor\]"
BARE = re.compile(r"\b(?:Tensor|NDArray|ndarray)\b")


def unshaped(tree):
    """Public functions and methods that take or return arrays whose shape neither annotation nor docstring gives."""
    for owner in ast.walk(tree):
        if not isinstance(owner, ast.Module | ast.ClassDef) or getattr(owner, "name", "").startswith("_"):
            continue
        told = ast.get_docstring(owner) or "" if isinstance(owner, ast.ClassDef) else ""
        for child in owner.body:
            if not isinstance(child, ast.FunctionDef) or child.name.startswith("_"):
                continue
            taken = [*child.args.args, *child.args.kwonlyargs]
            kinds = [ast.unparse(kind) for kind in (*(each.annotation for each in taken), child.returns) if kind]
            plain = [re.sub(SHAPED_KIND, "", kind) for kind in kinds]
            if any(map(BARE.search, plain)) and not SHAPED.search(f"{told}\n{ast.get_docstring(child)}"):
                yield child.name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_shape_of_every_public_array_is_given(path):
    assert not list(unshaped(ast.parse(path.read_text())))


def test_an_array_without_a_shape_is_found():
    code = 'def f(x: Tensor, y: Float[Tensor, "B"]) -> None:\n    """{}"""\n'
    assert list(unshaped(ast.parse(code.format("Do.")))) == ["f"]
    assert not list(unshaped(ast.parse(code.format("Do with x [B N]."))))
    assert not list(unshaped(ast.parse(code.replace("x: Tensor, ", "").format("Do."))))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_public_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    assert (ast.get_docstring(tree) or "").strip(), "the module has no docstring"
    assert not undocumented(tree)


def test_what_lacks_a_docstring_is_found():
    tree = ast.parse("class A:\n    '''Said.'''\n    def f(self): ...\n    def _g(self): ...\ndef h(): ...")
    assert undocumented(tree) == ["A.f", "h"]
