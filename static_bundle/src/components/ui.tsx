/**
 * The building blocks: what an icon, a button, a time, a picture of somebody and a dialog are, and
 * what hangs on a button. Nothing here knows a URL or the server; screens put these together.
 */
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
import type { User } from "../lib/api";
import { copyText } from "../lib/browser";
import { announce, fetched } from "../lib/store";
import { formatDate, formatFull, formatTime } from "../lib/text";
import { insisted } from "../lib/trouble";
import type drawings from "../pictures/icons.json";
import type translations from "../translations.json";

// --- Icons -------------------------------------------------------------------------------------

export type IconName = keyof typeof drawings;

/** Decorative: the name comes from the control it stands in. */
export function Icon({ name, size }: { name: IconName; size?: number | string }) {
  const style = size === undefined ? undefined : { blockSize: size, inlineSize: size };
  return (
    <span className="icon" data-icon={name} aria-hidden="true" style={style}>
      <Drawing name={name} />
    </span>
  );
}

/** One of the drawings that browser.ts brings; its colours follow the text around it. */
export function Drawing({ name, box = "0 0 1 1" }: { name: IconName; box?: string }) {
  return (
    <svg viewBox={box} aria-hidden="true">
      <use href={`#drawing-${name}`} />
    </svg>
  );
}

// --- Buttons and links -------------------------------------------------------------------------

export interface Face {
  icon?: IconName | undefined;
  /** The words of a control that shows only an icon. */
  label?: string | undefined;
  /** The keys that do the same, for the tooltip. */
  keys?: string | undefined;
}

type ButtonProps = Face & ComponentProps<"button"> & { busy?: boolean };

export function Button(props: ButtonProps) {
  const { icon, label, keys, busy, className = "", children, ...rest } = props;
  const shape = buttonShape({ icon, label, children });
  return (
    <button
      type="button"
      className={`${shape} ${className}${busy ? " btn--busy" : ""}`}
      aria-busy={busy || undefined}
      title={tooltip(props)}
      {...rest}
    >
      <ButtonFace icon={icon} label={label} />
      {children}
    </button>
  );
}

export function LinkButton(props: Face & ComponentProps<"a">) {
  const { icon, label, keys, className = "", children, ...rest } = props;
  const shape = buttonShape({ icon, label, children });
  return (
    <a className={`${shape} ${className}`} title={tooltip(props)} {...rest}>
      <ButtonFace icon={icon} label={label} />
      {children}
    </a>
  );
}

/** Only an icon, and words for those who cannot see it: a circle. Styles could tell, but slowly. */
function buttonShape({ icon, label, children }: Face & { children?: ReactNode }): string {
  return icon && label && !children ? "btn btn--icon" : "btn";
}

/** What an icon means, for those who see it and cannot guess it. */
function tooltip({ label, keys, children }: Face & { children?: ReactNode }): string | undefined {
  if (!label || children) return undefined;
  return keys ? `${label} (${keys})` : label;
}

/** The key that commands are given with here. */
export const COMMAND = /Mac|iPhone|iPad/.test(navigator.userAgent) ? "⌘" : "Ctrl+";

function ButtonFace({ icon, label }: Face) {
  return (
    <>
      {icon && <Icon name={icon} />}
      {label && <span className="for-screen-reader">{label}</span>}
    </>
  );
}

export function CopyButton({ text, label = "Copy link", ...rest }: ButtonProps & { text: string }) {
  const [copied, setCopied] = useState(false);

  async function copy() {
    setCopied(false);
    if (!(await copyText(text))) return;
    setCopied(true);
    announce("Copied");
  }

  return (
    <Button
      icon={copied ? "check" : "copy"}
      label={label}
      data-copied={copied || undefined}
      onAnimationEnd={() => setCopied(false)}
      {...rest}
      onClick={copy}
    />
  );
}

// --- Small things -------------------------------------------------------------------------------

export function Spinner({ label = "Loading" }: { label?: string }) {
  return (
    <span className="spinner">
      <span className="for-screen-reader">{label}</span>
    </span>
  );
}

const formats = { date: formatDate, full: formatFull, time: formatTime };

export function Time({
  at,
  as = "time",
  className,
}: {
  at: number;
  as?: keyof typeof formats;
  className?: string;
}) {
  return (
    <time className={className} dateTime={new Date(at).toISOString()} title={formatFull(at)}>
      {formats[as](at)}
    </time>
  );
}

type Portrait = Pick<User, "name" | "avatar_url"> & Partial<Pick<User, "title" | "status">>;

interface AvatarProps {
  /** Null: nobody yet. */
  user: Portrait | null;
  /** Makes the picture a link to this place. */
  href?: string | undefined;
  className?: string;
  tabIndex?: number | undefined;
  /** One of very many: fetched when it comes into sight. */
  lazy?: boolean;
}

export function Avatar({ user, href, className = "", tabIndex, lazy = false }: AvatarProps) {
  const picture = user ? (
    <img
      src={user.avatar_url}
      width={48}
      height={48}
      alt=""
      aria-hidden="true"
      loading={lazy ? "lazy" : undefined}
    />
  ) : (
    <Icon name="stranger" size="100%" />
  );
  return (
    <figure
      className={`avatar ${className}`}
      data-status={user?.status}
      title={user?.title ?? user?.name}
    >
      {href && user ? (
        <a
          href={href}
          className="btn avatar"
          aria-label={`${user.name}, profile`}
          tabIndex={tabIndex}
        >
          {picture}
        </a>
      ) : (
        picture
      )}
      {user?.status === "banned" && <Icon name="cancel" size="100%" />}
    </figure>
  );
}

// --- Dialogs --------------------------------------------------------------------------------------

export function Dialog({ className = "", children, ...rest }: ComponentProps<"dialog">) {
  const dialog = useRef<HTMLDialogElement>(null);
  // Only the browser can make the rest of the page inert, and give the focus back afterwards.
  useLayoutEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog ref={dialog} className={className} {...rest}>
      {children}
    </dialog>
  );
}

// --- What hangs on a button until it is dismissed: a menu, a notice, a list -----------------------

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
  const { left, top, width } = turned(popover);
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
  frame = requestAnimationFrame(follow);
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

/** Turns upwards near the window's end, and stays inside its sides; where it is then. Mostly it
 * may stay as it is, and need not be measured again. */
function turned(popover: HTMLElement): DOMRect {
  const box = popover.getBoundingClientRect();
  const right = document.documentElement.clientWidth;
  const shift = Math.max(EDGE - box.left, Math.min(0, right - EDGE - box.right));
  const flips = box.bottom > innerHeight - FLIP_AT;
  if (!(flips || shift)) return box;
  if (flips) popover.dataset.flipped = "true";
  if (shift) {
    popover.style.maxInlineSize = `${right - box.left - shift}px`;
    popover.style.setProperty("--shift", `${shift}px`);
  }
  return popover.getBoundingClientRect();
}

const [ROW_HEIGHT, ROWS_WANTED, LIST_HEIGHT] = [38, 3, 160];

export function hang(list: HTMLElement | null, at: DOMRect, rows: number) {
  if (list) place(list, at, rows);
}

/** Below the caret, unless fewer than three rows fit there and three fit above. */
function place(list: HTMLElement, at: DOMRect, rows: number) {
  const below = innerHeight - at.bottom;
  const wanted = Math.min(rows, ROWS_WANTED) * ROW_HEIGHT;
  const above = below < wanted && at.top >= wanted;
  const room = Math.max((above ? at.top : below) - EDGE, ROW_HEIGHT);
  list.style.maxBlockSize = `${Math.min(LIST_HEIGHT, room)}px`;
  list.style.translate = "none";
  // A blurred ancestor, and not the window, is what even a fixed box is placed in.
  const origin = list.getBoundingClientRect();
  const widest = document.documentElement.clientWidth - origin.width - EDGE;
  const left = Math.max(EDGE, Math.min(at.left, widest));
  const top = above ? at.top - origin.height : at.bottom;
  list.style.translate = `${left - origin.left}px ${top - origin.top}px`;
}

interface NoticeProps {
  anchor: RefObject<HTMLButtonElement | null>;
  heading: string;
  onClose: () => void;
  children: ReactNode;
}

/** What is said where an operator has switched something off: calm, and what works here. */
export function Notice({ anchor, heading, onClose, children }: NoticeProps) {
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

/** The arrow keys of a menu go round: along all items, or up and down one column. */
export function moveIn(event: React.KeyboardEvent<HTMLElement>, columns: number): void {
  const items = [...event.currentTarget.querySelectorAll<HTMLElement>("[role=menuitem]")];
  const at = items.indexOf(document.activeElement as HTMLElement);
  const column = items.filter((_, index) => index % columns === at % columns);
  const row = column.indexOf(items[at] as HTMLElement);
  const goals: Record<string, HTMLElement | undefined> = {
    ArrowRight: items[at + 1] ?? items[0],
    ArrowLeft: items.at(at - 1),
    ArrowDown: column[row + 1] ?? column[0] ?? items[0],
    ArrowUp: column.at(row - 1) ?? items[0],
    Home: items[0],
    End: items.at(-1),
  };
  const goal = goals[event.key];
  if (!goal) return;
  event.preventDefault();
  event.stopPropagation();
  goal.focus();
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

// --- The editor's toolbar -----------------------------------------------------------------------

export const TOOLS = ".trix-button-row button:not(:disabled)";

/** One tab stop, with arrow keys. */
export function steer(event: KeyboardEvent, toolbar: HTMLElement, button: HTMLElement) {
  const buttons = [...toolbar.querySelectorAll<HTMLElement>(TOOLS)].filter(
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

// --- Code -------------------------------------------------------------------------------------

const LANGUAGES = {
  bash: () => import("highlight.js/lib/languages/bash"),
  css: () => import("highlight.js/lib/languages/css"),
  diff: () => import("highlight.js/lib/languages/diff"),
  go: () => import("highlight.js/lib/languages/go"),
  java: () => import("highlight.js/lib/languages/java"),
  javascript: () => import("highlight.js/lib/languages/javascript"),
  json: () => import("highlight.js/lib/languages/json"),
  python: () => import("highlight.js/lib/languages/python"),
  ruby: () => import("highlight.js/lib/languages/ruby"),
  rust: () => import("highlight.js/lib/languages/rust"),
  sql: () => import("highlight.js/lib/languages/sql"),
  xml: () => import("highlight.js/lib/languages/xml"),
};

let highlighter: ReturnType<typeof loadHighlighter> | undefined;

/** Colours every plain `pre` inside `element`; the highlighter is fetched for the first one. */
export async function highlightCode(element: HTMLElement): Promise<void> {
  const blocks = [...element.querySelectorAll<HTMLElement>("pre:not([data-highlighted])")];
  const plain = blocks.filter((block) => block.childElementCount === 0);
  if (plain.length === 0) return;
  highlighter ??= insisted(loadHighlighter);
  const hljs = await highlighter;
  for (const block of plain) {
    const [, named] = /\blanguage-([\w-]+)/.exec(block.className) ?? [];
    // What it does not know stays as it was written.
    if (named && !hljs.getLanguage(named)) block.dataset.highlighted = "no";
    if (!block.dataset.highlighted) hljs.highlightElement(block);
  }
}

async function loadHighlighter() {
  const { default: hljs } = await import("highlight.js/lib/core");
  const loading = Object.entries(LANGUAGES).map(async ([name, load]) => {
    hljs.registerLanguage(name, (await load()).default);
  });
  await Promise.all(loading);
  hljs.registerAliases(["ts", "tsx", "typescript"], { languageName: "javascript" });
  return hljs;
}
