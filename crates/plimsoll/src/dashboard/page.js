// Asks for the page again each second, and puts in place what has changed. The page is whole without it.
"use strict";

const PERIOD = 1000;

// No answer for so long, and what is shown is called old.
const STALE = 4000;

const pause = document.getElementById("pause");
const age = document.getElementById("age");
let paused = false;
let seen = Date.now();

function say(text) {
  if (age.textContent !== text) {
    age.textContent = text;
  }
}

// What somebody has marked is left alone, so that it can be copied.
function isMarked(element) {
  const selection = document.getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
}

function replace(old, next) {
  if (old.innerHTML === next.innerHTML || isMarked(old)) {
    return;
  }
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  const left = old.scrollLeft;
  old.replaceChildren(...document.adoptNode(next).childNodes);
  old.scrollLeft = left;
  if (focused !== null) {
    const again = [...old.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused);
    again?.focus({ preventScroll: true });
  }
}

function take(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const fresh = [...page.querySelectorAll("[data-live]")];
  const shown = document.querySelectorAll("[data-live]");
  const same = fresh.length === shown.length && fresh.every((it) => document.getElementById(it.id) !== null);
  if (!same) {
    // Services or replicas have come or gone, and with them whole parts of the page.
    location.reload();
    return;
  }
  for (const next of fresh) {
    replace(document.getElementById(next.id), next);
  }
}

async function look() {
  if (!paused && document.visibilityState === "visible") {
    try {
      const answer = await fetch(location.href, { signal: AbortSignal.timeout(STALE), cache: "no-store" });
      take(await answer.text());
      seen = Date.now();
      document.body.classList.remove("stale");
      say("");
    } catch {
      if (Date.now() - seen > STALE) {
        document.body.classList.add("stale");
        say(`no answer for ${Math.round((Date.now() - seen) / 1000)} s; this is what was last seen`);
      }
    }
  }
  setTimeout(look, PERIOD);
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Go on" : "Pause";
  say(paused ? "paused" : "");
  seen = Date.now();
});
document.addEventListener("visibilitychange", () => {
  seen = Date.now();
});
setTimeout(look, PERIOD);
