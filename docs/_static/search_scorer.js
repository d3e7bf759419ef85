// Pages that say how come before those that say why, or when, or list names; of pages that
// say as much, those whose titles or addresses begin like the words of the query come first.
var Scorer = {
  score: ([docname, title, , , score, , kind]) => {
    if (kind === "object") return score;
    if (/^adr\/|^changelog|^api\/index/.test(docname)) return score / 10;
    const words = (new URLSearchParams(location.search).get("q") ?? "").toLowerCase().match(/\w{3,}/g) ?? [];
    const name = `${docname} ${title}`.toLowerCase();
    return score + 2 * words.filter((word) => name.includes(word.slice(0, 6))).length;
  },
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
