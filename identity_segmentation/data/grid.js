// Labels as thumbnails, the least sure first, and one of them large: what is decided goes to Python, numbered and in order.
// Runs once, when the component is mounted, with element, props, trigger and watch from Gradio. Names only ever become text.
//
//   props.value    {job, version, stamp, rows, running}, and of an answer {ack, changed, decided, thumbs, look, said}; see
//                  `label_grid.py`. A row is {name, state, seen, sure, objects: [[name, score, expected IoU]], reason}
//   props.words    language -> word -> text
//   trigger('asked', {...})            one at a time, and again until it is answered
//   trigger('corrected', {job, name})  this picture to the canvas
//   trigger('advised', {job})          which pictures would teach most; the answer has `advice`: [{name, reason}], best first
//   trigger('reopened', {job})         after the page was loaded again
const find = (selector) => element.querySelector(selector);
const language = [navigator.language, 'en'].map((l) => l.slice(0, 2)).find((l) => props.words[l]);
const words = props.words[language];
const say = (key, given) => words[key].replace(/\{(\w+)\}/g, (_, name) => given[name]);
const count = (number) => number.toLocaleString(language);
const STATES = ['proposed', 'accepted', 'rejected', 'corrected', 'unreadable'];
const KEYS = { a: 'accept', r: 'reject', e: 'correct', p: 'previous', n: 'next' };
const FIELDS = 'textarea, select, [contenteditable], input:not([type=checkbox], [type=radio], [type=range], [type=file])';
const STEP = 60;  // cells that are made at once
const SHAPES = {  // told apart without colours: a ring, a tick, a cross, a pencil, a triangle with a mark
  proposed: 'M8 2a6 6 0 1 0 .01 0z', accepted: 'M2 8.5l4 4 8-9', rejected: 'M3 3l10 10M13 3L3 13',
  corrected: 'M2.5 13.5l1-4L11 2l3 3-7.5 7.5z', unreadable: 'M8 2l6.5 12h-13zM8 6v4M8 12v.6',
};
const STORE = 'idseg_label_job';

let rows = [];        // all of them, in order
let shown = [];       // those that the filter lets through
let filter = 'all';
let advice = new Map();  // name -> why its marks would teach much, the best first
let job = null, stamp = null, version = 0, running = null;
let focused = null;   // a name
let made = 0;         // cells that are in the page
const thumbs = new Map(), large = new Map();  // name + seen -> address, or null where there is none
const cells = new Map();                      // name -> cell
const insight = new Set();                    // names of cells in sight
let pending = [];     // decisions that are not on record yet
let n = Date.now(), asking = null, timer = null, poll = null, tries = 0;

element.querySelectorAll('[data-word]').forEach((e) => { e.textContent = words[e.dataset.word]; });
find('.cells').setAttribute('aria-label', say('title'));
find('.filters').setAttribute('aria-label', say('filter'));
element.querySelectorAll('[data-do]').forEach((button) => {
  const key = document.createElement('kbd');
  key.textContent = button.dataset.key;
  key.setAttribute('aria-hidden', 'true');
  button.append(words[button.dataset.do], key);
  button.setAttribute('aria-keyshortcuts', button.dataset.key);
});
for (const state of ['all', ...STATES, 'advised']) {
  const button = document.createElement('button');
  button.type = 'button';
  button.dataset.filter = state;
  find('.filters').append(button);
}

// ---- to Python
const keyOf = (row) => row.name + '\n' + row.seen;
const rowOf = (name) => rows.find((row) => row.name === name);
const wantsLarge = () => {  // the one that is looked at, and the next
  const at = shown.findIndex((row) => row.name === focused);
  return at < 0 ? [] : shown.slice(at, at + 2).filter((row) => row.state !== 'unreadable' && !large.has(keyOf(row)));
};
const wantsThumbs = () => [...insight].map(rowOf)
  .filter((row) => row && row.state !== 'unreadable' && !thumbs.has(keyOf(row))).slice(0, 24);

function ask(anyway) {
  if (asking !== null || job === null) return;
  const small = wantsThumbs(), big = wantsLarge();
  if (!anyway && !pending.length && !small.length && !big.length) return;
  asking = { n: ++n, thumbs: small.map(keyOf), look: big.map(keyOf) };
  trigger('asked', {
    n, job, stamp, decide: pending.slice(0, 50).map(({ n, name, state, seen }) => ({ n, name, state, seen })),
    thumbs: small.map((row) => row.name), look: big.map((row) => row.name),
  });
  clearTimeout(timer);
  timer = setTimeout(() => { asking = null; tries++; ask(true); }, 8000 * 2 ** Math.min(tries, 3));
}

// ---- from Python
function keep(store, keys, files) {
  for (const key of keys) {
    const file = files[key.split('\n')[0]];
    if (file !== undefined) store.set(key, file?.url ?? null);
  }
  while (store.size > 3000) store.delete(store.keys().next().value);
}
function tell(text) { find('.said').textContent = text; }

function show() {
  const value = props.value;
  if (!value || value.version <= version) return;
  version = value.version;
  if (value.ack !== undefined && asking && value.ack === asking.n) {
    clearTimeout(timer);
    keep(thumbs, asking.thumbs, value.thumbs);
    keep(large, asking.look, value.look);
    pending = pending.filter((d) => !(d.n <= value.decided));
    asking = null;
    tries = 0;
    if (value.said) tell(value.said);
  }
  if (value.ack === undefined || value.job === job) {
    if (value.job !== job) other(value.job);
    if (value.running && !running) document.dispatchEvent(new Event('idseg-jobs'));  // the list of jobs looks at once
    running = value.running ?? null;
    if (value.rows) take(value.rows);
    for (const row of value.changed ?? []) change(row);
    if (value.stamp) stamp = value.stamp;
  }
  if (value.advice && value.job === job) advised(value);
  refresh();
  if (value.finished) returned(value.finished);
  clearTimeout(poll);
  if (running) poll = setTimeout(() => ask(true), 1500);
  element.dataset.shown = version;
  ask();
}
function advised(value) {
  advice = new Map(value.advice.map(({ name, reason }) => [name, reason]));
  tell(value.said || (advice.size ? say('advised', { count: count(advice.size) }) : say('advised_none')));
  if (advice.size) choose('advised');
  else if (filter === 'advised') choose('all');
}
function other(name) {
  job = name;
  advice.clear();
  stamp = focused = null;
  rows = [];
  pending = [];
  filter = 'all';
  tell('');
  try { if (name) localStorage.setItem(STORE, name); } catch { /* a browser may forbid it */ }
}
function take(all) {
  const decided = new Map(pending.map((d) => [d.name, d.state]));
  rows = all.map((row) => (decided.has(row.name) ? { ...row, state: decided.get(row.name) } : row));
  if (!rowOf(focused)) focused = null;
  list(true);
}
function change(row) {
  const at = rows.findIndex((old) => old.name === row.name);
  if (at < 0 || pending.some((d) => d.name === row.name)) return;
  const state = rows[at].state;
  rows[at] = row;
  const place = shown.findIndex((old) => old.name === row.name);
  if (place >= 0) shown[place] = row;
  fill(row);
  if (state !== row.state) list(false);
}
watch('value', show);

// ---- the cells: made as they come into sight
function passing() {
  if (filter === 'advised') return [...advice.keys()].map(rowOf).filter(Boolean);
  return rows.filter((row) => filter === 'all' || row.state === filter);
}
function choose(state) {
  filter = state;
  if (!passing().some((row) => row.name === focused) || filter === 'advised') focused = passing()[0]?.name ?? null;
  made = 0;
  find('.cells').scrollTop = 0;
  list(true);
  refresh();
  if (focused) focus(focused, false);
}
const whyOf = (row) => (filter === 'advised' ? advice.get(row.name) ?? '' : '');
function list(anew) {
  const passed = passing();
  const same = passed.length === shown.length && passed.every((row, i) => row.name === shown[i].name);
  shown = passed;
  if (focused === null) focused = (rows.find((row) => row.state === 'proposed' && shown.includes(row)) ?? shown[0])?.name ?? null;
  if (!same) {
    const keptFocus = element.contains(document.activeElement) && document.activeElement.classList.contains('cell');
    const top = find('.cells').scrollTop;
    watcher.disconnect();
    insight.clear();
    cells.clear();
    find('.cells').replaceChildren();
    const wanted = Math.max(made, STEP);
    made = 0;
    more(wanted);
    find('.cells').scrollTop = top;
    if (keptFocus) cells.get(focused)?.focus({ preventScroll: true });
  } else if (anew) shown.forEach(fill);
}
function more(number) {
  const part = document.createDocumentFragment();
  const until = Math.min(shown.length, made + number);
  for (; made < until; made++) part.append(cell(shown[made]));
  find('.cells').append(part);
}
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) insight.add(entry.target.dataset.name);
    else insight.delete(entry.target.dataset.name);
  }
  ask();
}, { root: find('.cells'), rootMargin: '200px 0px' });
find('.cells').addEventListener('scroll', (event) => {
  const box = event.currentTarget;
  if (made < shown.length && box.scrollTop + 2 * box.clientHeight > box.scrollHeight) more(STEP);
}, { passive: true });

function make(tag, name, parent) {
  const made = document.createElement(tag);
  made.className = name;
  parent?.append(made);
  return made;
}
function mark(place, state) {
  if (place.dataset.state === state) return;
  place.dataset.state = state;
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  svg.setAttribute('viewBox', '0 0 16 16');
  svg.setAttribute('aria-hidden', 'true');
  Object.entries({ d: SHAPES[state], fill: 'none', stroke: 'currentColor', 'stroke-width': 2, 'stroke-linejoin': 'round',
    'stroke-dasharray': state === 'proposed' ? '3 2' : 'none' }).forEach(([k, v]) => path.setAttribute(k, v));
  svg.append(path);
  place.replaceChildren(svg, words[state]);
}
const surely = (row) => (row.state === 'unreadable' ? '' : say('sure', { sure: row.sure.toFixed(2) }));
const things = (row) => [...new Set(row.objects.map(([name]) => name))].join(', ');

function cell(row) {
  const made = make('div', 'cell');
  made.setAttribute('role', 'option');
  made.dataset.name = row.name;
  make('div', 'thumb', made);
  make('span', 'name', made).textContent = row.name;
  make('span', 'names', made);
  make('span', 'why', made);
  const line = make('div', 'line', made);
  make('span', 'mark', line);
  make('span', 'sure', line);
  cells.set(row.name, made);
  watcher.observe(made);
  fill(row);
  return made;
}
function fill(row) {
  const made = cells.get(row.name);
  if (!made) return;
  mark(made.querySelector('.mark'), row.state);
  made.querySelector('.names').textContent = things(row) || '–';
  made.querySelector('.why').textContent = whyOf(row);
  made.querySelector('.sure').textContent = row.state === 'unreadable' ? '' : row.sure.toFixed(2);
  const at = shown.findIndex((other) => other.name === row.name);
  made.setAttribute('aria-label', [row.name, words[row.state], surely(row), things(row), whyOf(row)].filter(Boolean).join(', '));
  made.setAttribute('aria-setsize', shown.length);
  made.setAttribute('aria-posinset', at + 1);
  const chosen = row.name === focused;
  made.setAttribute('aria-selected', chosen);
  made.tabIndex = chosen ? 0 : -1;
  const url = thumbs.get(keyOf(row)), place = made.querySelector('.thumb');
  if (url && place.dataset.url !== url) {
    place.dataset.url = url;
    const image = make('img', '');
    image.alt = '';
    image.onerror = () => { if (thumbs.get(keyOf(row)) === url) { thumbs.delete(keyOf(row)); setTimeout(ask, 3000); } };  // swept
    image.src = url;
    place.replaceChildren(image);
  }
}

// ---- the one that is looked at
function refresh() {
  const numbers = { all: rows.length };
  for (const row of rows) numbers[row.state] = (numbers[row.state] ?? 0) + 1;
  element.querySelectorAll('[data-filter]').forEach((button) => {
    const state = button.dataset.filter, number = numbers[state] ?? 0;
    button.setAttribute('aria-pressed', filter === state);
    button.hidden = !(state === 'advised' ? numbers.proposed : number) && state !== 'all' && filter !== state;
    button.style.display = button.hidden ? 'none' : '';
    if (state === 'advised') button.textContent = say('advise');
    else if (state !== 'all') {
      const place = button.querySelector('.mark') ?? make('span', 'mark', button);
      mark(place, state);
      (button.querySelector('.number') ?? make('span', 'number', button)).textContent = count(number);
    } else button.textContent = `${say('all')} ${count(number)}`;
  });
  const looked = rows.length - (numbers.proposed ?? 0) - (numbers.unreadable ?? 0);
  find('.count').textContent = rows.length ? say('count', { done: count(looked), all: count(rows.length) }) : '';
  find('.filters').style.display = rows.length ? '' : 'none';
  find('.empty').hidden = rows.length > 0;
  find('.both').hidden = !rows.length;
  find('.running').hidden = !running;
  if (running) progressed();
  for (const name of insight) { const row = rowOf(name); if (row) fill(row); }
  looking();
}
function progressed() {
  const bar = find('progress');
  bar.setAttribute('aria-label', say('working'));
  if (running.total) { bar.max = running.total; bar.value = running.done; } else bar.removeAttribute('value');
  const left = running.left === null ? '' : say('left', { left: clock(running.left) });
  find('.left').textContent = running.stopping ? say('stopping')
    : running.total ? `${say('progress', { done: count(running.done), all: count(running.total) })} ${left}` : say('waiting');
}
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;

function looking() {
  const row = rowOf(focused), image = find('.large img');
  element.querySelectorAll('[data-do]').forEach((button) => {
    const decides = ['accept', 'reject', 'correct'].includes(button.dataset.do);
    button.disabled = !row || (decides && row.state === 'unreadable');
  });
  if (!row) { image.hidden = true; return; }
  const best = large.get(keyOf(row)), url = best ?? thumbs.get(keyOf(row)) ?? null;
  find('.look .name').textContent = row.name;
  mark(markOf(find('.look .state')), row.state);
  find('.look .sure').textContent = surely(row);
  find('.look .why').textContent = whyOf(row);
  find('.look .why').hidden = !whyOf(row);
  find('.reason').hidden = row.state !== 'unreadable';
  find('.reason').textContent = row.reason ?? '';
  image.hidden = !url;
  image.classList.toggle('soft', !best);
  image.alt = say('large', { name: row.name });
  if (url && image.getAttribute('src') !== url) image.src = url;
  element.dataset.looking = best ? row.name : '';
  find('.things').replaceChildren(...row.objects.map(([name, score, iou]) => {
    const item = document.createElement('li');
    item.textContent = `${name} ${score.toFixed(2)}` + (iou === null ? '' : ` (IoU ~ ${iou.toFixed(2)})`);
    return item;
  }));
}
const markOf = (place) => place.querySelector('.mark') ?? make('span', 'mark', place);
find('.large img').addEventListener('error', () => {  // swept: it is made again
  const row = rowOf(focused);
  if (row && large.delete(keyOf(row))) setTimeout(ask, 3000);
});

function focus(name, move) {
  const before = rowOf(focused), at = shown.findIndex((row) => row.name === name);
  if (at < 0) return;
  focused = name;
  if (at >= made) more(at - made + STEP);
  if (before) fill(before);
  fill(shown[at]);
  const made_ = cells.get(name), box = find('.cells');
  const top = made_.offsetTop, bottom = top + made_.offsetHeight;
  if (top < box.scrollTop) box.scrollTop = top - 8;
  else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight + 8;
  if (move) made_.focus({ preventScroll: true });
  looking();
  ask();
}

// ---- decisions and steps
function undecidedAfter(name) {
  const at = shown.findIndex((row) => row.name === name);
  const order = [...shown.slice(at + 1), ...shown.slice(0, Math.max(at, 0))];
  return order.find((row) => row.state === 'proposed')?.name ?? null;
}
function decide(state) {
  const row = rowOf(focused);
  if (!row || row.state === 'unreadable') return;
  const next = undecidedAfter(row.name), inCells = document.activeElement?.classList.contains('cell');
  const as = row.state === 'corrected' && state === 'accepted' ? 'corrected' : state;  // a correction is an acceptance
  pending.push({ n: ++n, name: row.name, state, seen: row.seen });
  row.state = as;
  fill(row);
  tell(say('decided', { name: row.name, state: words[as] }) + (next ? '' : ' ' + say('all_looked')));
  if (next) focused = next;
  list(false);
  refresh();
  if (next) focus(next, inCells);
  ask();
}
function step(by) {
  const at = shown.findIndex((row) => row.name === focused);
  const to = Math.min(shown.length - 1, Math.max(0, at + by));
  if (shown[to]) focus(shown[to].name, document.activeElement?.classList.contains('cell'));
}
function act(what) {
  hand();
  if (what === 'accept') decide('accepted');
  else if (what === 'reject') decide('rejected');
  else if (what === 'next') step(1);
  else if (what === 'previous') step(-1);
  else if (rowOf(focused) && rowOf(focused).state !== 'unreadable') {
    tell(say('opening'));
    trigger('corrected', { job, name: focused });
  }
}
function returned(name) {  // a correction is done: on with the next
  tell(say('decided', { name, state: say('corrected') }));
  focused = rowOf(name) ? name : focused;
  const next = undecidedAfter(name) ?? focused;
  hand();
  refresh();
  if (next) focus(next, true);
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  element.scrollIntoView({ behavior: still ? 'auto' : 'smooth', block: 'start' });
}

// ---- the hand: keys mean the canvas's tools while it is there, and decisions while it is here
function hand() { document.body.dataset.idsegHand = 'grid'; }
element.addEventListener('pointerdown', hand);
element.addEventListener('focusin', hand);
element.addEventListener('click', (event) => {
  const button = event.target.closest('button'), chosen = event.target.closest('.cell');
  if (button?.dataset.do) act(button.dataset.do);
  else if (button?.dataset.filter === 'advised') {  // asked every time: what is marked meanwhile changes it
    tell(say('advising'));
    trigger('advised', { job });
  } else if (button?.dataset.filter) choose(button.dataset.filter);
  else if (chosen) focus(chosen.dataset.name, true);
});
const across = () => Math.max(1, getComputedStyle(find('.cells')).gridTemplateColumns.split(' ').length);
find('.cells').addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const page = across() * Math.max(1, Math.floor(find('.cells').clientHeight / (event.target.offsetHeight || 1)));
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across(), ArrowUp: -across(), PageDown: page, PageUp: -page,
    Home: -shown.length, End: shown.length }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  step(by);
});
document.addEventListener('keydown', function key(event) {
  if (!element.isConnected) return document.removeEventListener('keydown', key, true);
  if (document.body.dataset.idsegHand === 'canvas' || !rows.length || !find('.both').clientWidth) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  if (event.target.closest?.(FIELDS)) return;
  // The letter on the key, or, where the keyboard writes another script, the place of the key.
  const what = KEYS[/^[a-z]$/i.test(event.key) ? event.key.toLowerCase() : event.code.replace(/^Key/, '').toLowerCase()];
  if (!what) return;
  event.preventDefault();
  if (!event.repeat || what === 'next' || what === 'previous') act(what);
}, true);

window.addEventListener('beforeunload', function leave(event) {
  if (!element.isConnected) return window.removeEventListener('beforeunload', leave);
  if (pending.length) event.preventDefault();  // a decision is not on record yet
});

// The job that was open before the page was loaded again, once the tab is looked at.
new IntersectionObserver((entries, observer) => {
  if (!entries.some((entry) => entry.isIntersecting)) return;
  observer.disconnect();
  let before = null;
  try { before = localStorage.getItem(STORE); } catch { /* a browser may forbid it */ }
  if (before && job === null) trigger('reopened', { job: before });
}).observe(element);

refresh();
show();  // watch tells of later values only
