/** What hangs on a button until it is dismissed: a menu, a notice, a list of translations. */
import {
  type ComponentProps,
  type ReactNode,
  type RefObject,
  useEffectEvent,
  useId,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import { fetched } from "../lib/store";
import type translations from "../translations.json";
import { Button } from "./ui";

const FLIP_AT = 90;
const EDGE = 8;

interface PopoverProps extends ComponentProps<"div"> {
  anchor: RefObject<HTMLButtonElement | null>;
  onClose: () => void;
}

/** Mounted only while open. Escape, a press elsewhere and the focus moving elsewhere close it. */
export function Popover({ anchor, onClose, ...rest }: PopoverProps) {
  const popover = useRef<HTMLDivElement>(null);
  const close = useEffectEvent(onClose);
  // Only the browser can show it above everything, and knows what happens elsewhere.
  useLayoutEffect(() => {
    if (popover.current && anchor.current) return lift(popover.current, anchor.current, close);
    return undefined;
  }, [anchor]);
  return <div ref={popover} popover="auto" {...rest} />;
}

/** Into the top layer, at the place its styles give it beside its anchor, which it then follows:
 * frame by frame, as what moves it may be a scroll, or a picture above that has come. */
function lift(popover: HTMLElement, anchor: HTMLButtonElement, close: () => void): () => void {
  turn(popover);
  const { left, top, width } = popover.getBoundingClientRect();
  const start = anchor.getBoundingClientRect();
  const place = { position: "fixed", inset: "auto", left: `${left}px`, top: `${top}px` };
  Object.assign(popover.style, { ...place, inlineSize: `${width}px`, translate: "none" });
  // A press on the anchor is none elsewhere. It must not show or hide by itself what we do.
  anchor.popoverTargetElement = popover;
  anchor.popoverTargetAction = "show";
  popover.showPopover();

  let frame = 0;
  const follow = () => {
    const { x, y } = anchor.getBoundingClientRect();
    popover.style.translate = `${x - start.x}px ${y - start.y}px`;
    frame = requestAnimationFrame(follow);
  };
  follow();
  const away = ({ target }: Event) => {
    if (!(popover.contains(target as Node) || anchor.contains(target as Node))) close();
  };
  popover.addEventListener("toggle", (event) => {
    if (event.newState === "open") return;
    const focused = popover.contains(document.activeElement);
    close();
    if (focused) anchor.focus();
  });
  const gone = new AbortController();
  document.addEventListener("focusin", away, gone);
  return () => {
    cancelAnimationFrame(frame);
    anchor.popoverTargetElement = null;
    gone.abort();
  };
}

/** Turns upwards near the window's end, and stays inside its sides. */
function turn(popover: HTMLElement): void {
  const box = popover.getBoundingClientRect();
  const right = document.documentElement.clientWidth;
  const shift = Math.max(EDGE - box.left, Math.min(0, right - EDGE - box.right));
  if (box.bottom > innerHeight - FLIP_AT) popover.dataset.flipped = "true";
  if (shift) popover.style.maxInlineSize = `${right - box.left - shift}px`;
  popover.style.setProperty("--shift", `${shift}px`);
}

interface NoticeProps {
  anchor: RefObject<HTMLButtonElement | null>;
  heading: string;
  onClose: () => void;
  children: ReactNode;
}

/** What v1.0 says where v2.0 will act: calm, and what works today. */
export function ComingNotice({ anchor, heading, onClose, children }: NoticeProps) {
  const id = useId();

  function dismiss() {
    onClose();
    anchor.current?.focus();
  }

  return (
    <Popover
      anchor={anchor}
      onClose={onClose}
      className="coming shadow"
      role="group"
      aria-labelledby={id}
    >
      <strong id={id} tabIndex={-1} ref={(heading) => heading?.focus()}>
        {heading}
      </strong>
      <p className="txt-small">{children}</p>
      <Button
        icon="remove"
        label="Close"
        className="btn--borderless coming__close"
        onClick={dismiss}
      />
    </Popover>
  );
}

/** The camera beside a picture that cannot be changed yet. */
export function ComingSoon({
  label,
  heading,
  children,
}: {
  label: string;
  heading: string;
  children: ReactNode;
}) {
  const [open, setOpen] = useState(false);
  const anchor = useRef<HTMLButtonElement>(null);
  return (
    <>
      <Button
        ref={anchor}
        icon="camera"
        label={label}
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      />
      {open && (
        <ComingNotice anchor={anchor} heading={heading} onClose={() => setOpen(false)}>
          {children}
        </ComingNotice>
      )}
    </>
  );
}

// --- Translations ------------------------------------------------------------------------------

export type TranslationKey = keyof typeof translations.words;

/** Says in seven languages what a field asks for. It follows its field, and stands before it. */
export function Translate({ words }: { words: TranslationKey }) {
  const [said, setSaid] = useState<typeof translations | null>(null);
  const anchor = useRef<HTMLButtonElement>(null);

  async function toggle() {
    const words = said ? null : await fetched(import("../translations.json"));
    setSaid(words?.default ?? null);
  }

  return (
    <span className="language-list">
      <Button
        ref={anchor}
        icon="globe"
        label="Translate"
        aria-expanded={said !== null}
        onClick={toggle}
      />
      {said && (
        <Popover
          anchor={anchor}
          onClose={() => setSaid(null)}
          className="language-list-menu shadow"
        >
          <ul>
            {said.languages.map(([language, flag], index) => (
              <li key={language}>
                <span aria-hidden="true">{flag}</span>
                <span lang={language}>{said.words[words][index]}</span>
              </li>
            ))}
          </ul>
        </Popover>
      )}
    </span>
  );
}
