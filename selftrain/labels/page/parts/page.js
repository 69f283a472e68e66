// Buttons, keys and dialogs.
const KEYS = [
  ['\u2191 \u2193 or K J', 'previous or next row (\u2190 \u2192 in tiles)'], ['Page Up, Page Down, Home, End', 'move further'],
  ['A or Enter', painted ? 'accept what is painted and go on' : 'accept the label and go on'],
  ['X', 'reject: the sample is of no use; go on'],
  ...painted ? [['1 to 9', 'accept, but for what is less sure than 10 % to 90 %, which becomes void'], ['0', 'as A']]
    : [['C', 'correct: choose the right class by name'], ['0 to 9', 'correct to the class with that number']],
  ...given ? [['T', 'correct to the class that networks say which did not see the label']] : [],
  ['Shift with the keys that move, or with a click', 'choose all up to there: the next decision is about each of them'],
  ['Shift+A, Shift+X', 'accept or reject all that are shown and not yet decided'],
  ['Delete', 'take the decision back'], ['U or Ctrl+Z', 'undo'], ['Shift+U or Ctrl+Y', 'redo'],
  ['/', 'to the search field'], ['G', 'table or tiles'], ['S', 'download the CSV file'], ['?', 'this list'],
  ['Esc', 'back to the list'],
];
const picker = byId('picker'), picked = byId('picked'), choices = byId('choices'), help = byId('help');
let down = false, kept = true;

function announce(text) {
  byId('said').textContent = byId('said').title = text;
}

function showCounts() {
  const found = totals(), reviewed = count - found.open;
  byId('counts').textContent = `${many(reviewed)} of ${many(count)} decided: ${many(found.accepted)} accepted, ` +
    `${many(found.corrected)} ${painted ? 'in part' : 'corrected'}, ${many(found.rejected)} rejected` + (canStore ? '' :
      ' \u2013 this browser keeps nothing: download the CSV file before you leave');
  byId('bar').setAttribute('aria-label', byId('counts').textContent);
  byId('bar').replaceChildren(...['accepted', 'corrected', 'rejected'].map(state => {
    const part = el('span', { class: state });
    part.style.width = `${100 * found[state] / Math.max(1, count)}%`;
    return part;
  }));
  byId('undo').disabled = !done.length;
  byId('redo').disabled = !undone.length;
}

function afterChange(samples) {
  kept = false;
  refresh(samples);
  showSample();
  showCounts();
  showFound();
}

// One decision about the current sample, or about each of the range; one step for undo.
function settle(said) {
  const samples = Array.from(chosenSamples());
  if (!samples.length) return;
  const all = samples.map(i => [i, typeof said === 'function' ? said(i) : said]), pairs = all.filter(([, to]) => to !== null);
  const changed = decide(pairs), left = all.length - pairs.length, [i, to] = pairs[0] || [samples[0], null];
  const word = to === null ? '' : stateOf(i) !== 'corrected' ? stateOf(i)
    : painted ? `accepted, void below ${className(to)}` : `corrected to ${className(to)}`;
  announce(samples.length > 1
    ? `${many(pairs.length)} samples decided` + (left ? `; ${many(left)} were never labeled` : '') + '. U takes it back'
    : to === null ? `${named(rows.id[i])} was never labeled: give its class with C` : `${named(rows.id[i])}: ${word}`);
  if (changed) afterChange(pairs.map(([sample]) => sample));
  if (to !== null && said !== OPEN) moveTo(Math.max(at, anchor) + 1);
}

actions.accept = () => settle(i => painted ? 0 : rows.label[i] < 0 ? null : rows.label[i]);
actions.reject = () => settle(REJECTED);
actions.clear = () => settle(OPEN);
actions.take = () => { if (given) settle(i => given.suggested[i]); };
actions.correct = number => {
  if (painted) settle(10 * number);
  else if (number < classes.length) settle(number);
};

// One decision about all that the filters show; what a person has decided on its own stays. One step for undo.
function settleShown(word, said) {
  const open = Array.from(order).filter(i => decision[i] === OPEN);
  const pairs = open.map(i => [i, said(i)]).filter(([, to]) => to !== OPEN);
  if (decide(pairs)) afterChange(pairs.map(([i]) => i));
  const left = open.length - pairs.length, decided = order.length - open.length;
  announce(`${word} all ${many(pairs.length)} that were shown and open` +
    (decided ? `; ${many(decided)} were decided before` : '') + (left ? `; ${many(left)} were never labeled` : '') + (pairs.length ? '. U takes it back' : ''));
  grid.focus();
}
const acceptShown = () => settleShown('accepted', i => painted ? 0 : rows.label[i] < 0 ? OPEN : rows.label[i]);
const rejectShown = () => settleShown('rejected', () => REJECTED);
actions.pick = () => {
  if (painted || current() < 0) return;
  picked.value = '';
  choicesFor('');
  picker.showModal();
};

function back(step, word) {
  const samples = step();
  if (!samples.length) {
    announce(`nothing to ${word}`);
    return;
  }
  afterChange(samples);
  const position = order.indexOf(samples[0]);
  if (position >= 0) moveTo(position);
  announce(`${word}: ${samples.length === 1 ? `${named(rows.id[samples[0]])} is ${stateOf(samples[0])}`
    : `${samples.length} decisions`}`);
}

// -- picker ----------------------------------------------------------------------------------------------------------
function choicesFor(text) {
  const wanted = text.trim().toLocaleLowerCase();
  const found = classes.map((name, c) => c).filter(c => String(c) === wanted ||
    classes[c].toLocaleLowerCase().includes(wanted));
  found.sort((a, b) => rankOf(a, wanted) - rankOf(b, wanted) || a - b);
  choices.replaceChildren(...found.slice(0, 200).map((c, place) => {
    const made = el('li', { role: 'option', id: `choice-${c}`, 'aria-selected': String(place === 0) },
      el('bdi', {}, className(c)), el('span', { class: 'faint' }, String(c)));
    made.addEventListener('click', () => take(c));
    return made;
  }));
  markChoice(0);
}

// Whole names first, then numbers, then beginnings of names.
function rankOf(c, wanted) {
  const name = classes[c].toLocaleLowerCase();
  return name === wanted ? 0 : String(c) === wanted ? 1 : name.startsWith(wanted) ? 2 : 3;
}

function markChoice(place) {
  const all = [...choices.children], now = Math.min(all.length - 1, Math.max(0, place));
  all.forEach((made, p) => made.setAttribute('aria-selected', String(p === now)));
  if (all[now]) {
    all[now].scrollIntoView({ block: 'nearest' });
    picked.setAttribute('aria-activedescendant', all[now].id);
  } else {
    picked.removeAttribute('aria-activedescendant');
  }
}

function take(number) {
  picker.close();
  settle(number);
  grid.focus();
}

picked.addEventListener('input', () => choicesFor(picked.value));
picked.addEventListener('keydown', event => {
  const all = [...choices.children], now = all.findIndex(made => made.getAttribute('aria-selected') === 'true');
  if (event.key === 'ArrowDown') markChoice(now + 1);
  else if (event.key === 'ArrowUp') markChoice(now - 1);
  else if (event.key === 'Enter' && now >= 0) take(Number(all[now].id.slice('choice-'.length)));
  else return;
  event.preventDefault();
});
picker.addEventListener('close', () => grid.focus());
help.addEventListener('close', () => grid.focus());

// -- files -----------------------------------------------------------------------------------------------------------
function download() {
  const link = el('a', { download: `${data.run.replace(/[^\w.-]+/g, '_').slice(0, 80)}-reviewed.csv` });
  link.href = URL.createObjectURL(new Blob([toBytes(csvText())], { type: 'text/csv' }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  kept = true;
  announce(`${link.download}: ${many(count - totals().open)} decisions`);
}

async function load(file) {
  try {
    const { pairs, unknown } = decisionsIn(fromBytes(new Uint8Array(await file.arrayBuffer())));
    const changed = decide(pairs);
    afterChange(pairs.map(([i]) => i));
    announce(`${many(pairs.length)} decisions read, ${many(changed)} of them new` +
      (unknown ? `; ${many(unknown)} are about samples that are not on this page` : ''));
  } catch (error) {
    announce(`${visible(file.name)} cannot be used: ${visible(error.message)}`);
  }
}

byId('save').addEventListener('click', () => { download(); grid.focus(); });
byId('load').addEventListener('click', () => byId('file').click());
byId('file').addEventListener('change', async event => {
  const [file] = event.target.files;
  if (file) await load(file);
  event.target.value = '';
  grid.focus();
});

// -- filters ---------------------------------------------------------------------------------------------------------
function filterNow() {
  const number = (id, fallback) => byId(id).value === '' ? fallback : Number(byId(id).value);
  return { find: byId('find').value, label: byId('class').value, from: number('from', -Infinity),
    to: number('to', Infinity), used: byId('used').value, decided: byId('decided').value };
}

// Filter and sort; the current sample stays the current one unless the order is a new one.
function apply(anew = false) {
  const kept = anew === true ? -1 : current();
  arrange(filterNow(), byId('sort').value, down);
  markSort(byId('sort').value, down);
  byId('direction').textContent = down ? '\u2193' : '\u2191';
  byId('direction').setAttribute('aria-label', `Direction: ${down ? 'falling' : 'rising'}`);
  show(kept);
}

function sortBy(key) {
  const same = byId('sort').value === key;
  byId('sort').value = key;
  down = same ? !down : Boolean(SORTS.find(sort => sort.key === key).down);
  apply(true);
  grid.focus();
}

function clearFilters() {
  for (const id of ['find', 'class', 'from', 'to', 'used', 'decided']) byId(id).value = '';
}

showFrom = value => { clearFilters(); byId('from').value = value || ''; apply(); grid.focus(); };
showClass = number => { clearFilters(); byId('class').value = String(number); apply(); grid.focus(); };

byId('filters').addEventListener('submit', event => { event.preventDefault(); grid.focus(); });
for (const id of ['find', 'from', 'to']) byId(id).addEventListener('input', apply);
for (const id of ['class', 'used', 'decided']) byId(id).addEventListener('change', apply);
byId('sort').addEventListener('change', () => {
  down = Boolean(SORTS.find(sort => sort.key === byId('sort').value).down);
  apply(true);
});
byId('direction').addEventListener('click', () => { down = !down; apply(true); });
byId('clear').addEventListener('click', () => { clearFilters(); apply(); grid.focus(); });

function toggleTiles() {
  tiles = !tiles;
  byId('layout').setAttribute('aria-pressed', String(tiles));
  byId('layout').textContent = tiles ? 'Table' : 'Tiles';
  fit();
  moveTo(at);
  grid.focus();
}
byId('layout').addEventListener('click', toggleTiles);

// -- keys ------------------------------------------------------------------------------------------------------------
function pageRows() {
  return Math.max(1, Math.floor((grid.clientHeight - head.offsetHeight) / lineHeight())) * across;
}

const ON_KEY = {
  ArrowDown: far => moveTo(at + across, far), j: () => moveTo(at + across),
  ArrowUp: far => moveTo(at - across, far), k: () => moveTo(at - across),
  ArrowRight: far => moveTo(at + 1, far), ArrowLeft: far => moveTo(at - 1, far),
  PageDown: far => moveTo(at + pageRows(), far), PageUp: far => moveTo(at - pageRows(), far),
  Home: far => moveTo(0, far), End: far => moveTo(order.length - 1, far),
  A: acceptShown, X: rejectShown,
  a: () => actions.accept(), Enter: () => actions.accept(), x: () => actions.reject(), c: () => actions.pick(),
  t: () => actions.take(), Delete: () => actions.clear(), u: () => back(undo, 'undo'), U: () => back(redo, 'redo'),
  s: download, g: toggleTiles, '/': () => byId('find').focus(), '?': () => help.showModal(),
};

// A letter as with Shift, whatever Caps Lock says: all samples at once are too many for a lock that was forgotten.
function nameOf(event) {
  if (event.key.length > 1) return event.key;
  const shifted = event.key !== event.key.toLowerCase() !== event.getModifierState('CapsLock');
  return shifted && 'aux'.includes(event.key.toLowerCase()) ? event.key.toUpperCase() : event.key.toLowerCase();
}

// On the whole page, wherever the focus is: but where text is typed, and where a key has its own meaning.
document.addEventListener('keydown', event => {
  if (picker.open || help.open || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
    if (event.key === 'Escape' && !(picker.open || help.open)) grid.focus();
    return;
  }
  const key = nameOf(event), ctrl = event.ctrlKey || event.metaKey;
  if (key === 'Escape') grid.focus();
  const own = event.target.tagName === 'BUTTON' ? /^Enter$/
    : event.target.closest('.values') ? /^(Arrow|Page|Home|End)/ : /^$/;
  if (event.altKey || own.test(key)) return;
  const again = /^y$/i.test(key) || (event.shiftKey && /^z$/i.test(key));
  const action = ctrl ? again ? () => back(redo, 'redo') : key === 'z' ? () => back(undo, 'undo') : null
    : /^[0-9]$/.test(key) ? () => actions.correct(Number(key)) : ON_KEY[key];
  if (!action) return;
  event.preventDefault();
  action(event.shiftKey);
});

space.addEventListener('mousedown', event => { if (event.shiftKey) event.preventDefault(); });  // it would mark text
space.addEventListener('click', event => {
  const item = event.target.closest('[data-place]');
  if (item) moveTo(Number(item.dataset.place), event.shiftKey);
  grid.focus();
});
sample.addEventListener('click', event => {
  if (event.target.closest('button')) grid.focus();
});
byId('accept-shown').addEventListener('click', acceptShown);
byId('reject-shown').addEventListener('click', rejectShown);
byId('undo').addEventListener('click', () => { back(undo, 'undo'); grid.focus(); });
byId('redo').addEventListener('click', () => { back(redo, 'redo'); grid.focus(); });
byId('help-button').addEventListener('click', () => help.showModal());
byId('help-close').addEventListener('click', () => help.close());

grid.addEventListener('scroll', () => render(), { passive: true });
new ResizeObserver(() => { fit(); drawSample(); }).observe(grid);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => redrawAll());
document.addEventListener('DOMContentLoaded', () => { showSample(); redrawAll(); });  // now all blocks are there
addEventListener('storage', event => {  // another window of the same page
  if (event.key !== data.key) return;
  restore();
  done.length = undone.length = 0;
  afterChange(order);
});
addEventListener('beforeunload', event => {
  if (!canStore && !kept) event.preventDefault();
});

// -- start -----------------------------------------------------------------------------------------------------------
function start() {
  restore();
  byId('run').replaceChildren(el('bdi', {}, named(data.run)), ` \u00b7 ${many(count)} of ${many(data.total)} samples` +
    (count === data.total ? '' : data.choose === 'random' ? ', drawn at random' : ', the least certain'));
  byId('class').append(...classes.map((_, c) => el('option', { value: c }, className(c))));
  byId('sort').append(...SORTS.filter(sort => asked || sort.key !== 'agreement')
    .map(sort => el('option', { value: sort.key }, sort.name)));
  byId('keys').append(...KEYS.map(([key, what]) => el('div', {}, el('dt', {}, key), el('dd', {}, what))));
  byId('about').textContent = `${(data.bytes / 1e6).toFixed(1)} MB in one file; nothing is sent anywhere. Progress is ` +
    'kept in this browser until you clear its data.';
  if (painted) {
    byId('what').textContent = `Review of ${painted.unit}`;
    document.body.classList.add('painted');
  }
  if (given) {
    document.body.classList.add('given');
    byId('what').textContent = 'Review of given labels';
    byId('used-word').textContent = 'Suspected';
    grid.setAttribute('aria-label', 'Given labels');
  }
  makeHead(sortBy);
  showJudged();
  showTried();
  showCounts();
  fit();
  apply();
  grid.focus();
  requestAnimationFrame(() => setTimeout(() => performance.mark('usable')));
}

start();
