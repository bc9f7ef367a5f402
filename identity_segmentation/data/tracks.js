// A player with a timeline under it: who is on screen when, everybody's face over time, and what is to be said by hand.
//
//   props.value  {version, source, result, offset, same, made, preview, seconds, width, height, times, cuts, more, people, corrections,
//                rows: [{name, colour, short, seconds, strips: [{track, spans, by, nearest, similarity, doubt, crops}]}]}
//                or a part of it: {frame: {t, boxes, image}}, {begun}; version 0 = there is nothing to show
//   trigger('say', {said: [correction]})   trigger('undo', {})   trigger('again', {})   render once more
//   trigger('frame', {t, picture})         trigger('enrol', {track, name})
//
// Times are seconds of the whole video; a preview begins at its offset. Names only ever become text.
const find = (selector) => element.querySelector(selector);
const language = [navigator.language, 'en'].map((l) => l.slice(0, 2)).find((l) => props.words[l]);
const word = (key, given = {}) => Object.entries(given).reduce((text, [k, v]) => text.replace('{' + k + '}', v), props.words[language][key] ?? key);
const video = find('video'), stage = find('.stage'), mark = find('.mark'), ruler = find('.ruler'), still = find('.still');
const clock = (s) => Math.floor(s / 60) + ':' + String(Math.floor(s % 60)).padStart(2, '0') + '.' + Math.floor((s * 10) % 10);
const made = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
element.querySelectorAll('[data-word]').forEach((e) => { e.textContent = word(e.dataset.word); });
find('.which').setAttribute('aria-label', word('which'));
ruler.setAttribute('aria-label', word('playhead'));
mark.setAttribute('aria-label', word('mark_info'));

let view = null, newest = 0, at = 0, playing = 'source', chosen = null, box = null, marked = null, begun = null, wanted = null, splitting = false;

// ---- the player and the playhead
const shift = () => (playing === 'result' ? view.offset ?? 0 : 0);
function seek(t, wholly = true) {
  if (!view) return;
  at = Math.max(0, Math.min(view.seconds, t));
  if (wholly && video.readyState > 0) video.currentTime = Math.max(0, at - shift() + 0.001);
  else if (wholly) wanted = at;
  place();
}
function place() {
  if (!view) return;
  find('.chart').style.setProperty('--at', view.seconds ? at / view.seconds : 0);
  find('.now').textContent = clock(at) + ' / ' + clock(view.seconds);
  ruler.ariaValueMax = view.seconds;
  ruler.ariaValueNow = at.toFixed(2);
  ruler.ariaValueText = clock(at);
  find('.split').textContent = word('split', { t: clock(at) });
}
function play(which) {
  const file = which === 'result' ? view.result : view.source;
  const url = file?.url ? file.url + '?v=' + (which === 'result' ? view.resultVersion : 0) : '';
  playing = which;
  element.querySelectorAll('[data-play]').forEach((b) => {
    b.setAttribute('aria-pressed', b.dataset.play === which);
    b.hidden = b.dataset.play === 'result' && !view.result;
  });
  if (video.getAttribute('src') !== url) { wanted = at; url ? video.setAttribute('src', url) : video.removeAttribute('src'); }
  else seek(at);
}
video.addEventListener('loadedmetadata', () => { if (wanted !== null) { const t = wanted; wanted = null; seek(t); } });
video.addEventListener('timeupdate', () => { if (view && !video.seeking && wanted === null) seek(video.currentTime + shift(), false); });
(function follow() { if (!element.isConnected) return; if (view && !video.paused) seek(video.currentTime + shift(), false); requestAnimationFrame(follow); })();
element.querySelectorAll('[data-play]').forEach((b) => b.addEventListener('click', () => { leave(); play(b.dataset.play); }));

function timeAt(event, lane) {
  const area = lane.getBoundingClientRect();
  return ((event.clientX - area.left) / area.width) * view.seconds;
}
function scrub(lane) {
  lane.addEventListener('pointerdown', (event) => {
    if (event.target.closest('button')) return;
    lane.setPointerCapture(event.pointerId);
    video.pause();
    seek(timeAt(event, lane));
  });
  lane.addEventListener('pointermove', (event) => { if (lane.hasPointerCapture(event.pointerId)) seek(timeAt(event, lane)); });
}
scrub(ruler);
const sample = (t) => view.times.reduce((best, one) => (Math.abs(one - t) < Math.abs(best - t) ? one : best), view.times[0] ?? 0);
ruler.addEventListener('keydown', (event) => {
  const near = view.times.indexOf(sample(at));
  const to = { ArrowLeft: event.shiftKey ? at - 1 : view.times[near - 1] ?? 0, ArrowRight: event.shiftKey ? at + 1 : view.times[near + 1] ?? view.seconds,
    Home: 0, End: view.seconds, PageDown: at + 5, PageUp: at - 5 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  video.pause();
  seek(to);
});

// ---- the timeline
const dark = (hex) => { const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)); return 0.299 * r + 0.587 * g + 0.114 * b < 140; };
const nameOf = (row, strip) => row.name ?? word('unknown', { track: strip.track });
function bar(row, strip, span) {
  const button = made('button', row.name === null ? 'unknown' : '', row.name === null ? '?' : row.name);
  button.type = 'button';
  button.dataset.track = strip.track;
  button.style.left = (100 * span[0]) / view.seconds + '%';
  button.style.width = (100 * (span[1] - span[0])) / view.seconds + '%';
  button.style.background = row.colour;
  button.style.color = dark(row.colour) ? '#fff' : '#000';
  button.setAttribute('aria-label', word('bar', { name: nameOf(row, strip), track: strip.track, from: clock(span[0]), to: clock(span[1]) }));
  button.addEventListener('click', (event) => {
    select(strip.track);
    const lane = button.parentElement;
    seek(event.detail ? timeAt(event, lane) : span[0]);  // by the keyboard: where it begins
  });
  return button;
}
function crop(row, strip, one) {
  const button = made('button'), image = made('img');
  button.type = 'button';
  button.dataset.track = strip.track;
  button.dataset.t = one.t;
  image.loading = 'lazy';
  image.src = one.image.url;
  image.alt = word('crop', { name: nameOf(row, strip), t: clock(one.t) });
  button.append(image);
  button.addEventListener('click', () => { video.pause(); select(strip.track); seek(one.t); });
  return button;
}
function line(row) {
  const node = made('div', row.name === null ? 'row unknown' : 'row'), label = made('div', 'label'), lane = made('div', 'lane'), strip = made('div', 'strip');
  label.append(made('b', '', row.name ?? word('unknown', { track: row.strips[0].track })), made('i', '', row.seconds.toFixed(1) + ' s'));
  if (row.strips.some((s) => s.doubt)) label.append(made('i', '', ' · ' + word('doubt')));
  row.strips.forEach((s) => s.spans.forEach((span) => lane.append(bar(row, s, span))));
  const crops = row.strips.flatMap((s) => s.crops.map((one) => [s, one])).sort((a, b) => a[1].t - b[1].t);
  const step = Math.max(1, crops.length / 24);
  for (let k = 0; k < crops.length; k += step) strip.append(crop(row, ...crops[Math.floor(k)]));
  scrub(lane);
  node.dataset.who = row.name ?? '';
  node.append(label, lane, strip);
  return node;
}
function chart() {
  ruler.replaceChildren();
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find((s) => view.seconds / s <= Math.max(3, ruler.clientWidth / 70)) ?? 7200;
  for (let t = 0; t <= view.seconds; t += step) {
    const tick = made('span', t > view.seconds - step / 3 ? 'end' : '', clock(t));
    tick.style.left = (100 * t) / view.seconds + '%';
    ruler.append(tick);
  }
  view.cuts.forEach((t) => { const cut = made('i'); cut.style.left = (100 * t) / view.seconds + '%'; cut.title = word('cut'); ruler.append(cut); });
  const [long, short] = [view.rows.filter((r) => !r.short), view.rows.filter((r) => r.short)];
  find('.chart > .rows').replaceChildren(...long.map(line));
  find('.short .rows').replaceChildren(...short.map(line));
  find('.short').hidden = !short.length;
  find('.short summary').textContent = word('short', { n: short.length + (view.more ?? 0) });
  find('.ask').hidden = !long.some((r) => r.name === null);
}
new ResizeObserver(() => { if (view) chart(), mine(); }).observe(ruler);

// ---- who somebody is
const known = (track) => view.rows.flatMap((row) => row.strips.map((strip) => [row, strip])).find(([, s]) => s.track === track);
function picks(where, label, pick) {
  const buttons = view.people.map((p) => {
    const button = made('button');
    button.type = 'button';
    button.dataset.name = p.name;
    const face = made(p.image?.url ? 'img' : 'i');
    if (p.image?.url) { face.src = p.image.url; face.alt = ''; } else face.style.background = p.colour;
    button.append(face, made('span', '', p.name));
    button.addEventListener('click', () => pick(p.name));
    return button;
  });
  where.setAttribute('aria-label', label);
  where.replaceChildren(...buttons);
}
function mine() {  // marks what is chosen
  element.querySelectorAll('[data-track]').forEach((b) => {
    b.classList.toggle('on', Number(b.dataset.track) === chosen);
    b.setAttribute('aria-pressed', Number(b.dataset.track) === chosen);
  });
}
function select(track) {
  chosen = track;
  mine();
  const [row, strip] = known(track) ?? [];
  find('.who').hidden = !row;
  if (!row) return;
  const image = find('.who .head img'), middle = strip.crops[Math.floor(strip.crops.length / 2)];
  image.hidden = !middle;
  if (middle) image.src = middle.image.url;
  const near = row.name === null && strip.nearest ? ' · ' + word('nearest', { name: strip.nearest, similarity: strip.similarity.toFixed(2) }) : '';
  find('.who .said').textContent = word('who', { name: nameOf(row, strip), track }) + near;
  picks(find('.who .picks'), word('who', { name: nameOf(row, strip), track }), (name) => say({ kind: 'name', track, name }));
  const nobody = made('button', '', word('nobody'));
  nobody.type = 'button';
  nobody.dataset.nobody = '';
  nobody.addEventListener('click', () => say({ kind: 'name', track, name: null }));
  find('.who .picks').append(nobody);
  const others = view.rows.flatMap((r) => r.strips.map((s) => [r, s])).filter(([, s]) => s.track !== track);
  find('.who select').replaceChildren(new Option('', ''), ...others.map(([r, s]) => new Option(word('track', { name: nameOf(r, s), track: s.track }), s.track)));
  place();
}
function say(...said) { trigger('say', { said }); }
find('.split').addEventListener('click', () => { splitting = true; say({ kind: 'split', track: chosen, at, new: 'later' }); });
find('.who select').addEventListener('change', (event) => {
  if (event.target.value) say({ kind: 'merge', track: chosen, into: Number(event.target.value) });
});
find('.who form').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = find('.who form input').value.trim();
  if (name) trigger('enrol', { track: chosen, name });
});

// ---- somebody was missed: a box in a frame that was looked at
function leave() {
  mark.hidden = find('.marking').hidden = still.hidden = true;
  video.controls = true;
  marked = box = null;
}
find('.leave').addEventListener('click', leave);
find('.missed').addEventListener('click', () => {
  if (!mark.hidden) return leave();
  video.pause();
  if (playing === 'result' && (!view.same || view.preview)) play('source');
  seek(sample(at));
  mark.replaceChildren();
  trigger('frame', { t: at, picture: Boolean(video.error) || video.readyState === 0 });
});
const percent = (v, all) => (100 * v) / all + '%';
function put(node, [x0, y0, x1, y1]) {
  Object.assign(node.style, { left: percent(x0, view.width), top: percent(y0, view.height), width: percent(x1 - x0, view.width), height: percent(y1 - y0, view.height) });
}
function drawBox() {
  const node = mark.querySelector('.box');
  put(node, box);
  node.setAttribute('aria-label', word('box', { box: box.map(Math.round).join(', ') }));
}
function begin(frame) {
  marked = frame;
  if (frame.image?.url) { still.src = frame.image.url; still.hidden = false; }
  const side = Math.min(view.width, view.height) / 4;
  box = [view.width / 2 - side / 2, view.height / 3 - side / 2, view.width / 2 + side / 2, view.height / 3 + side / 2];
  const node = made('div', 'box');
  node.tabIndex = 0;
  node.setAttribute('role', 'group');
  mark.replaceChildren(...frame.boxes.map((seen) => {
    const button = made('button', 'found', seen.name ?? '?');
    button.type = 'button';
    put(button, seen.box);
    button.setAttribute('aria-label', seen.track === null ? word('face') : word('track', { name: seen.name ?? '?', track: seen.track }));
    button.addEventListener('click', () => {
      if (seen.track !== null && known(seen.track)) { leave(); select(seen.track); } else { box = [...seen.box]; drawBox(); }
    });
    return button;
  }), node);
  drawBox();
  picks(find('.marking .picks'), word('mark_info'), (name) => { const said = { kind: 'point', box, at: marked.t, name }; leave(); say(said); });
  mark.hidden = find('.marking').hidden = false;
  video.controls = false;
  node.focus({ preventScroll: true });
  node.addEventListener('keydown', (event) => {
    const step = Math.max(2, view.width / 100);
    const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [];
    if (dx === undefined) return;
    event.preventDefault();
    if (event.shiftKey) box = [box[0], box[1], Math.max(box[0] + 4, box[2] + dx), Math.max(box[1] + 4, box[3] + dy)];
    else box = [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy];
    drawBox();
  });
}
let corner = null;
const spot = (event) => {
  const area = mark.getBoundingClientRect();
  return [((event.clientX - area.left) / area.width) * view.width, ((event.clientY - area.top) / area.height) * view.height];
};
mark.addEventListener('pointerdown', (event) => {
  if (event.target.closest('.found')) return;
  event.preventDefault();
  mark.setPointerCapture(event.pointerId);
  corner = spot(event);
});
mark.addEventListener('pointermove', (event) => {
  if (!corner) return;
  const [x, y] = spot(event);
  if (Math.hypot(x - corner[0], y - corner[1]) < 4) return;
  box = [Math.min(x, corner[0]), Math.min(y, corner[1]), Math.max(x, corner[0]), Math.max(y, corner[1])];
  drawBox();
});
for (const event of ['pointerup', 'pointercancel']) mark.addEventListener(event, () => { corner = null; });

// ---- what was said by hand
const saying = { name: 'said_name', split: 'said_split', merge: 'said_merge', point: 'said_point', click: 'said_click' };
function corrections() {
  const said = view.corrections;
  find('.by_hand').hidden = !said.length;
  find('.by_hand ul').replaceChildren(...said.map((one) => made('li', '', word(saying[one.kind], {
    track: one.track, name: one.name ?? word('nobody'), into: one.into, new: one.new, t: one.t === null ? '' : clock(one.t),
  }))));
  find('.again').hidden = !view.made;
}
find('.undo').addEventListener('click', () => trigger('undo', {}));
find('.again').addEventListener('click', () => trigger('again', {}));

// ---- from Python
function show() {
  const value = props.value ?? {};
  if (value.begun && value.begun !== begun) { begun = value.begun; document.dispatchEvent(new Event('idseg-jobs')); return; }
  if (value.frame && view) return begin(value.frame);
  if (value.version === undefined || value.version === newest) return;
  newest = value.version;
  if (!value.rows) {
    view = null;
    video.removeAttribute('src');
    video.load();
    find('.tracks').hidden = true;
    delete element.dataset.shown;
    return;
  }
  const before = view, same = before && before.source?.url === value.source?.url;
  view = value;
  if (value.result === undefined) {  // said by hand: what is played stays
    Object.assign(view, { result: before?.result ?? null, resultVersion: before?.resultVersion, offset: before?.offset, same: before?.same, preview: before?.preview, made: value.dirty });
  } else view.resultVersion = value.version;
  find('.tracks').hidden = false;
  stage.style.aspectRatio = value.width + ' / ' + value.height;
  stage.style.maxWidth = 'calc(60vh * ' + value.width / value.height + ')';
  leave();
  if (!same) at = 0;
  if (view.preview && value.result !== undefined) at = view.offset;
  play(view.result && (value.result !== undefined || playing === 'result') ? 'result' : 'source');
  chart();
  corrections();
  const last = view.corrections.at(-1);
  if (splitting && last?.kind === 'split') chosen = last.new;  // the part that begins at the playhead
  splitting = false;
  if (chosen !== null && same && known(chosen)) select(chosen); else { chosen = null; find('.who').hidden = true; }
  place();
  element.dataset.shown = value.version;
}
watch('value', show);
show();
