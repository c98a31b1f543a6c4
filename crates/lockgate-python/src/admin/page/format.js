'use strict';
// Elements and texts. Everything that comes from the server reaches the page as a text node or a property, never as
// markup.

/** An element. Attributes whose names begin with `on` are listeners; children are nodes or texts. */
function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, '');
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null).map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

const byId = (id) => document.getElementById(id);

/** Sets a text if it has changed, so that a selection of it stays. */
function setText(node, value) {
  const text = value == null ? '' : String(value);
  if (node.textContent !== text) node.textContent = text;
}

/** Gives `parent` one child for each item, keeps those whose keys are known, and keeps the focus. */
function sync(parent, items, keyOf, make, update) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const known = new Map();
  for (const child of [...parent.children]) known.set(child.itemKey, child);
  const used = new Map();
  let place = parent.firstElementChild;
  for (const item of items) {
    let key = String(keyOf(item));
    const repeated = used.get(key) || 0;
    used.set(key, repeated + 1);
    if (repeated) key += `\u0000${repeated}`;
    let node = known.get(key);
    if (node) known.delete(key);
    else node = Object.assign(make(item), { itemKey: key });
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of known.values()) node.remove();
  if (focused && focused.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

/** Replaces the children, unless `signature` says that they are the same. */
function fill(parent, signature, make) {
  if (parent.signature === signature) return;
  parent.signature = signature;
  parent.replaceChildren(...[make()].flat().filter((child) => child != null));
}

function round(value, digits) {
  return value.toLocaleString('en-US', { maximumFractionDigits: digits, minimumFractionDigits: digits, useGrouping: true }).replaceAll(',', '\u202f');
}

/** 0.4, 12, 1 240, 21.3 k: three digits are enough at a glance. */
function count(value) {
  if (value == null || !Number.isFinite(value)) return '–';
  if (value >= 1e9) return `${round(value / 1e9, 2)}\u00a0G`;
  if (value >= 1e6) return `${round(value / 1e6, 2)}\u00a0M`;
  if (value >= 1e4) return `${round(value / 1e3, 1)}\u00a0k`;
  return round(value, value > 0 && value < 9.95 && !Number.isInteger(value) ? 1 : 0);
}

/** A time that something takes: 80 µs, 24 ms, 2.4 s, 3 min 35 s, 2 h 5 min, 3 d 4 h. */
function duration(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return '–';
  const value = Math.max(seconds, 0);
  if (value === 0) return '0 s'.replace(' ', '\u00a0');
  const unit = (number, name) => `${number}\u00a0${name}`;
  if (value < 0.00095) return unit(Math.round(value * 1e6), 'µs');
  if (value < 0.0095) return unit(round(value * 1e3, 1), 'ms');
  if (value < 0.9995) return unit(Math.round(value * 1e3), 'ms');
  if (value < 9.95) return unit(round(value, 1), 's');
  const whole = Math.round(value);
  if (whole < 60) return unit(whole, 's');
  const two = (large, largeName, small, smallName) => (small ? `${unit(large, largeName)} ${unit(small, smallName)}` : unit(large, largeName));
  if (whole < 3600) return two(Math.floor(whole / 60), 'min', whole % 60, 's');
  const minutes = Math.round(whole / 60);
  if (minutes < 1440) return two(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
  const hours = Math.round(minutes / 60);
  return two(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

function bytes(value) {
  if (value == null || !Number.isFinite(value)) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let number = value, place = 0;
  while (number >= 1000 && place < units.length - 1) { number /= 1024; place += 1; }
  return `${round(number, place && number < 9.95 ? 1 : 0)}\u00a0${units[place]}`;
}

function percent(share) {
  if (share == null || !Number.isFinite(share)) return '–';
  const value = share * 100;
  if (value > 0 && value < 0.1) return '<\u00a00.1\u00a0%';
  return `${round(value, value > 0 && value < 9.95 ? 1 : 0)}\u00a0%`;
}

const clocks = { isUtc: false };

/** The time of day of a UNIX time; with its day if that is another one than today. */
function clock(time, now) {
  const date = new Date(time * 1000);
  const zone = clocks.isUtc ? 'UTC' : undefined;
  const text = date.toLocaleTimeString('en-GB', { timeZone: zone, hour: '2-digit', minute: '2-digit', second: '2-digit' });
  if (now == null || now - time < 43200) return text;
  return `${date.toLocaleDateString('en-GB', { timeZone: zone, day: 'numeric', month: 'short' })} ${text.slice(0, 5)}`;
}

/** The name of the time zone of all times of day. */
function zoneName() {
  if (clocks.isUtc) return 'UTC';
  const minutes = -new Date().getTimezoneOffset();
  if (!minutes) return 'UTC';
  const hours = Math.floor(Math.abs(minutes) / 60), rest = Math.abs(minutes) % 60;
  return `UTC${minutes < 0 ? '−' : '+'}${hours}${rest ? `:${String(rest).padStart(2, '0')}` : ''}`;
}

function plural(number, one, many) {
  return `${number} ${number === 1 ? one : many || `${one}s`}`;
}

/** Names of the services that usually have a port. */
const SERVICES = {
  25: 'SMTP', 53: 'DNS', 80: 'HTTP', 389: 'LDAP', 443: 'HTTPS', 465: 'SMTP', 587: 'SMTP', 636: 'LDAP', 1433: 'SQL Server',
  1521: 'Oracle', 3306: 'MySQL', 4317: 'OTLP', 5432: 'PostgreSQL', 5433: 'PostgreSQL', 5672: 'RabbitMQ', 6379: 'Redis',
  6432: 'PgBouncer', 8080: 'HTTP', 9042: 'Cassandra', 9092: 'Kafka', 9200: 'Elasticsearch', 11211: 'memcached', 27017: 'MongoDB',
};

/** Sets the favicon to the mark of a level: a circle, a triangle or a square, so that a tab shows it. */
function drawIcon(level) {
  const colour = { bad: '#d1440c', warn: '#b97a00', fine: '#0a8a6a' }[level] || '#7b8491';
  const shape = { bad: '<rect x="2" y="2" width="12" height="12"/>', warn: '<path d="M8 1l7 13H1z"/>' }[level] || '<circle cx="8" cy="8" r="6"/>';
  const picture = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><g fill="${colour}">${shape}</g></svg>`;
  byId('icon').href = `data:image/svg+xml,${encodeURIComponent(picture)}`;
}
