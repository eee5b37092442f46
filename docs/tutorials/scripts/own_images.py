# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
# In the tests: --time 4m -> --time 30s
# %% [markdown]
# # Pretrain on your own images
#
# You have a folder of images without labels, and want an encoder that knows
# them. This takes one command. It works offline, in any folder, once mmcae is
# installed.
#
# The example needs images, so it cuts the two photographs that travel with
# scikit-learn into 60 pieces. **Use your own folder instead**: set `photos` to
# its path and skip the first cell. JPEG, PNG and others, in subfolders of any
# depth, of any size, are fine.

# %%
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

photos = Path('photos')
photos.mkdir(exist_ok=True)
random = np.random.default_rng(0)
for number, photo in enumerate(load_sample_images().images):
    height, width, _ = photo.shape
    for piece in range(30):
        top = random.integers(height - 192)
        left = random.integers(width - 192)
        crop = photo[top : top + 192, left : left + 192]
        Image.fromarray(crop).save(photos / f'{number}_{piece:02}.jpg')
print(len(list(photos.iterdir())), 'images')

# %% [markdown]
# ## See the plan
#
# `--dry-run` looks at the images and at the machine, measures some steps, and
# prints a plan. It trains nothing. `--time` says how long everything may
# take; without it, the plan has the usual number of steps. (Four minutes are
# for this page. Give it an hour.)

# %% language="bash"
# mmcae pretrain photos --time 4m --dry-run

# %% [markdown]
# The line `weak` says what you should not expect. Here: two photographs in
# pieces are no dataset.
#
# ## Train
#
# The same command without `--dry-run` trains a tokenizer on your images, and
# then CAE, which predicts the tokens of masked patches. If it is stopped, the
# same command goes on where it was.

# %% language="bash"
# mmcae pretrain photos --time 4m --out run | tail -n 12

# %% [markdown]
# The folder `run` has everything: two plain configs, the checkpoints, and a
# config for a classifier that starts from the encoder.

# %% language="bash"
# ls run run/cae

# %% tags=["check"]
assert list(Path('run/cae').glob('epoch_*.pth'))
assert Path('run/finetune.py').is_file()

# %% [markdown]
# ## Look at what it predicts
#
# The model gets a photograph with half of its patches masked. The columns are
# explained in [Visualize](../visualize.md#reconstructions). The column to
# read first is *best possible*: no prediction can look better than the
# tokenizer. If it is a mosaic, as here after a minute, train longer.

# %%
from mmcae.apis import load_model, reconstruct_many

(checkpoint,) = Path('run/cae').glob('epoch_*.pth')
model = load_model(checkpoint)
results = list(reconstruct_many(model, ['photos/0_00.jpg', 'photos/1_00.jpg']))
for result in results:
    print(f'token accuracy {result.token_accuracy:.2f}')
results[1]

# %% tags=["check"]
assert len(results) == 2 and all(0 <= r.token_accuracy <= 1 for r in results)

# %% [markdown]
# ## Use the encoder
#
# `extract` writes one feature for each image. Here they are compared: which
# piece is most similar to the first one?

# %% language="bash"
# mmcae extract run/cae.py run/cae/epoch_*.pth photos features.npz \
#     --num-workers 0 | tail -n 1

# %%
file = np.load('features.npz')
features = file['features']
features = features / np.linalg.norm(features, axis=1, keepdims=True)
order = np.argsort(-features @ features[0])
same = np.mean([str(file['paths'][i])[0] == '0' for i in order[1:11]])
print(f'{same:.0%} of the 10 nearest pieces are of the same photograph')

# %% tags=["check"]
assert same > 0.5

# %% [markdown]
# ## Where to go next
#
# | you want | read |
# |---|---|
# | to know what the plan's rules are | [the command](../cli.md#the-rules-of-the-plan) |
# | better pictures | [your own tokenizer](own_tokenizer.md) |
# | to know whether the encoder is good | [evaluate](evaluate.md) |
# | to start from weights, because your images are few | [continue from weights](adapt.md) |
# | a classifier from labeled images in class folders | `mmcae train run/finetune.py --cfg-options data_root=FOLDER` |
