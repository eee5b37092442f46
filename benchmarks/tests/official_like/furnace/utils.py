# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The training code's tools."""

from models.modeling_discrete_vae import Dalle_VAE, DiscreteVAE  # noqa: F401
from tensorboardX import SummaryWriter
from timm.utils import get_state_dict  # noqa: F401
from torch._six import inf
from torch.nn.modules.batchnorm import _NormBase


class LP_BatchNorm(_NormBase):
    pass


def make_logger(folder):
    return SummaryWriter(logdir=folder)


def is_infinite(norm_type):
    return norm_type == inf
