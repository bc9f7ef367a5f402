// Whom to look for, and what to make of the video. Names only ever become text.
//
//   props.value   {people: [{name, label, colour, image}], n}; n changes when a job has begun
//   props.views   the views;  props.nobody  those that ask for nobody;  props.words  language -> word -> text
//   trigger('look' | 'preview' | 'make', {members, view})
// What is chosen is also said in data-chosen of the element with the class "ask", for the buttons beside the result.
const find = (selector) => element.querySelector(selector);
const language = [navigator.language, 'en'].map((l) => l.slice(0, 2)).find((l) => props.words[l]);
const word = (key) => props.words[language][key] ?? key;
element.querySelectorAll('[data-word]').forEach((e) => { e.textContent = word(e.dataset.word); });
find('.people').setAttribute('aria-label', word('who'));
find('.views').setAttribute('aria-label', word('view'));

let people = [], chosen = new Set(), view = props.views.includes('overlay') ? 'overlay' : props.views[0], begun = null, shown = '';

function told() {
  const members = people.map((p) => p.name).filter((name) => chosen.has(name));
  find('.ask').dataset.chosen = JSON.stringify({ members, view });
  return { members, view };
}
function chip(label, colour, image, pressed, press) {
  const button = document.createElement('button');
  button.type = 'button';
  button.setAttribute('aria-pressed', pressed());
  const face = document.createElement(image?.url ? 'img' : 'span');
  face.className = 'face';
  face.style.borderColor = colour;
  if (image?.url) { face.src = image.url; face.alt = ''; } else face.textContent = [...label][0] ?? '';
  const tick = document.createElement('span'), name = document.createElement('span');
  tick.className = 'tick';
  tick.textContent = '✓';
  tick.ariaHidden = true;
  name.textContent = label;
  button.append(face, tick, name);
  button.addEventListener('click', () => { press(); refresh(); });
  button.refresh = () => button.setAttribute('aria-pressed', pressed());
  return button;
}
function refresh() {
  find('.people').querySelectorAll('button').forEach((b) => b.refresh());
  find('.views').querySelectorAll('button').forEach((b) => {
    b.setAttribute('aria-checked', b.dataset.view === view);
    b.tabIndex = b.dataset.view === view ? 0 : -1;
  });
  find('.people').style.opacity = props.nobody.includes(view) ? 0.5 : 1;
  told();
}
function faces() {
  const everybody = people.length > 1
    ? [chip(word('everybody'), 'var(--border-color-primary)', null, () => people.every((p) => chosen.has(p.name)),
      () => { chosen = people.every((p) => chosen.has(p.name)) ? new Set() : new Set(people.map((p) => p.name)); })]
    : [];
  find('.people').replaceChildren(...people.map((p) => {
    const button = chip(p.name, p.colour, p.image, () => chosen.has(p.name),
      () => { if (!chosen.delete(p.name)) chosen.add(p.name); });
    button.dataset.name = p.name;
    if (p.label && p.label !== p.name) button.title = p.label;
    return button;
  }), ...everybody);
  find('.none').hidden = people.length > 0;
  refresh();
}

// ---- the views: a small drawing of two people each, of whom the left one was asked for
const body = (x, how) => '<g ' + how + '><circle cx="' + x + '" cy="19" r="9"/><path d="M' + (x - 16) + ' 54 q0 -24 16 -24 q16 0 16 24 z"/></g>';
const [me, other, veiled] = ['fill="#f3b26b"', 'fill="#9fb0c4"', 'fill="#6d7a8c" stroke="#c5cfdb" stroke-width="2" stroke-dasharray="2 3"'];
const drawings = {
  annotated: body(42, me) + body(96, other) + '<rect x="27" y="6" width="30" height="26" fill="none" stroke="#7dffb0" stroke-width="3"/>',
  overlay: body(42, 'fill="#f3b26b" stroke="#ff4fa3" stroke-width="5"') + body(96, other),
  cutout: '<rect width="140" height="54" fill="url(#idseg-squares)"/>' + body(70, me),
  matte: '<rect width="140" height="54" fill="#000"/>' + body(42, 'fill="#fff"'),
  'blur-others': body(42, me) + body(96, veiled),
  blur: body(42, veiled) + body(96, other),
  anonymise: body(42, other) + body(96, other) + '<g fill="#6d7a8c" stroke="#c5cfdb" stroke-width="2" stroke-dasharray="2 3"><circle cx="42" cy="19" r="11"/><circle cx="96" cy="19" r="11"/></g>',
  crop: '<rect width="140" height="54" fill="#1d232c"/><rect x="54" width="32" height="54" fill="#3d4654"/>' + body(70, me),
};
const titles = {  // what a view is called, and what is said of it
  annotated: ['annotated', 'annotated_info'], overlay: ['overlay', 'overlay_info'], cutout: ['cutout', 'cutout_info'],
  matte: ['matte', 'matte_info'], 'blur-others': ['blur_others', 'blur_others_info'], blur: ['blur', 'blur_info'],
  anonymise: ['anonymise', 'anonymise_info'], crop: ['crop', 'crop_info'],
};
find('.views').replaceChildren(...props.views.map((name) => {
  const button = document.createElement('button'), title = document.createElement('b'), said = document.createElement('small');
  button.type = 'button';
  button.dataset.view = name;
  button.setAttribute('role', 'radio');
  button.innerHTML = '<svg viewBox="0 0 140 54" preserveAspectRatio="xMidYMid slice" aria-hidden="true"><defs><pattern id="idseg-squares" width="16" height="16" patternUnits="userSpaceOnUse"><rect width="16" height="16" fill="#eee"/><path d="M0 0h8v8H0zM8 8h8v8H8z" fill="#bbb"/></pattern></defs>' + (drawings[name] ?? '') + '</svg>';
  [title.textContent, said.textContent] = (titles[name] ?? [name, '']).map(word);
  button.append(title, said);
  button.addEventListener('click', () => { view = name; refresh(); });
  button.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    view = props.views.at((props.views.indexOf(view) + step) % props.views.length);
    refresh();
    find('[data-view="' + view + '"]').focus();
  });
  return button;
}));
element.querySelectorAll('[data-do]').forEach((b) => b.addEventListener('click', () => {
  const said = told();
  if (b.dataset.do === 'look') trigger('look', said);
  else if (b.dataset.do === 'preview') trigger('preview', said);
  else trigger('make', said);
}));

function show() {
  const value = props.value ?? {};
  const text = JSON.stringify(value.people ?? null);
  if (value.people && text !== shown) {
    shown = text;
    people = value.people;
    if (people.length === 1) chosen.add(people[0].name);
    chosen = new Set(people.map((p) => p.name).filter((name) => chosen.has(name)));
    faces();
  }
  if (value.n && value.n !== begun) { begun = value.n; document.dispatchEvent(new Event('idseg-jobs')); }
}
watch('value', show);
show();
refresh();
