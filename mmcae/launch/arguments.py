# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The options that training and testing share.

This module imports only the standard library, so that a help text comes
without mmengine.
"""

import argparse
from typing import Any

CFG_OPTIONS_HELP = (
    'override settings of the config: key=value pairs with dotted keys, e.g. '
    'train_dataloader.batch_size=64 param_scheduler.0.end=5. A list is '
    'key="[a,b]" or key=a,b; nested: key="[(a,b),(c,d)]". A value that is '
    'text in the config stays text, with blanks and commas: '
    '"data_root=My Photos, 2026"; in other places, and in lists, quote such '
    'text: key="[\'a, b\',c]". A key that nothing reads is an error; '
    '+key=value adds one on purpose. A variable of the config file '
    '(data_root, max_epochs, batch_size, ...) changes every value that the '
    'file computes from it.'
)


class StrictDictAction(argparse.Action):
    """Collects ``key=value`` pairs; it keeps blanks and explains errors.

    The pairs are read as by mmengine's ``DictAction``, but for the rules in
    `mmcae.config.option_text`.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add the pairs to those that were given before."""
        # Not at the top: it imports mmengine.
        from mmcae.config.option_text import Options

        options = getattr(namespace, self.dest, None) or Options()
        for pair in values or ():
            if not pair.partition('=')[0].strip('+ ') or '=' not in pair:
                parser.error(f"{option_string}: '{pair}' is not key=value")
            try:
                options.add(pair)
            except ValueError as error:
                parser.error(f'{option_string}: {error}')
        setattr(namespace, self.dest, options)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=StrictDictAction,
        metavar='KEY=VALUE',
        help=CFG_OPTIONS_HELP,
    )
    parser.add_argument(
        '--no-pin-memory',
        action='store_true',
        help='do not pin the memory of batches',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of this job were started',
    )
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help=argparse.SUPPRESS,
    )
