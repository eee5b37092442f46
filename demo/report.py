# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The demo's page: one HTML file with everything inside."""

import base64
import html
import json
import os
import platform
from pathlib import Path

import numpy as np
import torch

from mmcae import __version__
from mmcae.visualization import curves, to_png

PROBES = {'logistic': 'logistic regression', 'knn': '5 nearest neighbours'}
PANELS = {
    'losses': ['main', 'align'],
    'token accuracy and its reference': ['acc', 'acc_position'],
    'alignment cosine': ['cosine'],
    'spread of the latents': ['latent_std'],
}
TOKENIZER_PANELS = {
    'reconstruction error': ['loss_recon'],
    'PSNR with hard codes (dB)': ['psnr'],
    'codes in use': ['codes_used', 'perplexity'],
}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2em auto;
       max-width: 1080px; padding: 0 1em; }
h1 { font-size: 1.6em; margin-bottom: .2em; } h2 { font-size: 1.15em;
     margin-top: 1.8em; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: .8em 0; }
th, td { padding: .3em .9em; text-align: right; border-bottom: 1px solid #e5e5e5; }
th:first-child, td:first-child { text-align: left; }
tr.ours td { font-weight: 600; background: #f1f6fb; }
img { max-width: 100%; display: block; margin: .6em 0; }
.note { color: #555; } code { background: #f4f4f4; padding: 0 .25em; }
"""


def read_log(run: Path) -> list[dict]:
    """Records of the newest run in a work dir, as mmengine logged them."""
    paths = sorted(run.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in paths[-1].read_text().splitlines()]


def cell(values: list[float]) -> str:
    """Mean of accuracies in percent, with their range over seeds."""
    percent = [100 * value for value in values]
    text = f'{np.mean(percent):.1f}'
    if len(percent) > 1:
        text += f' [{min(percent):.1f}–{max(percent):.1f}]'
    return text


def table_rows(results: dict) -> list[list[str]]:
    """Rows of the table: features, then each number of labels and probe."""
    rows = []
    for name, by_count in results['probes'].items():
        row = [name]
        for scores in by_count.values():
            for kind in PROBES:
                row.append(cell([score[kind] for score in scores]))
        rows.append(row)
    return rows


def header(results: dict) -> list[str]:
    """Headings of the table."""
    counts = next(iter(results['probes'].values()))
    return ['features'] + [
        f'{count} labels: {name}'
        for count in counts
        for name in PROBES.values()
    ]


def print_table(results: dict) -> None:
    """Print the table as text."""
    lines = [header(results), *table_rows(results)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, strict=True)
        print('  '.join(text.ljust(width) for text, width in cells))


def gains(results: dict) -> dict[str, float]:
    """Points that pretraining adds to a random encoder at 100 labels."""
    probes = results['probes']
    return {
        kind: 100
        * float(
            np.mean([s[kind] for s in probes['pretrained encoder']['100']])
            - np.mean([s[kind] for s in probes['random encoder']['100']])
        )
        for kind in PROBES
    }


def embed(png: bytes, text: str) -> str:
    """An image inside the page."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{text}" src="data:image/png;base64,{data}">'


def html_table(results: dict) -> str:
    """The table as HTML."""
    head = ''.join(f'<th>{text}</th>' for text in header(results))
    body = ''
    for row in table_rows(results):
        kind = ' class="ours"' if row[0].startswith('pretrained') else ''
        cells = ''.join(f'<td>{html.escape(text)}</td>' for text in row)
        body += f'<tr{kind}>{cells}</tr>'
    return f'<table><tr>{head}</tr>{body}</table>'


def write_report(work: Path, results: dict) -> Path:
    """Write ``report.html`` into the demo's work dir and return its path."""
    seeds = results['seeds']
    runs = [read_log(work / f'cae_seed{seed}') for seed in seeds]
    tokenizer = read_log(work / 'tokenizer')
    last, gain = runs[0][-1], gains(results)
    seconds = results['seconds']
    pictures = (work / f'pictures_seed{seeds[0]}.png').read_bytes()
    health = (
        f'At the end of seed {seeds[0]}: loss {last["loss"]:.2f}, token '
        f'accuracy {last["acc"]:.2f} (position alone: '
        f'{last["acc_position"]:.2f}), alignment cosine '
        f'{last["cosine"]:.2f}, latent standard deviation '
        f'{last["latent_std"]:.2f}, perplexity of the targets '
        f'{last["perplexity"]:.0f} of 64 codes.'
    )
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8">
<title>mmcae demo</title><style>{STYLE}</style>
<h1>Context Autoencoder on handwritten digits</h1>
<p class="note">mmcae {__version__}, PyTorch {torch.__version__}, Python
{platform.python_version()}, {os.cpu_count()} CPU cores,
{html.escape(platform.machine())}. Tokenizer {seconds['tokenizer']:.0f} s,
pretraining {len(seeds)} seeds {seconds['pretraining']:.0f} s, all in all
{seconds['total']:.0f} s.</p>
<p>1,400 images without labels trained a discrete VAE (the tokenizer) and,
on its visual tokens, a CAE with a four-block encoder of width 64. The encoder
is then frozen; its mean patch token is probed on 397 other images.</p>
<h2>What pretraining gives</h2>
{html_table(results)}
<p>Accuracy in percent, mean over {len(seeds)} seeds [lowest–highest]; at 100
labels each seed is itself a mean over five fixed label subsets, the same for
all rows. Features are standardised with the training images' mean and
deviation, for every row alike.</p>
<p><b>Claimed:</b> with 100 labels, pretraining lifts the pooled latent of this
encoder by {gain['logistic']:.1f} points (logistic regression) and
{gain['knn']:.1f} points (nearest neighbours) over the same encoder with random
weights. <b>Not claimed:</b> that digits need it. The raw 64 pixels stand in
the first row: on images this small and centred they are a strong feature, and
with all 1,400 labels a linear probe on them is hard to beat. The demo shows
that the whole pipeline learns, not what CAE reaches on ImageNet.</p>
<h2>What the model predicts</h2>
{embed(pictures, 'test images, masks and predictions')}
<p class="note">Test images that no training step saw. Half of the 16 patches
are hidden; the predicted tokens are drawn by the tokenizer's decoder. Token
accuracy on the masked patches of 200 test images:
{', '.join(f'{value:.2f}' for value in results['token_accuracy'])}.</p>
<h2>How pretraining went</h2>
{embed(to_png(curves(runs, PANELS)), 'curves of the pretraining runs')}
<p>{health} Accuracy means something only beside its reference, the accuracy
of the most frequent token at each position; a spread that falls towards zero
would be a collapse.</p>
<h2>How the tokenizer was trained</h2>
{embed(to_png(curves([tokenizer], TOKENIZER_PANELS)), 'tokenizer curves')}
</html>
"""
    path = work / 'report.html'
    path.write_text(page, encoding='utf-8')
    return path
