// Jobs of this browser: what runs, how far it is, and what has ended within a day. The jobs are the server's: a reload, or
// a lost connection, only stops the looking. Names only ever become text.
//
//   props.value  {jobs: [{id, kind, title, state, stage, stages, doing, done, total, left, said, made}]}
//   trigger('hello', {owner})      once: the browser's key
//   trigger('poll', {})            now and then, while something runs
//   trigger('cancel', {id})
//   trigger('show_KIND', {id, move})  a job has ended, or was chosen from the list: then the page moves to its tab
const find = (selector) => element.querySelector(selector);
const language = [navigator.language, 'en'].map((l) => l.slice(0, 2)).find((l) => props.words[l]);
const word = (key) => props.words[language][key] ?? key;
const clock = (s) => Math.floor(s / 60) + ':' + String(Math.floor(s % 60)).padStart(2, '0');
const live = (job) => job.state === 'waiting' || job.state === 'running';

let owner = null;
try {
  owner = localStorage.getItem('idseg_owner');
  if (!owner) {
    owner = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
    localStorage.setItem('idseg_owner', owner);
  }
} catch (error) { owner = null; }  // a browser that keeps nothing: the jobs are this open page's

function made(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
function how(job) {
  if (job.state === 'waiting') return word('waiting');
  const parts = [];
  if (job.stages > 1) parts.push(word('stage').replace('{stage}', job.stage).replace('{stages}', job.stages));
  if (job.doing) parts.push(word(job.doing));
  if (job.total) parts.push(job.done + ' / ' + job.total);
  if (job.left !== null && job.left !== undefined) parts.push(word('left').replace('{left}', clock(job.left)));
  return parts.join(' · ');
}

// ---- what runs: rows are kept and filled anew, so that the button under the pointer stays
const rows = new Map();
function running(jobs) {
  for (const [id, row] of rows) if (!jobs.some((job) => job.id === id)) { row.box.remove(); rows.delete(id); }
  for (const job of jobs) {
    let row = rows.get(job.id);
    if (!row) {
      row = { box: made('div', 'job'), bar: made('progress'), said: made('span', 'said'), stop: made('button', '', word('cancel')) };
      row.bar.setAttribute('aria-label', job.title);
      row.stop.setAttribute('aria-label', word('cancel') + ': ' + job.title);
      row.stop.addEventListener('click', () => {
        row.stop.disabled = true;
        row.stop.textContent = word('stopping');
        trigger('cancel', { id: job.id });
      });
      row.box.append(made('span', 'title', job.title), row.bar, row.said, row.stop);
      row.box.dataset.job = job.id;
      rows.set(job.id, row);
      find('.running').append(row.box);
    }
    if (job.total) { row.bar.max = job.total; row.bar.value = Math.min(job.done, job.total); }
    else row.bar.removeAttribute('value');
    row.said.textContent = how(job);
  }
}

// ---- what has ended
function ended(jobs) {
  find('.recent').hidden = jobs.length === 0;
  find('summary').textContent = word('recent') + ' (' + jobs.length + ')';
  find('ul').replaceChildren(...jobs.map((job) => {
    const item = made('li', 'job'), open = made('button', '', word('open'));
    open.setAttribute('aria-label', word('open') + ': ' + job.title);
    open.addEventListener('click', () => trigger('show_' + job.kind, { id: job.id, move: true }));
    const when = new Date(job.made * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    item.append(made('span', 'title', job.title),
      made('span', 'said', [when, word(job.state), job.state === 'done' ? '' : job.said].filter(Boolean).join(' · ')), open);
    item.dataset.job = job.id;
    return item;
  }));
}

let before = null, timer = null, shown = '';
function show() {
  const jobs = props.value?.jobs;
  if (!jobs) return;
  running(jobs.filter(live));
  const over = jobs.filter((job) => !live(job)), text = JSON.stringify(over);
  if (text !== shown) ended(over);
  shown = text;
  if (before) for (const job of over) if (before.get(job.id) !== job.state) trigger('show_' + job.kind, { id: job.id, move: false });
  before = new Map(jobs.map((job) => [job.id, job.state]));
  clearTimeout(timer);
  timer = setTimeout(poll, jobs.some(live) ? 1000 : 10000);
}
function poll() {
  clearTimeout(timer);
  if (!element.isConnected) return;
  timer = setTimeout(poll, 5000);  // if no answer comes
  if (navigator.onLine) trigger('poll', {});
}
watch('value', show);
document.addEventListener('visibilitychange', () => { if (!document.hidden) poll(); });
document.addEventListener('idseg-jobs', poll);  // a job was just started
trigger('hello', { owner });
show();
