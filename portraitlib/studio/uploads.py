"""Places of the studio's screen: for files that come, and for pictures that will."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets
from PIL import Image

from portraitlib.studio.gallery import encoded

PIECE_BYTES = 512 * 1024

SCRIPT = """
function render({ model, el }) {
  const make = (kind, settings) => Object.assign(document.createElement(kind), settings);
  const input = make("input", { type: "file", hidden: true, accept: model.get("accept"),
    multiple: model.get("multiple") });
  const button = make("button", { className: "jupyter-widgets jupyter-button widget-button" });
  button.append(make("i", { className: "fa fa-upload" }), " " + model.get("description"));
  const note = make("span", { textContent: model.get("told") });
  el.classList.add("pl-drop");
  el.append(button, input, note);

  const drops = `${Date.now()}-${Math.random()}`;
  let count = 0, answered = () => {};
  const listen = (message) => message.drop === `${drops}-${count}` && answered();
  model.on("msg:custom", listen);

  const give = async (list) => {
    const files = model.get("multiple") ? [...list] : [...list].slice(0, 1);
    const size = model.get("piece_bytes");
    const total = files.reduce((sum, file) => sum + file.size, 0);
    if (!files.length || button.disabled) return;
    button.disabled = true;
    count += 1;
    let sent = 0;
    try {
      for (const [index, file] of files.entries()) {
        for (let at = 0; at === 0 || at < file.size; at += size) {
          const piece = await file.slice(at, at + size).arrayBuffer();
          const last = index === files.length - 1 && at + size >= file.size;
          const answer = new Promise((resolve) => { answered = resolve; });
          model.send({ drop: `${drops}-${count}`, name: file.name, first: at === 0, last },
            undefined, [piece]);
          await answer;
          sent += piece.byteLength;
          note.textContent = `${index + 1} of ${files.length}, ${Math.floor(100 * sent / total)} %`;
        }
      }
      note.textContent = model.get("told");
    } catch (problem) {
      note.textContent = `The browser could not read the file: ${problem.message}`;
    } finally {
      button.disabled = false;
      input.value = "";  // so that the same file can be chosen again
    }
  };
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => give(input.files));
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    el.addEventListener(kind, (event) => {
      if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
      event.preventDefault();
      event.stopPropagation();
      el.classList.toggle("pl-over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") give(event.dataTransfer.files);
    });
  }
  return () => model.off("msg:custom", listen);
}
export default { render };
"""

STYLE = """
.pl-drop { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 12px; width: 100%;
  box-sizing: border-box; margin: 0 0 10px; padding: 9px 12px; border-radius: 10px;
  border: 1.5px dashed var(--jp-border-color2, rgba(128, 128, 128, .3)); }
.pl-drop.pl-over { border-color: var(--jp-brand-color1, #1976d2);
  background: rgba(128, 128, 128, .13); }
.pl-drop button { flex: none; width: auto; margin: 0; }
.pl-drop span { flex: 1 1 140px; min-width: 0; font-size: 12.5px; line-height: 1.45;
  color: var(--jp-ui-font-color2, var(--vscode-descriptionForeground, GrayText)); }
"""


class FilePlace(anywidget.AnyWidget):
    """A place for files: dropped on it, or chosen by its button.

    told: said beside the button; `take` gets the names and contents once the files are here;
    accept: which files the button offers, as in HTML; multiple: several at once, or the first.

    The files come in pieces, each answered. ipywidgets' own FileUpload sends all of them in one
    message, and what is above 10 MB (Jupyter's server) or 1 MB (Colab) is lost without a word:
    https://github.com/jupyter-widgets/ipywidgets/issues/2522 and /3452.
    """

    _esm = SCRIPT
    _css = STYLE
    description = traitlets.Unicode().tag(sync=True)
    told = traitlets.Unicode().tag(sync=True)
    accept = traitlets.Unicode().tag(sync=True)
    multiple = traitlets.Bool().tag(sync=True)
    piece_bytes = traitlets.Int(PIECE_BYTES).tag(sync=True)

    def __init__(
        self,
        told: str,
        take: Callable[[list[tuple[str, bytes]]], None],
        button: str,
        accept: str = "image/*",
        multiple: bool = False,
    ) -> None:
        super().__init__(told=told, description=button, accept=accept, multiple=multiple)
        self._take = take
        self._arriving: dict[str, list[tuple[str, bytearray]]] = {}  # by drop: two may overlap
        self.on_msg(self._arrive)
        self.add_class("pl-up-" + button.lower().replace(" ", "-"))

    def _arrive(self, _: Any, piece: dict[str, Any], buffers: Sequence[Any]) -> None:
        """A piece of a file: {drop, name, first of the file, last of the drop}, and its bytes."""
        files = self._arriving.setdefault(piece["drop"], [])
        if piece["first"]:
            files.append((piece["name"], bytearray()))
        files[-1][1].extend(buffers[0])
        self.send({"drop": piece["drop"]})
        if piece["last"]:
            del self._arriving[piece["drop"]]
            self._take([(name, bytes(content)) for name, content in files])


def shown_place() -> tuple[Any, Any]:
    """A reserved square, and the picture in it."""
    picture = widgets.Image(format="jpeg", layout=widgets.Layout(display="none"))
    box = widgets.Box([picture])
    box.add_class("pl-shown")
    return box, picture


def put_picture(widget: Any, picture: Image.Image | None, side_px: int = 0) -> None:
    """Show a picture in its place, or leave the place empty."""
    if picture is not None:
        widget.value = encoded(picture, side_px)
    widget.layout.display = "none" if picture is None else None


def labelled(kind: Callable[..., Any], label: str, **settings: Any) -> Any:
    """A widget with its label in the column of labels."""
    box = kind(description=label, **settings)
    if hasattr(box, "continuous_update"):
        box.continuous_update = False
    box.layout.width = "auto"
    box.add_class("pl-labelled")
    return box


def titled(parts: Sequence[Any], title: str) -> Any:
    """Widgets under a line of their own."""
    head = widgets.HTML(title)
    head.add_class("pl-head-line")
    return widgets.VBox([head, *parts])
