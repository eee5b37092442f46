# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
# In the tests: max_iters=200 -> max_iters=20
# %% [markdown]
# # From an encoder to a segmentor
#
# A pretrained encoder becomes the backbone of a segmentor of mmsegmentation.
# This is the short form; [Transfer](../transfer.md) has the recipes for
# ADE20K and COCO, detection, and what pretraining is worth.
#
# It needs `pip install 'mmcae[seg]'`, and no network. The encoder is the
# packaged one of digits.
#
# ## Data
#
# A script of the package draws digits on photographs, with true masks, in the
# layout of ADE20K: `images/training/*.png` and `annotations/training/*.png`,
# where a pixel's value is its class (0 is ignored).

# %% language="bash"
# tools=$(python -c "import mmcae, os; print(os.path.dirname(mmcae.__file__))")
# python $tools/.mim/tools/dataset_converters/tiny_ade.py data | tail -n 1
# ls data data/images

# %% [markdown]
# ## Train
#
# `checkpoint` names the encoder. The pretraining has no segmentation head, so
# the log says which tensors of the backbone were found, and all others start
# new.

# %% language="bash"
# mmcae train upernet_tiny-p8_cae-pre_1xb8-400i_tiny-ade-96px \
#     --work-dir run --cfg-options data_root=data max_iters=200 \
#     checkpoint=mmcae://cae_tiny-p8_1xb32-coslr-80e_digits-32px > log.txt
# grep -ho 'mIoU: [0-9.]*' run/*/*.log | tail -n 1
# ls run/*.pth

# %% [markdown]
# ## Look

# %%
import matplotlib.pyplot as plt
import mmcae
from mmseg.apis import inference_model, init_model
from pathlib import Path

config = 'run/upernet_tiny-p8_cae-pre_1xb8-400i_tiny-ade-96px.py'
checkpoint = Path('run') / Path('run/last_checkpoint').read_text()
model = init_model(config, str(checkpoint), device='cpu')
paths = sorted(Path('data/images/validation').iterdir())[:4]
figure, axes = plt.subplots(2, 4, figsize=(5, 2.6), layout='constrained')
for index, path in enumerate(paths):
    labels = inference_model(model, str(path)).pred_sem_seg.data[0]
    axes[0, index].imshow(plt.imread(path))
    axes[1, index].imshow(labels, vmin=0, vmax=4, interpolation='nearest')
    axes[0, index].axis('off')
    axes[1, index].axis('off')

# %% tags=["check"]
assert labels.shape == plt.imread(path).shape[:2]

# %% [markdown]
# Half of the steps of the recipe were trained here: digits are found, their
# borders are rough. For a folder of images and a folder of masks of your own
# there are the recipes `own-masks`, and for a COCO JSON the recipes
# `own-coco`; [Transfer](../transfer.md) walks from `mmcae pretrain` to both.
