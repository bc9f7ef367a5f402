// Gradio takes a file for a picture only where the browser knows its type, which it does not of IMG_1.HEIC on many
// systems, of .MPO, and of a photo without a suffix. Files of no known type are handed on as pictures: our reader says
// what they are.
(() => {
  const within = (target) => target instanceof Element && target.closest(".idseg-photo");
  const named = (files) => {
    const given = Array.from(files || []);
    if (!given.some((file) => file.type === "")) return null;
    const all = new DataTransfer();
    for (const file of given)
      all.items.add(file.type === "" ? new File([file], file.name, { type: "image/x-unknown" }) : file);
    return all;
  };
  const more = ",.heic,.heif,.HEIC,.HEIF,.mpo,.MPO,.jpe,.jfif,.avif,.tif,.tiff";
  document.addEventListener("click", (event) => {
    const input = event.target;
    if (within(input) && input.matches("input[type=file]") && input.accept === "image/*") input.accept += more;
  }, true);
  document.addEventListener("change", (event) => {
    const input = event.target;
    if (!within(input) || !input.matches("input[type=file]")) return;
    const all = named(input.files);
    if (all) input.files = all.files;
  }, true);
  document.addEventListener("drop", (event) => {
    if (!within(event.target) || !event.dataTransfer) return;
    const all = named(event.dataTransfer.files);
    if (!all) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    event.target.dispatchEvent(new DragEvent("drop", { dataTransfer: all, bubbles: true, cancelable: true }));
  }, true);
})();
