/** What hangs on a button until it is dismissed: a menu, a notice, a list of translations. */
import {
  type ComponentProps,
  type ReactNode,
  type RefObject,
  useEffect,
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
  anchor: RefObject<HTMLElement | null>;
  onClose: () => void;
}

/** Mounted only while open. Turns upwards near the window's end and stays inside its sides. */
export function Popover({ anchor, onClose, ...rest }: PopoverProps) {
  const popover = useRef<HTMLDivElement>(null);
  const fit = useFit(popover);
  useDismissal(popover, anchor, onClose);
  return <div ref={popover} {...fit} {...rest} />;
}

function useFit(popover: RefObject<HTMLElement | null>) {
  const [fit, setFit] = useState<ComponentProps<"div"> & { "data-flipped"?: true | undefined }>();
  useLayoutEffect(() => {
    const box = popover.current?.getBoundingClientRect();
    if (!box) return;
    const right = document.documentElement.clientWidth;
    const shift = Math.max(EDGE - box.left, Math.min(0, right - EDGE - box.right));
    const style = { "--shift": `${shift}px`, maxInlineSize: `${right - box.left - shift}px` };
    const flipped = box.bottom > innerHeight - FLIP_AT;
    if (flipped || shift) setFit({ "data-flipped": flipped || undefined, style });
  }, [popover]);
  return fit;
}

/** Escape, a press elsewhere and the focus moving elsewhere close it. */
export function useDismissal(
  popover: RefObject<HTMLElement | null>,
  anchor: RefObject<HTMLElement | null>,
  close: () => void,
) {
  // The window is outside React, and hears what happens elsewhere.
  useEffect(() => {
    const inside = (target: EventTarget | null) =>
      target instanceof Node &&
      (popover.current?.contains(target) || anchor.current?.contains(target));
    const away = (event: Event) => {
      if (!inside(event.target)) close();
    };
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      close();
      anchor.current?.focus();
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", away);
    document.addEventListener("keydown", onKey, true);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("focusin", away);
      document.removeEventListener("keydown", onKey, true);
    };
  });
}

interface NoticeProps {
  anchor: RefObject<HTMLElement | null>;
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
