# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
# In the tests: max_epochs=8 -> max_epochs=2
# %% [markdown]
# # Evaluate an encoder
#
# How good are the features of an encoder? This tutorial answers for labeled
# images of your own, from the cheapest measurement to the most expensive. It
# uses the small encoder of handwritten digits that travels in the package, so
# it needs no network and no training beforehand.
#
# The images: scikit-learn's digits, in one folder for each class. Yours must
# lie in the same way: `train/CLASS/*.png` and `test/CLASS/*.png`.

# %%
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.images))
for split, part in {'train': order[:1400], 'test': order[1400:]}.items():
    for index in part:
        folder = Path('digits', split, str(digits.target[index]))
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[index] * 255 / 16).round().astype('uint8')
        Image.fromarray(pixels).save(folder / f'{index:04}.png')

# %% [markdown]
# ## One command
#
# `mmcae probe` leaves the encoder as it is and classifies its features, by
# the 10 nearest neighbors and by logistic regression.

# %% language="bash"
# mmcae probe mmcae://cae_tiny-p8_1xb32-coslr-80e_digits-32px digits

# %% [markdown]
# **Read a number only beside the one of a random encoder.** Nearest neighbors
# gain 45 points from pretraining. Logistic regression gains 3, because with
# all labels of such easy images, random features do nearly as well.
#
# ## Fewer labels
#
# Pretraining pays most where labels are few. The features are computed once;
# then any classifier of scikit-learn can use them.

# %% language="bash"
# encoder=cae_tiny-p8_1xb32-coslr-80e_digits-32px
# for split in train test; do
#     mmcae extract $encoder mmcae://$encoder digits/$split $split.npz \
#         --crop-ratio 1 --num-workers 0 | tail -n 1
#     mmcae extract $encoder random digits/$split random_$split.npz \
#         --crop-ratio 1 --num-workers 0 | tail -n 1
# done

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def accuracy(train, test, per_class):
    """Mean over five draws of labeled images."""
    scores = []
    for seed in range(5):
        random = np.random.default_rng(seed)
        chosen = np.concatenate(
            [
                random.permutation(np.flatnonzero(train['labels'] == label))[
                    :per_class
                ]
                for label in range(10)
            ]
        )
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
        model.fit(train['features'][chosen], train['labels'][chosen])
        scores.append(model.score(test['features'], test['labels']))
    return 100 * np.mean(scores)


parts = ('train', 'test', 'random_train', 'random_test')
train, test, random_train, random_test = (np.load(f'{n}.npz') for n in parts)
print('labels per class   pretrained   random')
gains = {}
for per_class in (1, 3, 10, 100):
    ours = accuracy(train, test, per_class)
    theirs = accuracy(random_train, random_test, per_class)
    gains[per_class] = ours - theirs
    print(f'{per_class:>16}   {ours:>10.1f}   {theirs:>6.1f}')

# %% tags=["check"]
assert gains[10] > 10 and gains[10] > gains[100]

# %% [markdown]
# Two details matter. The features are standardized, with the numbers of the
# training images, for both encoders: without it, the random encoder looks
# far worse than it is. And each row is a mean of five draws: a single draw
# of so few labels varies by several points.
#
# ## Fine-tune
#
# Fine-tuning trains all weights. A config of the package does it; the last
# line of its log has the accuracy on the test images.

# %% language="bash"
# mmcae train tiny-p8_cae-pre_1xb64-coslr-30e_digits-32px \
#     --work-dir finetuned --cfg-options data_root=digits max_epochs=8 \
#     checkpoint=mmcae://cae_tiny-p8_1xb32-coslr-80e_digits-32px > log.txt
# grep -o 'accuracy/top1: [0-9.]*' log.txt finetuned/*/*.log | tail -n 1

# %% [markdown]
# ## What else there is
#
# | evaluation | command or config |
# |---|---|
# | linear and attentive probes, trained as in the paper | [Evaluate](../evaluate.md) |
# | a linear probe with many learning rates in one run | [several learning rates at once](../evaluate.md#several-learning-rates-at-once) |
# | segmentation and detection | [Transfer](../transfer.md) |
# | to see the features | [visualize](visualize.md) |
# | a probe during pretraining | [Watch a training](../watch.md) |
