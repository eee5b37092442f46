# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Open a page to play with a model in the browser.

    mmcae app                                  # a small model of the package
    mmcae app epoch_300.pth --folder photos/

Choose or upload a picture, paint a mask, and see what the encoder sees, what
the model predicts, how well the latents align, where a patch looks, and which
images of a folder are similar. The page is served to this machine only, and
it needs no network. It needs gradio: pip install 'mmcae[demo]'.
"""

import argparse
import importlib.util
import sys

HELP = 'open a page to play with a model in the browser'

DEFAULT = 'mmcae://cae_tiny-p8_1xb32-coslr-30e_emoji-48px'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        'checkpoint',
        nargs='?',
        default=DEFAULT,
        help='checkpoint in any format that mmcae reads; it brings its '
        'config (default: %(default)s)',
    )
    parser.add_argument(
        '--config',
        help='config of a checkpoint that has none: a path, or the name of a '
        'packaged config',
    )
    parser.add_argument(
        '--tokenizer',
        help="file of the tokenizer's weights (default: the one that the "
        'config names)',
    )
    parser.add_argument(
        '--decoder', help="file of the weights of DALL-E's decoder"
    )
    parser.add_argument(
        '--folder', help='folder of images in which neighbors are searched'
    )
    parser.add_argument(
        '--port',
        type=int,
        help='port of the page (default: the first free one from 7860)',
    )
    parser.add_argument('--device', default='cpu', help='default: cpu')


def main(args: argparse.Namespace) -> int:
    """Load the model, and serve the page until Ctrl-C."""
    if importlib.util.find_spec('gradio') is None:
        print(
            'error: the page needs gradio, which is not installed: '
            "pip install 'mmcae[demo]'",
            file=sys.stderr,
        )
        return 1
    from mmengine.utils import ProgressBar

    from mmcae.apis import load_model
    from mmcae.apis.image_input import find_paths
    from mmcae.app.explorer import Explorer
    from mmcae.app.server import open_socket, serve

    with open_socket(args.port) as listening:
        explorer = Explorer(
            load_model(
                args.checkpoint,
                config=args.config,
                tokenizer=args.tokenizer,
                decoder=args.decoder,
                device=args.device,
            )
        )
        for note in explorer.loaded.notes:
            print(f'note: {note}')
        if args.folder:
            bar = ProgressBar(len(find_paths(args.folder)), file=sys.stderr)
            skipped = explorer.add_folder(args.folder, bar.update)
            print(file=sys.stderr)
            for reason in skipped:
                print(f'left out: {reason}')
        serve(
            explorer,
            listening,
            lambda url: print(f'open {url} (Ctrl-C ends)', flush=True),
        )
    print('ended')
    return 0
