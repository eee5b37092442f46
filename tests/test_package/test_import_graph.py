# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Imports run downhill, and never in a circle (docs/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: From the top floor to the bottom; a room may import from lower floors.
FLOORS = (
    ('tools', 'demo', 'benchmarks', 'mmcae_command', 'mmcae.__main__'),
    ('mmcae',),  # the package's face, which installs the integration
    ('mmcae.cli',),
    ('mmcae.launch',),
    ('mmcae.integration',),
    ('mmcae.engine', 'mmcae.app', 'mmcae.hub'),
    ('mmcae.apis', 'mmcae.export'),
    ('mmcae.models', 'mmcae.datasets'),
    ('mmcae.evaluation', 'mmcae.visualization', 'mmcae.zoo'),
    ('mmcae.checkpoint', 'mmcae.utils'),
    ('mmcae.config', 'mmcae.registry'),
    ('mmcae.false_alarms',),
    ('mmcae.namespace_guard', 'mmcae.version'),
)
FLOOR_OF = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((ROOT / 'mmcae').rglob('*.py')):
        if '.mim' in path.parts:
            continue
        parts = path.relative_to(ROOT).with_suffix('').parts
        if parts[-1] == '__init__':
            parts = parts[:-1]
        found['.'.join(parts)] = path
    return found


def room_of(module: str) -> str:
    """The room that a module is in, such as ``mmcae.models``."""
    return '.'.join(module.split('.')[:2])


def imports(
    module: str, path: Path, known: dict[str, Path], inside: bool
) -> Iterator[str]:
    """Modules of the package that a module imports.

    Args:
        module: Its name.
        path: Its file.
        known: All modules.
        inside: Whether imports inside functions count.
    """
    package = (
        module if path.name == '__init__.py' else module.rpartition('.')[0]
    )
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if inside else _outside(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = package.split('.')
                parts = parts[: len(parts) - node.level + 1]
                base = '.'.join([*parts, *filter(None, [node.module])])
            for alias in node.names:
                name = f'{base}.{alias.name}'
                if name in known:
                    yield name
                elif base in known:
                    yield base


def _outside(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a module without the bodies of its functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from _outside(node)


def graph(inside: bool) -> dict[str, set[str]]:
    """What each module imports."""
    known = modules()
    return {
        module: set(imports(module, path, known, inside)) - {module}
        for module, path in known.items()
    }


def uphill(edges: dict[str, set[str]]) -> list[str]:
    """Imports of a room that is not on a lower floor."""
    return [
        f'{module} -> {target}'
        for module, targets in edges.items()
        for target in targets
        if room_of(module) != room_of(target)
        and FLOOR_OF[room_of(module)] >= FLOOR_OF[room_of(target)]
    ]


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in edges[module]:
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in edges:
        if module not in index:
            visit(module)
    return found


def without_faces(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out what a package's ``__init__`` lists for its users.

    A module may import a sibling through the package's face; the face then
    imports the module. Python allows that, and readers do not get lost.
    """
    faces = {m for m, path in modules().items() if path.name == '__init__.py'}
    return {
        module: set() if module in faces else targets
        for module, targets in edges.items()
    }


def test_rooms__each_has_a_floor():
    assert {room_of(module) for module in modules()} <= set(FLOOR_OF)


def test_imports__none_runs_uphill():
    """Imports inside functions and for type checkers count, too."""
    assert uphill(graph(inside=True)) == []


def test_imports__there_is_no_circle():
    assert circles(without_faces(graph(inside=True))) == []


def test_circles__finds_one():
    edges = {'a': {'b'}, 'b': {'c'}, 'c': {'a', 'd'}, 'd': set()}
    assert circles(edges) == [['a', 'b', 'c']]
    edges['c'] = {'d'}
    assert circles(edges) == []


def test_uphill__finds_an_arrow():
    edges = {
        'mmcae.models.x': {'mmcae.engine.y', 'mmcae.checkpoint.z'},
        'mmcae.config.a': {'mmcae.zoo.b'},
    }
    assert uphill(edges) == [
        'mmcae.models.x -> mmcae.engine.y',
        'mmcae.config.a -> mmcae.zoo.b',
    ]


def test_ops__only_they_know_the_choice_of_a_kernel():
    inside = 'mmcae.models.ops'
    for module, targets in graph(inside=True).items():
        if not module.startswith(inside):
            assert f'{inside}.choice' not in targets, module
