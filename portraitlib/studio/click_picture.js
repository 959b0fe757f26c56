// A picture says where it was clicked, as shares of its width and height.
function render({ model, el }) {
  const image = document.createElement("img");
  Object.assign(image.style, { width: "min(100%, 512px)", cursor: "crosshair", display: "block" });
  const show = () => { image.src = model.get("source"); };
  image.alt = "a picture to click on";
  image.draggable = false;
  image.addEventListener("click", (event) => {
    const box = image.getBoundingClientRect();
    model.set("click", [(event.clientX - box.left) / box.width,
      (event.clientY - box.top) / box.height]);
    model.save_changes();
  });
  model.on("change:source", show);
  show();
  el.append(image);
  return () => model.off("change:source", show);
}
export default { render };
