// One button copies the text beside it.
(() => {
  if (window.portraitlibStudio) return;
  window.portraitlibStudio = true;
  document.addEventListener("click", (event) => {
    const found = event.target instanceof Element && event.target.closest(".pl-copy");
    const text = found && found.closest(".pl-command").querySelector("textarea");
    if (!text) return;
    text.select();
    (navigator.clipboard?.writeText(text.value) ?? Promise.reject())
      .catch(() => document.execCommand("copy"));
  });
})();
