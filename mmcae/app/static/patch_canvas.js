// A picture with its grid of patches. In the mode 'paint', a stroke masks
// patches (or unmasks them, if it begins on a masked one); in the mode 'pick',
// a click chooses a patch. Arrow keys and the space bar do the same.
// Gradio gives `element`, `props`, `trigger` and `watch`. `props.value` is the
// JSON of `mmcae.app.markup.canvas_value`, or `{"answer": number}` when the
// event with this number has been answered.
const paints = props.mode === 'paint';
const masked = '#6b7280';
let scene = null;
let mask = [];
let picture = null;
let stroke = null; // what the stroke writes, while the pointer is down
let cursor = null; // [row, column] of the keyboard
let canvas = null;
let loads = 0;
let asked = 0;
let waiting = null; // the question without an answer
let next = null; // the newest event since then

function digits() {
  return mask.map((on) => (on ? '1' : '0')).join('');
}

function draw() {
  if (!scene || !canvas) return;
  canvas.dataset.mask = digits();
  const scale = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale);
  if (!width) return;
  const height = Math.round((width * picture.naturalHeight) / picture.naturalWidth);
  canvas.width = width;
  canvas.height = height;
  const c = canvas.getContext('2d');
  c.imageSmoothingEnabled = !scene.sharp;
  c.drawImage(picture, 0, 0, width, height);
  const w = width / scene.columns;
  const h = height / scene.rows;
  c.fillStyle = masked;
  c.globalAlpha = 0.82;
  mask.forEach((on, i) => {
    if (!on) return;
    const x = Math.round((i % scene.columns) * w);
    const y = Math.round(Math.floor(i / scene.columns) * h);
    c.fillRect(x, y, Math.ceil(w), Math.ceil(h));
  });
  c.globalAlpha = 1;
  c.strokeStyle = 'rgba(128, 128, 128, 0.55)';
  c.lineWidth = 1;
  c.beginPath();
  for (let i = 1; i < scene.columns; i++) {
    c.moveTo(Math.round(i * w) + 0.5, 0);
    c.lineTo(Math.round(i * w) + 0.5, height);
  }
  for (let i = 1; i < scene.rows; i++) {
    c.moveTo(0, Math.round(i * h) + 0.5);
    c.lineTo(width, Math.round(i * h) + 0.5);
  }
  c.stroke();
  const frame = (cell, color, line) => {
    c.strokeStyle = color;
    c.lineWidth = line;
    c.strokeRect(cell[1] * w + line / 2, cell[0] * h + line / 2, w - line, h - line);
  };
  if (scene.patch) {
    frame(scene.patch, '#000', Math.max(4, w / 7));
    frame(scene.patch, '#22d3ee', Math.max(3, w / 10));
  }
  if (cursor && document.activeElement === canvas) frame(cursor, '#f59e0b', 3 * scale);
}

function load() {
  canvas = element.querySelector('canvas');
  if (!props.value || !canvas) return;
  const found = JSON.parse(props.value);
  if (found.answer) return answered(found.answer);
  const image = new Image();
  const number = ++loads;
  image.onload = () => {
    if (number !== loads) return; // a later picture is on its way
    scene = found;
    picture = image;
    // Without a mask, the one that the user may be painting stays.
    if (found.mask) mask = Array.from(found.mask, (digit) => digit === '1');
    else if (mask.length !== found.rows * found.columns)
      mask = Array(found.rows * found.columns).fill(false);
    draw();
  };
  image.src = found.picture;
}

function cellAt(event) {
  const box = canvas.getBoundingClientRect();
  const clip = (value, end) => Math.min(Math.max(Math.floor(value), 0), end - 1);
  return [
    clip(((event.clientY - box.top) / box.height) * scene.rows, scene.rows),
    clip(((event.clientX - box.left) / box.width) * scene.columns, scene.columns),
  ];
}

// One question at a time: what happens meanwhile is asked when the answer to
// the last question is there, so a fast painter does not fill the queue.
function ask(event, data) {
  if (waiting && Date.now() - waiting.since < 10000) {
    next = [event, data];
    return;
  }
  next = null;
  waiting = { number: ++asked, since: Date.now() };
  trigger(event, { ...data, number: asked });
}

function answered(number) {
  if (!waiting || waiting.number !== number) return;
  waiting = null;
  if (next) ask(...next);
}

function send() {
  ask('paint', { mask: digits() });
}

function pick(cell) {
  scene.patch = cell;
  draw();
  ask('pick', { patch: cell });
}

function write(cell) {
  mask[cell[0] * scene.columns + cell[1]] = stroke;
  draw();
}

element.addEventListener('pointerdown', (event) => {
  if (event.target !== canvas || !scene || event.button) return;
  const cell = cellAt(event);
  cursor = null;
  if (!paints) return pick(cell);
  stroke = !mask[cell[0] * scene.columns + cell[1]];
  canvas.setPointerCapture(event.pointerId);
  write(cell);
});
element.addEventListener('pointermove', (event) => {
  if (stroke === null) return;
  // A fast stroke skips patches between two events unless they are asked for.
  const parts = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  (parts.length ? parts : [event]).forEach((part) => write(cellAt(part)));
});
['pointerup', 'pointercancel'].forEach((name) =>
  element.addEventListener(name, () => {
    if (stroke === null) return;
    stroke = null;
    send();
  })
);
element.addEventListener('keydown', (event) => {
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (event.target !== canvas || !scene) return;
  if (moves[event.key]) {
    const from = cursor || scene.patch || [0, 0];
    cursor = [
      Math.min(Math.max(from[0] + moves[event.key][0], 0), scene.rows - 1),
      Math.min(Math.max(from[1] + moves[event.key][1], 0), scene.columns - 1),
    ];
    draw();
  } else if (event.key === ' ' || event.key === 'Enter') {
    cursor = cursor || [0, 0];
    if (paints) {
      stroke = !mask[cursor[0] * scene.columns + cursor[1]];
      write(cursor);
      stroke = null;
      send();
    } else {
      pick(cursor);
    }
  } else {
    return;
  }
  event.preventDefault();
});
element.addEventListener('focusout', draw);
new ResizeObserver(draw).observe(element);
watch('value', load);
load();
