// "Take this file": a button for each program and each kind of list.
//
//   props.value     {n}; n changes when a job has begun
//   props.programs, props.formats   names;  props.words  language -> word -> text
//   trigger('take', {program | format, per_person, members, view})
const find = (selector) => element.querySelector(selector);
const language = [navigator.language, 'en'].map((l) => l.slice(0, 2)).find((l) => props.words[l]);
const word = (key) => props.words[language][key] ?? key;
element.querySelectorAll('[data-word]').forEach((e) => { e.textContent = word(e.dataset.word); });
const titles = {  // what is taken is called, and what it is
  premiere: ['premiere', 'premiere_info'], resolve: ['resolve', 'resolve_info'], 'after-effects': ['after_effects', 'after_effects_info'],
  web: ['web', 'web_info'], nuke: ['nuke', 'nuke_info'], capcut: ['capcut', 'capcut_info'], edl: ['edl', 'edl_info'],
  srt: ['srt', 'srt_info'], csv: ['csv', 'csv_info'], fcpxml: ['fcpxml', 'fcpxml_info'], otio: ['otio', 'otio_info'],
  mot: ['mot', 'mot_info'], 'coco-video': ['coco_video', 'coco_video_info'],
};
let begun = null;

function cards(where, names, asked) {
  find(where).replaceChildren(...names.map((name) => {
    const button = document.createElement('button'), title = document.createElement('b'), said = document.createElement('small');
    button.type = 'button';
    button.dataset.take = name;
    [title.textContent, said.textContent] = (titles[name] ?? [name, '']).map(word);
    button.append(title, said);
    button.addEventListener('click', () => {
      const chosen = JSON.parse(document.querySelector('#video_ask [data-chosen]')?.dataset.chosen ?? '{}');
      trigger('take', { ...chosen, per_person: find('.each').checked, ...asked(name) });
    });
    return button;
  }));
}
cards('.programs', props.programs, (program) => ({ program }));
cards('.lists', props.formats, (format) => ({ format }));

function show() {
  const value = props.value ?? {};
  if (value.n && value.n !== begun) { begun = value.n; document.dispatchEvent(new Event('idseg-jobs')); }
}
watch('value', show);
show();
