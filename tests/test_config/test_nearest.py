# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Which name was meant."""

from mmcae.config.keys import TOP_LEVEL, UNTYPED
from mmcae.config.nearest import LONG_NAME, misspelt, nearest

#: What a slip of the keyboard makes of a name.
SLIPS = {
    'left out': lambda name, i: name[:i] + name[i + 1 :],
    'added': lambda name, i: f'{name[:i]}q{name[i:]}',
    'replaced': lambda name, i: f'{name[:i]}q{name[i + 1 :]}',
    'swapped': lambda name, i: (
        name[:i] + name[i + 1 : i + 2] + name[i] + name[i + 2 :]
    ),
}


def test_misspelt__finds_any_single_slip(subtests):
    for path, known in (('', TOP_LEVEL), *UNTYPED.items()):
        for name in sorted(known):
            for kind, slip in SLIPS.items():
                made = {slip(name, i) for i in range(len(name))} - known
                missed = {
                    text
                    for text in made
                    if len(name) > 4 and misspelt(text, known) is None
                }
                with subtests.test(f'{path}.{name} {kind}'):
                    assert not missed


def test_misspelt__counts_slips_by_the_length_of_the_name(subtests):
    for text, name, found in (
        ('randomnes', 'randomness', True),
        ('radnomnes', 'randomness', True),  # a swap and a letter left out
        ('raadnomnes', 'randomness', False),
        ('resmue', 'resume', True),
        ('resmu', 'resume', False),
        ('comple', 'compile', True),
        ('gen_cfg', 'env_cfg', False),
        ('cgf', 'cfg', False),  # short names are never guessed
        ('', 'resume', False),
    ):
        with subtests.test(text):
            assert misspelt(text, [name]) == (name if found else None)


def test_misspelt__leaves_the_usual_names_of_variables_alone(subtests):
    names = """
        train_loader test_loader train_dataset val_dataset weak_pipeline
        test_pipeline_2 valid_cfg gen_cfg rpn_cfg my_root width train_set
        lrs hooks"""
    for name in names.split():
        with subtests.test(name):
            assert misspelt(name, TOP_LEVEL) is None


def test_nearest__the_most_similar_or_none():
    known = ['batch_size', 'batch_sampler', 'sampler']
    assert nearest('batchsize', known) == 'batch_size'
    assert nearest('sampler_', known) == 'sampler'
    assert nearest('size', known) is None
    assert nearest('size', known, LONG_NAME) == 'batch_size'
