// Pages that say how come before those that say why, or when.
var Scorer = {
  score: ([docname, , , , score]) =>
    /^adr\/|^changelog|sg_execution_times/.test(docname) ? score / 10 : score,
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
