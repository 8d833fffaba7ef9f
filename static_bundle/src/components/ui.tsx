/**
 * The building blocks: what a button, a field, a switch, a panel and a popover are. Nothing here
 * knows a URL or the server; screens put these together.
 */
import {
  type ComponentProps,
  createElement,
  type ReactNode,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import type { User } from "../lib/api";
import { copyText } from "../lib/browser";
import { announce } from "../lib/store";
import { formatDate, formatFull, formatTime } from "../lib/text";
import drawings from "../pictures/icons.json";

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
