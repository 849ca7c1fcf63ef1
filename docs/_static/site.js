// The switch between versions: asks the site's own versions.json, and stays as it is where there is none (a page opened as a file).
document.querySelectorAll("select[data-versions]").forEach(async (select) => {
  try {
    const answer = await fetch(select.dataset.versions);
    if (!answer.ok) return;
    const here = new URL(select.dataset.root, location.href);
    const now = location.pathname.slice(here.pathname.length).split("/")[0];
    select.replaceChildren(...(await answer.json()).map(({ folder, name }) => new Option(name, folder, false, folder === now)));
    select.addEventListener("change", async () => {
      const page = new URL(`${select.value}/${select.dataset.page}`, here);
      const there = (await fetch(page, { method: "HEAD" })).ok;
      location.assign(there ? page : new URL(`${select.value}/en/index.html`, here));
    });
  } catch {
    // no server: one version
  }
});
