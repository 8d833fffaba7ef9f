/**
 * The building blocks: what an icon, a button, a time, a picture of somebody and a dialog are.
 * Nothing here knows a URL or the server; screens put these together.
 */
import { type ComponentProps, type ReactNode, useLayoutEffect, useRef, useState } from "react";
import type { User } from "../lib/api";
import { copyText } from "../lib/browser";
import { announce } from "../lib/store";
import { formatDate, formatFull, formatTime } from "../lib/text";
import type drawings from "../pictures/icons.json";

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
