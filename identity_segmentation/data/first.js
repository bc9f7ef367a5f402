// The words of the first run that carry names and numbers. Names only ever become text.
//
//   props.value  the panel's head: {on_file: [names]}
//                the folder: {folder, people, photos, names}
const box = element.querySelector('.first');
const language = [navigator.language, 'en'].map((l) => l.slice(0, 2)).find((l) => props.words[l]);
const word = (key) => props.words[language][key] ?? key;
const line = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
const filled = (text, given) => text.replace(/\{(\w+)\}/g, (whole, key) => given[key] ?? whole);

// What was learned before the page was loaded anew: [photo, verdict, detail] of
// each photo that asks for a word; the row without a photo says how many were used.
function learned() {
  let rows = null;
  try {
    rows = JSON.parse(sessionStorage.getItem('idseg_learned'));
    sessionStorage.removeItem('idseg_learned');
  } catch (error) { rows = null; }
  if (!Array.isArray(rows)) return null;
  const list = document.createElement('ul');
  list.setAttribute('role', 'status');
  for (const [photo, verdict, detail] of rows) {
    const item = document.createElement('li');
    if (photo === '') {
      item.textContent = filled(word('used'), { count: detail });
    } else {
      const said = line('span', verdict);
      said.className = 'verdict';
      item.append(photo + ': ', said, detail ? ' · ' + detail : '');
    }
    list.append(item);
  }
  return list;
}
let before;

function show() {
  const value = props.value || {};
  if (value.on_file) {
    const somebody = value.on_file.length > 0;
    before = before === undefined ? learned() : before;
    const parts = somebody
      ? [line('h2', filled(word('going'), { people: value.on_file.join(', ') })), line('p', word('next'))]
      : [line('h2', word('title')), line('p', word('said'))];
    box.replaceChildren(...parts, ...(before ? [before] : []));
  } else if (value.folder !== undefined) {
    box.replaceChildren(line('p', filled(word('learn_said'), { ...value, names: value.names.join(', ') })));
  }
}
watch('value', show);
show();
