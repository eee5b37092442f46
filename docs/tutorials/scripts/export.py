# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
# %% [markdown]
# # Use a model elsewhere
#
# Export a trained model to other libraries, and see that it computes the same
# there. The model is the small classifier of handwritten digits that travels
# in the package; your own checkpoint works in the same way. It needs no network.
#
# timm is needed for one step: `pip install timm`. ONNX and transformers need
# `pip install 'mmcae[export]'`; their commands stand here, and are not run.

# %%
import mmcae
import torch
from mmpretrain import get_model
from sklearn.datasets import load_digits

name = 'tiny-p8_cae-pre_1xb64-coslr-30e_digits-32px'
model = get_model(name, pretrained=True)

# %% [markdown]
# Your own checkpoint holds its config and is exported with one command. The
# packaged weights hold only the name of their recipe, so this saves both in
# one file, as a training does:

# %%
torch.save(
    {
        'state_dict': model.state_dict(),
        'meta': {
            'cfg': model._config.pretty_text,
            'dataset_meta': {'CLASSES': list('0123456789')},
        },
    },
    'digits.pth',
)

# %% [markdown]
# ## torch.export, TorchScript
#
# The command loads what it wrote, runs it beside the original, and prints the
# differences. If one is too large, it leaves no file.

# %% language="bash"
# mmcae export digits.pth --to torch-export --out digits.pt2
# mmcae export digits.pth --to torchscript --out digits.pt

# %% [markdown]
# A program that uses the file needs torch, but not mmcae. The file says how
# images are normalized, and what the classes are:

# %%
import json

extra = {'mmcae.json': ''}
digits = torch.jit.load('digits.pt', _extra_files=extra)
about = json.loads(extra['mmcae.json'])
mean, std = about['normalization']['mean'], about['normalization']['std']
print('classes', about['classes'], 'input', about['input'])

images = load_digits().images[:8] / 16
pixels = torch.tensor(images).float()[:, None].expand(-1, 3, -1, -1)
pixels = torch.nn.functional.interpolate(
    pixels, size=(32, 32), mode='bicubic', antialias=True
).clamp(0, 1)
mean, std = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
with torch.no_grad():
    logits = digits((pixels - mean) / std)
logits = logits[0] if isinstance(logits, (tuple, list)) else logits
print('predicted', logits.argmax(1).tolist())
print('labels   ', load_digits().target[:8].tolist())

# %% tags=["check"]
assert logits.argmax(1).tolist() == load_digits().target[:8].tolist()

# %% [markdown]
# ## timm

# %% language="bash"
# mmcae export digits.pth --to timm --out timm-digits

# %%
import timm

classifier = timm.create_model('local-dir:timm-digits', pretrained=True)
with torch.no_grad():
    theirs = classifier.eval()((pixels - mean) / std)
print('largest difference', float((theirs - logits).abs().max()))

# %% tags=["check"]
assert (theirs - logits).abs().max() < 1e-3

# %% [markdown]
# ## ONNX and transformers

# %% language="bash" tags=["skip"]
# mmcae export digits.pth --to onnx --out digits.onnx
# mmcae export digits.pth --to onnx --precision int8 --out digits-int8.onnx
# mmcae export digits.pth --to transformers --out hf-digits

# %% [markdown]
# ## The encoder alone
#
# `--part encoder` gives features instead of classes, and `--part dense` gives
# feature maps for segmentation. [Export](../export.md) has the table of
# formats, parts and precisions, and what was measured.

# %% language="bash"
# mmcae export digits.pth --to safetensors --out digits.safetensors
# ls -s --block-size=kB digits* | sort -k2
