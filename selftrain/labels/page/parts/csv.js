// The ledger's file: written as the library writes it, byte for byte, and read as people's tools write it.
const COLUMNS = ['id', 'label', 'class', 'confidence', 'margin', 'accepted', 'first_accepted_step', 'flips', 'seen',
  'agreement', 'verdict', 'correction'];
const FORMULA = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;  // a spreadsheet may run such text

const disarmed = text => FORMULA.test(text) ? `'${text}` : text;
const armed = text => text.startsWith("'") && FORMULA.test(text) ? text.slice(1) : text;
const cell = text => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;

function csvText() {
  const order = Array.from(rows.row, (row, i) => i).sort((a, b) => rows.row[a] - rows.row[b]);
  const lines = [COLUMNS.join(',')];
  for (const i of order) {
    const state = stateOf(i), label = rows.label[i];
    const verdict = state === 'accepted' || (painted && state === 'corrected') ? 'accept' : state === 'rejected' ? 'reject' : '';
    const correction = state === 'corrected' ? correctionText(decision[i]) : '';
    lines.push([disarmed(rows.id[i]), label, disarmed(label >= 0 && label < classes.length ? classes[label] : ''),
      rows.confidence[i], rows.margin[i], rows.accepted[i], rows.first[i], rows.flips[i], rows.seen[i],
      rows.agreement[i], verdict, disarmed(correction)].map(value => cell(String(value))).join(','));
  }
  return lines.join('\r\n') + '\r\n';
}

// UTF-8 that also holds the lone surrogates in names of files that are no text, as the library writes them.
function toBytes(text) {
  if (!/\p{Cs}/u.test(text)) return new TextEncoder().encode(text);
  const bytes = [];
  for (const char of text) {
    const code = char.codePointAt(0);
    if (code < 0xd800 || code > 0xdfff) bytes.push(...new TextEncoder().encode(char));
    else bytes.push(0xe0 | code >> 12, 0x80 | code >> 6 & 0x3f, 0x80 | code & 0x3f);
  }
  return new Uint8Array(bytes);
}

function fromBytes(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return withSurrogates(bytes);
  }
}

// As above, for text with surrogates in three bytes each: ED A0..BF 80..BF.
function withSurrogates(bytes) {
  const parts = [], decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let start = 0;
  for (let i = 0; i + 2 < bytes.length; i++) {
    if (bytes[i] !== 0xed || bytes[i + 1] < 0xa0) continue;
    parts.push(decoder.decode(bytes.subarray(start, i)));
    parts.push(String.fromCharCode(0xd000 | (bytes[i + 1] & 0x3f) << 6 | bytes[i + 2] & 0x3f));
    start = i + 3;
    i += 2;
  }
  parts.push(decoder.decode(bytes.subarray(start)));
  const text = parts.join('');
  return text.startsWith('\ufeff') ? text.slice(1) : text;
}

function* csvRows(text) {
  const head = text.slice(0, text.search(/\r|\n|$/));
  const delimiter = [',', ';', '\t'].reduce((a, b) => head.split(b).length > head.split(a).length ? b : a);
  let row = [], value = '', quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') value += c;
      else if (text[i + 1] === '"') { value += c; i++; }
      else quoted = false;
    } else if (c === '"' && value === '') {
      quoted = true;
    } else if (c === delimiter) {
      row.push(value);
      value = '';
    } else if (c === '\n' || c === '\r') {
      if (c === '\r' && text[i + 1] === '\n') i++;
      yield [...row, value];
      row = [];
      value = '';
    } else {
      value += c;
    }
  }
  if (quoted) throw new Error('a quoted cell has no end');
  if (row.length || value) yield [...row, value];
}

// Decisions in a file: pairs for `decide`, and how many rows are about samples that are not on this page.
function decisionsIn(text) {
  const lines = csvRows(text), header = (lines.next().value || []).map(name => name.trim());
  const place = Object.fromEntries(COLUMNS.map(name => [name, header.indexOf(name)]));
  for (const name of ['id', 'verdict', 'correction']) {
    if (place[name] < 0) throw new Error(`it has no column ${name}`);
  }
  const known = new Map(rows.id.map((id, i) => [id, i])), found = new Map();
  let unknown = 0, line = 1;
  for (const row of lines) {
    line++;
    const at = name => place[name] < 0 || place[name] >= row.length ? '' : armed(row[place[name]]);
    const said = decisionOf(at('verdict').trim().toLowerCase(), at('correction'), at('label'), line);
    if (said === OPEN) continue;
    const i = known.get(at('id'));
    if (i === undefined) unknown++;
    else if (found.has(i)) throw new Error(`row ${line}: the id ${JSON.stringify(at('id'))} occurs twice`);
    else found.set(i, said);
  }
  return { pairs: [...found], unknown };
}

function decisionOf(verdict, correction, label, line) {
  if (!classes.includes(correction)) correction = correction.trim();
  if (verdict === '' && correction === '') return OPEN;
  if (!['', 'accept', 'keep', 'reject'].includes(verdict)) throw new Error(`row ${line}: unknown verdict ${verdict}`);
  if (verdict === 'reject') {
    if (correction !== '') throw new Error(`row ${line}: rejected and corrected`);
    return REJECTED;
  }
  if (painted) {
    const share = Number(correction === '' ? 0 : correction);
    if (!(share >= 0 && share < 1)) throw new Error(`row ${line}: no confidence from 0 to 1: ${JSON.stringify(correction)}`);
    return Math.round(100 * share);
  }
  const text = correction === '' ? label : correction;
  const named = correction === '' ? -1 : classes.indexOf(text), number = named >= 0 ? named : Number(text || NaN);
  if (!Number.isInteger(number) || number < 0 || number >= classes.length) {
    throw new Error(`row ${line}: no class ${JSON.stringify(text)}`);
  }
  return number;
}
