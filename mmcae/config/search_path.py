# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Find the configs, tools and model index that travel with the package."""

import difflib
from pathlib import Path

from mmcae.config.renamed import current_name


def resource_root() -> Path:
    """The folder that holds ``configs/``, ``tools/`` and ``model-index.yml``.

    That is ``mmcae/.mim`` of an installed package (a wheel carries copies, an
    editable install links), or the repository of a plain source tree.

    Raises:
        FileNotFoundError: If neither place has a model index.
    """
    package = Path(__file__).resolve().parent.parent
    for root in (package / '.mim', package.parent):
        if (root / 'model-index.yml').is_file():
            return root
    raise FileNotFoundError(
        f'no model-index.yml in {package / ".mim"} or {package.parent}: the '
        'installation is incomplete; run `pip install --force-reinstall '
        '--no-deps mmcae`, or `pip install -e .` in the repository'
    )


def list_configs() -> list[Path]:
    """The packaged config files, without the ``_base_`` parts."""
    configs = resource_root() / 'configs'
    return sorted(
        path
        for path in configs.rglob('*.py')
        if '_base_' not in path.relative_to(configs).parts
    )


def find_config(name: str | Path) -> Path:
    """Resolve a config given by path, bare name, or ``package::path``.

    Args:
        name: A file (relative to the working directory or absolute), the name
            of a packaged config with or without ``.py``, or a config of
            another OpenMMLab package such as
            ``mmpretrain::resnet/resnet50_8xb32_in1k.py``. The old name of a
            packaged config works, with a ``DeprecationWarning``.

    Returns:
        The path of an existing file.

    Raises:
        FileNotFoundError: If there is no such config; names the nearest.
        ValueError: If several packaged configs have that name.
    """
    path = Path(name)
    if path.is_file():
        return path
    renamed = current_name(str(name))
    if renamed != str(name):
        return find_config(renamed)
    if '::' in str(name):
        return _find_in_package(str(name))
    candidates = list_configs()
    stem = path.stem if path.suffix in ('.py', '.json', '.yml') else path.name
    found = [item for item in candidates if item.stem == stem]
    if len(found) > 1:
        raise ValueError(
            f"several configs are called '{stem}': "
            f'{", ".join(str(item) for item in found)}; give the path'
        )
    if found:
        return found[0]
    nearest = difflib.get_close_matches(
        stem, [item.stem for item in candidates], n=1, cutoff=0.5
    )
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ''
    raise FileNotFoundError(
        f"there is no config file '{name}', and no config of that name in "
        f'{resource_root() / "configs"}{hint}'
    )


def _find_in_package(name: str) -> Path:
    from mmengine.utils import get_installed_path

    package, _, relative = name.partition('::')
    try:
        root = Path(get_installed_path(package))
    except Exception as error:  # mmengine raises several kinds
        raise FileNotFoundError(
            f"config '{name}': package '{package}' is not installed"
        ) from error
    path = root / '.mim' / 'configs' / relative.strip()
    if not path.is_file():
        raise FileNotFoundError(f"config '{name}': there is no file {path}")
    return path
