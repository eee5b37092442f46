# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Build the ``.mim`` folder, which setup.cfg cannot describe.

OpenMMLab's tools look for a package's configs, scripts and model index in
``<package>/.mim``. A wheel contains copies of them; an editable install
has links, so edits take effect at once.
"""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_ENTRIES = ('configs', 'tools', 'demo', 'model-index.yml')
SKIPPED = shutil.ignore_patterns('__pycache__', '*.pyc', '.*')


def link_mim(package_dir: Path) -> None:
    """Link the entries into ``package_dir/.mim`` (copy where links fail)."""
    mim = package_dir / '.mim'
    mim.mkdir(parents=True, exist_ok=True)
    for name in MIM_ENTRIES:
        source, link = ROOT / name, mim / name
        if link.is_symlink() or link.is_file():
            link.unlink()
        elif link.is_dir():
            shutil.rmtree(link)
        if not source.exists():
            continue
        try:
            link.symlink_to(os.path.relpath(source, mim))
        except OSError:  # a file system or account without symbolic links
            _copy(source, link)


def copy_mim(package_dir: Path) -> None:
    """Copy the entries into ``package_dir/.mim``."""
    mim = package_dir / '.mim'
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir(parents=True)
    for name in MIM_ENTRIES:
        if (ROOT / name).exists():
            _copy(ROOT / name, mim / name)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=SKIPPED)
    else:
        shutil.copy2(source, target)


class BuildPyWithMim(build_py):
    """``build_py`` that also fills ``mmcae/.mim``."""

    def run(self) -> None:
        super().run()
        if getattr(self, 'editable_mode', False):
            link_mim(ROOT / 'mmcae')
        else:
            copy_mim(Path(self.build_lib) / 'mmcae')


if __name__ == '__main__':
    setup(cmdclass={'build_py': BuildPyWithMim})
