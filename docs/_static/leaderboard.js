// Makes the leaderboard's tables sortable and filterable; without it they are plain tables.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.leaderboard")) {
    const shown = new DataTable(table, {
      autoWidth: false,
      columnDefs: [{ targets: ".number", orderSequence: ["desc", "asc", ""] }],
      info: false,
      layout: { topStart: "search", topEnd: null, bottomStart: null, bottomEnd: null },
      language: { search: "Filter: ", zeroRecords: "No figure has all of these words." },
      order: [],
      paging: false,
    });
    table.dataset.ready = shown.rows().count();
  }
});
