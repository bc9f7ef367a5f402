// Many photos: a card a photo, with what became of everybody who was looked for; filled while the job runs. The job is
// the server's: a reload only stops the looking, and it is found again in the list of jobs. Names only ever become text.
//
//   props.value  {version, id, title, state, said, live, done, total, rows, zip, file}
//   trigger('poll', {id}), trigger('cancel', {id})
const find = (selector) => element.querySelector(selector);
const language = [navigator.language, 'en'].map((l) => l.slice(0, 2)).find((l) => props.words[l]);
const say = (key, given = {}) =>
  Object.entries(given).reduce((text, [name, value]) => text.replaceAll('{' + name + '}', value), props.words[language][key] ?? key);
const SIGNS = { ok: '✓', unsure: '?', not_found: '–', no_face: '–', unreadable: '✗' };
const CODES = { ok: 'found', unsure: 'doubtful', not_found: 'absent', no_face: 'no_face' };
let newest = 0, timer = null, shown = '';

element.querySelectorAll('[data-word]').forEach((e) => { e.textContent = say(e.dataset.word); });
function made(tag, text) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  return node;
}
function card(row) {
  const item = made('li'), name = made('b', row.name);
  name.title = row.name;
  if (row.thumb) {
    const image = made('img');
    image.src = row.thumb.url;
    image.alt = say('thumb', { name: row.name });
    item.append(image);
  }
  item.append(name);
  if (row.said) item.append(made('div', SIGNS.unreadable + ' ' + row.said));
  for (const person of row.people) {
    const line = made('div', `${SIGNS[person.code] ?? '?'} ${person.name}: ${say(CODES[person.code] ?? 'doubtful')} `);
    line.dataset.code = person.code;
    if (person.similarity !== null) line.append(person.similarity.toFixed(2) + ' ');
    if (person.cutout) {
      const link = made('a', say('cutout'));
      link.href = person.cutout.url;
      link.download = person.file;
      link.setAttribute('aria-label', say('cutout_of', { name: person.name, photo: row.name }));
      line.append(link);
    }
    item.append(line);
  }
  return item;
}
function show() {
  const value = props.value;
  if (!value || !(value.version > newest)) return;
  newest = value.version;
  find('.head').hidden = false;
  find('.title').textContent = value.title;
  find('progress').max = value.total || 1;
  find('progress').value = value.done;
  find('progress').setAttribute('aria-label', value.title);
  find('.count').textContent = value.done + ' / ' + value.total;
  find('[data-do=cancel]').hidden = find('progress').hidden = !value.live;
  const zip = find('.zip');
  zip.hidden = !value.zip;
  if (value.zip) { zip.href = value.zip.url; zip.download = value.file; }
  const found = value.rows.filter((row) => row.people.some((p) => p.cutout)).length;
  const key = { waiting: 'waiting', running: 'running', done: 'finished', cancelled: 'stopped', failed: 'failed' }[value.state];
  find('.status').textContent = say(key, { done: value.done, total: value.total, found }) + (value.state === 'failed' ? ' ' + value.said : '');
  const text = value.id + value.rows.length;
  if (text !== shown) {
    if (shown.startsWith(value.id)) find('.rows').append(...value.rows.slice(find('.rows').children.length).map(card));
    else find('.rows').replaceChildren(...value.rows.map(card));
    shown = text;
  }
  element.dataset.state = value.state;
  clearTimeout(timer);
  if (value.live) {
    document.dispatchEvent(new Event('idseg-jobs'));
    timer = setTimeout(() => { if (element.isConnected) trigger('poll', { id: value.id }); }, 1000);
  }
}
watch('value', show);
element.addEventListener('click', (event) => {
  if (event.target.dataset?.do === 'cancel') trigger('cancel', { id: props.value.id });
});
show();
