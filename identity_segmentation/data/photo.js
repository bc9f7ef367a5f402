// The stage: a photo with everybody in it as buttons; whoever is chosen is cut out on the spot, compared with the photo
// by a slider, changed by clicks, and set on any backdrop. Runs once, when the component is mounted, with element, props,
// trigger and watch from Gradio. Names only ever become text.
//
//   props.value  {version, code, said, job, photo, people, asked, result, near, pack}; what is not there stays as it is
//   props.mode   "person", or "thing": then what is asked for is a person and one of props.things
//   props.given  id of the place where photos are given;  props.words  language -> word -> text
//   trigger('pick', {job, who, thing, phrase, clicks})  cut that out; the clicks are all that were made on it
//   trigger('recall', {id})   a result of before;  trigger('pack', {ids})  several in one zip
//   trigger('keep', {job, who, name})  put a face on file under a name
//
// Coordinates are pixels of the photo. Which results are recent, the open page knows alone.
const find = (selector) => element.querySelector(selector);
const language = [navigator.language, 'en'].map((l) => l.slice(0, 2)).find((l) => props.words[l]);
const say = (key, given = {}) =>
  Object.entries(given).reduce((text, [name, value]) => text.replaceAll('{' + name + '}', value), props.words[language][key] ?? key);
const stage = find('.stage'), before = find('.before'), after = find('.after'), cut = find('.after img');
const slider = find('.compare input'), people = find('.people'), marks = find('.marks');
const things = props.mode === 'thing';
const CODES = ['ok', 'unsure', 'stranger', 'no_body', 'not_found', 'no_face', 'no_thing', 'not_sure', 'not_theirs'];
const MOST = 12, KEY = 'idseg_recent_' + props.mode;

const still = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
const sweep = find('.busy').animate([{ opacity: 0.2 }, { opacity: 1 }, { opacity: 0.2 }], { duration: 1200, iterations: Infinity });
sweep.pause();

let view = null;                 // what is shown: the merged values
let mode = 'choose', thing = '';
let clicks = [];                 // on the result that is shown
let cross = null;                // where the keys point
let own = null;                  // the visitor's backdrop: an object URL, which never leaves the browser
let back = 'checker';
let newest = 0, waiting = null;

function made(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  if (tag === 'button') node.type = 'button';
  return node;
}
element.querySelectorAll('[data-word]').forEach((e) => { e.textContent = say(e.dataset.word); });
element.querySelectorAll('[data-name]').forEach((e) => { e.setAttribute('aria-label', say(e.dataset.name)); });
element.querySelectorAll('[data-back]:not([data-word])').forEach((e) => { e.setAttribute('aria-label', e.title = say(e.dataset.back)); });
slider.setAttribute('aria-label', say('compare'));
if (things) {
  find('.things').hidden = false;
  for (const name of props.things) {
    const chip = made('button', '', say(name));
    chip.dataset.thing = name;
    find('.things').append(chip);
  }
}
const called = (label) => {
  const who = label.phrase || label.name || (label.number === null ? '' : say('person', { number: label.number }));
  return label.thing ? who + ' · ' + (props.words[language][label.thing] ?? label.thing) : who;
};
const person = (who) => view?.people?.find((p) => p.who === who);
const nameOf = (who) => person(who)?.name ?? say('person', { number: who + 1 });

// ---- to Python
function busy(on) {
  clearTimeout(waiting);
  stage.setAttribute('aria-busy', on);
  sweep.pause();
  if (on && !still()) sweep.play();
  if (on) { tell(say('working')); waiting = setTimeout(() => busy(false), 120000); }
}
function ask(asked) {
  busy(true);
  trigger('pick', { job: view.job, thing: '', phrase: '', clicks: [], ...asked });
}
function choose(who) {
  if (things) {
    view.asked = { ...view.asked, who, phrase: '' };
    if (!thing) { view.result = null; refresh(); return tell(say('now_thing', { name: nameOf(who) })); }
  }
  clicks = [];
  ask({ who, thing });
}
function chooseThing(name) {
  thing = name;
  const who = view?.asked?.who;
  refresh();
  if (who === undefined || who === null) return tell(say('now_person'));
  clicks = [];
  ask({ who, thing });
}
const again = () => { if (view?.result) ask({ ...view.asked, clicks }); };
element.addEventListener('idseg-again', again);

// ---- from Python
watch('value', show);
function show() {
  const value = props.value;
  if (!value || !(value.version > newest)) return;
  newest = value.version;
  if (value.code === 'packed') return save(value.pack.file.url, value.pack.name);
  if (value.given && value.job && view?.job === value.job && view.code !== 'looked') return;  // the same photo once more
  busy(false);
  if (value.code === 'error') {
    clicks = (view?.asked?.clicks ?? []).slice();  // the last one was refused
    tell(value.said, '', true);
    return refresh();
  }
  if (value.job === null) {
    view = null; clicks = [];
    tell('');
    return refresh();
  }
  const other = view?.job !== value.job;
  view = { asked: null, result: null, near: null, ...value };
  clicks = (view.asked?.clicks ?? []).map((c) => [...c]);
  if (other) { cross = null; before.src = view.photo.image.url; before.alt = say('photo_of', { name: view.photo.name }); }
  if (view.recalled && things && view.asked) thing = view.asked.thing;
  if (view.result) {
    cut.src = view.result.cutout.url;
    cut.alt = say('cutout_of', { name: called(view.result.label) });
    if (!view.recalled) remember(view.result);
    else slider.value = 0;
  } else { mode = 'choose'; cut.removeAttribute('src'); }
  if (value.code === 'looked') slider.value = 0;
  sentence();
  refresh();
  element.dataset.shown = value.version;
  into(view.result || !view.near ? stage : find('.near'));
}
function tell(text, more = '', bad = false) {
  find('.status').textContent = text;
  find('.status').classList.toggle('bad', bad);
  find('.evidence').textContent = more;
}
function sentence() {
  const known = view.people.filter((p) => p.name).length, name = view.result ? called(view.result.label) : view.name ?? '';
  if (view.code === 'looked') {
    return tell(say(view.people.length ? (things ? 'looked_things' : 'looked') : 'nobody', { people: view.people.length, known }));
  }
  const bad = !view.result || ['unsure', 'not_sure'].includes(view.code);
  tell(say(CODES.includes(view.code) ? view.code : 'ok', { name: name || nameOf(view.asked?.who ?? 0) }), view.said, bad);
}
function into(node) {  // on a phone the answer is far below the button
  const box = node.getBoundingClientRect(), seen = Math.min(box.bottom, innerHeight) - Math.max(box.top, 0);
  if (!box.height || seen > 0.6 * Math.min(box.height, innerHeight)) return;
  node.scrollIntoView({ block: box.height > innerHeight ? 'start' : 'center', behavior: still() ? 'auto' : 'smooth' });
}

// ---- the picture
function place(node, [x0, y0, x1, y1]) {
  const { width, height } = view.photo, cut = (v, most) => Math.min(most, Math.max(0, v));
  const [a, b, c, d] = [cut(x0, width), cut(y0, height), cut(x1, width), cut(y1, height)];
  Object.assign(node.style, { left: 100 * a / width + '%', top: 100 * b / height + '%', width: 100 * (c - a) / width + '%', height: 100 * (d - b) / height + '%' });
}
function drawPeople() {
  const focused = element.contains(document.activeElement) && document.activeElement.dataset?.who;
  people.replaceChildren(...view.people.map((p) => {
    const button = made('button', p.face ? 'person' : 'person body');
    button.dataset.who = p.who;
    button.style.setProperty('--hue', p.colour);
    place(button, p.face ?? p.body);
    const box = p.face ?? p.body, middle = (box[0] + box[2]) / 2 / view.photo.width;
    if (middle < 0.12) button.classList.add('west');  // its name stays within the photo
    if (middle > 0.88) button.classList.add('east');
    button.append(made('span', '', p.name ?? '?'));
    const sure = p.name ? say('similarity', { value: p.similarity.toFixed(2) }) : say('stranger_hint');
    button.setAttribute('aria-label', nameOf(p.who) + ', ' + sure);
    button.title = nameOf(p.who) + ' · ' + sure;
    button.setAttribute('aria-pressed', view.asked?.who === p.who);
    for (const [event, on] of [['pointerenter', true], ['focus', true], ['pointerleave', false], ['blur', false]]) {
      button.addEventListener(event, () => outline(on ? p : null));
    }
    button.addEventListener('click', (event) => { event.stopPropagation(); choose(p.who); });
    return button;
  }));
  if (focused) people.querySelector(`[data-who="${focused}"]`)?.focus({ preventScroll: true });
}
function outline(p) {
  people.querySelector('.outline')?.remove();
  if (!p?.body) return;
  const frame = made('div', 'outline');
  place(frame, p.body);
  people.prepend(frame);
}
function within(x, y) {  // who is meant by a place: of the bodies there, the one whose face is nearest across
  const far = (p) => { const b = p.face ?? p.body; return Math.abs(x - (b[0] + b[2]) / 2); };
  return view.people.filter((p) => p.body && p.body[0] <= x && x <= p.body[2] && p.body[1] <= y && y <= p.body[3])
    .sort((a, b) => far(a) - far(b))[0];
}
const at = (event) => {
  const box = stage.getBoundingClientRect(), { width, height } = view.photo;
  const share = (v) => Math.min(0.9999, Math.max(0, v));
  return [share((event.clientX - box.left) / box.width) * width, share((event.clientY - box.top) / box.height) * height].map((v) => +v.toFixed(1));
};
stage.addEventListener('click', (event) => {
  if (!view || event.target.closest('button, .line')) return;
  const [x, y] = at(event);
  if (mode !== 'choose') return click(x, y);
  const found = within(x, y);
  if (found) choose(found.who);
});
function click(x, y) {
  if (!view?.result || stage.getAttribute('aria-busy') === 'true') return;
  clicks.push([x, y, mode === 'add']);
  refresh();
  ask({ ...view.asked, clicks });
}
function drawMarks() {
  const { width, height } = view.photo, size = Math.max(width, height) / 90;
  marks.setAttribute('viewBox', `0 0 ${width} ${height}`);
  marks.replaceChildren(...clicks.map(([x, y, adds]) => {
    const sign = document.createElementNS('http://www.w3.org/2000/svg', 'g');
    for (const [name, given] of [
      ['circle', { cx: x, cy: y, r: size, fill: adds ? '#0a7d32' : '#b3001b', stroke: '#fff', 'stroke-width': size / 5 }],
      ['path', { d: `M${x - size / 2} ${y}h${size}` + (adds ? `M${x} ${y - size / 2}v${size}` : ''), stroke: '#fff', 'stroke-width': size / 4 }],
    ]) {
      const part = document.createElementNS('http://www.w3.org/2000/svg', name);
      for (const [key, value] of Object.entries(given)) part.setAttribute(key, value);
      sign.append(part);
    }
    return sign;
  }));
}
function slide() {
  const value = +slider.value;
  after.style.clipPath = `inset(0 0 0 ${value}%)`;
  find('.line').style.left = value + '%';
  find('.line').style.setProperty('--shift', (value < 3 ? 15 : value > 97 ? -15 : 0) + 'px');  // the handle stays inside
  slider.setAttribute('aria-valuetext', say('compared', { value: 100 - value }));
}
slider.addEventListener('input', slide);
find('.line').addEventListener('pointerdown', (event) => {
  event.preventDefault();
  const line = event.currentTarget;
  line.setPointerCapture(event.pointerId);
  const move = (e) => { const box = stage.getBoundingClientRect(); slider.value = 100 * (e.clientX - box.left) / box.width; slide(); };
  line.addEventListener('pointermove', move);
  line.addEventListener('lostpointercapture', () => line.removeEventListener('pointermove', move), { once: true });
});

// ---- everything that follows from the state
function refresh() {
  stage.classList.toggle('full', !!view);
  stage.classList.toggle('done', !!view?.result);
  const pointing = !!view?.result && mode !== 'choose';
  stage.classList.toggle('pointing', pointing);
  stage.tabIndex = pointing ? 0 : -1;
  if (pointing) { stage.setAttribute('role', 'application'); stage.setAttribute('aria-label', say('pointing')); }
  else { stage.removeAttribute('role'); stage.removeAttribute('aria-label'); stage.classList.remove('keys'); }
  find('.tools').hidden = !view;
  find('.files').hidden = find('.compare').hidden = !view?.result;
  element.querySelectorAll('.tools button').forEach((b) => { b.disabled = !view?.result; });
  element.querySelectorAll('[data-mode]').forEach((b) => b.setAttribute('aria-pressed', b.dataset.mode === mode));
  element.querySelectorAll('[data-thing]').forEach((b) => b.setAttribute('aria-pressed', b.dataset.thing === thing));
  element.querySelectorAll('[data-back]').forEach((b) => b.setAttribute('aria-pressed', b.dataset.back === back));
  if (!clicks.length) find('[data-do=undo]').disabled = true;
  after.dataset.on = back;
  after.style.backgroundImage = back === 'own' && own ? `url("${own}")` : '';
  if (view) {
    const { width, height } = view.photo;
    stage.style.aspectRatio = width + ' / ' + height;
    stage.style.maxWidth = `calc(80vh * ${width / height})`;
    drawPeople();
    drawMarks();
  } else { stage.style.aspectRatio = stage.style.maxWidth = ''; people.replaceChildren(); marks.replaceChildren(); before.removeAttribute('src'); }
  slide();
  near();
  files();
}
function near() {
  const box = find('.near'), given = view?.near;
  box.hidden = !given;
  if (!given) return box.replaceChildren();
  const figure = (node, text) => { const f = made('figure'); f.append(node, made('figcaption', '', text)); return f; };
  const picture = (file, alt) => { const i = made('img'); i.src = file.url; i.alt = alt; return i; };
  let reference = given.reference && picture(given.reference, say('on_file', { name: given.person }));
  if (!reference) {
    reference = made('div', 'avatar');
    reference.style.background = given.colour;
    reference.append(made('span', '', [...given.person][0].toUpperCase()));
    reference.setAttribute('aria-hidden', 'true');
  }
  const [like, needed] = [given.similarity, given.needed].map((v) => v.toFixed(2));
  const lines = [say('gauge', { similarity: like, needed })];
  if (given.given) lines.push(say('given', { name: given.given }));
  else if (given.similarity >= given.needed && given.rival && given.lead < given.least_lead) {
    lines.push(say('lead', { lead: given.lead.toFixed(2), rival: given.rival, needed: given.least_lead.toFixed(2) }));
  }
  const gauge = made('div', 'gauge'), scale = made('div', 'scale'), bar = made('i'), mark = made('b');
  const share = (v) => 100 * Math.min(1, Math.max(0, v)) + '%';
  bar.style.width = share(given.similarity);
  mark.style.left = share(given.needed);
  scale.append(bar, mark);
  scale.setAttribute('role', 'img');
  scale.setAttribute('aria-label', lines[0]);
  gauge.append(made('strong', '', lines[0]), scale, ...lines.slice(1).map((line) => made('div', '', line)));
  const pair = made('div', 'pair');
  pair.append(figure(picture(given.face, say('nearest')), say('nearest')), figure(reference, say('on_file', { name: given.person })), gauge);
  const actions = made('div', 'group');
  if (!things && !given.given) {
    const keep = made('button', '', say('is_them', { name: given.person }));
    keep.addEventListener('click', () => trigger('keep', { job: view.job, who: given.who, name: given.person }));
    actions.append(keep);
  }
  if (!view.result) {
    const anyway = made('button', '', say('anyway'));
    anyway.addEventListener('click', () => choose(given.who));
    actions.append(anyway);
  }
  box.replaceChildren(pair, actions);
}

// ---- downloads and backdrops
function save(url, name) {
  const link = made('a');
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
}
function files() {
  const box = find('.files');
  if (!view?.result) return box.replaceChildren();
  const on = made('button', '', say('on_backdrop', { name: say(back) }));
  on.addEventListener('click', compose);
  on.hidden = back === 'checker';
  box.replaceChildren(made('strong', '', say('download')), ...view.result.files.map((file) => {
    const link = made('a', '', say({ cutout: 'file_cutout', overlay: 'file_overlay', annotated: 'file_annotated', mask: 'file_mask' }[file.kind]));
    link.href = file.file.url;
    link.download = file.name;
    link.dataset.kind = file.kind;
    return link;
  }), on);
}
const COLOURS = { magenta: '#ff00ff', white: '#ffffff', black: '#000000', green: '#00b140' };
async function compose() {  // in the photo's own pixels
  const { width, height } = view.photo, canvas = made('canvas'), stem = view.result.stem;
  canvas.width = width; canvas.height = height;
  const pen = canvas.getContext('2d');
  if (back === 'own') {
    const picture = new Image();
    picture.src = own;
    await picture.decode();
    const scale = Math.max(width / picture.naturalWidth, height / picture.naturalHeight);
    const [w, h] = [picture.naturalWidth * scale, picture.naturalHeight * scale];
    pen.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h);
  } else { pen.fillStyle = COLOURS[back]; pen.fillRect(0, 0, width, height); }
  await cut.decode();
  pen.drawImage(cut, 0, 0, width, height);
  canvas.toBlob((blob) => {
    const url = URL.createObjectURL(blob);
    save(url, `${stem}_on-${back}.png`);
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }, 'image/png');
}
find('.ownfile').addEventListener('change', (event) => {
  const file = event.target.files[0];
  if (!file) return;
  const url = URL.createObjectURL(file), picture = new Image();
  picture.src = url;
  picture.decode().then(() => {
    if (own) URL.revokeObjectURL(own);
    [own, back] = [url, 'own'];
    refresh();
  }, () => tell(say('no_backdrop', { name: file.name }), '', true));
  event.target.value = '';
});

// ---- recent results: known to this open page, and over a reload
let recent = [];
try { recent = JSON.parse(sessionStorage.getItem(KEY)) ?? []; } catch (error) { recent = []; }
function remember(result) {
  recent = recent.filter((r) => r.id !== result.id);
  recent.unshift({ id: result.id, url: result.thumb.url, photo: view.photo.name, label: result.label });
  recent = recent.slice(0, MOST);
  strip();
}
function strip() {
  try { sessionStorage.setItem(KEY, JSON.stringify(recent)); } catch (error) { /* kept as long as the page is open */ }
  find('.recent').hidden = !recent.length;
  find('.strip').replaceChildren(...recent.map((r) => {
    const button = made('button'), image = made('img');
    image.src = r.url;
    image.alt = say('recall', { name: called(r.label), photo: r.photo });
    image.addEventListener('error', () => { recent = recent.filter((other) => other.id !== r.id); strip(); });  // a day is over
    button.title = image.alt;
    button.dataset.id = r.id;
    const label = made('span', '', called(r.label));
    label.setAttribute('aria-hidden', 'true');
    button.append(image, label);
    button.addEventListener('click', () => { busy(true); trigger('recall', { id: r.id }); });
    return button;
  }));
}

// ---- buttons, keys, and photos that are dropped here
element.addEventListener('click', (event) => {
  const { mode: wanted, back: on, do: what, thing: chip } = event.target.closest('button')?.dataset ?? {};
  if (wanted) setMode(wanted);
  if (on === 'own') find('.ownfile').click();
  else if (on) { back = on; refresh(); }
  if (chip) chooseThing(chip);
  if (what === 'undo') undo();
  if (what === 'pack') trigger('pack', { ids: recent.map((r) => r.id) });
  if (what === 'give') input()?.click();
});
function setMode(wanted) {
  mode = wanted;
  refresh();
  if (view?.result && mode !== 'choose') tell(say({ add: 'add_hint', remove: 'remove_hint' }[mode]));
}
function undo() {
  if (!clicks.length || stage.getAttribute('aria-busy') === 'true') return;
  clicks.pop();
  refresh();
  ask({ ...view.asked, clicks });
}
element.addEventListener('keydown', (event) => {
  if (!view?.result || event.altKey || event.target.matches('input:not([type=range]), textarea, select')) return;
  const held = event.ctrlKey || event.metaKey;
  if (held && event.code === 'KeyZ') { event.preventDefault(); return undo(); }
  if (held) return;
  const wanted = { KeyA: 'add', KeyR: 'remove', KeyC: 'choose' }[event.code];  // on any keyboard's layout
  if (wanted) {
    event.preventDefault();
    setMode(wanted);
    if (wanted !== 'choose') stage.focus({ preventScroll: true });
    return;
  }
  if (event.target !== stage || mode === 'choose') return;
  const { width, height } = view.photo, step = (event.shiftKey ? 0.005 : 0.025) * Math.max(width, height);
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (way) {
    event.preventDefault();
    const box = view.people[view.asked?.who]?.face;
    cross ??= box ? [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2] : [width / 2, height / 2];
    cross = [Math.min(width - 1, Math.max(0, cross[0] + way[0] * step)), Math.min(height - 1, Math.max(0, cross[1] + way[1] * step))];
    stage.classList.add('keys');
    Object.assign(find('.cross').style, { left: 100 * cross[0] / width + '%', top: 100 * cross[1] / height + '%' });
  } else if ((event.key === 'Enter' || event.key === ' ') && cross) {
    event.preventDefault();
    click(...cross.map((v) => +v.toFixed(1)));
  }
});
const input = () => document.querySelector(`#${props.given} input[type=file]`);
stage.addEventListener('dragover', (event) => { event.preventDefault(); stage.classList.add('over'); });
stage.addEventListener('dragleave', () => stage.classList.remove('over'));
stage.addEventListener('drop', (event) => {
  event.preventDefault();
  stage.classList.remove('over');
  const given = event.dataTransfer.files;
  if (!given.length) return;
  const hand = (tries) => {
    const place = input();
    if (place) {
      const all = new DataTransfer();
      all.items.add(given[0]);
      place.files = all.files;
      place.dispatchEvent(new Event('change', { bubbles: true }));
    } else if (tries) {  // another photo is there: it goes first
      document.querySelector(`#${props.given} button[aria-label="Remove Image"]`)?.click();
      setTimeout(() => hand(tries - 1), 100);
    }
  };
  hand(20);
});

strip();
refresh();
show();  // watch tells of later values only
