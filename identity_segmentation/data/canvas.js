// The picture under the hand: gestures go to Python, numbered and in order; overlays come back. Runs once, when the
// component is mounted, with element, props, trigger and watch from Gradio. Names only ever become text.
//
//   props.value    {where, width, height, image, overlay, marks, names, correcting, ack, version, said}; where is null
//                  for an empty canvas
//   props.colours  one per id;  props.words  language -> word -> text
//   trigger('gesture', {actions})  everything that Python has not acknowledged, in order; each says which picture of which
//                  job it is for, so that a server that was restarted, or a picture that was changed, loses none
//   trigger('finished', {})        a correction is finished, and on record
//
// Coordinates are pixels of the picture: its left edge is 0, its right edge its width.
const find = (selector) => element.querySelector(selector);
const stage = find('.stage'), img = find('img'), canvas = find('canvas'), ctx = canvas.getContext('2d');

// What the person chose lives here, not in the value: a new value cannot lose it.
let tool = 'box', id = 1, size = 20;
let view = null;     // the value that is shown
let layer = null;    // its overlay, loaded
let drawing = null;  // the gesture under way
let mouse = null;    // where the pointer is, for the ring

const language = [navigator.language, 'en'].map((l) => l.slice(0, 2)).find((l) => props.words[l]);
element.querySelectorAll('[data-word]').forEach((e) => { e.textContent = props.words[language][e.dataset.word]; });
for (let number = 1; number <= props.colours.length; number++) {
  const button = document.createElement('button');
  button.dataset.id = button.textContent = number;
  button.style.background = props.colours[number - 1];
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
    view = layer = drawing = null;
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
      drawing = null;
      stage.style.aspectRatio = value.width + ' / ' + value.height;
      stage.style.maxWidth = 'calc(65vh * ' + value.width / value.height + ')';
    }
    view = value;
    layer = overlay;
    pending = pending.filter((g) => g.n > value.ack);
    element.dataset.shown = value.version;
  } catch (error) {
    find('.status').textContent = '✗ ' + error.message;
  }
  refresh();
}
watch('value', show);

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
  if (!mouse || !brushing()) return;
  for (const [colour, width] of [['#000', 3], ['#fff', 1]]) {  // seen on anything
    ctx.beginPath();
    ctx.arc(mouse[0], mouse[1], Math.round(size) / 2, 0, 7);
    ctx.strokeStyle = colour;
    ctx.lineWidth = width * px;
    ctx.stroke();
  }
}
function refresh() {
  element.querySelectorAll('[data-tool]').forEach((b) => b.classList.toggle('on', b.dataset.tool === tool));
  element.querySelectorAll('[data-id]').forEach((b) => b.classList.toggle('on', +b.dataset.id === id));
  find('.ids span').textContent = view?.names[id] ?? '';
  find('[data-do=done]').style.display = view?.correcting ? '' : 'none';
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
canvas.addEventListener('pointerdown', (event) => {
  if (!view || drawing || !event.isPrimary || event.button === 1) return;
  const point = at(event), right = event.button === 2;
  if (tool === 'point' || tool === 'outside') {
    return commit({ tool: 'point', points: [point], inside: tool === 'point' && !right });
  }
  if (right) return;
  canvas.setPointerCapture(event.pointerId);  // a drag goes on outside the canvas
  drawing = { tool, id, points: tool === 'box' ? [point, point] : [point], size: Math.round(size) };
});
canvas.addEventListener('pointermove', (event) => {
  if (!view || !event.isPrimary) return;
  mouse = at(event);
  const steps = event.getCoalescedEvents?.() ?? [];
  for (const point of (steps.length ? steps : [event]).map(at)) {
    if (drawing?.tool === 'box') drawing.points[1] = point;
    else drawing?.points.push(point);
  }
  draw();
});
canvas.addEventListener('pointerup', (event) => {
  if (!drawing || !event.isPrimary) return;
  const gesture = drawing, point = at(event);
  drawing = null;
  if (gesture.tool === 'box') {
    const [x, y] = gesture.points[0];
    if (x === point[0] || y === point[1]) return draw();  // a click is no box
    gesture.points[1] = point;
  } else gesture.points.push(point);
  commit(gesture);
});
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
document.addEventListener('keydown', function key(event) {
  if (!element.isConnected) return document.removeEventListener('keydown', key);
  if (!canvas.clientWidth || event.target.closest('textarea, select, [contenteditable], input:not([type=range])')) return;
  const held = event.ctrlKey || event.metaKey;
  let what = held && { KeyZ: event.shiftKey ? 'redo' : 'undo', KeyY: 'redo' }[event.code];  // on any keyboard's layout
  if (what) commit({ tool: what });
  else if (!held && !event.altKey && (what = { KeyB: 'brush', KeyE: 'eraser', KeyX: 'box', KeyP: 'point' }[event.code])) tool = what;
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
