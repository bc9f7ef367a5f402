// Gives names, roles and a language to what Gradio leaves without, as it comes and goes; takes a phone to the result.
// Nothing of the page is replaced: attributes are set on what is there, and texts only ever become text.
(() => {
  const words = /* WORDS */ {};
  const asked = (navigator.languages || [navigator.language]).map((tag) => tag.slice(0, 2).toLowerCase());
  const language = asked.find((tag) => tag in words) || "en";
  const say = (key) => (words[language] || words.en || {})[key] || key;
  document.documentElement.lang = language;

  // What Gradio says in English whatever the visitor's language.
  const KNOWN = {
    "Empty value": "empty", "More tabs": "more", "File upload": "upload", "Upload file": "upload",
    "Click to upload or drop files": "drop", "Paste from clipboard": "paste", "Download": "download",
    "Fullscreen": "fullscreen", "Exit fullscreen mode": "leave", "Remove Image": "remove", "Clear": "remove",
    "Remove this file": "remove", "Reset to default value": "reset", "Toggle color picker": "colour",
    "Close": "close",
  };
  const TOASTS = { "Error": "error", "Warning": "warning", "Info": "info", "Success": "success" };

  function set(element, name, value) {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  }

  const labelOf = (element) =>
    element.closest(".block")?.querySelector("[data-testid=block-label], [data-testid=block-info]")?.textContent.trim();

  function mend() {
    for (const element of document.querySelectorAll("[aria-label], [title]")) {
      for (const name of ["aria-label", "title"]) {
        const key = KNOWN[element.getAttribute(name)];
        if (!key) continue;
        if (key === "empty") set(element, "role", "img"); // a plain div must not have a name
        set(element, name, say(key));
      }
    }
    for (const button of document.querySelectorAll("button.gallery-item:not([aria-label]), [data-idseg-named]")) {
      const file = button.querySelector("img, video")?.getAttribute("src")?.split(/[?#]/)[0].split("/").pop() || "";
      let name = file;
      try { name = decodeURIComponent(file); } catch { /* a name with a stray % */ }
      const place = [...button.parentElement.children].indexOf(button) + 1;
      button.dataset.idsegNamed = ""; // the picture may come later
      set(button, "aria-label", [`${say("example")} ${place}`, name].filter(Boolean).join(": "));
    }
    for (const image of document.querySelectorAll(".block img")) {
      if ((image.getAttribute("alt") || "").trim() || image.closest("[aria-hidden=true], button[aria-label]")) continue;
      const label = labelOf(image);
      if (label) image.setAttribute("alt", label);
    }
    for (const field of document.querySelectorAll(".block input:not([aria-label]), .block textarea:not([aria-label])")) {
      if (field.labels?.length && [...field.labels].some((label) => label.textContent.trim())) continue;
      const label = labelOf(field);
      if (label) field.setAttribute("aria-label", label);
    }
    for (const video of document.querySelectorAll(".block video:not([aria-label])")) {
      const label = labelOf(video);
      if (label) video.setAttribute("aria-label", label);
    }
    for (const link of document.querySelectorAll("a.download-link")) {
      const button = link.querySelector("button"); // a button in a link: two stops for one thing
      if (button) { set(button, "tabindex", "-1"); set(button, "aria-hidden", "true"); }
      const label = labelOf(link);
      set(link, "aria-label", label ? `${say("download")}: ${label}` : say("download"));
    }
    for (const head of document.querySelectorAll(".toast-header[role=button]")) {
      head.removeAttribute("role"); // a button in a button; what it folds away is a few lines
      head.removeAttribute("tabindex");
    }
    for (const title of document.querySelectorAll(".toast-title")) {
      const text = [...title.childNodes].find((node) => node.nodeType === Node.TEXT_NODE && TOASTS[node.data.trim()]);
      if (text && say(TOASTS[text.data.trim()]) !== text.data.trim()) text.data = say(TOASTS[text.data.trim()]);
    }
    for (const bar of document.querySelectorAll("[role=tablist]")) {
      const tabs = [...bar.querySelectorAll("[role=tab]")];
      const chosen = tabs.find((tab) => tab.getAttribute("aria-selected") === "true");
      const panels = [...(bar.closest(".tabs") || bar.parentElement.parentElement).children];
      for (const tab of tabs) if (tab.getAttribute("aria-controls") === "") tab.removeAttribute("aria-controls");
      const panel = panels.find((part) => part.getAttribute("role") === "tabpanel" && part.offsetParent !== null);
      if (panel && chosen) set(panel, "aria-label", chosen.textContent.trim());
    }
    const main = document.querySelector("main");
    if (main && !document.querySelector(".idseg-skip")) {
      main.id = main.id || "idseg-main";
      main.tabIndex = -1;
      const link = document.createElement("a");
      link.className = "idseg-skip";
      link.href = `#${main.id}`;
      link.textContent = say("skip");
      link.addEventListener("click", (event) => { event.preventDefault(); skipped(); });
      document.body.prepend(link);
    }
    if (language !== "en" && document.title === words.en?.title) document.title = say("title");
  }

  // Past the heading and the row of tabs, to the first thing of the open tab that can be operated.
  function skipped() {
    const panel = [...document.querySelectorAll("[role=tabpanel]")].find((part) => part.offsetParent !== null);
    const first = [...(panel?.querySelectorAll("button, input, select, textarea, a[href], [tabindex='0']") || [])]
      .find((part) => part.offsetParent !== null && !part.disabled);
    (first || document.querySelector("main"))?.focus();
  }

  // On a phone the result lies below the fold: once it is there, it comes into view, unless the visitor scrolled away.
  const NARROW = 768; // pixels
  let awaited = null;
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button.primary");
    const panel = button?.closest("[role=tabpanel]");
    awaited = button && innerWidth < NARROW && panel
      ? { button, panel, before: new Set([...panel.querySelectorAll("img, video")].map((part) => part.src)) } : null;
  }, true);
  for (const gesture of ["touchmove", "wheel"]) addEventListener(gesture, () => { awaited = null; }, { passive: true });
  document.addEventListener("load", (event) => arrived(event.target), true);
  document.addEventListener("loadeddata", (event) => arrived(event.target), true);

  function arrived(part) {
    if (!awaited || !part.matches?.("img, video") || !awaited.panel.contains(part) || awaited.before.has(part.src)) return;
    if (!(awaited.button.compareDocumentPosition(part) & Node.DOCUMENT_POSITION_FOLLOWING)) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    (part.closest(".block") || part).scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
    awaited = null;
  }

  let due = false;
  const soon = () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; mend(); });
  };
  const begin = () => {
    new MutationObserver(soon).observe(document.body, {
      childList: true, subtree: true, attributes: true,
      attributeFilter: ["aria-label", "aria-selected", "alt", "title", "src"],
    });
    new MutationObserver(soon).observe(document.head, { childList: true, subtree: true, characterData: true });
    mend();
  };
  if (document.body) begin(); else document.addEventListener("DOMContentLoaded", begin);
})();
