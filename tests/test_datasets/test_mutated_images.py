# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Damaged image files are loaded or refused; none crashes or hangs."""

import io
import struct

import pytest
from helpers.image_files import MutantLoader, image_files
from helpers.isolation import run_isolated
from PIL import Image

from mmcae.datasets.transforms.load_image import LoadImage, decode_image

#: The largest mutant, which has some thousand pixels a side, takes 66 MiB.
MEMORY = 96 << 20


def load_mutants(folder, numbers):
    outcomes = run_isolated(numbers, MutantLoader(folder))
    faults = {n: o.fault for n, o in zip(numbers, outcomes, strict=True)}
    assert {n: fault for n, fault in faults.items() if fault} == {}
    reasons, rises = zip(*(o.result for o in outcomes), strict=True)
    assert max(rises) < MEMORY
    loaded = sum(not reason for reason in reasons)
    assert 0.1 < loaded / len(reasons) < 0.6
    assert all(reason.isprintable() for reason in reasons)


def test_mutants__are_loaded_or_refused(tmp_path):
    load_mutants(tmp_path, range(230))


@pytest.mark.slow
def test_mutants__two_thousand_are_loaded_or_refused(tmp_path):
    load_mutants(tmp_path, range(2300))


def test_mutants__are_made_of_good_files():
    files = image_files()
    forms = {Image.open(io.BytesIO(data)).format for data in files.values()}
    assert forms == {'JPEG', 'PNG', 'WEBP', 'TIFF', 'GIF', 'BMP'}
    for data in files.values():
        assert decode_image(io.BytesIO(data)).shape == (32, 40, 3)


def test_png__that_announces_four_gigabytes_is_loaded(tmp_path):
    """In little memory; see `_BoundedReader`. Its data are complete."""
    content = bytearray(image_files()['PNG 1'])
    struct.pack_into('>I', content, content.index(b'IDAT') - 4, 0xFFFFFFF0)
    path = tmp_path / 'image.png'
    path.write_bytes(content)

    def load(backend):
        return LoadImage(backend=backend).load(str(path)).shape

    for outcome in run_isolated(['fast', 'pil'], load):
        assert outcome.fault == ''
        assert outcome.result == (32, 40, 3)
