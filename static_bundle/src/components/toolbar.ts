/** Trix's toolbar, for every hand: keys and tooltips for its buttons, words for its link dialog. */
import { COMMAND } from "./ui";

export const BUTTONS = ".trix-button-row button:not(:disabled)";

/** Trix's own toolbar works by mouse only; this makes it one tab stop with arrow keys. */
export function dressToolbar(toolbar: HTMLElement) {
  toolbar.setAttribute("role", "toolbar");
  toolbar.setAttribute("aria-label", "Formatting");
  toolbar.querySelector(".trix-button-group--file-tools")?.remove();
  const history = toolbar.querySelector<HTMLElement>(".trix-button-group--history-tools");
  // Hidden, not removed: the keys for undo and redo belong to these buttons.
  if (history) history.hidden = true;
  for (const button of toolbar.querySelectorAll<HTMLElement>("[data-trix-key]"))
    button.title += ` (${COMMAND}${button.dataset.trixKey?.toUpperCase()})`;
  mindLinks(toolbar);
  toolbar.querySelector(BUTTONS)?.setAttribute("tabindex", "0");
  toolbar.addEventListener("keydown", (event) => {
    const button = (event.target as Element).closest<HTMLElement>(BUTTONS);
    if (button) steer(event, toolbar, button);
  });
}

function steer(event: KeyboardEvent, toolbar: HTMLElement, button: HTMLElement) {
  const buttons = [...toolbar.querySelectorAll<HTMLElement>(BUTTONS)].filter(
    (other) => !other.closest("[hidden]"),
  );
  const at = buttons.indexOf(button);
  const last = buttons.length - 1;
  const goals: Record<string, number> = {
    ArrowRight: at === last ? 0 : at + 1,
    ArrowLeft: at === 0 ? last : at - 1,
    Home: 0,
    End: last,
  };
  const next = buttons[goals[event.key] ?? -1];
  if (next) {
    event.preventDefault();
    button.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    // Trix listens for the press of a mouse button, and for nothing else.
    button.dispatchEvent(new MouseEvent("mousedown", { bubbles: true, cancelable: true }));
  }
}

export function showPressed(toolbar: HTMLElement) {
  for (const button of toolbar.querySelectorAll<HTMLElement>("[data-trix-attribute]")) {
    if (button.closest("[data-trix-dialog]")) continue;
    button.setAttribute("aria-pressed", String(button.hasAttribute("data-trix-active")));
  }
}

// --- Its link dialog --------------------------------------------------------------------------

const REFUSED = "That is no web address. One looks like this: https://example.org/page";

/** An address may be typed as people say it; one that is none is refused in words. */
function mindLinks(toolbar: HTMLElement) {
  const field = toolbar.querySelector<HTMLInputElement>("[data-trix-dialog=href] [name=href]");
  if (!field) return;
  const reason = document.createElement("p");
  reason.className = "txt-small txt-negative";
  reason.setAttribute("role", "alert");
  field.closest("[data-trix-dialog]")?.append(reason);
  const check = (event: Event) => {
    const address = addressOf(field.value);
    reason.textContent = address ? "" : REFUSED;
    if (address) field.value = address;
    if (address) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    field.focus();
  };
  // Before Trix, which refuses without a word.
  toolbar.addEventListener(
    "keydown",
    (event) => event.key === "Enter" && event.target === field && check(event),
    true,
  );
  toolbar.addEventListener(
    "click",
    (event) => (event.target as Element).matches("[data-trix-method=setAttribute]") && check(event),
    true,
  );
  field.addEventListener("input", () => reason.replaceChildren());
}

/** The whole address of what was typed; null when it is none that a link may have. */
function addressOf(typed: string): string | null {
  const words = typed.trim();
  if (/^[^\s@/:]+@[^\s@/:]+$/.test(words)) return `mailto:${words}`;
  const whole = /^[a-z][a-z\d+.-]*:(?!\d)/i.test(words) ? words : `https://${words}`;
  return /^(?:https?:\/\/|mailto:)\S+$/i.test(whole) && URL.canParse(whole) ? whole : null;
}
