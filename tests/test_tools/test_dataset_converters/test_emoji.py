# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write the emoji of npm packages as labeled folders."""

import io
import json
import sys
import tarfile

import numpy as np
import pytest
from helpers.scripts import load_script
from PIL import Image

emoji = load_script('tools/dataset_converters/emoji.py')
main, split_of = emoji.main, emoji.split_of
write_emoji = emoji.write_emoji


def entry(number: int, category: str = 'Food & Drink') -> dict:
    code = f'{0x1F300 + number:X}'
    return dict(
        unified=code,
        image=f'{code.lower()}.png',
        category=category,
        has_img_google=True,
    )


def make_package(path, entries, name='emoji-datasource-google'):
    """Write a package like that of ``npm pack``; each emoji is a red dot."""
    image = Image.new('RGBA', (64, 64), (0, 0, 0, 0))
    image.putpixel((3, 5), (255, 0, 0, 255))
    png = io.BytesIO()
    image.save(png, 'PNG')
    style = name.rpartition('-')[2]
    files = {
        f'package/img/{style}/64/{e["image"]}': png.getvalue() for e in entries
    }
    # emoji.json lists a skin tone inside the entry of its emoji.
    files[f'package/img/{style}/64/1f300-1f3fb.png'] = png.getvalue()
    files['package/package.json'] = json.dumps(dict(name=name)).encode()
    files['package/emoji.json'] = json.dumps(entries).encode()
    with tarfile.open(path, 'w:gz') as archive:
        for member, content in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_write_emoji__classes_and_splits(tmp_path):
    entries = [entry(i) for i in range(8)] + [entry(8, 'Flags')]
    entries += [entry(9, 'Component')]
    package = make_package(tmp_path / 'a.tgz', entries)
    assert write_emoji(tmp_path / 'out', package) == 9
    written = {
        str(p.relative_to(tmp_path / 'out'))
        for p in (tmp_path / 'out').rglob('*.png')
    }
    splits = split_of(entries[:9])
    assert written == {
        f'{splits[e["unified"]]}/{folder}/{e["unified"].lower()}_google.png'
        for e, folder in zip(
            entries, ['food-drink'] * 8 + ['flags'], strict=False
        )
    }


def test_write_emoji__transparent_pixels_become_white(tmp_path):
    package = make_package(tmp_path / 'a.tgz', [entry(0)])
    write_emoji(tmp_path, package)
    (path,) = tmp_path.rglob('*.png')
    pixels = np.asarray(Image.open(path))
    assert pixels.shape == (64, 64, 3)
    assert pixels[5, 3].tolist() == [255, 0, 0]
    assert (pixels[6:] == 255).all()


def test_split_of__same_for_every_style_and_order():
    entries = [entry(i) for i in range(100)]
    splits = split_of(entries)
    assert splits == split_of(entries[::-1])
    assert list(splits.values()).count('test') == 20


def test_main__refuses_other_files(tmp_path, monkeypatch):
    path = tmp_path / 'other.tgz'
    with tarfile.open(path, 'w:gz'):
        pass
    monkeypatch.setattr(sys, 'argv', ['emoji.py', str(tmp_path), str(path)])
    with pytest.raises(
        ValueError, match=r'not an emoji-datasource-NAME package'
    ):
        main()
