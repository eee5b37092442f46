# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Check the versions of the packages that mmcae stands on.

Versions are read from the installed packages' metadata, so the check imports
nothing and runs before a mismatch can fail somewhere obscure.
"""

import importlib.util
from dataclasses import dataclass
from importlib import import_module, metadata


@dataclass(frozen=True)
class Requirement:
    """One package that mmcae needs, and the versions that work.

    Args:
        module: Import name.
        minimum: Lowest supported version.
        below: First unsupported version.
        distributions: Names under which the module is published, the
            recommended one first.
        install: Argument of ``pip install``.
        optional: Check it only if it is installed.
    """

    module: str
    minimum: str
    below: str
    distributions: tuple[str, ...]
    install: str
    optional: bool = False

    def accepts(self, version: str) -> bool:
        """Whether ``version`` lies in the supported range."""
        release = release_tuple(version)
        return (
            release_tuple(self.minimum) <= release < release_tuple(self.below)
        )


REQUIREMENTS = (
    Requirement('torch', '2.10', '3', ('torch',), 'torch==2.14.1'),
    Requirement(
        'torchvision', '0.25', '1', ('torchvision',), 'torchvision==0.29.1'
    ),
    Requirement(
        'mmengine',
        '0.10.4',
        '1.0',
        ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
        'onedl-mmengine==0.10.12',
    ),
    Requirement(
        'mmcv',
        '2.0.0',
        '2.4',
        ('onedl-mmcv', 'mmcv', 'mmcv-lite'),
        'onedl-mmcv==2.3.6',
    ),
    Requirement(
        'mmpretrain',
        '1.2.0',
        '2.0',
        ('onedl-mmpretrain', 'mmpretrain'),
        'onedl-mmpretrain==1.3.6',
    ),
    Requirement(
        'mmseg',
        '1.2.0',
        '2.0',
        ('onedl-mmsegmentation', 'mmsegmentation'),
        'onedl-mmsegmentation==1.4.2',
        optional=True,
    ),
    Requirement(
        'mmdet',
        '3.2.0',
        '4.0',
        ('onedl-mmdetection', 'mmdet'),
        'onedl-mmdetection==3.5.1',
        optional=True,
    ),
)


def release_tuple(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``'2.14.1+cpu' -> (2, 14, 1)``.

    Trailing zeros are dropped (``'2.0' == '2.0.0'``); pre-release suffixes
    count as the release they lead to (``'2.4.0rc1' -> (2, 4)``).
    """
    numbers = []
    for part in version.split('+')[0].split('.'):
        digits = ''
        for character in part:
            if not character.isdigit():
                break
            digits += character
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def installed_version(requirement: Requirement) -> str | None:
    """The version of an installed package, or ``None`` without it.

    A package that is on the path but carries no metadata (a source tree) is
    imported and asked for its ``__version__``; ``'unknown'`` if it has none.
    """
    for name in requirement.distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if importlib.util.find_spec(requirement.module) is None:
        return None
    module = import_module(requirement.module)
    return str(getattr(module, '__version__', 'unknown'))


def find_problems(
    requirements: tuple[Requirement, ...] = REQUIREMENTS,
) -> list[tuple[Requirement, str]]:
    """The requirements that do not hold, each with one line on why."""
    problems = []
    for requirement in requirements:
        version = installed_version(requirement)
        supported = f'>={requirement.minimum},<{requirement.below}'
        if version is None:
            if not requirement.optional:
                problems.append(
                    (
                        requirement,
                        f'{requirement.module}: not installed; supported: '
                        f'{supported}',
                    )
                )
        elif version != 'unknown' and not requirement.accepts(version):
            problems.append(
                (
                    requirement,
                    f'{requirement.module}: found {version}; supported: '
                    f'{supported}',
                )
            )
    return problems


def check_versions(
    requirements: tuple[Requirement, ...] = REQUIREMENTS,
) -> None:
    """Refuse to work next to missing or unsupported packages.

    Args:
        requirements: What to check.

    Raises:
        ImportError: If a package is missing or has an unsupported version.
            The message names the version found, the versions supported and
            the command that installs a tested one.
    """
    problems = find_problems(requirements)
    if not problems:
        return
    lines = '\n'.join(f'  {text}' for _, text in problems)
    packages = ' '.join(f'"{item.install}"' for item, _ in problems)
    raise ImportError(
        'mmcae cannot work with the packages installed here:\n'
        f'{lines}\nInstall the tested versions with:\n'
        f'  pip install {packages}'
    )
