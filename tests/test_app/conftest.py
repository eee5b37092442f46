# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The packaged emoji model, and the actions of a page that shows it."""

import pytest

from mmcae.apis import load_model
from mmcae.app.actions import Actions
from mmcae.app.examples import find_examples
from mmcae.app.explorer import Explorer

NAME = 'mmcae://cae_tiny-p8_1xb32-coslr-30e_emoji-48px'


@pytest.fixture(scope='session')
def loaded():
    return load_model(NAME)


@pytest.fixture(scope='session')
def explorer(loaded):
    return Explorer(loaded)


@pytest.fixture(scope='session')
def actions(explorer, tmp_path_factory):
    folder = tmp_path_factory.mktemp('examples')
    return Actions(explorer, find_examples(folder, explorer.trained_on))
