# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""The page of ``mmcae app``: paint a mask, and see what the model predicts.

From the model to the browser, one file for each step:

- `uploads.py` reads a picture that a user uploads, or refuses it;
- `examples.py` finds the pictures that are there without an upload;
- `explorer.py` holds the model and answers questions about a picture;
- `markup.py` turns the answers into HTML;
- `actions.py` says what happens when a user does something: from a session to
  the next session and the parts of the page that change;
- `page.py` lays the page out (the only file that imports gradio, together
  with `server.py`), with ``static/patch_canvas.js`` and ``static/page.css``;
- `server.py` serves the page on this machine.
"""

import mmcae.namespace_guard  # noqa: F401
