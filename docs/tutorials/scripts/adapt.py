# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
# %% [markdown]
# # Continue from weights
#
# With few images, start from weights of another training instead of random
# ones. The example continues the packaged CAE of emoji on photographs, and
# compares that with a start from random weights. It works offline.
#
# The images are 320 pieces of the two photographs that travel with
# scikit-learn. Use a folder of yours instead.

# %%
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

Path('photos').mkdir(exist_ok=True)
random = np.random.default_rng(0)
for number, photo in enumerate(load_sample_images().images):
    height, width, _ = photo.shape
    for piece in range(160):
        side = random.integers(64, 192)
        top = random.integers(height - side)
        left = random.integers(width - side)
        crop = Image.fromarray(photo[top : top + side, left : left + side])
        crop.save(f'photos/{number}_{piece:03}.png')

# %% [markdown]
# ## Two trainings
#
# `load_from` names the weights: a file, or `mmcae://NAME` for weights of the
# package. Files of the authors and of OpenMMLab work, too, if they hold more
# than an encoder ([Weights](../weights.md#load)). The model must have the
# same sizes. Here the tokenizer is the one that the weights were trained with,
# so the decoder's last layer continues, too. With another tokenizer this layer
# begins anew. A lower learning rate keeps what was learned.

# %% language="bash"
# recipe=cae_tiny-p8_1xb32-coslr-30e_emoji-48px
# options="data_root=photos max_epochs=10 warmup_epochs=1
#     default_hooks.logger.interval=10
#     tokenizer=mmcae://dvae_f8-k128_1xb32-8e_emoji-48px"
# mmcae train $recipe --work-dir adapted --cfg-options $options \
#     load_from=mmcae://$recipe lr=5e-4 > adapted.txt
# mmcae train $recipe --work-dir scratch --cfg-options $options > scratch.txt
# grep -h 'tensors matched' adapted/*/*.log | grep -o 'Loaded.*' | tail -n 1

# %% [markdown]
# The last line says what was loaded. Read it: a model that matches nothing
# would train as from scratch.
#
# ## What it brings

# %%
import json

ends = {}
print('           first loss   last loss   token accuracy')
for run in ('scratch', 'adapted'):
    (log,) = Path(run).glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines = [line for line in lines if 'main' in line]
    ends[run] = lines[-1]['main']
    print(
        f'{run:<10} {lines[0]["main"]:>10.2f} {lines[-1]["main"]:>11.2f} '
        f'{lines[-1]["acc"]:>16.2f}'
    )

# %% tags=["check"]
assert ends['adapted'] < ends['scratch']

# %% [markdown]
# The adapted model predicts the tokens of the photographs better after the
# same hundred steps. That says how well it predicts, and not yet how good its
# features are: measure them on labels ([evaluate](evaluate.md)). It does not
# always pay: [Adapt](../adapt.md) has a study with three seeds.
#
# ## The same with one command
#
# `mmcae pretrain --start` takes sizes, normalization and tokenizer from the
# weights, and chooses the schedule. It also starts from encoders of timm,
# mmpretrain and Hugging Face ([Weights](../weights.md)). `--dry-run` prints
# the plan only.

# %% language="bash"
# mmcae pretrain photos --dry-run --time 5m \
#     --start mmcae://cae_tiny-p8_1xb32-coslr-30e_emoji-48px

# %% [markdown]
# The line `start` says which weights fit.
