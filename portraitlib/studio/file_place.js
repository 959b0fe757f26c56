// Files that are dropped here or chosen go to the kernel in pieces, each answered.
function render({ model, el }) {
  const make = (kind, settings) => Object.assign(document.createElement(kind), settings);
  const input = make("input", { type: "file", hidden: true, accept: model.get("accept"),
    multiple: model.get("multiple") });
  const button = make("button", { className: "jupyter-widgets jupyter-button widget-button" });
  button.append(make("i", { className: "fa fa-upload" }), " " + model.get("description"));
  const note = make("span", { textContent: model.get("words") });
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
      note.textContent = model.get("words");
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
