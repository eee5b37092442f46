# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The attentive probe on stored tokens, with a sweep of learning rates."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Learning rates to choose from, for a batch of 64.
RATES = (0.03, 0.1, 0.3, 1.0)
#: Batch, and steps of a training: 30 epochs, but neither fewer nor more.
BATCH, EPOCHS, STEPS = 64, 30, (100, 3_000)


def swept_attentive_accuracy(
    make_head: Callable[[], nn.Module],
    tokens: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    rates: Sequence[float] = RATES,
    device: str = 'cpu',
    seed: int = 0,
) -> float:
    """Accuracy of an attentive probe with the best of some learning rates.

    The rate is chosen on a quarter of the training images; a head is then
    trained on all of them with it. The test images choose nothing.

    Args:
        make_head: Makes a head whose forward takes ``((B, 1 + L, D),)`` and
            gives logits.
        tokens: Class token and patches of all images, ``(N, 1 + L, D)``, on
            disk or in memory; one batch at a time is read.
        labels: Classes, ``(N,)``.
        train: Indices of the training images.
        test: Indices of the test images.
        rates: Learning rates.
        device: Where the heads are trained.
        seed: Of the initial weights and of the order of images.

    Returns:
        The accuracy on the test images, from 0 to 1.
    """
    order = np.random.default_rng(seed).permutation(train)
    held, fit = np.split(order, [len(order) // 4])
    best = rates[len(rates) // 2]
    if len(held) and len(fit) > 1:
        heads = train_heads(
            make_head, rates, tokens, labels, fit, device, seed
        )
        found = accuracies(heads, tokens, labels, held, device)
        best = rates[int(np.argmax(found))]
    heads = train_heads(make_head, [best], tokens, labels, train, device, seed)
    return accuracies(heads, tokens, labels, test, device)[0]


def train_heads(
    make_head: Callable[[], nn.Module],
    rates: Sequence[float],
    tokens: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    device: str = 'cpu',
    seed: int = 0,
) -> list[nn.Module]:
    """Train one head for each learning rate, on the same batches.

    SGD with Nesterov momentum, no weight decay, cosine schedule after a
    tenth of warm-up, as in the recipes for attentive probing.

    Args:
        make_head: See `swept_attentive_accuracy`.
        rates: Learning rates for a batch of 64.
        tokens: Tokens of all images.
        labels: Classes of all images.
        train: Indices of the training images.
        device: Where the heads are trained.
        seed: Of the initial weights, equal for all, and of the order.

    Returns:
        The heads, in the order of the rates.

    Raises:
        ValueError: If there are fewer than two training images: the heads
            normalize over a batch.
    """
    if len(train) < 2:
        raise ValueError(f'{len(train)} training images; two are needed')
    heads = []
    for _ in rates:
        torch.manual_seed(seed)
        heads.append(make_head().to(device).train())
    batch = min(BATCH, len(train))
    groups = [
        dict(params=list(head.parameters()), lr=rate * batch / BATCH)
        for head, rate in zip(heads, rates, strict=True)
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    per_epoch = len(train) // batch
    steps = min(max(EPOCHS * per_epoch, STEPS[0]), STEPS[1])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _factor(step, steps)
    )
    rng = np.random.default_rng(seed)
    order: np.ndarray = np.empty(0, np.int64)
    for _ in range(steps):
        if len(order) < batch:
            order = rng.permutation(train)
        # Increasing indices are read from a disk faster.
        chosen: np.ndarray = np.sort(order[:batch])
        order = order[batch:]
        inputs = (_batch(tokens, chosen, device),)
        targets = torch.from_numpy(labels[chosen]).to(device)
        losses = [F.cross_entropy(head(inputs), targets) for head in heads]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()
    return heads


@torch.no_grad()
def accuracies(
    heads: Sequence[nn.Module],
    tokens: np.ndarray,
    labels: np.ndarray,
    index: np.ndarray,
    device: str = 'cpu',
    chunk: int = 256,
) -> list[float]:
    """Accuracy of each head, from 0 to 1.

    Args:
        heads: The heads.
        tokens: Tokens of all images.
        labels: Classes of all images.
        index: The images to classify.
        device: Where the heads are.
        chunk: Images at a time.
    """
    right = np.zeros(len(heads))
    for head in heads:
        head.eval()
    index = np.sort(index)
    for start in range(0, len(index), chunk):
        chosen = index[start : start + chunk]
        inputs = (_batch(tokens, chosen, device),)
        targets = torch.from_numpy(labels[chosen]).to(device)
        right += [
            float((head(inputs).argmax(1) == targets).sum()) for head in heads
        ]
    return (right / len(index)).tolist()


def _batch(tokens: np.ndarray, index: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(np.asarray(tokens[index])).float().to(device)


def _factor(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine."""
    warmup = max(1, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
