# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
# %% [markdown]
# # Many GPUs
#
# The same config trains on one GPU, on eight, and on several machines. Here
# the commands run as two processes on a CPU, which exchange gradients by
# `gloo` instead of NCCL. So everything on this page was run, but not on a GPU.
#
# The images are scikit-learn's handwritten digits; the tokenizer travels in
# the package. No network is needed.

# %%
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

Path('images').mkdir(exist_ok=True)
for index, image in enumerate(load_digits().images[:1400]):
    pixels = (image * 255 / 16).round().astype('uint8')
    Image.fromarray(pixels).save(f'images/{index:04}.png')

# %% [markdown]
# ## One process
#
# Batch 32, two epochs.

# %% language="bash"
# mmcae copy cae_tiny-p8_1xb32-coslr-80e_digits-32px .
# mmcae train cae_tiny-p8_1xb32-coslr-80e_digits-32px.py --work-dir one \
#     --cfg-options data_root=images max_epochs=2 \
#     tokenizer=mmcae://dvae_f8-k64_1xb32-13e_digits-32px > one.txt

# %% [markdown]
# ## Two processes, with torchrun
#
# `torchrun` starts the processes, and `--launcher pytorch` lets them find each
# other. **The batch of a config is that of one process.** With half of it in
# each of two processes, the total batch stays at 32, and so does the learning
# rate. With a larger total batch, `--auto-scale-lr` raises the learning rate
# in proportion.

# %% language="bash"
# torchrun --nproc-per-node 2 -m mmcae train \
#     cae_tiny-p8_1xb32-coslr-80e_digits-32px.py --work-dir two \
#     --launcher pytorch \
#     --cfg-options data_root=images max_epochs=2 batch_size=16 \
#     tokenizer=mmcae://dvae_f8-k64_1xb32-13e_digits-32px > two.txt

# %% [markdown]
# ## The same training
#
# Each image has its own random numbers, drawn from the seed, the epoch and
# the number of the image. So crops and masks do not depend on which process
# gets the image, and the gradients of the two trainings agree:

# %%
import json

norms = {}
for run in ('one', 'two'):
    (log,) = Path(run).glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    norms[run] = [line['grad_norm'] for line in lines if 'grad_norm' in line]
    print(run, 'process:', [f'{norm:.4f}' for norm in norms[run]])

# %% tags=["check"]
assert abs(norms['one'][0] - norms['two'][0]) < 1e-2

# %% [markdown]
# ## On real machines
#
# These commands were not run on GPUs.

# %% language="bash" tags=["skip"]
# # eight GPUs of one machine
# torchrun --nproc-per-node 8 -m mmcae train CONFIG --launcher pytorch
# # two machines; on the second one, --node-rank 1
# torchrun --nnodes 2 --node-rank 0 --nproc-per-node 8 \
#     --master-addr first.example --master-port 29500 \
#     -m mmcae train CONFIG --launcher pytorch

# %% [markdown]
# A clone has shorter forms, and scripts for Slurm that requeue themselves
# ([several GPUs](../get_started.md#several-gpus)). Add `--resume` to
# go on after a crash: the losses after it are those of a run without one,
# also with several processes ([Reliability](../reliability.md)).
# [Performance](../performance.md) says what a step costs and how much memory
# it needs; [GPU check](../gpu_check.md) measures your card in ten minutes.
