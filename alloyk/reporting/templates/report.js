"use strict";
// A click on a column's head sorts its table; a second one turns the order round. Empty cells come last.
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const falling = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = (row) => {
      const { dataset, textContent } = row.cells[head.cellIndex];
      const text = textContent.trim();
      return "sort" in dataset ? Number(dataset.sort) : text === "–" ? "" : text;
    };
    const compare = (one, other) =>
      typeof one === "number" && typeof other === "number"
        ? one - other
        : String(one).localeCompare(String(other), undefined, { numeric: true });
    const rows = [...body.rows].map((row) => [key(row), row]);
    rows.sort(([one], [other]) => {
      if (one === "" || other === "") return (one === "") - (other === "");
      return falling ? compare(other, one) : compare(one, other);
    });
    body.append(...rows.map(([, row]) => row));
  });
}
// Print the parts that are folded on the screen.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
