"""How the studio looks, what a browser has to do for it, and whether somebody looks at all.

Colours are those of the page around it (JupyterLab, VS Code, Colab, Voila), light or dark.
"""

from __future__ import annotations

import os

STYLE = """<style>
.pl-studio { --pl-ink: var(--jp-ui-font-color1, var(--vscode-foreground, CanvasText));
  --pl-soft: var(--jp-ui-font-color2, var(--vscode-descriptionForeground, GrayText));
  --pl-line: var(--jp-border-color2, rgba(128, 128, 128, .3));
  --pl-paper: var(--jp-layout-color1, var(--vscode-editor-background, Canvas));
  --pl-place: rgba(128, 128, 128, .13);
  --pl-accent: var(--jp-brand-color1, #1976d2); --pl-round: 10px;
  container-type: inline-size; width: 100%; max-width: 1240px; padding: 2px 2px 14px;
  box-sizing: border-box; color: var(--pl-ink); overflow: visible;
  font: 14px/1.45 system-ui, sans-serif; }
.pl-studio *, .pl-studio *::before { box-sizing: border-box; }
.pl-studio .widget-html, .pl-studio .jupyter-widget-html, .pl-studio .widget-html-content,
.pl-studio .jupyter-widget-html-content { line-height: 1.45; color: inherit; height: auto; }
.pl-studio .widget-box, .pl-studio .jupyter-widget-box { overflow: visible; }
.pl-head { margin: 0 2px 12px; justify-content: space-between; align-items: baseline;
  flex-wrap: wrap; gap: 2px 16px; }
.pl-head b { font-size: 20px; font-weight: 650; }
.pl-soft { color: var(--pl-soft); font-size: 12.5px; }
.pl-main { display: grid !important; align-items: start; gap: 18px 24px;
  grid-template-columns: minmax(0, 6fr) minmax(0, 5fr); grid-template-rows: auto 1fr;
  grid-template-areas: "tabs right" "command right"; }
.pl-main > .pl-tabs { grid-area: tabs; }
.pl-main > .pl-right { grid-area: right; }
.pl-main > * { min-width: 0; margin: 0 !important; width: auto; }

/* settings: label, control and number stand in the same three columns everywhere */
.pl-setting { margin: 0 0 7px; width: 100%; overflow: visible; }
.pl-row { display: grid !important; width: 100%; gap: 8px; align-items: center;
  grid-template-columns: minmax(0, 1fr) 84px; }
.pl-row > * { margin: 0 !important; min-width: 0; }
.pl-row > :only-child { grid-column: 1 / -1; }
.pl-row > .pl-number { width: 84px !important; }
.pl-number input { text-align: right; font-variant-numeric: tabular-nums; }
.pl-labelled { width: 100% !important; height: auto; margin: 0 !important; }
.pl-labelled > label, .pl-labelled > .widget-label, .pl-labelled > .widget-label-basic {
  width: 118px !important; min-width: 118px; text-align: left !important; flex: none;
  font-size: 13px; color: inherit; line-height: 28px; overflow: hidden; text-overflow: ellipsis; }
.pl-labelled textarea { line-height: 1.4; padding: 6px 8px; resize: vertical; }
.pl-labelled textarea, .pl-labelled input[type=text], .pl-labelled input[type=number],
.pl-labelled select, .pl-number input { border-radius: 6px !important; }
.pl-labelled > .widget-label-basic { width: auto !important; margin-left: 126px; }
.pl-labelled select { height: 28px; padding: 2px 8px; }
.pl-labelled textarea { font: inherit; }
.pl-studio .pl-help { color: var(--pl-soft); font-size: 12px; margin: 1px 0 0 126px !important;
  width: auto; align-self: stretch; min-width: 0; overflow: hidden; }
.pl-studio .pl-help div { font-size: 12px; line-height: 1.4; overflow: hidden; }
.pl-help span { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.pl-explain .pl-help span { white-space: normal; }
.pl-seed .pl-row { grid-template-columns: minmax(0, 1fr) auto auto; }
.pl-studio .pl-head-line { font-weight: 600; margin: 12px 0 6px; }
.pl-studio button.jupyter-button, .pl-studio .jupyter-button { border-radius: 7px; width: auto;
  padding: 0 12px; flex: none; margin: 0; }
.pl-studio button:focus-visible { outline: 2px solid var(--pl-accent); outline-offset: 1px; }

/* tabs wrap rather than hide */
.pl-tabs { margin: 0 !important; }
.pl-tabs .lm-TabBar-content, .pl-tabs .p-TabBar-content { flex-wrap: wrap; gap: 2px; }
.pl-tabs .lm-TabBar-tab, .pl-tabs .p-TabBar-tab { flex: 0 1 auto !important;
  min-width: 0 !important; max-width: none !important; padding: 0 11px !important;
  border-radius: 7px 7px 0 0; }
.pl-tabs > .widget-tab-contents, .pl-tabs > .jupyter-widget-TabPanel-tabContents,
.pl-tabs .widget-tab-contents, .pl-tabs .jupyter-widget-tab-contents { padding: 14px !important;
  border-radius: 0 8px 8px 8px; overflow: visible; }
.pl-tabs .p-Accordion, .pl-tabs .jupyter-widget-Accordion { margin: 4px 0; }

/* the stage: its places are there before the pictures are */
.pl-act { flex-wrap: wrap; gap: 8px; align-items: center; }
.pl-act .pl-bar { flex: 1 1 120px; width: auto; min-width: 90px; margin: 0; }
.pl-bar .progress, .pl-bar .jupyter-widgets-progress, .pl-bar > div { border-radius: 5px; }
.pl-say { min-height: 40px; margin: 6px 0 !important; font-size: 13px; }
.pl-say .pl-wrong { color: var(--jp-error-color1, #c62828); font-weight: 600; }
.pl-stage { width: 100%; aspect-ratio: 1; max-width: 512px; background: var(--pl-place);
  border-radius: var(--pl-round); overflow: hidden !important; display: grid !important;
  place-items: center; margin: 0 auto !important; }
.pl-stage > * { grid-area: 1 / 1; margin: 0 !important; }
.pl-stage img { width: 100% !important; height: 100% !important; max-width: none; margin: 0;
  object-fit: contain; display: block; }
.pl-after { flex-wrap: wrap; gap: 8px; margin: 10px 0 0 !important; min-height: 32px;
  justify-content: center; align-items: center; }
.pl-after > *, .pl-gallery-head > *, .pl-gallery-head > * > * { margin: 0 !important; }
.pl-studio .pl-get { display: inline-block; line-height: 26px; padding: 0 12px; border-radius: 7px;
  border: 1px solid var(--pl-line); color: inherit; text-decoration: none; font-size: 13px; }
.pl-studio .pl-off { opacity: .5; }
.pl-studio a.pl-get:hover { border-color: var(--pl-accent); }
.pl-recipe { width: 100%; margin: 8px 0 0 !important; min-height: 44px; }
.pl-recipe summary { cursor: pointer; font-size: 13px; overflow-wrap: anywhere; }
.pl-recipe table { border-collapse: collapse; margin: 8px 0; width: 100%; font-size: 12.5px; }
.pl-recipe td { border-top: 1px solid var(--pl-line); padding: 3px 10px 3px 0; text-align: left;
  overflow-wrap: anywhere; vertical-align: top; }
.pl-recipe td:first-child { color: var(--pl-soft); white-space: nowrap; }

/* rows of small pictures: each is a button with its picture beneath */
.pl-thumbs { display: grid !important; gap: 8px; width: 100%; padding: 3px;
  grid-template-columns: repeat(auto-fill, minmax(76px, 1fr)); }
.pl-gallery .pl-thumbs { max-height: 345px; overflow-y: auto !important; }
.pl-photos .pl-thumbs { grid-template-columns: repeat(auto-fill, minmax(52px, 1fr)); }
.pl-thumb { position: relative; aspect-ratio: 1; border-radius: 8px; overflow: hidden !important;
  background: var(--pl-place); margin: 0 !important; width: auto; }
.pl-thumb img { width: 100% !important; height: 100% !important; object-fit: cover; margin: 0;
  display: block; }
.pl-studio .pl-thumb button { position: absolute; inset: 0; width: 100%; height: 100%; opacity: 0;
  cursor: pointer; }
.pl-thumb:hover { box-shadow: 0 0 0 2px var(--pl-line); }
.pl-thumb:focus-within, .pl-thumb.pl-chosen { box-shadow: 0 0 0 2px var(--pl-accent); }
.pl-empty { min-height: 76px; color: var(--pl-soft); font-size: 13px; padding: 8px 4px; }
.pl-gallery-head { justify-content: space-between; align-items: center; flex-wrap: wrap; gap: 8px;
  margin: 18px 0 8px !important; min-height: 30px; }

/* the photo that is started from, and its edges */
.pl-source { display: grid !important; grid-template-columns: 148px minmax(0, 1fr); gap: 14px;
  width: 100%; margin: 0 0 12px !important; }
.pl-source > * { margin: 0 !important; min-width: 0; }
.pl-pair { display: grid !important; grid-template-columns: 1fr; gap: 8px; align-content: start; }
.pl-shown { width: 148px; height: 148px; border-radius: var(--pl-round);
  background: var(--pl-place); overflow: hidden !important; margin: 0 !important; }
.pl-shown img { width: 100% !important; height: 100% !important; object-fit: contain; margin: 0;
  display: block; }
.pl-gallery + .pl-drop { margin-top: 14px; }
.pl-report summary { cursor: pointer; overflow-wrap: anywhere; }
.pl-report pre { margin: 6px 0 !important; font-size: 12px; white-space: pre-wrap; }
.pl-adapter { display: grid !important; grid-template-columns: minmax(0, 1fr) auto; gap: 8px;
  width: 100%; align-items: center; }
.pl-adapter .pl-setting { margin: 0; }

/* the sweep */
.pl-varied > * { margin: 0 0 8px !important; }
.pl-sheet { width: 100%; overflow-x: auto !important; margin: 10px 0 0 !important; }
.pl-sheet table { border-collapse: separate; border-spacing: 6px; font-size: 12.5px; }
.pl-sheet th { font-weight: 600; text-align: center; padding: 2px 4px; max-width: 150px;
  overflow-wrap: anywhere; }
.pl-sheet td { padding: 0; text-align: center; vertical-align: top; min-width: 96px; }
.pl-sheet .pl-cell { width: 100%; min-width: 96px; max-width: 160px; aspect-ratio: 1;
  margin: 0 auto; border-radius: 8px; background: var(--pl-place); overflow: hidden; }
.pl-sheet .pl-cell img { width: 100%; height: 100%; object-fit: cover; display: block; }
.pl-sheet .pl-score { color: var(--pl-soft); line-height: 1.35; padding-top: 3px;
  font-variant-numeric: tabular-nums; }
.pl-command textarea { font: 12px/1.5 ui-monospace, monospace !important; }
.pl-main > .pl-command { grid-area: command; width: 100%; }
.pl-studio .pl-command button { align-self: flex-start; margin-top: 6px; }

@container (max-width: 760px) {
  .pl-main { grid-template-columns: minmax(0, 1fr); grid-template-rows: auto;
    grid-template-areas: "tabs" "right" "command"; }
  .pl-tabs .lm-TabBar-tab, .pl-tabs .p-TabBar-tab { padding: 0 8px !important; }
}
@container (max-width: 430px) {
  .pl-source { grid-template-columns: 96px minmax(0, 1fr); gap: 10px; }
  .pl-shown { width: 96px; height: 96px; }
  .pl-labelled > label, .pl-labelled > .widget-label { width: 104px !important;
    min-width: 104px; font-size: 12.5px; }
  .pl-studio .pl-help { margin-left: 112px !important; }
  .pl-labelled > .widget-label-basic { margin-left: 112px; }
}
@media (prefers-reduced-motion: no-preference) {
  .pl-thumb, .pl-drop, .pl-studio a.pl-get { transition: box-shadow .15s, border-color .15s; }
}
</style>"""

# Voila serves a whole notebook: the cell of the studio alone is the app.
APP = """<style>
body:has(.pl-studio) .jp-Cell:not(:has(.pl-studio)) { display: none !important; }
.jp-Cell:has(.pl-studio) { max-width: 1260px; margin: 0 auto; }
</style>"""

# One button copies the text beside it.
SCRIPT = """
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
"""


def served_by_voila() -> bool:
    """Does this kernel run for an app by Voila?"""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def reader_present() -> bool:
    """Tell whether somebody can press a button here.

    Whoever executes a notebook tells the kernel whether it can answer questions: front-ends can,
    papermill and nbconvert say that nobody is there. Voila, which cannot either, serves a reader.
    Outside a notebook the answer is yes.
    """
    if served_by_voila():
        return True
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None or not hasattr(kernel, "get_parent"):
        return True
    request = kernel.get_parent("shell") or {}
    return bool(request.get("content", {}).get("allow_stdin", True))
