'use strict';
(() => {
const $ = (selector, at = document) => at.querySelector(selector);
const $$ = (selector, at = document) => [...at.querySelectorAll(selector)];
const root = document.documentElement;
root.classList.add('js');
const canvas = $('.canvas'), flow = $('#flow'), panel = $('#task'), pick = $('#view');
const rows = new Map($$('.tasks tbody tr[id]').map(row => [row.id.slice(2), row]));
const names = [...rows.keys()];
// A row has the class of its task's state alone, until it is selected.
const target = a => (a?.getAttribute('href') || '').slice(1);
const state = key => (rows.get(key).className.match(/s-(\w+)/) || [])[1];
const label = key => $('.tn code', rows.get(key)).textContent;
let now = null, zoom = 1;

// Light and dark.
$('#theme').onclick = () => {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
};

// Drawings: which, how large.
const shown = () => $('.view:not([hidden])');
const picture = () => $('svg', shown());
function size(to) {
  const svg = picture(), box = svg.viewBox.baseVal;
  zoom = Math.min(2.5, Math.max(.12, to));
  svg.setAttribute('width', Math.round(box.width * zoom));
  svg.setAttribute('height', Math.round(box.height * zoom));
}
function fit() {
  const box = picture().viewBox.baseVal, room = parseFloat(getComputedStyle(canvas).maxHeight) - 2;
  let to = Math.min(1, Math.max((canvas.clientWidth - 2) / box.width, .6));
  // What is a little too high for the canvas is shown whole.
  if (box.height * to > room && box.height * to * .85 < room) to = Math.max(room / box.height, .6);
  size(to);
}
function show(view) {
  const views = $$('.view');
  const one = views.find(v => v.dataset.view === view) || views[0];
  views.forEach(v => v.hidden = v !== one);
  if (pick) pick.value = one.dataset.view;
  fit();
}
const card = (key, at = shown()) => $(`a[href="#${CSS.escape(key)}"]`, at);
// The view that has a task: the one shown, else the first, all tasks at once last.
function home(key) {
  if (card(key)) return shown().dataset.view;
  const view = $$('.view').find(v => !v.dataset.view.endsWith('*') && card(key, v));
  return (view || shown()).dataset.view;
}
if (pick) pick.onchange = () => { location.hash = pick.value ? '#/' + pick.value : ''; };
$$('.zoom button').forEach(button => {
  const way = button.dataset.zoom;
  button.onclick = () => way === '0' ? fit() : size(zoom * (way === '+' ? 1.25 : .8));
});
canvas.addEventListener('wheel', e => {
  if (!e.ctrlKey && !e.metaKey) return;
  e.preventDefault();
  const frame = canvas.getBoundingClientRect(), x = e.clientX - frame.left, y = e.clientY - frame.top;
  const left = (canvas.scrollLeft + x) / zoom, top = (canvas.scrollTop + y) / zoom;
  size(zoom * Math.exp(-e.deltaY / 300));
  canvas.scrollLeft = left * zoom - x;
  canvas.scrollTop = top * zoom - y;
}, { passive: false });
canvas.onpointerdown = e => {
  if (e.button || e.target.closest('a')) return;
  const x = e.clientX + canvas.scrollLeft, y = e.clientY + canvas.scrollTop;
  canvas.classList.add('drag');
  const move = m => { canvas.scrollLeft = x - m.clientX; canvas.scrollTop = y - m.clientY; };
  const stop = m => {
    // A click beside the cards, not a drag, goes back to the whole.
    if (Math.hypot(m.clientX - e.clientX, m.clientY - e.clientY) < 4 && m.target.closest('.view')) back();
    canvas.classList.remove('drag');
    removeEventListener('pointermove', move);
    removeEventListener('pointerup', stop);
  };
  addEventListener('pointermove', move);
  addEventListener('pointerup', stop);
};

// One task: its card, its row, its panel.
const cards = svg => svg.cards || (svg.cards = $$('.n', svg));
function around(svg, a) {
  const i = cards(svg).indexOf(a), frame = Number(a.dataset.f ?? -1), up = [], down = [];
  const at = k => cards(svg)[k] ? [cards(svg)[k]] : $$(`[data-f="${k}"]`, svg);
  $$('.e', svg).forEach(path => {
    const [source, target] = path.dataset.e.split(' ').map(Number);
    if (target === i || target === frame) at(source).forEach(n => up.push([path, n]));
    if (source === i || source === frame) at(target).forEach(n => down.push([path, n]));
  });
  return { up, down };
}
// What the details have of a task, its own or another, is in the rows: name, state, time.
function filled(key, details) {
  const row = rows.get(key), facts = $('.facts', details), now = $('.state', row);
  $('h3', details).append($('.tn code', row).cloneNode(true));
  if (now) {
    const time = $('.num', row).textContent, of = [now.cloneNode(true)];
    of[0].classList.add('s-' + state(key));
    if (time) of.push(time);
    facts.prepend(...of.map(each => { const span = document.createElement('span'); span.append(each); return span; }));
  }
  $$('a.ref:empty', details).forEach(a => {
    const other = target(a);
    if (!rows.has(other)) return;
    const icon = $('.state .i', rows.get(other));
    if (icon) { a.classList.add('s-' + state(other)); a.append(icon.cloneNode(true)); }
    a.append($('.tn code', rows.get(other)).cloneNode(true));
  });
  return details;
}
// The details of a task that has none: there are too many tasks.
function left(key) {
  const head = document.createElement('header'), name = document.createElement('h3'), said = document.createElement('p');
  head.className = 'dh';
  said.className = 'doc';
  name.textContent = label(key);
  said.textContent = 'There are more than 5,000 tasks: the details of those that succeeded are left out. mxm-pipeline runs show has them.';
  head.append(name, said);
  return head;
}
function fold(body, open) {
  body.hidden = !open;
  $('button', body.previousElementSibling).setAttribute('aria-expanded', open);
}
function select(key) {
  $$('.sel, .near, .lit, .picked').forEach(x => x.classList.remove('sel', 'near', 'lit', 'picked'));
  now = rows.has(key) ? key : null;
  panel.hidden = !now;
  flow.hidden = !!now;
  if (!now) return;
  const detail = document.getElementById('d-' + key);
  panel.replaceChildren(detail ? filled(key, detail.content.cloneNode(true)) : left(key));
  $('#panel').scrollTop = 0;
  rows.get(key).classList.add('sel');
  if (rows.get(key).parentNode.hidden) fold(rows.get(key).parentNode, true);
  const view = home(key);
  if (shown().dataset.view !== view) show(view);
  const a = card(key), svg = picture();
  if (!a) return;
  svg.classList.add('picked');
  a.classList.add('sel');
  const { up, down } = around(svg, a);
  [...up, ...down].forEach(([path, n]) => {
    path.classList.add('lit');
    n.classList.add('near');
    path.parentNode.append(path);
  });
  const frame = canvas.getBoundingClientRect(), box = a.getBoundingClientRect();
  if (box.left < frame.left || box.right > frame.right) canvas.scrollLeft += box.left - frame.left - frame.width / 2 + box.width / 2;
  if (box.top < frame.top || box.bottom > frame.bottom) canvas.scrollTop += box.top - frame.top - frame.height / 2 + box.height / 2;
  // On a narrow page the details lie over the lower part of the window: not over the card.
  const over = $('#panel').getBoundingClientRect(), at = a.getBoundingClientRect();
  if (at.bottom > over.top && at.top < over.bottom && at.right > over.left) scrollBy(0, at.bottom - over.top + 24);
}
function read() {
  let at = location.hash.slice(1);
  try { at = decodeURIComponent(at); } catch { /* an address that nobody of ours wrote */ }
  if (at.startsWith('s:')) {
    const first = names.find(k => state(k) === at.slice(2));
    if (!first) return;
    history.replaceState(null, '', '#' + first);
    select(first);
    rows.get(first).scrollIntoView({ block: 'center' });
  } else if (at.startsWith('/') || !at) { select(null); show(at.slice(1)); } else select(at);
}
// From a task to its drawing.
function back() {
  const view = shown().dataset.view;
  if (now) location.hash = view ? '#/' + view : '';
}
const go = key => { if (key && key !== now) location.hash = '#' + key; };
addEventListener('hashchange', read);
document.addEventListener('click', e => {
  const row = e.target.closest('.tasks tbody tr');
  if (row && row.id && !e.target.closest('a')) go(row.id.slice(2));
  if (row && row.classList.contains('band')) {
    const body = row.parentNode.nextElementSibling;
    fold(body, body.hidden);
  }
  const copy = e.target.closest('[data-copy]');
  if (copy) navigator.clipboard?.writeText(copy.dataset.copy).then(() => {
    copy.textContent = 'Copied';
    setTimeout(() => { copy.textContent = 'Copy'; }, 1500);
  }, () => {});
});

// Search.
const q = $('#q'), hits = $('#hits');
let on = 0, found = [];
function search() {
  const want = q.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  found = want.length ? names.filter(k => want.every(w => `${label(k)} ${$('.state', rows.get(k))?.textContent || ''}`.toLowerCase().includes(w))) : [];
  on = 0;
  hits.hidden = !want.length;
  hits.replaceChildren(...found.slice(0, 40).map((key, i) => {
    const li = document.createElement('li'), code = document.createElement('code');
    code.textContent = label(key);
    const icon = $('.state .i', rows.get(key));
    if (icon) { li.classList.add('s-' + state(key)); li.append(icon.cloneNode(true)); }
    li.append(code);
    li.setAttribute('role', 'option');
    if (!i) li.classList.add('on');
    li.onpointerdown = e => { e.preventDefault(); choose(i); };
    return li;
  }));
  if (want.length && !found.length) {
    const li = document.createElement('li');
    li.className = 'none';
    li.textContent = 'No task has that in its name';
    hits.append(li);
  }
}
function choose(i) {
  if (!found[i]) return;
  go(found[i]);
  q.value = '';
  search();
  q.blur();
}
q.oninput = search;
q.onfocus = search;
q.onblur = () => { hits.hidden = true; };
q.onkeydown = e => {
  if (e.key === 'Enter') choose(on);
  else if (e.key === 'Escape') { q.value = ''; search(); q.blur(); }
  else if (e.key === 'ArrowDown' || e.key === 'ArrowUp') {
    e.preventDefault();
    on = Math.max(0, Math.min(hits.children.length - 1, on + (e.key === 'ArrowDown' ? 1 : -1)));
    [...hits.children].forEach((li, i) => li.classList.toggle('on', i === on));
    hits.children[on]?.scrollIntoView({ block: 'nearest' });
  } else return;
  e.stopPropagation();
};

// Keys.
const place = x => { const r = x.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; };
function step(key) {
  const svg = picture(), a = now && card(now), level = svg.classList.contains('LR');
  if (!a) return go(cards(svg).map(target).find(k => rows.has(k)));
  const [x, y] = place(a);
  const along = (level ? { ArrowLeft: 'up', ArrowRight: 'down' } : { ArrowUp: 'up', ArrowDown: 'down' })[key];
  if (along) {
    const near = around(svg, a)[along].map(([, n]) => n).filter(n => rows.has(target(n)));
    const far = n => Math.hypot(place(n)[0] - x, place(n)[1] - y);
    return go(target(near.sort((m, n) => far(m) - far(n))[0]));
  }
  const way = key === 'ArrowRight' || key === 'ArrowDown' ? 1 : -1;
  const beside = n => (level ? place(n)[1] - y : place(n)[0] - x) * way;
  const same = n => Math.abs(level ? place(n)[0] - x : place(n)[1] - y) < 12;
  const row = cards(svg).filter(n => same(n) && beside(n) > 4 && rows.has(target(n)));
  go(target(row.sort((m, n) => beside(m) - beside(n))[0]));
}
addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest('input, select, textarea')) return;
  if (e.key === '/') { e.preventDefault(); q.focus(); }
  else if (e.key.startsWith('Arrow')) { e.preventDefault(); step(e.key); }
  else if (e.key === 'n') {
    const bad = names.filter(k => state(k) === 'failed'), list = bad.length ? bad : names;
    const next = names.indexOf(now) + 1;
    go(list.find(k => names.indexOf(k) >= next) || list[0]);
  }
  else if (e.key === 'o') location.hash = '';
  else if (e.key === 'Escape') now ? back() : location.hash = '';
});
addEventListener('resize', fit);
fit();
read();
})();
