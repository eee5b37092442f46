# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""How the config files are written: a reader opens one and sees the run."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from mmcae.config.search_path import find_config, resource_root

RECIPES = (
    'cae_beit-base-p16_8xb256-amp-coslr-300e_in1k',
    'beit-base-p16_cae-pre_8xb128-coslr-100e_in1k',
)
# Methods that change a list or a dict in place.
CHANGES = {'append', 'extend', 'insert', 'pop', 'remove', 'update'}


def config_files() -> list[Path]:
    """All config files, `_base_` included."""
    return sorted((resource_root() / 'configs').rglob('*.py'))


def assigned(tree: ast.Module) -> set[str]:
    """The names that a file sets itself."""
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def changes_in_place(tree: ast.Module) -> Iterator[str]:
    """The expressions that change what an inherited file has made."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(
            node.ctx, ast.Store | ast.Del
        ):
            yield ast.unparse(node)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in CHANGES
        ):
            yield ast.unparse(node)


def test_recipes__one_file_says_what_is_trained(subtests):
    """Learning rate, clip, schedule, epochs and hooks are not inherited."""
    for name in RECIPES:
        with subtests.test(name):
            tree = ast.parse(find_config(name).read_text('utf-8'))
            assert assigned(tree) >= {
                'max_epochs',
                'warmup_epochs',
                'optim_wrapper',
                'param_scheduler',
                'train_cfg',
                'default_hooks',
                'randomness',
            }


def test_files__write_lists_out(subtests):
    """`param_scheduler[1].update(...)` cannot be read without the base."""
    for path in config_files():
        with subtests.test(path.name):
            tree = ast.parse(path.read_text('utf-8'))
            assert list(changes_in_place(tree)) == []


def test_files__write_lists_out__detects_changes():
    tree = ast.parse("a[1].update(b=2)\na[0] = 1\na.insert(0, 'c')\nd = a[0]")
    assert len(list(changes_in_place(tree))) == 3


def test_files__begin_with_license_and_docstring(subtests):
    first = '# Copyright (c) mmcae contributors. Licensed under Apache-2.0.\n'
    for path in config_files():
        with subtests.test(path.name):
            text = path.read_text('utf-8')
            assert text.startswith((f'{first}"""', f'{first}r"""'))
            tree = ast.parse(text)
            assert ast.get_docstring(tree)
            # What is inherited stands first.
            if '_base_' in assigned(tree):
                assert ast.unparse(tree.body[1]).startswith('_base_ = ')


def test_bases__name_the_method_then_the_backbone(subtests):
    """One spelling of the backbone, as in the names of the configs."""
    method = '(cae|classifier|upernet|mask-rcnn|cascade-mask-rcnn)'
    backbone = '(beit-(small|base|large)-p16|tiny-p8)'
    pattern = re.compile(f'{method}_{backbone}(_[a-z0-9-]+)?')
    for path in config_files():
        if path.parent.name == 'models':
            with subtests.test(path.name):
                assert pattern.fullmatch(path.stem)
