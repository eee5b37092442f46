# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Print a script that completes the command in a shell.

    eval "$(mmcae completion bash)"    # in ~/.bashrc
    eval "$(mmcae completion zsh)"     # in ~/.zshrc

It completes verbs, options, their choices, and names of configs. Print it
anew after an update of mmcae.
"""

import argparse
import shlex

HELP = 'print a script for completion in a shell'

#: Positional arguments that can be the name of a packaged config.
_CONFIG_ARGUMENTS = ('config', 'name')

_SCRIPT = """\
_mmcae() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}"
    local before="${{COMP_WORDS[COMP_CWORD-1]}}"
    local words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        words={verbs}
    else
        case "${{COMP_WORDS[1]}} $before" in
{choices}
            *) case "${{COMP_WORDS[1]}}" in
{options}
            esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
_mmcae_configs={configs}
complete -o default -F _mmcae mmcae
"""
_FOR_ZSH = 'autoload -U +X compinit && compinit -u\n'
_FOR_ZSH += 'autoload -U +X bashcompinit && bashcompinit\n'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument('shell', choices=['bash', 'zsh'])


def is_light(args: argparse.Namespace) -> bool:
    """Whether the verb runs without ``mmcae/__init__.py``."""
    return True


def main(args: argparse.Namespace) -> None:
    """Print the script."""
    from mmcae.cli.parser import build_parser
    from mmcae.config.search_path import list_configs

    names = [path.stem for path in list_configs()]
    script = completion_script(build_parser(), names)
    print((_FOR_ZSH if args.shell == 'zsh' else '') + script, end='')


def completion_script(
    parser: argparse.ArgumentParser, configs: list[str]
) -> str:
    """Write the script for bash; zsh reads it, too.

    Args:
        parser: The parser with all verbs.
        configs: Names of the packaged configs.
    """
    (verbs,) = (
        action.choices
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    choices, options = [], []
    for verb, child in verbs.items():
        words = []
        for action in child._actions:
            if action.help == argparse.SUPPRESS:
                continue
            words += action.option_strings
            values = ' '.join(map(str, action.choices or ()))
            if not values:
                continue
            if not action.option_strings:
                words.append(values)
            for option in action.option_strings:
                choices.append(_case(f'{verb} {option}', values, 12))
        quoted = shlex.quote(' '.join(words))
        named = {action.dest for action in child._actions}
        if named & set(_CONFIG_ARGUMENTS):
            quoted += '" $_mmcae_configs"'
        options.append(f'                {verb}) words={quoted} ;;')
    return _SCRIPT.format(
        verbs=shlex.quote(' '.join(['--help', '--version', *verbs])),
        choices='\n'.join(choices),
        options='\n'.join(options),
        configs=shlex.quote(' '.join(configs)),
    )


def _case(pattern: str, words: str, indent: int) -> str:
    return f'{" " * indent}"{pattern}") words={shlex.quote(words)} ;;'
