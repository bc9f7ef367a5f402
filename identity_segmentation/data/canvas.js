// The picture under the hand: gestures go to Python, numbered and in order; overlays come back. Runs once, when the
// component is mounted, with element, props, trigger and watch from Gradio. Names only ever become text.
//
//   props.value    {where, width, height, image, overlay, marks, names, correcting, bring, ack, version, said}; where is
//                  null for an empty canvas; bring asks for the canvas to come into view
//   props.colours  one per id;  props.words  language -> word -> text
//   trigger('gesture', {actions})  everything that Python has not acknowledged, in order; each says which picture of which
//                  job it is for, so that a server that was restarted, or a picture that was changed, loses none
//   trigger('finished', {})        a correction is finished, and on record
//
// Coordinates are pixels of the picture: its left edge is 0, its right edge its width.
const find = (selector) => element.querySelector(selector);
const field = find('.field'), stage = find('.stage'), img = find('img'), canvas = find('canvas'), ctx = canvas.getContext('2d');

// What the person chose lives here, not in the value: a new value cannot lose it.
let tool = 'box', id = 1, size = 20;
let view = null;     // the value that is shown
let layer = null;    // its overlay, loaded
let drawing = null;  // the gesture under way
let mouse = null;    // where the pointer is, for the ring
let cursor = null;   // where the arrow keys are, while the canvas has the focus
let outside = null;  // a drag that began beside the picture, and is not in it yet
let telling = null;  // words about the cursor, said when it rests

const language = [navigator.language, 'en'].map((l) => l.slice(0, 2)).find((l) => props.words[l]);
const words = props.words[language];
const say = (key, given) => words[key].replace(/\{(\w+)\}/g, (_, name) => given[name]);
element.querySelectorAll('[data-word]').forEach((e) => { e.textContent = words[e.dataset.word]; });
canvas.setAttribute('aria-label', say('name'));
find('.keys').id = 'idseg_canvas_keys';
canvas.setAttribute('aria-describedby', find('.keys').id);
find('.tools').setAttribute('aria-label', say('tools'));
find('.ids').setAttribute('aria-label', say('ids'));
find('.size').setAttribute('aria-label', say('size'));
function dark(hex) {  // WCAG 2.2's relative luminance: below this white reads better than black
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.179;
}
for (let number = 1; number <= props.colours.length; number++) {
  const button = document.createElement('button');
  button.dataset.id = button.textContent = number;
  button.type = 'button';
  button.setAttribute('aria-label', say('id', { id: number }));
  button.style.background = props.colours[number - 1];
  button.style.color = dark(props.colours[number - 1]) ? '#fff' : '#000';
  find('.ids').append(button);
}
find('.ids').append(document.createElement('span'));

// ---- to Python. A send carries all that is not acknowledged, and Python skips the numbers it has: an event that is lost,
// repeated or overtaken does no harm.
let pending = [];     // gestures that are not in the overlay yet
let n = Date.now();   // grows over a new mount too
let acked = 0, waiting = false, timer = null, said = '';

function send() {
  const actions = pending.filter((g) => g.n > acked);
  clearTimeout(timer);
  waiting = actions.length > 0;
  find('.status').textContent = waiting ? '…' : said || '✓';
  if (!waiting) return;
  trigger('gesture', { actions: actions.slice(0, 200) });
  timer = setTimeout(send, 8000);
}
function commit(gesture) {
  if (!view) return;
  pending.push({ n: ++n, where: view.where, id, ...gesture });
  draw();
  if (!waiting) send();
}

// ---- from Python
function load(file) {
  if (!file) return null;
  const image = new Image();
  image.src = file.url;  // Gradio fills it in
  return image.decode().then(() => image);
}
let newest = 0;
async function show() {
  const value = props.value;
  if (!value) return;
  if (value.ack > acked) {
    const finished = pending.some((g) => g.tool === 'done' && g.n > acked && g.n <= value.ack);
    acked = value.ack;
    said = value.said ?? '';
    send();
    if (finished) trigger('finished', {});
  } else if (value.said) { said = value.said; find('.status').textContent = said; }
  if (value.version <= newest) return;
  newest = value.version;
  if (!value.where) {
    view = layer = drawing = cursor = outside = null;
    img.removeAttribute('src');
    stage.style.aspectRatio = '';
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, canvas.width, canvas.height);
    delete element.dataset.shown;
    return refresh();
  }
  try {
    const other = !view || view.where !== value.where;
    const [picture, overlay] = await Promise.all([other && load(value.image), load(value.overlay)]);
    if (value.version !== newest) return;
    if (picture) {
      img.src = picture.src;
      drawing = cursor = outside = null;
      stage.style.aspectRatio = value.width + ' / ' + value.height;
      stage.style.maxWidth = 'calc(65vh * ' + value.width / value.height + ')';
    }
    view = value;
    layer = overlay;
    pending = pending.filter((g) => g.n > value.ack);
    element.dataset.shown = value.version;
    if (value.bring) bring();
  } catch (error) {
    find('.status').textContent = '✗ ' + error.message;
  }
  refresh();
}
watch('value', show);

// A correction was asked for: the picture comes into view, and the hand with it.
function bring() {
  refresh();
  hand();
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  element.scrollIntoView({ behavior: still ? 'auto' : 'smooth', block: 'start' });
  canvas.focus({ preventScroll: true });
  tell(say('correcting'));
}
function hand() { document.body.dataset.idsegHand = 'canvas'; }
element.addEventListener('pointerdown', hand);
element.addEventListener('focusin', hand);
function tell(text) { find('.place').textContent = text; }

// ---- drawing. The canvas has the screen's pixels; ctx counts in the picture's.
new ResizeObserver(() => {  // also when a tab is opened that was hidden
  canvas.width = Math.round(stage.clientWidth * devicePixelRatio);
  canvas.height = Math.round(stage.clientHeight * devicePixelRatio);
  draw();
}).observe(stage);

function paint(g, px) {
  ctx.globalCompositeOperation = g.tool === 'eraser' ? 'destination-out' : 'source-over';
  ctx.strokeStyle = ctx.fillStyle = props.colours[g.id - 1];
  ctx.lineWidth = 2 * px;
  ctx.beginPath();
  const points = g.points ?? [];
  if (g.tool === 'box') {
    const [[x0, y0], [x1, y1]] = points;
    ctx.setLineDash([6 * px, 4 * px]);
    ctx.strokeRect(x0, y0, x1 - x0, y1 - y0);
    ctx.setLineDash([]);
  } else if (g.tool === 'point') {
    ctx.arc(...points[0], 5 * px, 0, 7);
    if (g.inside) ctx.fill();
    ctx.strokeStyle = g.inside ? '#fff' : ctx.fillStyle;
    ctx.stroke();
  } else if (points.length) {
    ctx.lineWidth = g.size;
    ctx.lineCap = ctx.lineJoin = 'round';
    ctx.globalAlpha = 0.6;
    points.forEach(([x, y]) => ctx.lineTo(x, y));
    if (points.length === 1) ctx.lineTo(points[0][0] + 0.01, points[0][1]);
    ctx.stroke();
    ctx.globalAlpha = 1;
  }
}
function draw() {
  if (!view || !canvas.width) return;
  const px = view.width / canvas.width * devicePixelRatio;  // a pixel of the screen in pixels of the picture
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  ctx.clearRect(0, 0, canvas.width, canvas.height);
  ctx.setTransform(canvas.width / view.width, 0, 0, canvas.height / view.height, 0, 0);
  if (layer) ctx.drawImage(layer, 0, 0, view.width, view.height);
  [...view.marks, ...pending.filter((g) => g.where === view.where), drawing].forEach((g) => g && paint(g, px));
  ctx.globalCompositeOperation = 'source-over';
  const ring = mouse ?? cursor;
  for (const [colour, width] of [['#000', 3], ['#fff', 1]]) {  // seen on anything
    ctx.strokeStyle = colour;
    ctx.lineWidth = width * px;
    ctx.beginPath();
    if (ring && brushing()) ctx.arc(ring[0], ring[1], Math.round(size) / 2, 0, 7);
    if (cursor) {
      const [x, y] = cursor, reach = 9 * px;
      ctx.moveTo(x - reach, y);
      ctx.lineTo(x + reach, y);
      ctx.moveTo(x, y - reach);
      ctx.lineTo(x, y + reach);
    }
    ctx.stroke();
  }
}
function refresh() {
  const chosen = (b, on) => { b.classList.toggle('on', on); b.setAttribute('aria-pressed', on); };
  element.querySelectorAll('[data-tool]').forEach((b) => chosen(b, b.dataset.tool === tool));
  element.querySelectorAll('[data-id]').forEach((b) => chosen(b, +b.dataset.id === id));
  field.classList.toggle('bare', !view);
  find('.keys').style.display = view ? '' : 'none';
  find('.ids span').textContent = view?.names[id] ?? '';
  find('[data-do=done]').style.display = view?.correcting ? '' : 'none';
  find('[data-do=done]').classList.add('done');
  find('.size').value = find('output').textContent = Math.round(size);
  draw();
}

// ---- the pointer: mouse, pen and finger
const brushing = () => tool === 'brush' || tool === 'eraser';
function at(event) {
  const box = canvas.getBoundingClientRect();
  const share = (v) => Math.min(1, Math.max(0, v));
  return [share((event.clientX - box.left) / box.width) * view.width,
          share((event.clientY - box.top) / box.height) * view.height].map((v) => +v.toFixed(2));
}
const begun = (points) => ({ tool, id, points, size: Math.round(size) });
canvas.addEventListener('pointerdown', (event) => {
  if (drawing?.keys) drawing = null;
  if (!view || drawing || !event.isPrimary || event.button === 1) return;
  const point = at(event), right = event.button === 2;
  cursor = null;
  if (tool === 'point' || tool === 'outside') {
    return commit({ tool: 'point', points: [point], inside: tool === 'point' && !right });
  }
  if (right) return;
  canvas.setPointerCapture(event.pointerId);  // a drag goes on outside the canvas
  drawing = begun(tool === 'box' ? [point, point] : [point]);
});
function moved(event) {
  for (const point of steps(event).map(at)) {
    if (drawing?.tool === 'box') drawing.points[1] = point;
    else drawing?.points.push(point);
  }
  draw();
}
function steps(event) {
  const found = event.getCoalescedEvents?.() ?? [];
  return found.length ? found : [event];
}
function ended(event) {
  const gesture = drawing, point = at(event);
  drawing = null;
  if (gesture.tool === 'box') {
    const [x, y] = gesture.points[0];
    if (x === point[0] || y === point[1]) return draw();  // a click is no box
    gesture.points[1] = point;
  } else gesture.points.push(point);
  commit(gesture);
}
canvas.addEventListener('pointermove', (event) => {
  if (!view || !event.isPrimary) return;
  mouse = at(event);
  if (!drawing?.keys && drawing?.from === undefined) moved(event);
});
canvas.addEventListener('pointerup', (event) => {
  if (drawing && !drawing.keys && drawing.from === undefined && event.isPrimary) ended(event);
});

// A drag that begins beside the picture counts from where it enters: a box from the nearest point of the border, a stroke
// from where it crosses it. A mouse may come from anywhere on the page that is no control of its own; a finger or a pen,
// whose drags scroll the page, from the field around the picture.
const CONTROLS = 'a, button, input, select, textarea, label, img, video, audio, summary, [draggable=true], [contenteditable], '
  + '[role=slider], [role=option], [role=tab]';
function within(event, fn) {
  if (!element.isConnected) return document.removeEventListener(event.type, fn, true);
  return event.isPrimary && canvas.clientWidth > 0;
}
document.addEventListener('pointerdown', function down(event) {
  if (!within(event, down)) return;
  outside = null;
  const target = event.target;
  if (!view || drawing || event.button !== 0 || target === canvas || !(target instanceof Element)) return;
  if (tool === 'point' || tool === 'outside' || target.closest(CONTROLS)) return;
  if (event.pointerType !== 'mouse' && !field.contains(target)) return;
  if (field.contains(target)) event.preventDefault();
  outside = { pointer: event.pointerId, from: [event.clientX, event.clientY], at: [event.clientX, event.clientY] };
}, true);
document.addEventListener('pointermove', function move(event) {
  if (!within(event, move)) return;
  if (outside?.pointer === event.pointerId) {
    if (event.pointerType === 'mouse' && !(event.buttons & 1)) outside = null;
    else steps(event).forEach(enter);
  } else if (drawing?.from === event.pointerId) {
    mouse = at(event);
    moved(event);
  }
}, true);
function enter(event) {
  const to = [event.clientX, event.clientY];
  if (!outside) return moved({ clientX: to[0], clientY: to[1] });  // it has just come in
  const crossed = crossing(outside.at, to, canvas.getBoundingClientRect());
  const place = ([clientX, clientY]) => at({ clientX, clientY });
  if (crossed) {
    const last = place(to);
    drawing = { ...begun(tool === 'box' ? [place(outside.from), last] : [place(crossed), last]), from: outside.pointer };
    outside = cursor = null;
    hand();
    getSelection()?.removeAllRanges();  // of the text it came over
    draw();
  } else outside.at = to;
}
function crossing([x0, y0], [x1, y1], box) {  // Liang and Barsky: where a way first is in a box, or null
  let first = 0, last = 1;
  const sides = [[x0 - x1, x0 - box.left], [x1 - x0, box.right - x0], [y0 - y1, y0 - box.top], [y1 - y0, box.bottom - y0]];
  for (const [p, q] of sides) {
    if (p === 0 && q < 0) return null;
    if (p < 0) first = Math.max(first, q / p);
    if (p > 0) last = Math.min(last, q / p);
  }
  return first <= last ? [x0 + first * (x1 - x0), y0 + first * (y1 - y0)] : null;
}
document.addEventListener('pointerup', function up(event) {
  if (!within(event, up)) return;
  outside = null;
  if (drawing?.from !== event.pointerId) return;
  const { from, ...gesture } = drawing;
  drawing = gesture;
  mouse = null;
  ended(event);
}, true);
document.addEventListener('pointercancel', function lost(event) {
  if (!within(event, lost)) return;
  outside = null;
  if (drawing?.from === event.pointerId) { drawing = null; draw(); }
}, true);
document.addEventListener('selectstart', function select(event) {
  if (!element.isConnected) return document.removeEventListener('selectstart', select);
  if (drawing) event.preventDefault();
});
field.addEventListener('contextmenu', (event) => event.preventDefault());
canvas.addEventListener('pointercancel', () => { drawing = null; draw(); });
canvas.addEventListener('pointerleave', () => { mouse = null; draw(); });
canvas.addEventListener('contextmenu', (event) => event.preventDefault());
canvas.addEventListener('wheel', (event) => {
  if (!brushing() || event.ctrlKey) return;  // the page scrolls and zooms as ever
  event.preventDefault();
  size = Math.min(100, Math.max(1, (size + 5) * 1.2 ** -(event.deltaY / (event.deltaMode ? 3 : 100)) - 5));
  refresh();
}, { passive: false });

// ---- buttons and keys
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.tool) tool = button.dataset.tool;
  if (button.dataset.id) id = +button.dataset.id;
  if (button.dataset.do) commit({ tool: button.dataset.do });
  refresh();
});
find('.size').addEventListener('input', (event) => { size = +event.target.value; refresh(); });

// The letter on the key, or, where the keyboard writes another script, the place of the key.
const letter = (event) => (/^[a-z]$/i.test(event.key) ? event.key.toLowerCase() : event.code.replace(/^Key/, '').toLowerCase());
const TOOLS = { b: 'brush', e: 'eraser', x: 'box', p: 'point' };

// Marking without a pointer: arrows move a cursor over the picture, Space sets a corner or a point, or lowers and lifts the
// brush, Escape lets go.
const said_at = (point) => ({ x: Math.round(point[0]), y: Math.round(point[1]) });
function rests() {
  clearTimeout(telling);
  telling = setTimeout(() => cursor && tell(say('cursor', said_at(cursor))), 250);
}
function pressed() {
  clearTimeout(telling);
  if (tool === 'point' || tool === 'outside') {
    commit({ tool: 'point', points: [cursor], inside: tool === 'point' });
    return tell(say('pointed', said_at(cursor)));
  }
  if (!drawing) {
    drawing = { ...begun(tool === 'box' ? [cursor, cursor] : [cursor]), keys: true };
    tell(say(tool === 'box' ? 'corner' : 'lowered', said_at(cursor)));
    return draw();
  }
  const { keys, ...gesture } = drawing;
  const [x, y] = gesture.points[0];
  if (gesture.tool === 'box' && (x === cursor[0] || y === cursor[1])) return tell(say('no_box'));
  drawing = null;
  tell(say(gesture.tool === 'box' ? 'boxed' : 'lifted', said_at(cursor)));
  commit(gesture);
}
canvas.addEventListener('keydown', (event) => {
  if (!view || event.ctrlKey || event.metaKey || event.altKey || (drawing && !drawing.keys)) return;
  const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (by) {
    const stride = Math.max(1, Math.round(Math.max(view.width, view.height) / 100)) * (event.shiftKey ? 10 : 1);
    const from = cursor ?? [view.width / 2, view.height / 2], most = [view.width, view.height];
    cursor = from.map((v, i) => +Math.min(most[i], Math.max(0, v + by[i] * stride)).toFixed(2));
    if (drawing?.tool === 'box') drawing.points[1] = cursor;
    else drawing?.points.push(cursor);
    rests();
    draw();
  } else if (event.key === ' ' || event.key === 'Enter') {
    cursor ??= [view.width / 2, view.height / 2];
    if (!event.repeat) pressed();
  } else if (event.key === 'Escape' && drawing) {
    drawing = null;
    tell(say('let_go'));
    draw();
  } else return;
  event.preventDefault();
});
canvas.addEventListener('blur', () => { if (drawing?.keys) drawing = null; cursor = null; draw(); });

document.addEventListener('keydown', function key(event) {
  if (!element.isConnected) return document.removeEventListener('keydown', key);
  if (event.defaultPrevented || !canvas.clientWidth) return;
  if (event.target.closest('textarea, select, [contenteditable], input:not([type=range])')) return;
  const held = event.ctrlKey || event.metaKey;
  let what = held && { z: event.shiftKey ? 'redo' : 'undo', y: 'redo' }[letter(event)];
  if (what) commit({ tool: what });
  else if (!held && !event.altKey && (what = TOOLS[letter(event)])) tool = what;
  else return;
  event.preventDefault();
  refresh();
});

window.addEventListener('beforeunload', function ask(event) {
  if (!element.isConnected) return window.removeEventListener('beforeunload', ask);
  if (waiting) event.preventDefault();  // what was drawn is not saved yet
});

refresh();
show();  // watch tells of later values only
