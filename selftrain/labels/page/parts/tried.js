// What a portfolio has tried: what each way is worth on labels that it did not see, and how much it counts.
function showTried() {
  const tried = data.tried, box = byId('tried');
  box.hidden = !tried.length;
  if (!tried.length) return;
  const was = tried.filter(row => !row.reason.startsWith('not tried'));
  const reasons = [...new Set(was.map(row => row.reason))];
  const seconds = tried.reduce((sum, row) => sum + row.seconds, 0);
  const figure = (value, text) => el('td', { class: 'number' }, value === null ? '\u2013' : text(value));
  box.replaceChildren(el('h2', {}, 'What was tried?'),
    table('In the order of weight', [['Way'], ['Right, %', true], ['Loss', true], ['Weight', true]], tried.map(row => {
      const head = el('th', { scope: 'row', class: 'way' }, el('bdi', {}, named(row.name)), ' ', el('span', { class: 'family' }, row.family));
      if (!was.includes(row)) return el('tr', {}, head, el('td', { colspan: 3, class: 'faint' }, row.reason));
      return el('tr', {}, head,
        figure(row.accuracy, value => `${(100 * value).toFixed(1)} \u00b1 ${(100 * row.standard_error).toFixed(1)}`),
        figure(row.loss, value => fixed(value)),
        el('td', { class: 'number' }, `${(100 * row.weight).toFixed(0)} %`, meter(row.weight)));
    })),
    ...reasons.map(reason => el('p', { class: 'faint' }, reason.charAt(0).toUpperCase() + reason.slice(1) + '.')),
    el('p', { class: 'faint' }, `Right: of the labels that were hidden from it, with the standard error. ${seconds.toFixed(1)} s in all.`));
}
