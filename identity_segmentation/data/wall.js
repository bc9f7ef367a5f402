// The wall of faces: photos are dropped on a face, pasted or chosen; a face opens its person. Names only ever become text.
//
//   props.value   {people: [{id, name, aliases, colour, count, image}], pairs: [{first, second, similarity}],
//                  open: null | {id, at, each, total, photos: [{key, name, like, image}]}, n, said, error, report, job, batch}
//   props.accept  what a file chooser offers;  props.prefix  how this wall's uploads are called;  props.words
//   trigger('look', {n, open, at})                     show a person's photos
//   trigger('alter', {n, open, at, do, id, ...})       change the people on file
//   trigger('give', {n, open, at, batch, id | name, files, keep})  uploaded photos are put on file, as a job
const find = (selector) => element.querySelector(selector);
const language = [navigator.language, 'en'].map((l) => l.slice(0, 2)).find((l) => props.words[l]);
const word = (key, values = {}) => Object.entries(values).reduce(
  (text, [name, value]) => text.replaceAll('{' + name + '}', value), props.words[language][key] ?? key);
const SURE_MS = 6000, SHOWN = 120, PAGE = 40, AT_ONCE = 3;
// worst first: what needs somebody's eye
const VERDICTS = ['unreadable', 'no_face', 'conflict', 'outlier', 'duplicate', 'not_theirs', 'kept', 'several_faces', 'used'];
const VERDICT_WORDS = ['v_unreadable', 'v_no_face', 'v_conflict', 'v_outlier', 'v_duplicate', 'v_not_theirs', 'v_kept', 'v_several_faces', 'v_used'];
const USED = ['used', 'several_faces', 'kept'];

function made(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
function button(text, run, className = '') {
  const node = made('button', className, text);
  node.type = 'button';
  node.addEventListener('click', run);
  return node;
}
const photos = (count) => word(count === 1 ? 'photo' : 'photos', { n: count });
const onEnter = (input, run) => input.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.isComposing) return;  // Enter also ends a syllable of Hangul
  event.preventDefault();  // or it would press the button that gets the focus next
  run();
});
element.querySelectorAll('[data-word]').forEach((e) => { e.textContent = word(e.dataset.word); });
find('.files').accept = props.accept;
find('.filter').placeholder = word('filter');
find('.filter').setAttribute('aria-label', word('filter'));

// What a person chose lives here, not in the value: a new value cannot lose it.
let people = [];        // on file
let opened = null;      // id of the open person, 'new', or null
let at = 0;             // first of their photos that is shown
let chosen = new Set(); // keys of photos
let draft = { name: '', files: [] };  // the new person
let n = Date.now(), newest = 0, panelShown = '';
let everybody = false;
const busy = new Map(); // batch -> {id, name, job}

// ---- a face
function light(colour) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16) / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b > .18;  // WCAG's relative luminance: black has the better contrast above it
}
function face(person, className = '') {
  const box = made('span', 'face ' + className);
  box.style.setProperty('--ring', person.colour);
  if (person.image?.url) {
    const image = made('img');
    image.loading = 'lazy';
    image.alt = '';
    image.src = person.image.url;
    box.append(image);
  } else {
    const letter = made('span', 'letter', Array.from(person.name)[0].toLocaleUpperCase());
    letter.style.setProperty('--letter', light(person.colour) ? '#000' : '#fff');
    letter.setAttribute('aria-hidden', 'true');
    box.append(letter);
  }
  return box;
}
const byId = (id) => people.find((person) => person.id === id);

// ---- to Python
function ask(event, more = {}) {
  trigger(event, { n: ++n, open: opened === 'new' ? null : opened, at, ...more });
}
const look = () => ask('look');
function alter(what, more) {
  say('');
  ask('alter', { do: what, ...more });
}
function say(text, wrong = '') {
  find('.said').textContent = text;
  find('.error').textContent = wrong;
}

// A button that must be pressed twice; it forgets the first time after some seconds, or when anything else is chosen.
let disarm = () => {};
function sure(text, question, run, className = 'danger') {
  const node = button(text, () => {
    if (node.classList.contains('sure')) { disarm(); return run(); }
    disarm();
    node.textContent = question;
    node.classList.add('sure');
    say(question);
    const timer = setTimeout(() => disarm(), SURE_MS);
    disarm = () => {
      clearTimeout(timer);
      node.textContent = text;
      node.classList.remove('sure');
      if (find('.said').textContent === question) say('');
      disarm = () => {};
    };
  }, className);
  return node;
}

// ---- choosing somebody: by face, by typing, or a new name
function picker(title, but, onPick, onName) {
  const box = made('div', 'picker'), row = made('div', 'row'), picks = made('div', 'picks');
  const input = made('input');
  input.type = 'text';
  input.maxLength = 100;
  input.placeholder = onName ? word('who_or_new') : word('filter');
  input.setAttribute('aria-label', title);
  row.append(input);
  const create = onName && button(word('new_person'), () => input.value.trim() && onName(input.value), 'strong');
  if (create) row.append(create);
  function fill() {
    const text = input.value.trim().toLocaleLowerCase();
    const found = people.filter((p) => p.id !== but && [p.name, ...p.aliases].some((name) => name.toLocaleLowerCase().includes(text)));
    picks.replaceChildren(...found.slice(0, SHOWN).map((person) => {
      const pick = button('', () => onPick(person));
      pick.append(face(person, 'small'), made('span', '', person.name));
      return pick;
    }));
    if (create) { create.disabled = !text; create.textContent = text ? word('new_called', { name: input.value.trim() }) : word('new_person'); }
  }
  input.addEventListener('input', fill);
  onEnter(input, () => {
    const exact = people.find((p) => p.id !== but && [p.name, ...p.aliases].includes(input.value.trim()));
    if (exact) onPick(exact); else if (onName && input.value.trim()) onName(input.value);
  });
  fill();
  box.append(made('h3', '', title), row, picks);
  return [box, input];
}

// ---- the cards
const cards = new Map();
function cardOf(person) {
  let card = cards.get(person.id);
  if (!card) {
    const item = made('li', 'card'), open = button('', () => choose(person.id), 'open');
    const give = button('+', () => chooseFiles({ id: person.id }), 'give');
    item.dataset.id = person.id;
    item.append(open, give);
    droppable(item, () => ({ id: person.id }));
    card = { item, open, give, text: '' };
    cards.set(person.id, card);
  }
  const text = JSON.stringify(person);
  if (text !== card.text) {
    card.text = text;
    const parts = [face(person), made('span', 'name', person.name)];
    if (person.aliases.length) parts.push(made('span', 'also', person.aliases.join(' · ')));
    parts.push(made('span', 'number', photos(person.count)));
    card.open.replaceChildren(...parts);
    card.give.setAttribute('aria-label', word('add_to', { name: person.name }));
    card.give.title = word('add_to', { name: person.name });
  }
  return card;
}
const fresh = made('li', 'card new');
{
  const open = button('', () => choose('new'), 'open'), plus = made('span', 'face', '+');
  plus.setAttribute('aria-hidden', 'true');
  open.append(plus, made('span', 'name', word('new_person')));
  fresh.append(open);
  droppable(fresh, () => 'new');
}
const place = made('li', 'place'), panel = made('div', 'panel');
panel.setAttribute('role', 'group');
place.append(panel);

function cardsShown() {
  const text = find('.filter').value.trim().toLocaleLowerCase();
  const found = people.filter((p) => !text || [p.name, ...p.aliases].some((name) => name.toLocaleLowerCase().includes(text)));
  return everybody ? found : found.slice(0, SHOWN);
}
function grid() {
  for (const id of cards.keys()) if (!byId(id)) cards.delete(id);
  const shown = cardsShown(), wanted = [fresh];
  if (opened === 'new') wanted.push(place);
  for (const person of shown) {
    const card = cardOf(person), mine = opened === person.id;
    card.item.classList.toggle('chosen', mine);
    card.item.classList.toggle('busy', [...busy.values()].some((b) => b.id === person.id));
    card.open.setAttribute('aria-expanded', mine);
    wanted.push(card.item);
    if (mine) wanted.push(place);
  }
  fresh.classList.toggle('chosen', opened === 'new');
  fresh.classList.toggle('busy', [...busy.values()].some((b) => !b.id));
  fresh.querySelector('.open').setAttribute('aria-expanded', opened === 'new');
  const list = find('.grid');
  if (list.children.length !== wanted.length || wanted.some((node, i) => list.children[i] !== node)) {
    const kept = document.activeElement;
    list.replaceChildren(...wanted);
    if (kept && element.contains(kept)) kept.focus({ preventScroll: true });  // a node that is moved loses it
  }
  find('.filter').hidden = people.length <= 12;
  find('.count').textContent = word('people', { n: people.length });
  find('.hint').textContent = word(people.length ? 'hint' : 'empty');
  find('.all').hidden = everybody || people.length <= shown.length || !!find('.filter').value;
  find('.all').textContent = word('show_all', { n: people.length });
}
find('.filter').addEventListener('input', () => { grid(); });
find('.all').addEventListener('click', () => { everybody = true; grid(); });

function choose(id) {
  disarm();
  say('');
  opened = opened === id ? null : id;
  at = 0;
  chosen = new Set();
  panelShown = '';
  if (opened === 'new') newPanel();
  else if (opened) { panel.replaceChildren(made('p', '', '…')); look(); }
  grid();
  if (opened === 'new') panel.querySelector('input')?.focus();
}
function shut(event) {
  const id = opened;
  choose(id);
  (id === 'new' ? fresh.querySelector('.open') : cards.get(id)?.open)?.focus();
}
panel.addEventListener('keydown', (event) => { if (event.key === 'Escape') { event.stopPropagation(); shut(); } });

// ---- a new person
function newPanel() {
  panel.style.removeProperty('--ring');
  panel.setAttribute('aria-label', word('new_person'));
  const head = made('div', 'row'), row = made('div', 'row'), input = made('input');
  head.append(made('h2', '', word('new_person')), closing());
  input.type = 'text';
  input.maxLength = 100;
  input.value = draft.name;
  input.placeholder = word('name');
  input.setAttribute('aria-label', word('name'));
  const add = button(word('put_on_file'), () => {
    if (!draft.name.trim()) { say('', word('say_who')); return input.focus(); }
    if (!draft.files.length) return chooseFiles('new');
    const { name, files } = draft;
    draft = { name: '', files: [] };
    shut();
    bring({ name }, files);
  }, 'strong');
  const count = made('span', '', draft.files.length ? photos(draft.files.length) : word('no_photos'));
  input.addEventListener('input', () => { draft.name = input.value; });
  onEnter(input, () => add.click());
  row.append(input, button(word('choose_photos'), () => chooseFiles('new')), count, add);
  panel.replaceChildren(head, row, made('p', '', word('new_hint')));
}
function closing() {
  const node = button('✕', shut);
  node.setAttribute('aria-label', word('close'));
  return node;
}

// ---- the panel of a person
function personPanel(open) {
  const person = byId(open.id);
  const text = JSON.stringify([person, open, people.length]);
  if (text === panelShown) return;
  const had = panel.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  const typed = panel.querySelector('[data-focus=name]');
  const kept = typed && panelShown && typed.value !== typed.defaultValue ? typed.value : null;
  panelShown = text;
  disarm();
  chosen = new Set(open.photos.map((photo) => photo.key).filter((key) => chosen.has(key)));
  panel.style.setProperty('--ring', person.colour);
  panel.setAttribute('aria-label', person.name);
  const head = made('div', 'row'), names = made('div', 'row'), name = made('input'), colour = made('input');
  head.append(face(person, 'small'), made('h2', '', person.name), made('span', '', photos(person.count)),
    button(word('choose_photos'), () => chooseFiles({ id: person.id }), 'strong'), closing());
  name.type = 'text';
  name.maxLength = 100;
  name.defaultValue = person.name;
  name.value = kept ?? person.name;
  name.dataset.focus = 'name';
  name.setAttribute('aria-label', word('name'));
  const rename = () => name.value.trim() && name.value !== person.name && alter('rename', { id: person.id, name: name.value });
  onEnter(name, rename);
  colour.type = 'color';
  colour.value = person.colour.toLowerCase();
  colour.dataset.focus = 'colour';
  colour.setAttribute('aria-label', word('colour'));
  colour.title = word('colour');
  colour.addEventListener('change', () => alter('colour', { id: person.id, colour: colour.value }));
  names.append(name, button(word('rename'), rename), colour);
  panel.replaceChildren(head, names, aliasRow(person), made('h3', '', word('photos_of', { name: person.name })), photosOf(person, open), ending(person));
  if (had) panel.querySelector(`[data-focus=${had}]`)?.focus();
}
function aliasRow(person) {
  const row = made('div', 'row'), input = made('input');
  const set = (aliases) => alter('aliases', { id: person.id, aliases });
  row.append(made('span', '', word('aliases')), ...person.aliases.map((alias) => {
    const chip = made('span', 'chip', alias), away = button('✕', () => set(person.aliases.filter((one) => one !== alias)));
    away.setAttribute('aria-label', word('take_alias', { name: alias }));
    chip.append(away);
    return chip;
  }));
  input.type = 'text';
  input.maxLength = 100;
  input.placeholder = word('new_alias');
  input.dataset.focus = 'alias';
  input.setAttribute('aria-label', word('new_alias'));
  const add = () => input.value.trim() && set([...person.aliases, input.value]);
  onEnter(input, add);
  row.append(input, button(word('add'), add));
  return row;
}
function photosOf(person, open) {
  const box = made('div'), list = made('div', 'photos'), acts = made('div', 'row acts');
  list.setAttribute('role', 'group');
  list.setAttribute('aria-label', word('photos_of', { name: person.name }));
  function refresh() {
    box.querySelector('.picker')?.remove();
    if (!chosen.size) return acts.replaceChildren(made('span', '', word('choose_some')));
    const keys = [...chosen];
    acts.replaceChildren(made('span', '', word('chosen', { n: chosen.size })),
      button(word('somebody_else'), () => {
        box.querySelector('.picker')?.remove();
        const [pick, input] = picker(word('whose'), person.id,
          (other) => alter('move', { id: person.id, photos: keys, other: other.id }),
          (called) => alter('move', { id: person.id, photos: keys, name: called }));
        acts.after(pick);
        input.focus();
      }, 'strong'),
      sure(word('take_away'), word('take_sure', { n: chosen.size }), () => alter('forget', { id: person.id, photos: keys })));
  }
  list.append(...open.photos.map((photo) => {
    const node = button('', () => {
      chosen.has(photo.key) ? chosen.delete(photo.key) : chosen.add(photo.key);
      node.setAttribute('aria-pressed', chosen.has(photo.key));
      disarm();
      refresh();
    });
    node.setAttribute('aria-pressed', chosen.has(photo.key));
    node.setAttribute('aria-label', photo.name + (photo.like ? ', ' + word('looks_like', { name: photo.like }) : ''));
    node.title = photo.name;
    if (photo.image?.url) {
      const image = made('img');
      image.alt = '';
      image.loading = 'lazy';
      image.src = photo.image.url;
      node.append(image);
    } else node.append(made('span', 'blank', photo.name));
    if (photo.like) node.append(made('span', 'like', word('looks_like', { name: photo.like })));
    return node;
  }));
  box.append(list);
  if (open.total > open.each) box.append(pages(open.at, open.each, open.total, (first) => { at = first; look(); }));
  refresh();
  box.append(acts);
  return box;
}
function pages(first, each, total, go) {
  const row = made('div', 'row');
  const back = button('‹', () => go(Math.max(0, first - each))), on = button('›', () => go(first + each));
  back.setAttribute('aria-label', word('before'));
  on.setAttribute('aria-label', word('next'));
  back.disabled = first === 0;
  on.disabled = first + each >= total;
  row.append(back, made('span', '', word('range', { from: first + 1, to: Math.min(total, first + each), n: total })), on);
  return row;
}
function ending(person) {
  const box = made('div'), row = made('div', 'row');
  if (people.length > 1) {
    row.append(button(word('merge_into'), () => {
      disarm();
      if (box.querySelector('.picker')) return box.querySelector('.picker').remove();
      const [pick, input] = picker(word('merge_whom', { name: person.name }), person.id, (other) => {
        const confirm = sure(word('merge', { name: person.name, other: other.name }), word('merge_sure', { name: person.name, other: other.name }), () => {
          opened = other.id;
          at = 0;
          alter('merge', { id: other.id, other: person.id });
        }, 'strong');
        pick.querySelector('.confirm')?.remove();
        const last = made('div', 'row confirm');
        last.append(face(person, 'small'), made('span', '', '→'), face(other, 'small'), confirm);
        pick.append(last);
        confirm.focus();
      }, null);
      box.append(pick);
      input.focus();
    }));
  }
  row.append(sure(word('delete'), word('delete_sure', { name: person.name }), () => alter('delete', { id: person.id })));
  box.append(made('h3', '', word('person')), row);
  return box;
}

// ---- these two look like one person
function asks(pairs) {
  const box = find('.asks'), text = JSON.stringify([pairs, pairs.map((p) => [byId(p.first), byId(p.second)])]);
  if (box.dataset.text === text) return;
  box.dataset.text = text;
  const found = pairs.filter((pair) => byId(pair.first) && byId(pair.second));
  if (!found.length) return box.replaceChildren();
  const section = made('section');
  section.append(made('h2', '', word('one_person')), ...found.map((pair) => {
    let [keep, other] = [byId(pair.first), byId(pair.second)];
    if (other.count > keep.count) [keep, other] = [other, keep];
    const row = made('div', 'pair'), acts = made('div', 'row');
    row.setAttribute('role', 'group');
    row.setAttribute('aria-label', keep.name + ', ' + other.name);
    for (const person of [keep, other]) {
      const figure = made('figure');
      figure.append(face(person), made('figcaption', '', person.name));
      row.append(figure);
    }
    acts.append(
      sure(word('same'), word('merge_sure', { name: other.name, other: keep.name }), () => {
        if (opened === other.id) opened = keep.id;
        alter('merge', { id: keep.id, other: other.id });
      }, 'strong'),
      button(word('different'), () => alter('apart', { id: keep.id, other: other.id })));
    row.append(made('span', '', word('similar', { s: pair.similarity.toFixed(2) })), acts);
    return row;
  }));
  box.replaceChildren(section);
}

// ---- what became of photos
let reportAt = 0;
function report(found) {
  const box = find('.report');
  box.hidden = !found;
  if (!found) return box.replaceChildren();
  const rank = (photo) => VERDICTS.indexOf(photo.verdict);
  const sorted = found.photos.map((photo, i) => [photo, i]).sort(([a, i], [b, j]) => rank(a) - rank(b) || i - j).map(([photo]) => photo);
  const used = sorted.filter((photo) => USED.includes(photo.verdict)).length;
  const head = made('div', 'row'), list = made('ul');
  list.tabIndex = 0;  // it scrolls, by keys too
  list.setAttribute('aria-label', word('report', { name: found.name, used, n: sorted.length }));
  head.append(made('h2', '', word('report', { name: found.name, used, n: sorted.length })));
  const away = button('✕', () => { report(null); fresh.querySelector('.open').focus(); });
  away.setAttribute('aria-label', word('close'));
  head.append(away);
  list.append(...sorted.slice(reportAt, reportAt + PAGE).map((photo) => {
    const item = made('li'), what = made('span', 'what'), good = USED.includes(photo.verdict);
    const image = made(photo.image?.url ? 'img' : 'span', 'none');
    if (photo.image?.url) { image.alt = ''; image.loading = 'lazy'; image.src = photo.image.url; }
    what.append(made('b', '', (good ? '✓ ' : '✗ ') + word(VERDICT_WORDS[rank(photo)] ?? photo.verdict)), ' · ', photo.name);
    if (photo.detail) what.append(made('small', '', photo.detail));
    item.dataset.verdict = photo.verdict;
    item.append(image, what);
    return item;
  }));
  box.replaceChildren(head, ...found.notes.map((note) => made('p', '', note)), list);
  if (sorted.length > PAGE) box.append(pages(reportAt, PAGE, sorted.length, (first) => { reportAt = first; report(found); }));
}

// ---- photos come in: dropped, pasted, chosen
const isPhoto = (file) => file.type.startsWith('image/') || /\.(heic|heif|avif|mpo|tiff?|jpe?g|jfif|png|webp|bmp|gif)$/i.test(file.name);
function take(whom, files) {
  if (!files.length) return;
  if (whom !== 'new') return bring(whom, files);
  // A folder is a person, as it is in Dataset/: of a folder that was dropped, each folder in it that holds photos.
  const folders = new Map();
  for (const file of files.filter((one) => one.folder && isPhoto(one)))
    folders.set(file.folder, [...(folders.get(file.folder) ?? []), file]);
  for (const [name, some] of folders) bring({ name }, some);
  files = files.filter((file) => !file.folder);
  if (!files.length) return;
  draft.files = [...draft.files, ...files];
  if (opened === 'new') newPanel(); else choose('new');
  panel.querySelector('input')?.focus();
}
let waitingFor = null;
function chooseFiles(whom) {
  waitingFor = whom;
  find('.files').value = '';
  find('.files').click();
}
find('.files').addEventListener('change', () => {
  if (waitingFor) take(waitingFor, [...find('.files').files]);
  waitingFor = null;
});
async function within(transfer) {  // folders too
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean), files = [];
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  async function walk(entry, folder) {
    if (entry.name.startsWith('.')) return;
    if (entry.isFile) {
      const file = await new Promise((good, bad) => entry.file(good, bad));
      return files.push(folder ? Object.assign(file, { folder }) : file);
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((good, bad) => reader.readEntries(good, bad));
      if (!some.length) return;
      for (const one of some) await walk(one, entry.name);
    }
  }
  for (const entry of entries) await walk(entry);
  return files;
}
function droppable(node, whom) {
  node.addEventListener('dragover', (event) => {
    if (![...event.dataTransfer.types].includes('Files')) return;
    event.preventDefault();
    event.stopPropagation();
    node.classList.add('over');
  });
  node.addEventListener('dragleave', (event) => { if (!node.contains(event.relatedTarget)) node.classList.remove('over'); });
  node.addEventListener('drop', async (event) => {
    event.preventDefault();
    event.stopPropagation();
    node.classList.remove('over');
    take(whom(), await within(event.dataTransfer));
  });
}
droppable(panel, () => opened === 'new' ? 'new' : { id: opened });
droppable(element, () => 'new');  // beside the faces: somebody new
document.addEventListener('paste', function paste(event) {
  if (!element.isConnected) return document.removeEventListener('paste', paste);
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length || !element.getClientRects().length) return;
  event.preventDefault();
  const card = document.activeElement?.closest?.('.card[data-id]');
  take(card ? { id: card.dataset.id } : opened && opened !== 'new' ? { id: opened } : 'new', files);
});

// Uploads go up a few at a time, one batch after the other; looking at them is the server's job, shown above.
let queue = Promise.resolve(), stopped = false;
find('.uploading button').addEventListener('click', () => { stopped = true; });
function uploadAll(batch, files) {
  const bar = find('.uploading'), sent = [];
  let next = 0;
  stopped = false;
  bar.hidden = false;
  bar.querySelector('progress').max = files.length;
  bar.querySelector('progress').setAttribute('aria-label', word('uploading', { n: 0, of: files.length }));
  const tell = () => {
    bar.querySelector('progress').value = sent.length;
    bar.querySelector('span').textContent = word('uploading', { n: sent.length, of: files.length });
  };
  async function worker() {
    while (next < files.length && !stopped) {
      const number = next++, file = files[number];
      // A name of its own: it is deleted once it was looked at, and must be nobody else's upload.
      const { path } = await upload(new File([file], props.prefix + batch + '-' + number + '-' + file.name, { type: file.type }));
      sent.push({ number, path, name: file.webkitRelativePath || file.name });
      tell();
    }
  }
  tell();
  return Promise.all(Array.from({ length: AT_ONCE }, worker)).then(() => sent.sort((a, b) => a.number - b.number));
}
function bring(whom, files) {
  const batch = ++n, keep = find('.keep input').checked;
  busy.set(batch, { ...whom, job: null });
  grid();
  say('');
  queue = queue.then(() => uploadAll(batch, files)).then((sent) => {
    find('.uploading').hidden = true;
    if (sent.length) return ask('give', { batch, ...whom, files: sent, keep });
    busy.delete(batch);
    grid();
  }).catch((error) => {
    find('.uploading').hidden = true;
    busy.delete(batch);
    grid();
    say('', word('upload_failed', { why: error.message ?? String(error) }));
  });
}

// ---- from Python
const DID = { rename: 'did_rename', aliases: 'did_save', colour: 'did_save', merge: 'did_merge', apart: 'did_apart', move: 'did_move',
  forget: 'did_forget', delete: 'did_delete', imported: 'did_import' };
function show() {
  const value = props.value;
  if (!value) return;
  if (value.batch && busy.has(value.batch)) {
    if (value.job) {
      busy.get(value.batch).job = value.job;
      document.dispatchEvent(new CustomEvent('idseg-jobs'));
    } else busy.delete(value.batch);
  } else if (value.job) {
    for (const [batch, one] of busy) if (one.job === value.job) busy.delete(batch);
  }
  if (value.report) { reportAt = 0; report(value.report); }
  if (value.said || value.error) {
    const lines = value.said ? [word(DID[value.said.word], { name: value.said.name ?? '' }), ...(value.said.more ?? [])] : [];
    if (value.said?.word === 'delete' && value.said.folders.length) lines.push(word('still_there', { folders: value.said.folders.join(', ') }));
    say(lines.join(' '), value.error ?? '');
  }
  if (value.n && value.n < newest) return;
  newest = value.n ?? newest;
  people = value.people;
  if (value.said && ['move', 'forget'].includes(value.said.word)) chosen = new Set();
  const gone = opened && opened !== 'new' && !byId(opened);
  if (gone) { opened = null; panelShown = ''; disarm(); }
  grid();
  asks(value.pairs);
  if (gone) fresh.querySelector('.open').focus({ preventScroll: true });
  if (!opened || opened === 'new') return;
  if (value.open?.id === opened) { at = value.open.at; personPanel(value.open); }
  else if (!value.n) look();  // it came from elsewhere, and the open person may have changed
}
watch('value', show);
show();
