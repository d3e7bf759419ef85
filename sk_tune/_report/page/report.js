"use strict";
(() => {
  // Tables: the cells of the head become buttons that sort; missing numbers are last.
  const said = document.getElementById("sorted");
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    const compare = (index, isNumber, sign) => (a, b) => {
      const [p, q] = [a.cells[index], b.cells[index]];
      if (isNumber) {
        const [u, v] = [parseFloat(p.dataset.key), parseFloat(q.dataset.key)];
        if (isNaN(u) || isNaN(v)) return isNaN(u) - isNaN(v);
        return sign * (u - v);
      }
      const [u, v] = [p.textContent.trim(), q.textContent.trim()];
      if (!u || !v) return !u - !v;
      return sign * u.localeCompare(v, undefined, { numeric: true });
    };
    heads.forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const isNumber = head.classList.contains("num");
        const rows = [...body.rows];
        rows.sort(compare(index, isNumber, order === "ascending" ? 1 : -1));
        body.append(...rows);
        said.textContent = "Sorted by " + button.textContent + ", " + order;
      });
    });
  }

  // Pictures: the nearest point shows its values, by pointer or by arrow keys.
  const tip = document.getElementById("tip");
  let shown = null;
  const hide = () => {
    if (shown) shown.classList.remove("on");
    shown = null;
    tip.hidden = true;
  };
  const show = (point) => {
    if (point === shown) return;
    hide();
    shown = point;
    point.classList.add("on");
    tip.textContent = point.dataset.text;
    tip.hidden = false;
    const at = point.getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    const middle = at.left + at.width / 2 - own.width / 2;
    const left = Math.max(6, Math.min(middle, document.documentElement.clientWidth - own.width - 6));
    const above = at.top - own.height - 10;
    const top = above > 4 ? above : at.bottom + 10;
    tip.style.left = left + window.scrollX + "px";
    tip.style.top = top + window.scrollY + "px";
  };
  for (const plot of document.querySelectorAll("svg.plot")) {
    const points = [...plot.querySelectorAll(".points > *")];
    for (const point of points) {
      // Otherwise the browser would show a second tip.
      const title = point.querySelector("title");
      point.dataset.text = title.textContent;
      title.remove();
    }
    const isCurve = points.length > 0 && points[0].classList.contains("hit");
    const nearest = (event) => {
      let [best, least] = [null, Infinity];
      const box = plot.getBoundingClientRect();
      const scale = plot.viewBox.baseVal.width / box.width;
      const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      for (const point of points) {
        const dx = point.cx.baseVal.value - x;
        // Along a curve only the epoch counts.
        const dy = isCurve ? 0 : point.cy.baseVal.value - y;
        const distance = Math.hypot(dx, dy);
        if (distance < least) [best, least] = [point, distance];
      }
      return isCurve || least < 40 ? best : null;
    };
    const point = (event) => {
      const found = nearest(event);
      if (found) show(found); else hide();
    };
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    // After a finger is lifted, the tip stays until the next touch.
    plot.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") hide();
    });
    plot.addEventListener("blur", hide);
    plot.addEventListener("keydown", (event) => {
      const moves = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
      if (event.key === "Escape") hide();
      if (!(event.key in moves) || !points.length) return;
      event.preventDefault();
      const now = points.indexOf(shown);
      const next = now < 0 && moves[event.key] === 1 ? 0 : now + moves[event.key];
      show(points[Math.max(0, Math.min(points.length - 1, next))]);
    });
  }

  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("svg.plot")) hide();
  });

  // Folded parts are printed open.
  const folded = () => [...document.querySelectorAll("details:not([open])")];
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = folded();
    opened.forEach((own) => { own.open = true; });
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((own) => { own.open = false; });
  });
})();
