# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Archives in the format of ImageNet, with a few tiny images."""

import importlib
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

TOOLS = Path(__file__).parents[2] / 'tools' / 'dataset_converters'
TOOL = TOOLS / 'imagenet.py'
WNIDS = (TOOLS / 'imagenet_wnids.txt').read_text().split()
TRAIN, VAL = 'ILSVRC2012_img_train.tar', 'ILSVRC2012_img_val.tar'
DEVKIT = 'ILSVRC2012_devkit_t12.tar.gz'


def tool(name='imagenet'):
    """Import a module of the tool as the script imports it."""
    if str(TOOLS) not in sys.path:
        sys.path.append(str(TOOLS))
    return importlib.import_module(name)


def run(*args):
    """Run a command; return its exit status."""
    return tool().main([str(arg) for arg in args])


def jpeg(*seed, mode='RGB', side=12):
    """Make a JPEG whose pixels depend on the seed."""
    channels = len(mode)
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, channels))
    img = Image.fromarray(pixels.astype(np.uint8), mode)
    file = io.BytesIO()
    img.resize((side, side)).save(file, 'JPEG')
    return file.getvalue()


def add(tar, name, data=b'', **fields):
    """Add a member to an archive; `fields` are set on its TarInfo."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


def archive(members, path=None):
    """Make a tar archive of (name, data) or (name, data, fields)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as tar:
        for name, data, *fields in members:
            add(tar, name, data, **(fields[0] if fields else {}))
    if path is None:
        return file.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue())
    return path


def train_images(wnid, count):
    """Make the members of the archive of a class."""
    number = int(wnid[1:])
    return [(f'{wnid}_{i}.JPEG', jpeg(number, i)) for i in range(count)]


def write_train(path, sizes):
    """Make an archive with one archive per class, of `sizes` images."""
    return archive(
        [
            (f'{wnid}.tar', archive(train_images(wnid, count)))
            for wnid, count in sizes.items()
        ],
        path,
    )


def val_name(number):
    return f'ILSVRC2012_val_{number:08d}.JPEG'


def write_val(path, count):
    return archive([(val_name(i), jpeg(i)) for i in range(1, count + 1)], path)


def numbers():
    """Return the kit's number of each class; labels have another order."""
    order = np.random.default_rng(7).permutation(len(WNIDS)) + 1
    return dict(zip(WNIDS, order.tolist(), strict=True))


def write_devkit(path, val_wnids, train_sizes=None):
    """Make the development kit: an array of classes and inner nodes."""
    fields = ['ILSVRC2012_ID', 'WNID', 'words', 'gloss', 'num_children']
    fields += ['children', 'wordnet_height', 'num_train_images']
    rows = []
    for wnid, number in numbers().items():
        size = (train_sizes or {}).get(wnid, 1300)
        words = f'words of {wnid}, others'
        rows.append((number, wnid, words, 'gloss', 0, [], 0, size))
    rows.sort()
    for i in range(3):  # inner nodes of the tree
        children = np.arange(1.0, 4.0)
        rows.append((1001 + i, f'n0000000{i}', 'a', 'b', 3, children, 2, 0))
    synsets = np.empty((len(rows), 1), [(name, object) for name in fields])
    for i, row in enumerate(rows):
        synsets[i, 0] = row
    meta = io.BytesIO()
    savemat(meta, {'synsets': synsets})
    truth = ''.join(f'{numbers()[wnid]}\n' for wnid in val_wnids)
    members = [
        ('readme.txt', b'read me'),
        ('data/meta.mat', meta.getvalue()),
        ('data/ILSVRC2012_validation_ground_truth.txt', truth.encode()),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w:gz') as tar:
        for name, data in members:
            add(tar, f'ILSVRC2012_devkit_t12/{name}', data)
    return path


def files(root):
    """Return the contents of all files in a folder, by relative path."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def write_tree(root, split, sizes):
    """Return the class folders of a split."""
    for wnid, count in sizes.items():
        folder = root / split / wnid
        folder.mkdir(parents=True)
        for name, data in train_images(wnid, count):
            (folder / name).write_bytes(data)
    return root
