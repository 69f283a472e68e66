// The current sample, large: all that the ledger says of it, and what can be decided.
const sample = byId('sample');
const actions = { accept: () => {}, reject: () => {}, pick: () => {}, take: () => {}, correct: () => {}, clear: () => {} };

function fact(name, ...content) {
  return el('div', {}, el('dt', {}, name), el('dd', {}, ...content));
}

function history(i) {
  if (!rows.seen[i]) return 'never labeled';
  const first = rows.first[i] < 0 ? 'never used for training' : `first used at step ${rows.first[i]}`;
  const flips = rows.flips[i] === 0 ? 'never changed' : `changed ${rows.flips[i]} time${rows.flips[i] === 1 ? '' : 's'}`;
  return `labeled ${rows.seen[i]} time${rows.seen[i] === 1 ? '' : 's'}, ${flips}, ${first}`;
}

function decideButtons(i) {
  const state = stateOf(i), label = rows.label[i];
  const button = (text, key, on, what, extra) => {
    const made = el('button', { type: 'button', class: `choice ${what}`, 'aria-pressed': String(on), ...extra },
      el('bdi', {}, text), key === '' ? null : el('kbd', {}, key));
    return made;
  };
  const accept = button('Accept', 'A', state === 'accepted', 'accepted', { disabled: label < 0 && !painted });
  const reject = button('Reject', 'X', state === 'rejected', 'rejected', {});
  const pick = button('Correct\u2026', 'C', state === 'corrected', 'corrected', {});
  accept.addEventListener('click', () => actions.accept());
  reject.addEventListener('click', () => actions.reject());
  pick.addEventListener('click', () => actions.pick());
  if (painted) {
    const each = [1, 2, 3, 4, 5, 6, 7, 8, 9].map(tenth => {
      const made = button(`< ${10 * tenth} %`, String(tenth), decision[i] === 10 * tenth, 'class', {});
      made.addEventListener('click', () => actions.correct(tenth));
      return made;
    });
    return [el('div', { class: 'choices' }, accept, reject), el('p', { class: 'faint' }, `accept, but for ${painted.unit === 'masks' ? 'pixels' : 'joints'} less sure than`),
      el('div', { class: 'classes', role: 'group', 'aria-label': 'Void below a confidence' }, ...each)];
  }
  const found = el('div', { class: 'choices' }, accept, reject, pick);
  if (classes.length > 12) return [found];
  const each = classes.map((name, number) => {
    const made = button(className(number), number < 10 ? String(number) : '', decision[i] === number, 'class', {});
    made.addEventListener('click', () => actions.correct(number));
    return made;
  });
  return [found, el('div', { class: 'classes', role: 'group', 'aria-label': 'Right class' }, ...each)];
}

function valuesTable(i) {
  if (form.kind !== 'table') return null;
  const lines = cellsOf(i).map(([name, value], c) => {
    const span = form.high[c] - form.low[c];
    return el('tr', {}, el('th', { scope: 'row' }, el('bdi', {}, named(name))), el('td', {}, short(value)),
      el('td', { class: 'wide' }, meter(span > 0 ? (value - form.low[c]) / span : 0.5)));
  });
  const more = form.all > form.columns.length ? el('p', { class: 'faint' },
    `the first ${form.columns.length} of ${form.all} columns`) : null;
  return el('div', { class: 'values', tabindex: '0', role: 'region', 'aria-label': 'Values of the row' },
    el('table', {}, el('tbody', {}, ...lines)), more);
}

function seriesNote(i) {
  if (form.kind !== 'series') return null;
  const found = numbersOf();
  if (!found) return null;
  const ranges = Array.from({ length: form.channels }, (_, c) => {
    const p = i * form.channels + c;
    return `${short(found.low[p])} to ${short(found.high[p])}`;
  });
  const more = form.all > form.channels ? `; the first ${form.channels} of ${form.all} channels` : '';
  return el('p', { class: 'faint' }, `${form.length} places; range ${ranges.slice(0, 4).join(', ')}${more}`);
}

function takeIt() {
  const made = el('button', { type: 'button', class: 'choice' }, 'Take it', el('kbd', {}, 'T'));
  made.addEventListener('click', () => actions.take());
  return made;
}

// Which class or joint has which color.
function colorKeys() {
  return el('ul', { class: 'colors', 'aria-label': 'Colors' }, ...painted.names.slice(0, 40).map((name, c) => {
    const key = el('span', { class: 'key' });
    key.style.background = painted.colors[c];
    return el('li', {}, key, el('bdi', {}, named(name)));
  }));
}

function showSample() {
  const i = current();
  if (i < 0) {
    sample.replaceChildren(el('p', { class: 'faint' }, 'No sample is shown.'));
    return;
  }
  const label = rows.label[i];
  sample.replaceChildren(
    el('canvas', { class: `large ${form.kind}`, role: 'img', 'aria-label': `sample ${named(rows.id[i])}` }),
    el('h2', {}, el('bdi', {}, named(rows.id[i]))),
    painted ? colorKeys() : '',
    el('p', { class: 'is' }, painted ? '' : el('bdi', { class: 'label' }, className(label)),
      label >= 0 && !painted ? el('span', { class: 'faint' }, ` class ${label}`) : null, badge(i)),
    ...decideButtons(i),
    ...given ? [el('p', { class: 'faint' }, 'Networks that did not see this label say ',
      el('bdi', { class: 'label' }, className(given.suggested[i])), ` (${given.value[i]})`,
      rows.accepted[i] ? ': the given label is suspected. ' : '. ',
      rows.accepted[i] ? takeIt() : null)] : [el('dl', { class: 'facts' },
      fact('Confidence', textOf(i, 'confidence'), meter(values.confidence[i])),
      fact('Margin', textOf(i, 'margin'), meter(values.margin[i])),
      asked ? fact('Agreement', textOf(i, 'agreement'), meter(Math.max(0, values.agreement[i]))) : null,
      fact('Flips', String(rows.flips[i])),
      fact('Trained on', rows.accepted[i] ? 'yes' : 'no'),
      fact('History', history(i)))],
    ...[valuesTable(i), seriesNote(i)].filter(Boolean));
  drawSample();
}

function drawSample() {
  const i = current(), canvas = sample.querySelector('canvas');
  if (i >= 0 && canvas) draw(canvas, i);
}
