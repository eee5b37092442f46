# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The tokenizer's metric agrees with the model's own figures."""

import pytest
import torch

from mmcae.evaluation.tokenizer_metric import TokenizerMetric
from mmcae.models import DVAE
from mmcae.models.target_generators.dvae_layers import code_statistics, psnr


def test_evaluate__counts_over_all_batches():
    torch.manual_seed(0)
    model = DVAE(vocab_size=8, downsample=2)
    images = torch.rand(5, 3, 8, 8)
    metric = TokenizerMetric()
    for batch in images.split(2):
        samples = model(batch, mode='predict')
        metric.process(None, [sample.to_dict() for sample in samples])
    found = metric.evaluate(5)
    tokens = model.tokenize(images)
    used, perplexity = code_statistics(tokens, 8)
    expected = {
        'tokenizer/psnr': float(psnr(model.reconstruct(tokens), images)),
        'tokenizer/codes_used': float(used),
        'tokenizer/perplexity': float(perplexity),
    }
    assert found == pytest.approx(expected, rel=1e-5)
