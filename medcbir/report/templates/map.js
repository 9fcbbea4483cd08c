// The map of images: unpacks the points (map_figure.py says how they are packed) and draws them on a canvas.
"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const about = JSON.parse(byId("map-about").textContent);
  const groups = about.groups;
  const side = 1 << about.bits;
  const total = groups.reduce((sum, group) => sum + group.count, 0);

  async function inflated(text) {
    const packed = atob(text);
    const bytes = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function evenBits(code) {
    code &= 0x55555555;
    code = (code | (code >>> 1)) & 0x33333333;
    code = (code | (code >>> 2)) & 0x0f0f0f0f;
    code = (code | (code >>> 4)) & 0x00ff00ff;
    return (code | (code >>> 8)) & 0xffff;
  }

  const planes = await inflated(byId("map-points").textContent.trim());
  const xs = new Uint16Array(total), ys = new Uint16Array(total);
  let at = 0;
  for (const group of groups) {
    group.start = at;
    for (let end = at + group.count, code = 0; at < end; at++) {
      code += planes[at] | (planes[total + at] << 8) | (planes[2 * total + at] << 16);
      xs[at] = evenBits(code);
      ys[at] = side - 1 - evenBits(code >>> 1);
    }
  }

  const canvas = byId("map-canvas"), pen = canvas.getContext("2d");
  const colourBy = byId("map-colour"), only = byId("map-only"), legend = byId("map-legend"), said = byId("map-said");
  const hidden = new Set();
  let categories = [], view = null, owner = null, waiting = false;

  for (const modality of [...new Set(groups.map((group) => group.modality).filter(Boolean))]) {
    only.append(new Option(`${modality} only`, modality));
  }

  const categoryOf = (group) => group[colourBy.value] ?? "none";
  const offered = (group) => !only.value || group.modality === only.value;

  function regroup() {
    const counts = new Map();
    for (const group of groups) {
      if (offered(group)) counts.set(categoryOf(group), (counts.get(categoryOf(group)) ?? 0) + group.count);
    }
    categories = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    const own = new Map(categories.slice(0, 11).map(([name], place) => [name, place + 1]));
    for (const group of groups) group.colour = own.get(categoryOf(group)) ?? 0;
    hidden.clear();
    legend.replaceChildren(...categories.map(([name, count]) => {
      const item = document.createElement("li"), button = document.createElement("button"), dot = document.createElement("span");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      dot.className = `dot series-${own.get(name) ?? 0}`;
      button.append(dot, `${name} `, Object.assign(document.createElement("span"), {
        className: "quiet", textContent: count.toLocaleString("en"),
      }));
      button.addEventListener("click", () => {
        const shown = hidden.delete(name) || !hidden.add(name);
        button.setAttribute("aria-pressed", String(shown));
        redraw();
      });
      item.append(button);
      return item;
    }));
    redraw();
  }

  function colours() {
    const style = getComputedStyle(document.documentElement);
    return Array.from({ length: 12 }, (_, place) => {
      const hex = style.getPropertyValue(place ? `--series-${place}` : "--unknown").trim();
      return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
    });
  }

  function whole() {
    const scale = (0.96 * Math.min(canvas.width, canvas.height)) / side;
    view = { scale, x: (side - canvas.width / scale) / 2, y: (side - canvas.height / scale) / 2 };
  }

  function disc(radius) {
    const offsets = [];
    for (let dy = -radius; dy <= radius; dy++) {
      for (let dx = -radius; dx <= radius; dx++) {
        if (dx * dx + dy * dy <= radius * radius + 0.8 * radius) offsets.push([dx, dy]);
      }
    }
    return offsets;
  }

  function draw() {
    waiting = false;
    const { width, height } = canvas, { scale, x: left, y: top } = view, palette = colours();
    const visible = groups.filter((group) => offered(group) && !hidden.has(categoryOf(group)));
    const asked = visible.reduce((sum, group) => sum + group.count, 0);
    const zoom = (scale * side) / Math.min(width, height);
    const inView = asked / Math.max(1, zoom * zoom);
    const radius = Math.round((inView > 3e5 ? 0 : inView > 3e4 ? 1 : inView > 3e3 ? 2 : 4) * devicePixelRatio);
    const stamp = disc(radius);
    const count = new Uint32Array(width * height), sums = new Float32Array(3 * width * height);
    owner = new Uint16Array(width * height);
    let most = 1;
    for (const group of visible) {
      const [red, green, blue] = palette[group.colour], mark = groups.indexOf(group) + 1;
      for (let i = group.start, end = i + group.count; i < end; i++) {
        const px = Math.round((xs[i] + 0.5 - left) * scale), py = Math.round((ys[i] + 0.5 - top) * scale);
        if (px < -radius || py < -radius || px >= width + radius || py >= height + radius) continue;
        for (const [dx, dy] of stamp) {
          const x = px + dx, y = py + dy;
          if (x < 0 || y < 0 || x >= width || y >= height) continue;
          const pixel = y * width + x;
          if (++count[pixel] > most) most = count[pixel];
          sums[3 * pixel] += red;
          sums[3 * pixel + 1] += green;
          sums[3 * pixel + 2] += blue;
          owner[pixel] = mark;
        }
      }
    }
    const image = pen.createImageData(width, height), fullest = Math.log1p(most);
    for (let pixel = 0; pixel < count.length; pixel++) {
      const hits = count[pixel];
      if (!hits) continue;
      image.data[4 * pixel] = sums[3 * pixel] / hits;
      image.data[4 * pixel + 1] = sums[3 * pixel + 1] / hits;
      image.data[4 * pixel + 2] = sums[3 * pixel + 2] / hits;
      image.data[4 * pixel + 3] = 255 * (0.5 + (0.5 * Math.log1p(hits)) / fullest);
    }
    pen.putImageData(image, 0, 0);
    said.textContent = `${asked.toLocaleString("en")} of ${total.toLocaleString("en")} images shown.`;
    canvas.dataset.drawn = String(asked);
  }

  function redraw() {
    if (!waiting && view) requestAnimationFrame(draw);
    waiting = Boolean(view);
  }

  function resize() {
    const box = canvas.getBoundingClientRect();
    if (!box.width) return;
    canvas.width = Math.round(box.width * devicePixelRatio);
    canvas.height = Math.round(box.height * devicePixelRatio);
    whole();
    redraw();
  }

  function zoom(factor, x = canvas.width / 2, y = canvas.height / 2) {
    const least = Math.min(canvas.width, canvas.height) / side / 2;
    const scale = Math.min(Math.max(view.scale * factor, least), 64);
    view.x += x / view.scale - x / scale;
    view.y += y / view.scale - y / scale;
    view.scale = scale;
    redraw();
  }

  function move(dx, dy) {
    view.x -= dx / view.scale;
    view.y -= dy / view.scale;
    redraw();
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * devicePixelRatio, (event.clientY - box.top) * devicePixelRatio];
  }

  function groupNear([x, y]) {
    for (let reach = 0; reach <= 6 * devicePixelRatio; reach++) {
      for (let dy = -reach; dy <= reach; dy++) {
        for (let dx = -reach; dx <= reach; dx += Math.abs(dy) === reach ? 1 : 2 * reach || 1) {
          const px = Math.round(x) + dx, py = Math.round(y) + dy;
          if (px < 0 || py < 0 || px >= canvas.width || py >= canvas.height) continue;
          const mark = owner?.[py * canvas.width + px];
          if (mark) return groups[mark - 1];
        }
      }
    }
    return null;
  }

  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    held = place(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event);
    if (held) {
      move(now[0] - held[0], now[1] - held[1]);
      held = now;
      return;
    }
    const group = groupNear(now);
    byId("map-here").textContent = group
      ? [[group.modality, group.region, group.finding].filter(Boolean).join("/") || "no single label", group.dataset]
        .filter(Boolean).join(", ")
      : "";
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...place(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = canvas.width / 10;
    const does = {
      ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0),
      ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step),
      "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5),
      0: () => { whole(); redraw(); },
    }[event.key];
    if (!does || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    does();
  });
  byId("map-in").addEventListener("click", () => zoom(1.5));
  byId("map-out").addEventListener("click", () => zoom(1 / 1.5));
  byId("map-whole").addEventListener("click", () => { whole(); redraw(); });
  colourBy.addEventListener("change", regroup);
  only.addEventListener("change", regroup);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  byId("map").closest("section").querySelector(".map").classList.add("live");
  new ResizeObserver(resize).observe(canvas);
  resize();
  regroup();
})();
