/**
 * The building blocks: what a button, a field, a switch, a panel and a popover are. Nothing here
 * knows a URL or the server; screens put these together.
 */
import {
  type ComponentProps,
  createElement,
  type ReactNode,
  type RefObject,
  useEffect,
  useId,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import type { User } from "../lib/api";
import { copyText } from "../lib/clipboard";
import { announce, fetched } from "../lib/store";
import { formatDate, formatFull, formatTime } from "../lib/text";
import drawings from "../pictures/icons.json";
import type translations from "../translations.json";

// --- Icons -------------------------------------------------------------------------------------

export type IconName = keyof typeof drawings;

const pictures: Record<string, string> = import.meta.glob<string>(
  [
    "/src/pictures/icons/{add,arrow-down,arrow-left,arrow-up,bell-alert,bell-mentions,boost,dots,globe,menu,messages,messages-add,messages-empty,messages-outline,minus,remove,reply,search,stranger}.svg",
    "/node_modules/@phosphor-icons/core/assets/bold/{arrows-clockwise,bell,clipboard-text,cloud-slash,download-simple,export,eye-slash,globe}-bold.svg",
    "/node_modules/@phosphor-icons/core/assets/bold/{link,link-break,paperclip,prohibit,qr-code,text-a-underline,trash}-bold.svg",
    "/node_modules/@phosphor-icons/core/assets/fill/{bell,bell-slash,camera,check-fat,file-text,gear-six,pencil-simple,user-plus,warning,x-circle}-fill.svg",
  ],
  { eager: true, exhaustive: true, import: "default", query: "?raw" },
);

/** Brings the icons that only later screens show. */
export function addPictures(more: Record<string, string>): void {
  Object.assign(pictures, more);
}

const drawn = new Map<string, ReactNode>();

/** Decorative: the name comes from the control it stands in. */
export function Icon({ name, size }: { name: IconName; size?: number | string }) {
  const from = drawings[name];
  const path = from.startsWith("own/")
    ? `/src/pictures/icons/${from.slice(4)}.svg`
    : `/node_modules/@phosphor-icons/core/assets/${from}.svg`;
  const style = size === undefined ? undefined : { blockSize: size, inlineSize: size };
  return (
    <span className="icon" data-icon={name} aria-hidden="true" style={style}>
      <Drawing source={pictures[path] ?? "<svg/>"} />
    </span>
  );
}

/** An SVG file as elements: parsed once, so that its colours follow the text around it. */
export function Drawing({ source }: { source: string }) {
  if (!drawn.has(source)) {
    const svg = new DOMParser().parseFromString(source, "image/svg+xml").documentElement;
    // Phosphor leaves a wide margin, which would make its drawings smaller than ours.
    if (svg.getAttribute("viewBox") === "0 0 256 256") svg.setAttribute("viewBox", "18 18 220 220");
    drawn.set(source, toElement(svg, 0));
  }
  return drawn.get(source);
}

function toElement(shape: Element, key: number): ReactNode {
  const attributes: Record<string, unknown> = { key };
  for (const { name, value } of shape.attributes) {
    attributes[name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())] = value;
  }
  return createElement(shape.tagName, attributes, ...[...shape.children].map(toElement));
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

// --- Popovers and dialogs ----------------------------------------------------------------------

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
