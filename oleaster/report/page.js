"use strict";
// Draws the figures of the page. Each .plot holds its figure as JSON: traces and layout of Plotly,
// to which fonts, colours and sizes that fit the window are added here. A .points figure holds
//   numbers: of its points;
//   columns: {name, numeric} and either values, or levels and codes (places in levels);
//   best, broken: places of Pareto-optimal points, and of those that break a constraint;
//   goals: "min" or "max" by place of a column; x, y, color: places of columns, color -1 for none.
(() => {
  const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999"];
  const MOST_SVG = 2000; // points that SVG draws at ease
  const MOST_ROWS = 100;
  const MOST_GROUPS = 8; // values of a number that get colours of their own
  const narrow = matchMedia("(max-width: 640px)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)");
  const drawn = new Map(); // .plot -> a function that draws it anew

  const library = async () => {
    const packed = atob(document.getElementById("library").textContent);
    const bytes = Uint8Array.from(packed, (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  };

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Plotly reads parts of HTML in texts.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  const written = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return String(value);
    const size = Math.abs(value);
    return size >= 1e3 && size < 1e10 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
  };

  const axis = (own) => ({
    automargin: true,
    gridcolor: color("--grid"),
    zerolinecolor: color("--line"),
    linecolor: color("--line"),
    ...own,
    title: { standoff: 10, font: { size: narrow.matches ? 12 : 13 }, ...(own && own.title) },
  });

  const layoutOf = (own, height) => ({
    ...own,
    height,
    autosize: true,
    margin: { l: 12, r: 14, t: 8, b: 8, pad: 4 },
    font: { family: getComputedStyle(document.body).fontFamily, size: narrow.matches ? 12 : 13, color: color("--ink") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--faint"), activecolor: color("--accent") },
    hoverlabel: { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--ink"), size: 12 }, align: "left", namelength: -1 },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", ...own.legend },
    xaxis: axis(own.xaxis),
    yaxis: axis(own.yaxis),
  });

  // Only buttons named here: among Plotly's own is one that sends the chart to its maker's server.
  const options = (buttons) => ({
    responsive: true,
    displaylogo: false,
    displayModeBar: buttons.length > 0,
    modeBarButtons: [buttons],
  });

  // On a narrow window a bar's name stands above it, since beside it there is no room for bars.
  const bars = (spec) => {
    const lines = spec.data.length > 1 ? Math.ceil(spec.data.length / (narrow.matches ? 2.5 : 3.5)) : 0;
    const pitch = narrow.matches ? 44 : 27;
    const layout = layoutOf(spec.layout, pitch * spec.rows + 66 + 20 * lines);
    layout.yaxis.showgrid = false;
    layout.bargap = 0.25;
    if (narrow.matches && spec.data.length) {
      const names = layout.yaxis.ticktext;
      layout.bargap = 0.5 * names.length / spec.rows;
      const top = (1 - layout.bargap) / 2;
      Object.assign(layout.yaxis, { showticklabels: false, automargin: false, autorange: false, range: [names.length - 0.5, -top - 22 / pitch / spec.rows * names.length] });
      layout.annotations = names.map((text, i) => ({
        text, x: 0, xref: "paper", xanchor: "left", xshift: 1, y: i - top, yref: "y", yanchor: "bottom", showarrow: false, font: { size: 12 },
      }));
      layout.margin.l = 4;
    }
    return layout;
  };

  const figure = (plot, spec) => () => {
    const layout = spec.rows ? bars(spec) : layoutOf(spec.layout, narrow.matches ? 380 : 430);
    layout.dragmode = touch.matches ? false : "zoom";
    return Plotly.react(plot, structuredClone(spec.data), layout, options([]));
  };

  const decoded = (column) => column.values || column.codes.map((code) => column.levels[code]);

  const scaleOf = (column, values) => {
    if (!column.numeric) return { type: "category" };
    const numbers = values.filter((value) => value !== null);
    const low = numbers.reduce((a, b) => Math.min(a, b), Infinity);
    const high = numbers.reduce((a, b) => Math.max(a, b), -Infinity);
    const wide = low > 0 ? high / low : 1;
    return { type: wide > 30 ? "log" : "linear", exponentformat: "SI extended", minexponent: 3, ...(wide > 100 && { dtick: 1 }) };
  };

  const webgl = () => {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl"));
  };

  const points = (plot, spec) => {
    const home = plot.closest("figure");
    const columns = spec.columns.map((column) => ({ ...column, cells: decoded(column) }));
    const along = (place, i) => {
      const { cells, numeric } = columns[place];
      return numeric || cells[i] === null ? cells[i] : plain(cells[i]);
    };
    const best = new Set(spec.best);
    const broken = new Set(spec.broken);
    const every = spec.numbers.map((_, i) => i);
    const kind = every.length > MOST_SVG && webgl() ? "scattergl" : "scatter";
    const called = (i) => spec.numbers[i] + (broken.has(i) ? ", infeasible" : "");
    const texts = every.map((i) =>
      [`point ${called(i)}`, ...columns.map((each) => `${plain(each.name)}: ${plain(written(each.cells[i]))}`)].join("<br>"));
    const shown = { x: spec.x, y: spec.y, color: spec.color };
    let picked = new Set();

    const trace = (places, more) => ({
      type: kind,
      mode: "markers",
      x: places.map((i) => along(shown.x, i)),
      y: places.map((i) => along(shown.y, i)),
      customdata: places,
      text: places.map((i) => texts[i]),
      hovertemplate: "%{text}<extra></extra>",
      ...more,
      marker: { size: every.length > MOST_SVG ? 5 : 8, opacity: 0.8, ...more.marker },
    });

    // Whether points get a colour for each value, or one of a scale.
    const levelled = () => {
      const by = columns[shown.color];
      return Boolean(by && by.levels && !(by.numeric && by.levels.length > MOST_GROUPS));
    };

    const groups = () => {
      const rest = every.filter((i) => !broken.has(i));
      const by = columns[shown.color];
      if (!by) return [trace(rest, { name: "points", marker: { color: PALETTE[0] } })];
      if (!levelled()) {
        const bar = { title: { text: plain(by.name), side: "right" }, thickness: 12, outlinewidth: 0, exponentformat: "SI extended" };
        return [trace(rest, { name: "points", showlegend: false, marker: { color: rest.map((i) => by.cells[i]), colorscale: "Viridis", colorbar: bar } })];
      }
      return by.levels.map((level, at) =>
        trace(rest.filter((i) => by.cells[i] === level), { name: (narrow.matches ? `${plain(by.name)} ` : "") + (plain(written(level)) || "none"), marker: { color: PALETTE[at % PALETTE.length] } }));
    };

    const front = () => {
      const goals = [spec.goals[shown.x], spec.goals[shown.y]];
      const places = spec.best.filter((i) => columns[shown.x].cells[i] !== null);
      const traces = [];
      if (goals[0] && goals[1] && shown.x !== shown.y && Object.keys(spec.goals).length === 2) {
        const ordered = [...places].sort((a, b) => (columns[shown.x].cells[a] - columns[shown.x].cells[b]) * (goals[0] === "max" ? -1 : 1));
        const line = { color: color("--ink"), width: 1.5, shape: "hv", dash: "dot" };
        traces.push({ ...trace(ordered, { mode: "lines", line, showlegend: false }), type: "scatter", hoverinfo: "skip", hovertemplate: null });
      }
      const ring = { symbol: "circle-open", size: every.length > MOST_SVG ? 9 : 13, opacity: 1, color: color("--ink"), line: { width: 1.5 } };
      const name = Object.keys(spec.goals).length > 1 ? "Pareto-optimal" : "best";
      traces.push({ ...trace(places, { name, marker: ring }), type: "scatter" });
      return traces;
    };

    const draw = async () => {
      const lost = [...broken];
      const traces = [
        ...(lost.length ? [trace(lost, { name: "infeasible", marker: { symbol: "x-thin-open", color: "#999999", opacity: 0.9 } })] : []),
        ...groups(),
        ...front(),
      ];
      const titled = (place) => {
        const goal = spec.goals[place];
        return { ...scaleOf(columns[place], columns[place].cells), title: { text: plain(columns[place].name) + (goal ? `, ${goal === "min" ? "less" : "more"} is better` : "") } };
      };
      const by = columns[shown.color];
      const below = { y: -0.28, yanchor: "top" };
      const title = { text: by ? plain(by.name) : "", font: { size: 12 } };
      const legend = narrow.matches ? below : levelled() ? { title } : {};
      const layout = layoutOf({ xaxis: titled(shown.x), yaxis: titled(shown.y), legend, showlegend: true, hovermode: "closest" }, narrow.matches ? 420 + 10 * traces.length : 540);
      layout.margin.t = 34; // for the buttons
      layout.dragmode = touch.matches ? false : "select";
      layout.uirevision = `${shown.x} ${shown.y}`;
      await Plotly.react(plot, traces, layout, options(["select2d", "lasso2d", "zoom2d", "pan2d", "resetScale2d"]));
      if (!plot.dataset.listens) {
        plot.dataset.listens = "yes";
        plot.on("plotly_selected", (event) => choose(event ? event.points.map((each) => each.customdata) : []));
        plot.on("plotly_deselect", () => choose([]));
        plot.on("plotly_click", (event) => {
          const place = event.points[0].customdata;
          const next = new Set(picked);
          if (!next.delete(place)) next.add(place);
          choose(next);
        });
      }
    };

    const table = () => {
      const goal = spec.goals[spec.y] ? spec.y : spec.x;
      const sign = spec.goals[goal] === "max" ? -1 : 1;
      const rows = [...(picked.size ? picked : best)].sort((a, b) => sign * (columns[goal].cells[a] - columns[goal].cells[b]) || a - b);
      const name = Object.keys(spec.goals).length > 1 ? "Pareto-optimal points" : "Best point";
      const part = rows.length > MOST_ROWS ? `, the first ${MOST_ROWS} of ${rows.length.toLocaleString("en")}` : "";
      home.querySelector(".chosen h4").textContent = (picked.size ? `Selected points: ${picked.size.toLocaleString("en")}` : name) + part;
      home.querySelector(".chosen button").hidden = !picked.size;
      const line = (tag, cells) => {
        const row = document.createElement("tr");
        cells.forEach(([text, number]) => {
          const cell = document.createElement(tag);
          cell.textContent = text;
          if (number) cell.className = "number";
          row.append(cell);
        });
        return row;
      };
      home.querySelector("thead").replaceChildren(line("th", [["point", false], ...columns.map((each) => [each.name, each.numeric])]));
      home.querySelector("tbody").replaceChildren(...rows.slice(0, MOST_ROWS).map((i) =>
        line("td", [[called(i), false], ...columns.map((each) => [written(each.cells[i]), each.numeric])])));
    };

    const choose = (places) => {
      picked = new Set(places);
      table();
    };

    const control = (what, key, extra) => {
      const label = document.createElement("label");
      const select = document.createElement("select");
      select.name = key;
      label.append(what, select);
      extra.concat(columns.map((each, i) => [i, each.name])).forEach(([value, name]) => select.append(new Option(name, value)));
      select.value = shown[key];
      select.addEventListener("change", () => {
        shown[key] = Number(select.value);
        draw();
      });
      home.querySelector("form").append(label);
    };
    control("across", "x", []);
    control("up", "y", []);
    control("colour", "color", [[-1, "none"]]);
    home.querySelector(".chosen button").addEventListener("click", async () => {
      choose([]);
      await Plotly.relayout(plot, { selections: [] });
      await Plotly.restyle(plot, { selectedpoints: [null] });
    });
    table();
    return draw;
  };

  const draw = async (plot) => {
    if (drawn.has(plot)) return;
    const spec = JSON.parse(plot.querySelector("script").textContent);
    plot.replaceChildren();
    const again = plot.closest(".points") ? points(plot, spec) : figure(plot, spec);
    drawn.set(plot, again);
    await again();
  };

  // What is folded has no width yet.
  const visible = (root) => [...root.querySelectorAll(".plot")].filter((plot) => plot.offsetParent !== null);

  const start = async () => {
    await library();
    for (const plot of visible(document)) await draw(plot);
    document.querySelectorAll("details").forEach((each) =>
      each.addEventListener("toggle", async () => {
        for (const plot of visible(each)) await draw(plot);
      }));
    const again = () => drawn.forEach((one, plot) => plot.offsetParent !== null && one());
    [narrow, dark].forEach((query) => query.addEventListener("change", again));
    document.documentElement.dataset.drawn = "yes";
  };

  start().catch((error) => {
    const trouble = document.getElementById("trouble");
    trouble.textContent = `The plots cannot be drawn here (${error.message}); a browser from 2023 or later can.`;
    trouble.hidden = false;
    throw error;
  });
})();
