# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The page's layout, and which action follows which event."""

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from mmcae.app import markup
from mmcae.app.actions import ALL_HEADS, PARTS, Actions, Session, guarded
from mmcae.app.explorer import MEAN, ROLLOUT, Explorer
from mmcae.app.uploads import MAX_BYTES, MAX_PIXELS, read_upload

STATIC = Path(__file__).parent / 'static'

# The buttons of the examples say which one was clicked.
_EXAMPLES_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger('choose', { number: Number(button.dataset.number) });
});
"""
#: Seconds between two looks for uploads to remove, and their age then.
_CLEANING = (3600, 86400)
#: Actions that may wait; further ones are told to try again.
_MAX_WAITING = 64


def theme() -> Any:
    """Gradio's plain theme with fonts of the system.

    By default Gradio loads fonts from Google.
    """
    return gr.themes.Base(
        primary_hue='indigo',
        neutral_hue='slate',
        font=['system-ui', 'sans-serif'],
        font_mono=['ui-monospace', 'monospace'],
    )


def css() -> str:
    """The page's style sheet."""
    return (STATIC / 'page.css').read_text('utf-8')


def build_page(actions: Actions) -> gr.Blocks:
    """Lay the page out.

    Args:
        actions: What the events call.

    Returns:
        The page; `mmcae.app.server` serves it with `theme` and `css`.
    """
    explorer = actions.explorer
    with gr.Blocks(
        title='mmcae: paint a mask',
        analytics_enabled=False,
        delete_cache=_CLEANING,
    ) as page:
        session = gr.State(Session())
        gr.HTML(_head(explorer), elem_classes='cae-head')
        for text in explorer.limits:
            gr.HTML(markup.notice_html(text, 'note'))
        parts: dict[str, Any] = {}
        parts['notice'] = gr.HTML(elem_id='notice')
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300):
                upload, examples = _picture_inputs(actions)
                drawing = None
                if explorer.can_predict:
                    text = 'drag over patches to mask them, or to unmask them'
                    gr.HTML(_section('Mask', text))
                    parts['mask_canvas'] = _canvas('paint', 'mask-canvas')
                    drawing = _mask_inputs()
            with gr.Column(scale=9, min_width=300):
                if explorer.can_predict:
                    gr.HTML(
                        _section(
                            'Prediction',
                            'what the model makes of the visible patches',
                        )
                    )
                    parts['prediction'] = gr.HTML(elem_id='prediction')
                looking = _attention_part(explorer, parts)
        if explorer.paths:
            name = Path(explorer.folder).resolve().name
            text = f'of {len(explorer.paths)} images in {name}'
            gr.HTML(_section('Nearest images', text))
            parts['neighbors'] = gr.HTML(
                elem_id='neighbors', elem_classes='cae-small'
            )
        outputs = [session, *(parts[name] for name in PARTS if name in parts)]

        def run(
            action: Callable[..., tuple[Session, dict[str, str]]],
            state: Session,
            *args: Any,
        ) -> list[Any]:
            changed, updates = guarded(action, state, *args)
            return [
                changed,
                *(
                    updates.get(name, gr.skip())
                    for name in PARTS
                    if name in parts
                ),
            ]

        # One event after the other, because two events of a user that run at
        # the same time would both begin with the same session.
        event: dict[str, Any] = dict(
            outputs=outputs,
            api_visibility='private',
            show_progress='hidden',
            # Gradio's 'once' and 'always_last' would lose the data of events.
            trigger_mode='multiple',
            concurrency_limit=1,
            concurrency_id='model',
        )

        def answer(changed: list[Any], canvas: str, number: int) -> list[Any]:
            """Tell a canvas that the next event may come."""
            place = outputs.index(parts[canvas])
            changed[place] = json.dumps(dict(answer=int(number)))
            return changed

        def paint(state: Session, data: gr.EventData) -> list[Any]:
            changed = run(actions.paint, state, str(data.mask))
            return answer(changed, 'mask_canvas', data.number)

        def pick(state: Session, data: gr.EventData) -> list[Any]:
            changed = run(actions.look, state, data.patch)
            return answer(changed, 'attention_canvas', data.number)

        def choose(state: Session, data: gr.EventData) -> list[Any]:
            return run(actions.example, state, int(data.number))

        def take(state: Session, path: str | None) -> list[Any]:
            changed = run(actions.choose, state, path) if path else None
            # The empty field takes the next file.
            return [None, *(changed or [gr.skip()] * len(outputs))]

        page.load(
            lambda: run(lambda state: actions.start(), Session()), **event
        )
        examples.choose(choose, [session], **event)
        upload.upload(
            take,
            [session, upload],
            **{**event, 'outputs': [upload, *outputs]},
        )
        if drawing is not None:
            ratio, kind, seed, another = drawing

            def draw(state: Session, *values: Any) -> list[Any]:
                return run(actions.draw, state, *values)

            def draw_next(
                state: Session, share: float, number: float | None, how: str
            ) -> list[Any]:
                following = 0 if number is None else number + 1
                return [following, *draw(state, share, following, how)]

            inputs = [session, ratio, seed, kind]
            for listen in (ratio.release, kind.input, seed.submit, seed.blur):
                listen(draw, inputs, **event)
            another.click(
                draw_next, inputs, **{**event, 'outputs': [seed, *outputs]}
            )
            parts['mask_canvas'].paint(paint, [session], **event)
        token, block, head = looking
        parts['attention_canvas'].pick(pick, [session], **event)
        token.click(
            lambda state: run(actions.look, state, None), [session], **event
        )
        for listen in (block.input, head.input):
            listen(
                lambda state, *values: run(
                    actions.choose_attention, state, *values
                ),
                [session, block, head],
                **event,
            )
    page.queue(max_size=_MAX_WAITING)
    return page


def _head(explorer: Explorer) -> str:
    rows, columns = explorer.grid
    height, width = explorer.maker.size
    name = html.escape(Path(explorer.loaded.name).name)
    todo = 'Choose a picture, and click on its patches.'
    if explorer.can_predict:
        todo = 'Paint a mask; the model predicts the masked patches.'
    return (
        '<h1>What does a Context Autoencoder see?</h1>'
        f'<p>{todo} <code>{name}</code>: {height} x {width} pixels, '
        f'{rows} x {columns} patches, {explorer.num_blocks} blocks of '
        f'{explorer.num_heads} heads</p>'
    )


def _section(title: str, text: str) -> str:
    return (
        f'<div class="cae-section">{html.escape(title)}'
        f'<small>{html.escape(text)}</small></div>'
    )


def _canvas(mode: str, name: str) -> gr.HTML:
    label = {
        'paint': 'The picture and its mask: arrow keys move, space masks',
        'pick': 'The picture: arrow keys move, space chooses a patch',
    }[mode]
    return gr.HTML(
        '',
        html_template=f'<canvas tabindex="0" aria-label="{label}"></canvas>',
        js_on_load=(STATIC / 'patch_canvas.js').read_text('utf-8'),
        elem_id=name,
        elem_classes='cae-canvas',
        mode=mode,
    )


def _picture_inputs(actions: Actions) -> tuple[gr.File, gr.HTML]:
    gr.HTML(
        _section(
            'Picture',
            f'choose one, or upload a file (up to {MAX_BYTES / 1e6:.0f} MB '
            f'and {MAX_PIXELS / 1e6:.0f} megapixels; it stays on this '
            'machine)',
        )
    )
    views = [
        markup.data_url(actions.explorer.view(read_upload(example.path)))
        for example in actions.examples
    ]
    examples = gr.HTML(
        markup.examples_html(actions.examples, views),
        js_on_load=_EXAMPLES_JS,
        elem_id='examples',
    )
    upload = gr.File(
        label='Upload a picture',
        file_types=['image'],
        height=110,
        elem_id='upload',
    )
    return upload, examples


def _mask_inputs() -> tuple[gr.Slider, gr.Radio, gr.Number, gr.Button]:
    ratio = gr.Slider(
        0.1, 0.9, 0.5, step=0.05, label='Share of masked patches'
    )
    kind = gr.Radio(
        [('blocks, as in training', 'block'), ('single patches', 'random')],
        value='block',
        label='Masks are drawn as',
    )
    with gr.Row(equal_height=True):
        seed = gr.Number(0, label='Seed', precision=0, minimum=0)
        another = gr.Button('Draw another mask', size='md', elem_id='another')
    return ratio, kind, seed, another


def _attention_part(
    explorer: Explorer, parts: dict[str, Any]
) -> tuple[gr.Button, gr.Dropdown, gr.Dropdown]:
    gr.HTML(
        _section(
            'Attention',
            'click on a patch: where does it take its information from, when '
            'the whole picture is visible?',
        )
    )
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=220):
            parts['attention_canvas'] = _canvas('pick', 'attention-canvas')
            token = gr.Button('Class token', size='sm', elem_id='class-token')
            blocks = [
                (f'block {number + 1}', number)
                for number in range(explorer.num_blocks - 1)
            ]
            block = gr.Dropdown(
                [*blocks, (f'block {explorer.num_blocks} (last)', -1)],
                value=-1,
                label='Block',
            )
            heads = [f'head {i + 1}' for i in range(explorer.num_heads)]
            head = gr.Dropdown(
                [ALL_HEADS, MEAN, *heads, ROLLOUT],
                value=ALL_HEADS,
                label='Head',
            )
        with gr.Column(scale=3, min_width=300):
            parts['attention'] = gr.HTML(
                elem_id='attention', elem_classes='cae-small'
            )
    return token, block, head
