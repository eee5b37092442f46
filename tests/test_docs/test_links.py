# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Relative links and anchors in the documentation lead somewhere."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r'^(`{3,})[^`]*?^\1`*$', re.MULTILINE | re.DOTALL)
_CODE = re.compile(r'`[^`\n]*`')
_LINK = re.compile(r'\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)')
_HEADING = re.compile(r'^#{1,6} +(.+?)\s*$', re.MULTILINE)
_LABEL = re.compile(r'^\(([\w-]+)\)=$', re.MULTILINE)


def _pages():
    folders = ('docs', 'configs', 'demo', 'mmcae', 'tests', 'benchmarks')
    pages = [path for f in folders for path in (ROOT / f).rglob('*.md')]
    pages += ROOT.glob('*.md')
    parts = ('_build', '.mim')
    return sorted(p for p in pages if not set(parts) & set(p.parts))


def _without_code(text):
    return _CODE.sub('', _FENCE.sub('', text))


def links_of(text):
    """Targets of links and pictures, also of those in HTML tags."""
    text = _without_code(text)
    found = _LINK.findall(text)
    found += [
        target
        for tag in re.findall(r'<(?:img|source|a) [^>]*>', text)
        for key, target in re.findall(r'(src|href|srcset)="([^"]+)"', tag)
    ]
    return [
        link for link in found if not re.match(r'[a-z]+:', link, re.IGNORECASE)
    ]


def anchors_of(text):
    """Anchors of headings as GitHub and MyST make them, and labels."""
    text = _FENCE.sub('', text)
    found = set(_LABEL.findall(text))
    for heading in _HEADING.findall(text):
        heading = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading)
        slug = re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
        count = 1
        unique = slug
        while unique in found:
            unique, count = f'{slug}-{count}', count + 1
        found.add(unique)
    return found


@cache
def _anchors_in(path):
    return anchors_of(path.read_text(encoding='utf-8'))


@cache
def _labels():
    """Labels of all pages of the documentation; MyST finds them anywhere."""
    pages = (ROOT / 'docs').rglob('*.md')
    return {label for p in pages for label in _LABEL.findall(p.read_text())}


def broken_links(page, text):
    """Links of a page that lead nowhere, with the reason."""
    broken = []
    for link in links_of(text):
        target, _, anchor = unquote(link).partition('#')
        if not target and not anchor:
            continue
        if '#' not in link and target in _labels():
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists():
            broken.append(f'{link}: no such file')
        elif not path.is_relative_to(ROOT):
            broken.append(f'{link}: outside the repository')
        elif (
            anchor and path.suffix == '.md' and anchor not in _anchors_in(path)
        ):
            broken.append(f'{link}: no such heading')
    return broken


@pytest.mark.parametrize(
    'page', _pages(), ids=lambda p: str(p.relative_to(ROOT))
)
def test_links__lead_somewhere(page):
    assert broken_links(page, page.read_text(encoding='utf-8')) == []


def test_every_page_is_in_the_table_of_contents():
    """Sphinx warns about it as well, but only where Sphinx is installed."""
    index = (ROOT / 'docs' / 'index.md').read_text(encoding='utf-8')
    listed = set()
    for block in re.findall(r'^```\{toctree\}(.*?)^```', index, re.M | re.S):
        listed |= {s for s in block.split('\n') if s and s[0] not in ': '}
    pages = {
        str(path.relative_to(ROOT / 'docs').with_suffix(''))
        for path in (ROOT / 'docs').rglob('*.md')
        if '_build' not in path.parts
    }
    assert pages - listed == {'index'}
    assert listed <= pages


def test_links_of__ignores_code_and_other_sites():
    text = (
        '[a](b.md#c) ![d](e.png) `[no](x)` [web](https://x.y)\n'
        '```python\n[no](y)\n```\n<img src="f.svg" alt="">\n'
    )
    assert links_of(text) == ['b.md#c', 'e.png', 'f.svg']


def test_anchors_of__are_those_of_github():
    text = (
        '# One, two\n## `code` & more\n# One, two\n(label)=\n```\n# no\n```\n'
    )
    found = anchors_of(text)
    assert found == {'one-two', 'code--more', 'one-two-1', 'label'}


def test_broken_links__finds_each_kind():
    page = ROOT / 'docs' / 'index.md'
    text = '[a](nowhere.md) [b](get_started.md#nowhere) [c](../../x)'
    reasons = [found.split(': ')[1] for found in broken_links(page, text)]
    assert reasons == ['no such file', 'no such heading', 'no such file']
