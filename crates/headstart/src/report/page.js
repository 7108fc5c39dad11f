// A click on a number of the confusion matrix shows the pictures behind it, copied from where they stand.
(() => {
  "use strict";
  const panel = document.getElementById("behind");
  if (!panel) return;
  let open = null;

  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const close = () => {
    if (open) open.setAttribute("aria-expanded", "false");
    open = null;
    panel.hidden = true;
    panel.replaceChildren();
  };

  const show = (button) => {
    close();
    open = button;
    button.setAttribute("aria-expanded", "true");
    const pictures = button.dataset.pictures.split(" ").filter(Boolean);
    const all = Number(button.dataset.count);
    const heading = element("h3", button.getAttribute("aria-label"));
    const shut = element("button", "Close", "shut");
    shut.type = "button";
    shut.addEventListener("click", () => {
      const from = open;
      close();
      if (from) from.focus();
    });
    const head = element("div", "", "head");
    head.append(heading, shut);
    panel.append(head);
    if (pictures.length < all) {
      const text = pictures.length ? `${pictures.length} of them are in this page.` : "None of them is in this page.";
      panel.append(element("p", text, "note"));
    }
    const texts = document.querySelector(".said");
    const gallery = element("div", "", texts ? "gallery texts" : "gallery");
    for (const i of pictures) {
      const original = document.getElementById(`picture-${i}`);
      if (!original) continue;
      const copy = original.cloneNode(true);
      copy.removeAttribute("id");
      gallery.append(copy);
    }
    panel.append(gallery);
    panel.hidden = false;
    panel.scrollIntoView({ block: "nearest" });
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-pictures]");
    if (!button) return;
    if (button === open) close();
    else show(button);
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !open) return;
    const from = open;
    close();
    from.focus();
  });

  // Arrow keys walk over the matrix; cells without images are passed over.
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const matrix = document.querySelector("table.matrix");
  if (matrix) {
    matrix.addEventListener("keydown", (event) => {
      const way = step[event.key];
      const cell = event.target.closest("td");
      if (!way || !cell) return;
      const rows = matrix.tBodies[0].rows;
      let [row, column] = [cell.parentElement.sectionRowIndex, cell.cellIndex];
      for (;;) {
        row += way[0];
        column += way[1];
        if (!rows[row] || column < 1 || !rows[row].cells[column]) return;
        const button = rows[row].cells[column].querySelector("button");
        if (!button) continue;
        event.preventDefault();
        button.focus();
        return;
      }
    });
  }
})();
