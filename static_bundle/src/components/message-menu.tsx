/** What can be done with a message: a menu that hangs on three dots. */
import { type ComponentProps, type KeyboardEvent, type RefObject, useRef, useState } from "react";
import { flushSync } from "react-dom";
import { copyText } from "../lib/browser";
import { announce, isAdministrator, useStore } from "../lib/store";
import type { ActionsProps } from "./message";
import { Popover } from "./popover";
import { Button } from "./ui";

const COPIED_FOR = 1000;

const QUICK_BOOSTS = [
  ["👍", "Thumbs up"],
  ["👏", "Clapping"],
  ["👋", "Waving hand"],
  ["💪", "Muscle"],
  ["❤️", "Red heart"],
  ["😂", "Face with tears of joy"],
  ["🎉", "Party popper"],
  ["🔥", "Fire"],
] as const;

export function MessageMenu({ tab, ...rest }: ActionsProps) {
  const [open, setOpen] = useState<"pointer" | "keyboard" | null>(null);
  const button = useRef<HTMLButtonElement>(null);

  function close(refocus = false) {
    setOpen(null);
    if (refocus) button.current?.focus();
  }

  return (
    <div className="message__actions">
      <Button
        ref={button}
        icon="dots"
        label="Message options"
        className="btn--borderless txt-small message__options-btn"
        aria-haspopup="menu"
        aria-expanded={open !== null}
        aria-disabled={rest.message.outgoing ? true : undefined}
        tabIndex={tab}
        onClick={(event) => {
          if (rest.message.outgoing) return;
          // A click that no pointer made came from Enter or Space.
          setOpen(open ? null : event.detail === 0 ? "keyboard" : "pointer");
        }}
      />
      {open && <Menu {...rest} anchor={button} byKeyboard={open === "keyboard"} onClose={close} />}
    </div>
  );
}

interface MenuProps extends Omit<ActionsProps, "tab"> {
  anchor: RefObject<HTMLButtonElement | null>;
  byKeyboard: boolean;
  onClose: (refocus?: boolean) => void;
}

function Menu({ message, home, own, anchor, byKeyboard, onClose, onBoost }: MenuProps) {
  const administrator = useStore(isAdministrator);
  const andClose = (act: () => void, refocus = false) => ({
    role: "menuitem",
    tabIndex: -1,
    onClick() {
      onClose(refocus);
      act();
    },
  });

  return (
    <Popover
      anchor={anchor}
      onClose={onClose}
      className="message__actions-menu shadow"
      role="menu"
      aria-label="Message options"
      onKeyDown={(event) => move(event, onClose)}
    >
      <div className="message__actions-grid quick-boosts" role="none">
        {QUICK_BOOSTS.map(([content, name], index) => (
          <button
            key={name}
            type="button"
            className="btn message__action-btn"
            title={name}
            // biome-ignore lint/a11y/noAutofocus: a menu opened by a key takes the focus.
            autoFocus={byKeyboard && index === 0}
            {...andClose(() => home.boost(message, content), byKeyboard)}
          >
            <span className="boost-character" aria-hidden="true">
              {content}
            </span>
            <span className="for-screen-reader">{name}</span>
          </button>
        ))}
        <MenuButton icon="boost" label="New boost" {...andClose(onBoost)} />
      </div>
      <div className="message__actions-grid" role="none">
        <MenuButton icon="reply" label="Reply" {...andClose(() => home.reply(message))} />
        <CopyLink path={message.path} onDone={() => onClose(byKeyboard)} />
        {(own || administrator) && (
          <MenuButton
            icon="pencil"
            label="Edit"
            {...andClose(() => flushSync(() => home.edit(message)))}
          />
        )}
      </div>
    </Popover>
  );
}

function MenuButton({ label, ...rest }: ComponentProps<typeof Button> & { label: string }) {
  return <Button className="message__action-btn" label={label} {...rest} />;
}

function CopyLink({ path, onDone }: { path: string; onDone: () => void }) {
  const [copied, setCopied] = useState(false);

  async function copy() {
    if (copied || !(await copyText(location.origin + path))) return;
    setCopied(true);
    announce("Copied");
    setTimeout(onDone, COPIED_FOR);
  }

  return (
    <MenuButton
      icon={copied ? "check" : "link"}
      label="Copy link"
      role="menuitem"
      tabIndex={-1}
      data-copied={copied || undefined}
      onClick={copy}
    />
  );
}

const COLUMNS = 3;

/** Arrow keys go round: along all items, or up and down one column. */
function move(event: KeyboardEvent<HTMLElement>, close: (refocus?: boolean) => void) {
  if (event.key === "Tab") return close(true);
  const items = [...event.currentTarget.querySelectorAll<HTMLElement>("[role=menuitem]")];
  const at = items.indexOf(document.activeElement as HTMLElement);
  const column = items.filter((_, index) => index % COLUMNS === at % COLUMNS);
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
