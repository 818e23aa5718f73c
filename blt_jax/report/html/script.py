"""The page's only script: tables that are sorted by a click on a heading."""

import base64
import hashlib

# All rows are in the page; of many, the script shows the first ones until the
# reader asks for all. An unknown value, a dash, always comes last.
SCRIPT = """
const order = new Intl.Collator("en", {numeric: true}).compare;
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const few = 50, more = document.createElement("button");
  let rows = [...body.rows], all = rows.length <= few;
  const show = () => rows.forEach((r, i) => { r.hidden = !all && i >= few; });
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      const sign = up ? 1 : -1;
      heads.forEach(h => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const keyed = rows.map(r => [r.cells[column].textContent, r]);
      keyed.sort(([a], [b]) =>
        (a === "\\u2013") - (b === "\\u2013") || sign * order(a, b));
      rows = keyed.map(pair => pair[1]);
      show();
      body.append(...rows);
    };
  });
  more.className = "more";
  more.textContent = `Show all ${rows.length}`;
  more.onclick = () => { all = true; more.remove(); show(); };
  if (!all) table.parentElement.after(more);
  show();
}
"""

_DIGEST = hashlib.sha256(SCRIPT.encode()).digest()

# The source that a Content-Security-Policy allows: this script and no other.
SOURCE = f"'sha256-{base64.b64encode(_DIGEST).decode()}'"
