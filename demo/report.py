# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Write the demo's report: one HTML file that contains its pictures."""

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
    'PSNR with hard tokens (dB)': ['psnr'],
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
    """Read what mmengine logged for the newest run in a work dir."""
    paths = sorted(run.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in paths[-1].read_text().splitlines()]


def cell(values: list[float]) -> str:
    """Format the mean of accuracies in percent, and their range over seeds."""
    percent = [100 * value for value in values]
    text = f'{np.mean(percent):.1f}'
    if len(percent) > 1:
        text += f' [{min(percent):.1f}–{max(percent):.1f}]'
    return text


def table_rows(results: dict) -> list[list[str]]:
    """Make the rows of the table: one per kind of features."""
    rows = []
    for name, by_count in results['probes'].items():
        row = [name]
        for scores in by_count.values():
            for kind in PROBES:
                row.append(cell([score[kind] for score in scores]))
        rows.append(row)
    return rows


def header(results: dict) -> list[str]:
    """Make the headings of the table: one per number of labels and probe."""
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
    """Compute what pretraining adds to a random encoder at 100 labels.

    Returns:
        For each probe, the difference of accuracies in percentage points.
    """
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
    """Make an ``img`` tag that contains the image itself."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{text}" src="data:image/png;base64,{data}">'


def html_table(results: dict) -> str:
    """Make the table as HTML."""
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
    summary = (
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
pretraining with {len(seeds)} seeds {seconds['pretraining']:.0f} s, in total
{seconds['total']:.0f} s.</p>
<p>A discrete VAE (the tokenizer) was trained on 1,400 images without labels.
A CAE with an encoder of four blocks and width 64 was then pretrained on the same
images to predict the tokenizer's visual tokens. The frozen encoder is probed: its
mean patch token is classified, and the accuracy is measured on 397 other
images.</p>
<h2>What pretraining gives</h2>
{html_table(results)}
<p>Accuracy in percent, mean over {len(seeds)} seeds [lowest–highest]. At 100
labels, the value of each seed is itself a mean over five fixed subsets of labels,
which are the same for all rows. In every row, features are standardized by mean
and deviation of the training images.</p>
<p><b>Claimed:</b> with 100 labels, pretraining lifts the pooled latent of this
encoder by {gain['logistic']:.1f} points (logistic regression) and
{gain['knn']:.1f} points (nearest neighbors) over the same encoder with random
weights. <b>Not claimed:</b> that digits need pretraining. The first row shows the
64 raw pixels. On images so small and centered they are strong features, and with
all 1,400 labels a linear probe of them is hard to beat. The demo shows that the
whole pipeline learns. It does not show what CAE reaches on ImageNet.</p>
<h2>What the model predicts</h2>
{embed(pictures, 'test images, masks and predictions')}
<p class="note">These test images were not used in training. Half of the 16
patches are masked. The tokenizer's decoder draws the predicted tokens. Token
accuracy on the masked patches of 200 test images, for each seed:
{', '.join(f'{value:.2f}' for value in results['token_accuracy'])}.</p>
<h2>How pretraining went</h2>
{embed(to_png(curves(runs, PANELS)), 'curves of the pretraining runs')}
<p>{summary} Compare the token accuracy with its reference, which always predicts
the most frequent token of each position. If the spread of the latents fell
towards zero, the encoder would have collapsed. More about each run, and what it
predicted over time, is in <code>cae_seed{seeds[0]}/report.html</code>.</p>
<h2>How the tokenizer was trained</h2>
{embed(to_png(curves([tokenizer], TOKENIZER_PANELS)), 'tokenizer curves')}
</html>
"""
    path = work / 'report.html'
    path.write_text(page, encoding='utf-8')
    return path
