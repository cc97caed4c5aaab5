"use strict";
/* Asks for status.json every two seconds, keeps the last five minutes, and shows rates between one
   answer and the one before. Texts from the server are only ever set as text. */
(() => {
  const PERIOD_MS = 2000, FIRST_PERIOD_MS = 400, KEPT = 150, COMMANDS_SHOWN = 15, ERRORS_SHOWN = 15;
  const byId = (id) => document.getElementById(id);
  const whole = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
  const short = new Intl.NumberFormat("en", {notation: "compact", maximumFractionDigits: 1});

  const count = (n) => n < 100000 ? whole.format(n) : short.format(n);
  const percent = (n) => n === null ? "–" : n.toFixed(1) + " %";
  const bytes = (n) => {
    const units = ["B", "KB", "MB", "GB", "TB", "PB"];
    let unit = 0;
    while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit++; }
    return (unit ? n.toFixed(n < 10 ? 2 : 1) : whole.format(n)) + " " + units[unit];
  };
  const micros = (us) => us < 1000 ? us.toFixed(us < 10 ? 2 : 1) + " µs"
    : us < 1e6 ? (us / 1000).toFixed(1) + " ms" : (us / 1e6).toFixed(2) + " s";
  const duration = (s) => {
    const d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
    return d ? `${d} d ${h} h` : h ? `${h} h ${m} min` : m ? `${m} min ${Math.floor(s % 60)} s`
      : `${Math.floor(s)} s`;
  };

  /* A rate is not known (null) before the second answer. */
  const per = (now, was, field, s) => s > 0 ? Math.max(0, now[field] - was[field]) / s : null;
  const orDash = (n) => n === null ? "–" : count(n);

  /* Tiles: name, the number to plot, how it is written, and a line below it. */
  const rate = (now, was, field) =>
    per(now, was, field, (now.monotonic_ms - was.monotonic_ms) / 1000);
  const hitRate = (now, was) => {
    const hits = now.hits - was.hits, all = hits + now.misses - was.misses;
    return all > 0 ? 100 * hits / all : null;
  };
  const tiles = [
    {name: "Requests a second", of: (n, w) => rate(n, w, "commands"), write: count,
     below: (n) => count(n.commands) + " in all"},
    {name: "Memory used", of: (n) => n.memory_used, write: bytes,
     below: (n) => (n.memory_max ? "of " + bytes(n.memory_max) + ", " : "") + bytes(n.memory_rss) +
       " resident"},
    {name: "Hit rate", of: hitRate, write: percent, top: 100,
     below: (n) => count(n.hits) + " hits, " + count(n.misses) + " misses in all"},
    {name: "Clients", of: (n) => n.clients, write: count,
     below: (n) => "of " + count(n.clients_max) + (n.blocked ? ", " + count(n.blocked) +
       " waiting" : "")},
    {name: "Keys", of: (n) => n.keys, write: count,
     below: (n) => count(n.expired) + " have expired, " + count(n.evicted) + " were evicted"},
    {name: "Received a second", of: (n, w) => rate(n, w, "input_bytes"), write: bytes,
     below: (n) => bytes(n.input_bytes) + " in all"},
    {name: "Sent a second", of: (n, w) => rate(n, w, "output_bytes"), write: bytes,
     below: (n) => bytes(n.output_bytes) + " in all"},
    {name: "Errors a second", of: (n, w) => rate(n, w, "errors"), write: count,
     below: (n) => count(n.errors) + " in all"},
  ];

  const element = (name, parent, text) => {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    if (parent) parent.append(e);
    return e;
  };
  const svg = (name, parent) => {
    const e = document.createElementNS("http://www.w3.org/2000/svg", name);
    parent.append(e);
    return e;
  };

  for (const tile of tiles) {
    const figure = element("figure", byId("tiles"));
    element("figcaption", figure, tile.name);
    tile.strong = element("strong", figure, "–");
    tile.small = element("small", figure);
    tile.plot = svg("svg", figure);
    tile.plot.setAttribute("viewBox", `0 0 ${KEPT - 1} 40`);
    tile.plot.setAttribute("preserveAspectRatio", "none");
    tile.plot.setAttribute("role", "img");
    tile.area = svg("path", tile.plot);
    tile.area.setAttribute("class", "area");
    tile.line = svg("path", tile.plot);
    tile.values = [];
  }

  const plot = (tile) => {
    const known = tile.values.filter((v) => v !== null);
    const top = tile.top || Math.max(1, ...known) * 1.05, first = KEPT - tile.values.length;
    const points = tile.values.map((v, i) => [first + i, 39 - 38 * (v || 0) / top]);
    const path = points.map(([x, y]) => `${x},${y.toFixed(2)}`).join("L");
    tile.line.setAttribute("d", "M" + path);
    tile.area.setAttribute("d", `M${points[0][0]},40L${path}L${KEPT - 1},40Z`);
    const least = known.length ? tile.write(Math.min(...known)) : "–";
    const most = known.length ? tile.write(Math.max(...known)) : "–";
    tile.plot.setAttribute("aria-label",
                           `${tile.name}, last five minutes: from ${least} to ${most}`);
  };

  const fill = (id, heads, rows) => {
    const table = byId(id);
    if (!table.tHead.rows.length) {
      const row = element("tr", table.tHead);
      for (const head of heads) element("th", row, head).scope = "col";
    }
    const body = document.createElement("tbody");
    for (const cells of rows) {
      const row = element("tr", body);
      for (const cell of cells) {
        const td = element("td", row);
        if (cell instanceof Node) td.append(cell);
        else td.textContent = cell;
      }
    }
    table.tBodies[0].replaceWith(body);
  };

  const bar = (share) => {
    const cell = document.createElement("span");
    const frame = element("span", cell);
    frame.className = "bar";
    frame.setAttribute("aria-hidden", "true");
    element("i", frame).style.width = Math.min(100, share) + "%";
    element("span", cell, percent(share)).className = "share";
    return cell;
  };

  const showShards = (now, was) => {
    fill("shards", ["Core", "Busy", "Requests/s", "Keys", "Memory", "Clients", "Hit rate",
                    "Hops sent/s", "Hops received/s", "Queue", "Order log"],
         now.shards.map((n, i) => {
           const w = was.shards[i];
           const s = (n.taken_ms - w.taken_ms) / 1000;
           const shown = (field) => orDash(per(n, w, field, s));
           const busy = per(n, w, "busy_us", s);
           return [n.shard + (n.stale ? " (no answer)" : ""), busy === null ? "–" : bar(busy / 1e4),
             shown("commands"), count(n.keys), bytes(n.memory), count(n.clients),
             percent(hitRate(n, w)), shown("hops_sent"), shown("hops_received"), count(n.queue),
             count(n.order)];
         }));
  };

  const showCommands = (now, was) => {
    const before = new Map(was.by_command.map((c) => [c.name, c]));
    const all = now.by_command.reduce((sum, c) => sum + c.us, 0);
    const s = (now.monotonic_ms - was.monotonic_ms) / 1000;
    const rows = [...now.by_command].sort((a, b) => b.us - a.us).slice(0, COMMANDS_SHOWN);
    fill("commands", ["Command", "Share of time", "Mean", "Calls/s", "Calls", "Failed", "Rejected"],
         rows.map((c) => {
           const w = before.get(c.name) || {calls: 0};
           return [c.name, bar(all ? 100 * c.us / all : 0), c.calls ? micros(c.us / c.calls) : "–",
                   orDash(per(c, w, "calls", s)), count(c.calls), count(c.failed),
                   count(c.rejected)];
         }));
  };

  const showErrors = (now) => {
    const rows = [...now.by_error].sort((a, b) => b.count - a.count).slice(0, ERRORS_SHOWN);
    byId("errors-section").hidden = !rows.length;
    fill("errors", ["Code", "Replies"], rows.map((e) => [e.code, count(e.count)]));
  };

  const setHealth = (text, well) => {
    const health = byId("health");
    if (health.textContent !== text) health.textContent = text;
    health.className = well ? "good" : "bad";
  };

  let last = null, answered = Date.now(), askedOnce = false;
  const show = (now) => {
    if (last && now.monotonic_ms === last.monotonic_ms) return; /* the same look at the cores */
    const was = last || now;
    byId("version").textContent = now.version;
    byId("facts").textContent = `up ${duration((Date.now() - now.started_ms) / 1000)} · ` +
      `${now.shards.length} cores · ${now.backend} · speaks Redis ${now.redis_version}`;
    setHealth(now.healthy ? "serving" : now.health, now.healthy);
    for (const tile of tiles) {
      const value = tile.of(now, was);
      tile.values.push(value);
      if (tile.values.length > KEPT) tile.values.shift();
      tile.strong.textContent = value === null ? "–" : tile.write(value);
      tile.small.textContent = tile.below(now);
      plot(tile);
    }
    showShards(now, was);
    showCommands(now, was);
    showErrors(now);
    last = now;
  };

  const ask = async () => {
    try {
      const reply = await fetch("status.json", {cache: "no-store"});
      if (!reply.ok) throw new Error("HTTP " + reply.status);
      show(await reply.json());
      answered = Date.now();
    } catch (error) {
      setHealth(`no answer for ${duration((Date.now() - answered) / 1000)}: ${error.message}`,
                false);
    }
    setTimeout(ask, askedOnce ? PERIOD_MS : FIRST_PERIOD_MS);
    askedOnce = true;
  };
  ask();
})();
