# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
# In the tests: max_epochs=13 -> max_epochs=4
# %% [markdown]
# # Your own tokenizer, or your own target
#
# CAE predicts a *token* for each masked patch. What the tokens are decides
# what the encoder learns, and how good the pictures of its predictions can
# be. This tutorial trains a tokenizer on images of your own, judges it, and
# then writes another target in ten lines of Python. It works offline.
#
# The images are scikit-learn's handwritten digits, 8 x 8 pixels, in one folder.

# %%
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

Path('images').mkdir(exist_ok=True)
for index, image in enumerate(load_digits().images[:1400]):
    pixels = (image * 255 / 16).round().astype('uint8')
    Image.fromarray(pixels).save(f'images/{index:04}.png')

# %% [markdown]
# ## Train a tokenizer
#
# `mmcae pretrain FOLDER` does this by itself. With a config you choose the
# numbers. `mmcae list dvae` lists the packaged ones, `mmcae copy` copies one
# to change it. This one has 64 codes, each for 8 x 8 pixels.

# %% language="bash"
# mmcae list dvae
# mmcae train dvae_f8-k64_1xb32-13e_digits-32px --work-dir tokenizer \
#     --cfg-options data_root=images max_epochs=13 > log.txt
# ls tokenizer/*.pth

# %% [markdown]
# ## Judge it
#
# Two numbers of its log say whether it is good. `psnr` is how well an image
# can be drawn from its tokens. `codes_used` is how many codes one batch uses.
# ([What is healthy](../tokenizers.md#is-the-tokenizer-healthy).)

# %%
import json

(log,) = Path('tokenizer').glob('*/vis_data/scalars.json')
lines = [json.loads(line) for line in log.read_text().splitlines()]
for line in lines[:: max(1, len(lines) // 5)]:
    print(f'psnr {line["psnr"]:.1f} dB, {line["codes_used"]:.0f} of 64 codes')

# %% tags=["check"]
assert lines[-1]['psnr'] > lines[0]['psnr'] and lines[-1]['codes_used'] > 10

# %% [markdown]
# See for yourself: images above, and below what their tokens say about them.
# A prediction of CAE is drawn with these tokens, so it cannot look better.

# %%
import matplotlib.pyplot as plt
import torch
from mmcae.apis import load_model

(checkpoint,) = Path('tokenizer').glob('epoch_*.pth')
tokenizer = load_model(checkpoint).model.eval()
originals = [
    Image.open(f'images/{n:04}.png').convert('RGB').resize((32, 32), 3)
    for n in range(8)
]
pixels = torch.tensor(np.stack(originals)).permute(0, 3, 1, 2) / 255
with torch.no_grad():
    tokens = tokenizer.tokenize(pixels)
    drawn = tokenizer.reconstruct(tokens, grid=(4, 4))
print('tokens of the first image:', tokens[0].tolist())
figure, axes = plt.subplots(2, 8, figsize=(6, 1.6), layout='constrained')
for row, pictures in zip(axes, (pixels, drawn)):
    for ax, picture in zip(row, pictures):
        ax.imshow(picture.permute(1, 2, 0).clip(0, 1))
        ax.axis('off')

# %% [markdown]
# ## Pretrain on its tokens
#
# The config of CAE has a variable `tokenizer`. (Two epochs are for this page;
# the config has 80, which take two minutes.)

# %% language="bash"
# mmcae train cae_tiny-p8_1xb32-coslr-80e_digits-32px --work-dir cae \
#     --cfg-options data_root=images max_epochs=2 \
#     tokenizer=$(ls $PWD/tokenizer/epoch_*.pth) > log.txt

# %% [markdown]
# ## Another target
#
# A target generator is any module with a method `tokenize(images)` that
# returns one whole number for each patch. So a target needs no training at
# all. This one takes the mean brightness of a patch in 16 steps.

# %%
written = Path('brightness.py').write_text('''
import torch
from mmcae.registry import MODELS
from torch import nn


@MODELS.register_module()
class Brightness(nn.Module):
    """The mean brightness of a patch, in 16 steps."""

    vocab_size = 16

    def tokenize(self, images):  # (B, 3, H, W), values 0 to 1
        means = nn.functional.avg_pool2d(images.mean(1), 8).flatten(1)
        return (means * 16).long().clamp(0, 15)  # (B, L)
''')
written = Path('cae_brightness.py').write_text("""
_base_ = 'mmcae::cae/cae_tiny-p8_1xb32-coslr-80e_digits-32px.py'
custom_imports = dict(imports=['brightness'])
model = dict(
    target_generator=dict(_delete_=True, type='mmcae.Brightness'),
    neck=dict(num_classes=16),
)
""")
# %% language="bash"
# PYTHONPATH=$PWD:$PYTHONPATH mmcae train cae_brightness.py --work-dir bright \
#     --cfg-options data_root=images max_epochs=2 > log.txt
# tail -n 5 log.txt

# %% tags=["check"]
assert list(Path('bright').glob('epoch_2.pth'))

# %% [markdown]
# Is brightness a good target? Train both for the full 80 epochs, and compare
# the encoders ([evaluate](evaluate.md)). [Tokenizers](../tokenizers.md) has
# the pitfalls that we met, and how to get DALL-E's tokenizer, which is made
# for photographs.
