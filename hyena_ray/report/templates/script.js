// Makes the page easier to use: tables are sorted, filtered, copied and saved, sections are closed.
// Without it everything can be read. It loads nothing and stores nothing.
"use strict";
(() => {
  const element = (name, properties = {}, children = []) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  // A cell as a program reads it: a true minus sign and commas between digits are for people.
  const plain = cell => {
    const text = cell.textContent.trim();
    const bare = text.replace(/\u2212/g, "-").replace(/(\d),(?=\d{3})/g, "$1");
    return /^[-+]?[\d.]/.test(bare) ? bare : text;
  };
  const rowsOf = table => [...table.tBodies[0].rows];
  const columns = table => [...table.tHead.rows[0].cells];

  const sortBy = (table, column) => {
    const head = columns(table)[column];
    const upwards = head.getAttribute("aria-sort") !== "ascending";
    const key = row => plain(row.cells[column]);
    const rows = rowsOf(table).map(row => [row, key(row), parseFloat(key(row))]);
    const numeric = rows.some(each => !isNaN(each[2]))
      && rows.every(each => !isNaN(each[2]) || each[1] === "" || each[1] === "\u2014");
    rows.sort((a, b) => {
      if (!numeric) return (upwards ? 1 : -1) * a[1].localeCompare(b[1], "en", {numeric: true});
      // What has no value is last, in either order.
      if (isNaN(a[2]) || isNaN(b[2])) return isNaN(a[2]) - isNaN(b[2]);
      return (upwards ? 1 : -1) * (a[2] - b[2]);
    });
    columns(table).forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
    table.tBodies[0].append(...rows.map(each => each[0]));
  };

  const separated = (table, separator, quoted) =>
    [table.tHead.rows[0], ...rowsOf(table).filter(row => !row.hidden)]
      .map(row => [...row.cells].map(plain).map(quoted).join(separator)).join("\n") + "\n";
  const asTabs = table => separated(table, "\t", text => text.replace(/\s+/g, " "));
  const asCommas = table => separated(
    table, ",", text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  const copy = async text => {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // an older browser, or a page that was opened in a frame
      const area = element("textarea", {value: text});
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  const save = (text, name) => {
    const href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
    element("a", {href, download: name}).click();
    setTimeout(() => URL.revokeObjectURL(href), 1000);
  };

  document.querySelectorAll("table").forEach(table => {
    const title = table.ariaLabel
      || document.getElementById(table.getAttribute("aria-labelledby")).textContent;
    const name = title.toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_|_$/g, "").slice(0, 60);
    const button = (text, label, onclick) =>
      element("button", {type: "button", textContent: text, ariaLabel: label, onclick});
    const said = element("span", {className: "said", role: "status"});
    const tools = element("div", {className: "tools"}, [
      button("Copy", `Copy: ${title}`, async () => {
        await copy(asTabs(table));
        said.textContent = "copied";
      }),
      button("CSV", `Save as CSV: ${title}`, () => save(asCommas(table), `${name}.csv`)),
      said,
    ]);
    const rows = rowsOf(table);
    if (rows.length > 2) {
      columns(table).forEach((head, column) => {
        const text = head.textContent.trim();
        head.replaceChildren(button(text, `Sort by ${text}`, () => sortBy(table, column)));
      });
    }
    if (rows.length > 10) {
      const field = element("input", {
        type: "search", placeholder: "Filter rows", ariaLabel: `Filter rows: ${title}`});
      field.oninput = () => {
        const wanted = field.value.toLowerCase();
        rows.forEach(row => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
        const shown = rows.filter(row => !row.hidden).length;
        said.textContent = `${shown} of ${rows.length} rows`;
      };
      tools.prepend(field);
    }
    table.parentElement.before(tools);
  });

  document.querySelectorAll("section > h2").forEach(heading => {
    const toggle = element("button", {
      type: "button", textContent: heading.textContent, ariaExpanded: "true"});
    toggle.onclick = () => {
      const closed = heading.parentElement.classList.toggle("closed");
      toggle.ariaExpanded = String(!closed);
    };
    heading.replaceChildren(toggle);
  });
  // A link to a section that is closed opens it.
  addEventListener("hashchange", () => {
    const section = document.getElementById(location.hash.slice(1))?.closest("section.closed");
    section?.querySelector("h2 > button").click();
  });

  const links = new Map([...document.querySelectorAll("nav a")].map(a => [a.hash.slice(1), a]));
  const watcher = new IntersectionObserver(
    entries => entries.forEach(entry => {
      const link = links.get(entry.target.id);
      if (!entry.isIntersecting) return link.removeAttribute("aria-current");
      link.setAttribute("aria-current", "true");
      link.closest("nav").scrollTo({left: link.offsetLeft - 16});
    }),
    {rootMargin: "-25% 0px -70%"});
  document.querySelectorAll("main > section").forEach(section => watcher.observe(section));
})();
