# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Push a trained model to the Hugging Face Hub.

    mmcae push epoch_300.pth OWNER/NAME --data '1,400 of my photographs'
    mmcae push epoch_300.pth OWNER/NAME --dry-run FOLDER

The repository gets model.safetensors, config.json and a model card,
README.md. The model is built from these files and compared with the
checkpoint before anything is sent. Log in with `hf auth login`, or set
HF_TOKEN. docs/hub.md explains the files, and how to load them.
"""

import argparse

HELP = 'push a trained model to the Hugging Face Hub'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        'checkpoint', help='checkpoint of pretraining or of a classifier'
    )
    parser.add_argument('repo_id', metavar='OWNER/NAME')
    parser.add_argument(
        '--private',
        action='store_true',
        default=None,
        help='make a new repository private',
    )
    parser.add_argument(
        '--dry-run',
        metavar='FOLDER',
        help='write the files there and send nothing',
    )
    parser.add_argument(
        '--data', help='what the model was trained on, for the model card'
    )
    parser.add_argument(
        '--license',
        help='its identifier, such as apache-2.0 (default: unknown)',
    )
    parser.add_argument(
        '--config',
        help='config of a checkpoint that does not record its own',
    )


def main(args: argparse.Namespace) -> int:
    """Write the files and, without --dry-run, send them."""
    from mmcae.checkpoint.hub_file import parse_address
    from mmcae.false_alarms import without_false_alarms

    with without_false_alarms():
        from mmcae.hub import push_to_hub, save_pretrained
    facts = dict(data=args.data, license=args.license, config=args.config)
    if args.dry_run:
        repo_id = parse_address(args.repo_id).repo_id
        folder = save_pretrained(
            args.checkpoint, args.dry_run, repo_id=repo_id, **facts
        )
        print(f'{folder}: the files of {repo_id}; nothing was sent')
        return 0
    page = push_to_hub(
        args.checkpoint, args.repo_id, private=args.private, **facts
    )
    print(f'pushed to {page}')
    return 0
