// Names for those who listen: what the theme leaves without one, or calls otherwise than it reads.
for (const button of document.querySelectorAll(".search-button-field")) {
  button.setAttribute("aria-label", button.textContent.replace(/\s+/g, " ").trim());
}
for (const fold of document.querySelectorAll("li > details > summary")) {
  const link = fold.closest("li").querySelector("a");
  if (link && !fold.textContent.trim()) fold.setAttribute("aria-label", `Pages of ${link.textContent.trim()}`);
}
