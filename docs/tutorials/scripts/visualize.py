# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
# %% [markdown]
# # See what a model has learned
#
# Five pictures of one model, from Python. The model is the small CAE of
# emoji that travels in the package; your own checkpoint works in the same
# way. Nothing is downloaded.
#
# We draw some images for it, since it knows drawings: simple faces and flags.

# %%
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw


def face(color, mouth):
    """A face with a smile (20) or a frown (200)."""
    image = Image.new('RGB', (96, 96), 'white')
    draw = ImageDraw.Draw(image)
    draw.ellipse((8, 8, 88, 88), fill=color, outline='#b97a00', width=2)
    for left in (28, 58):
        draw.ellipse((left, 32, left + 10, 46), fill='#553300')
    top = 40 if mouth == 20 else 60
    draw.arc((28, top, 68, top + 30), mouth, mouth + 140, '#553300', 5)
    return image


def flag(*colors):
    """A flag with three stripes."""
    image = Image.new('RGB', (96, 96), 'white')
    draw = ImageDraw.Draw(image)
    for index, color in enumerate(colors):
        top = 20 + 19 * index
        draw.rectangle((6, top, 90, top + 19), fill=color)
    return image


images = [
    face('#ffcc33', 20),
    face('#ffcc33', 200),
    face('#f5a05a', 20),
    flag('#dd2233', '#ffffff', '#2244aa'),
    flag('#111111', '#dd2233', '#ffcc33'),
    flag('#22aa55', '#ffffff', '#ff8822'),
]

# %% [markdown]
# ## What it predicts behind a mask

# %%
from mmcae.apis import load_model, reconstruct

model = load_model('cae_tiny-p8_1xb32-coslr-30e_emoji-48px')
result = reconstruct(model, images[0], mask=0.5, seed=3)
result

# %% [markdown]
# `best possible` is the image drawn from all of its true tokens. The
# prediction is good if it comes near that. The map *alignment* compares the
# latents that the regressor predicts with those that the encoder computes;
# compare its mean with the value for *other* patches, in parentheses.
# [Visualize](../visualize.md#reconstructions) explains each column.
#
# Everything in the picture is also there as arrays:

# %%
print('share of right tokens', round(result.token_accuracy, 2))
print(
    'alignment',
    result.alignment.shape,
    round(float(np.nanmean(result.alignment)), 2),
)
print('with other patches', round(float(result.alignment_others), 2))

# %% tags=["check"]
assert np.nanmean(result.alignment) > result.alignment_others

# %% [markdown]
# ## Other masks
#
# A share of the patches, or a box in pixels. Here the mouth is masked: is it
# a smile or a frown? The model cannot know, and predicts what is usual.

# %%
from mmcae.apis import reconstruct_many

boxes = list(reconstruct_many(model, images[:2], masks=[(20, 44, 76, 80)]))
figure, axes = plt.subplots(2, 4, figsize=(5, 2.6), layout='constrained')
for row, found in zip(axes, boxes):
    columns = {
        'image': found.image,
        'visible': found.seen,
        'predicted': found.pasted,
        'best possible': found.tokenizer_picture,
    }
    for ax, (title, picture) in zip(row, columns.items()):
        ax.imshow(picture.clip(0, 1))
        ax.set_title(title, fontsize=8)
        ax.axis('off')

# %% [markdown]
# ## Where a patch looks
#
# Attention weights of the last block, for the patch with a frame.

# %%
import torch
from mmcae.apis import attention_maps

size = 48
pixels = np.stack([np.asarray(i.resize((size, size))) for i in images])
batch = torch.tensor(pixels).permute(0, 3, 1, 2).float()
preprocessor = model.model.data_preprocessor
mean, std = (
    t.view(-1, 1, 1)[:3] for t in (preprocessor.mean, preprocessor.std)
)
maps = attention_maps(model.backbone, (batch - mean) / std)
row, column = 2, 1
weights = maps.of_patch(row, column)
figure, axes = plt.subplots(2, 6, figsize=(7, 2.4), layout='constrained')
for index in range(6):
    axes[0, index].imshow(pixels[index])
    axes[0, index].add_patch(
        plt.Rectangle((column * 8, row * 8), 8, 8, fill=False, color='red')
    )
    axes[1, index].imshow(weights[index], vmin=0)
    for ax in axes[:, index]:
        ax.axis('off')

# %% tags=["check"]
assert weights.shape == (6, 6, 6)

# %% [markdown]
# In the flags, the patch looks along its stripe. Much of the weight goes to one
# patch at the border, whatever the image shows: that says little about the
# image, and is common in small models.
#
# ## Features of patches as colors
#
# The first three principal components of all patch features, as red, green
# and blue. Equal colors mean similar features, also in different images.

# %%
from mmcae.apis.patch_features import encode_tokens, pca_colors

tokens = encode_tokens(model.backbone, (batch - mean) / std)
patches = tokens[:, 1:].unflatten(1, (6, 6)).numpy()
colors = pca_colors(patches).colors
figure, axes = plt.subplots(1, 6, figsize=(7, 1.2), layout='constrained')
for ax, picture in zip(axes, colors):
    ax.imshow(picture)
    ax.axis('off')

# %% [markdown]
# Faces and flags differ. Within an image, the colors say little more than the
# position: this model is small, and so is its grid of 6 x 6 patches.
#
# ## Which images are alike
#
# The cosine of the mean features. Faces are near faces, and flags near flags.

# %%
features = tokens[:, 1:].mean(1)
features = features - features.mean(0)
features = features / features.norm(dim=1, keepdim=True)
similarity = (features @ features.T).numpy()
figure, ax = plt.subplots(figsize=(2.6, 2.2), layout='constrained')
picture = ax.imshow(similarity, vmin=-1, vmax=1, cmap='coolwarm')
names = ['smile', 'frown', 'smile', 'flag', 'flag', 'flag']
ax.set_xticks(range(6), names, rotation=60, fontsize=7)
ax.set_yticks(range(6), names, fontsize=7)
bar = figure.colorbar(picture, label='cosine')
# %% tags=["check"]
within = (similarity[:3, :3].mean() + similarity[3:, 3:].mean()) / 2
assert within > similarity[:3, 3:].mean() + 0.3

# %% [markdown]
# ## From the command line
#
# `mmcae reconstruct CHECKPOINT IMAGE` draws the first picture for any image.
# The repository has scripts for attention, patch features, nearest images and
# maps of a folder ([Visualize](../visualize.md)). During a training, hooks
# draw such pictures, and `mmcae report WORK_DIR` writes a page about a run
# ([Watch](../watch.md)).
