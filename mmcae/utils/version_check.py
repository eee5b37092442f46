# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Check the versions of the packages that mmcae needs.

The supported ranges are those that ``setup.cfg`` declares. Versions are read
from the installed packages' metadata, so the check imports none of them and
runs before a mismatch can cause an obscure error.
"""

import configparser
import importlib.util
import warnings
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

try:
    from packaging.requirements import Requirement as Declared
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version
except ModuleNotFoundError as error:
    raise ImportError(
        'mmcae needs the package packaging to check versions; install it '
        'with:\n  pip install packaging'
    ) from error

SETUP_CFG = Path(__file__).resolve().parents[2] / 'setup.cfg'


@dataclass(frozen=True)
class Requirement:
    """One package that mmcae needs.

    Args:
        module: Import name.
        install: Argument of ``pip install``: the recommended distribution
            and its tested version.
        originals: Other distributions that provide the module and work too.
            ``setup.cfg`` cannot declare alternatives.
        original_range: The versions of ``originals`` that work.
        optional: Check it only if it is installed.
        works: The versions that work, if they are more than ``setup.cfg``
            declares for an extra.
        beside: A module and its versions, such as
            ``('mmpretrain', '<1.3.7')``: check it only beside one of them.
    """

    module: str
    install: str
    originals: tuple[str, ...] = ()
    original_range: str = ''
    optional: bool = False
    works: str = ''
    beside: tuple[str, str] | None = None

    @property
    def distribution(self) -> str:
        """The recommended distribution."""
        return self.install.partition('==')[0]


REQUIREMENTS = (
    Requirement('torch', 'torch==2.14.1'),
    Requirement('torchvision', 'torchvision==0.29.1'),
    Requirement(
        'mmengine',
        'onedl-mmengine==0.10.12',
        ('mmengine', 'mmengine-lite'),
        '>=0.10.4,<1.0',
    ),
    Requirement(
        'mmcv', 'onedl-mmcv==2.3.6', ('mmcv', 'mmcv-lite'), '>=2.0.0,<2.4'
    ),
    Requirement(
        'mmpretrain',
        'onedl-mmpretrain==1.3.6',
        ('mmpretrain',),
        '>=1.2.0,<2.0',
    ),
    Requirement(
        'mmseg',
        'onedl-mmsegmentation==1.4.2',
        ('mmsegmentation',),
        '>=1.2.0,<2.0',
        optional=True,
    ),
    Requirement(
        'mmdet',
        'onedl-mmdetection==3.5.1',
        ('mmdet',),
        '>=3.2.0,<4.0',
        optional=True,
    ),
    # mmpretrain imports names that transformers 5 has moved. It takes the
    # ImportError for a missing package, and then a class inherits from None.
    Requirement(
        'transformers',
        'transformers==4.57.6',
        optional=True,
        works='<5',
        beside=('mmpretrain', '<1.3.7'),
    ),
)


def declared_ranges() -> dict[str, str]:
    """The version range of each distribution that mmcae declares.

    A clone's ``setup.cfg`` comes first, because the metadata of an editable
    installation is as old as the installation. Without either, there are no
    ranges, and a warning says so.

    Returns:
        Such as ``{'torch': '>=2.10,<3'}``, with the extras' distributions.
    """
    lines = _lines_of_setup_cfg()
    if not lines:
        try:
            lines = metadata.requires('mmcae') or []
        except metadata.PackageNotFoundError:
            warnings.warn(
                'mmcae is not installed and has no setup.cfg beside it, so '
                'the versions of the packages that it needs are not checked; '
                'install it with `pip install -e .` in the clone.',
                stacklevel=2,
            )
    declared = map(Declared, lines)
    return {item.name: _lowest_first(item.specifier) for item in declared}


def _lines_of_setup_cfg() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(SETUP_CFG)
    if setup.get('metadata', 'name', fallback='') != 'mmcae':
        return []
    sections = [
        setup['options']['install_requires'],
        *setup['options.extras_require'].values(),
    ]
    return [line for text in sections for line in text.splitlines() if line]


def _lowest_first(specifiers: SpecifierSet) -> str:
    return ','.join(sorted(map(str, specifiers), reverse=True))


def accepts(version_range: str, version: str) -> bool:
    """Whether a version lies in a range.

    The build's label, and pre- and post-release suffixes, do not count
    (``'2.10.0a0+cu128'`` is ``'2.10.0'``): vendors of GPU machines build torch
    from the commits before a release. A version that Python's rules do not
    allow cannot be compared and is accepted.

    Args:
        version_range: Such as ``'>=2.10,<3'``; an empty one has all versions.
        version: Such as ``'2.14.1+cpu'``.
    """
    try:
        release = Version(version).base_version
    except InvalidVersion:
        return True
    return SpecifierSet(version_range).contains(release)


def installed_version(requirement: Requirement) -> tuple[str, str] | None:
    """The distribution that provides a package, and its version.

    A package that is on the path but carries no metadata (a source tree) is
    imported and asked for its ``__version__``.

    Returns:
        The distribution's name (the module's name for a source tree) and the
        version, ``'unknown'`` if it has none; None without the package.
    """
    for name in (requirement.distribution, *requirement.originals):
        try:
            return name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if importlib.util.find_spec(requirement.module) is None:
        return None
    module = import_module(requirement.module)
    return requirement.module, str(getattr(module, '__version__', 'unknown'))


def find_problems(
    requirements: tuple[Requirement, ...] = REQUIREMENTS,
) -> list[tuple[Requirement, str]]:
    """The requirements that do not hold, each with one line on why."""
    ranges = declared_ranges()
    problems = []
    for requirement in requirements:
        neighbor = _neighbor(requirement)
        if neighbor is None:
            continue
        supported = requirement.works or ranges.get(
            requirement.distribution, ''
        )
        found = installed_version(requirement)
        if found is None:
            if requirement.optional:
                continue
            fault = 'not installed'
        else:
            name, version = found
            if name != requirement.distribution:
                supported = requirement.original_range or supported
            if accepts(supported, version):
                continue
            fault = f'found {version}'
        text = f'{requirement.module}: {fault}'
        if supported:
            text += f'; supported: {supported}{neighbor}'
        problems.append((requirement, text))
    return problems


def _neighbor(requirement: Requirement) -> str | None:
    """What a package is checked beside, for the message.

    Returns:
        Such as ``' beside mmpretrain 1.3.6'``, or an empty string if it is
        always checked; None if it is not to be checked here.
    """
    if requirement.beside is None:
        return ''
    module, versions = requirement.beside
    (other,) = (item for item in REQUIREMENTS if item.module == module)
    found = installed_version(other)
    if found is None or not accepts(versions, found[1]):
        return None
    return f' beside {module} {found[1]}'


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
