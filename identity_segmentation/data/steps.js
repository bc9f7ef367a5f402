// Mark, label, look: what the tab is for, in three steps. Once folded away it stays so in this browser.
//
//   props.words  language -> word -> text
const language = [navigator.language, 'en'].map((l) => l.slice(0, 2)).find((l) => props.words[l]);
element.querySelectorAll('[data-word]').forEach((e) => { e.textContent = props.words[language][e.dataset.word]; });
const box = element.querySelector('details'), STORE = 'idseg_steps_folded';
try { if (localStorage.getItem(STORE)) box.open = false; } catch { /* a browser may forbid it */ }
box.addEventListener('toggle', () => {
  try { if (box.open) localStorage.removeItem(STORE); else localStorage.setItem(STORE, '1'); } catch { /* likewise */ }
});
