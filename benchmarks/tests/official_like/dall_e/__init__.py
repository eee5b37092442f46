# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""DALL-E's tokenizer."""

import requests

from dall_e.encoder import Encoder  # noqa: F401


def load_model(url):
    return requests.get(url).content
