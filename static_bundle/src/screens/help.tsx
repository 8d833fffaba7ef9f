/** Help with notifications and with installing the app, and the page that says what went wrong. */
import type { ReactNode } from "react";
import { Shell } from "../components/shell";
import { Button, Dialog, Icon, type IconName, LinkButton } from "../components/ui";
import help from "../help.json";
import * as api from "../lib/api";
import * as device from "../lib/browser";
import { useObservable } from "../lib/observable";

type Steps = Readonly<Record<string, readonly string[]>>;

export function NotificationsHelp({ onClose }: { onClose: () => void }) {
  const { system, browser } = device.platform();
  const inBrowser = system === "ios" ? null : stepsFor(help.browser, browser, system);
  const inSystem = stepsFor(help.system, system, system);
  const desktop = system !== "android" && system !== "ios" && browser !== "safari";
  return (
    <Dialog className="dialog notifications-help" aria-labelledby="help-title" onClose={onClose}>
      <div className="txt-align-center">
        <span className="btn btn--faux btn--icon">
          <Icon name="bell-alert" />
        </span>
        <h1 id="help-title">Notifications are blocked</h1>
      </div>
      <Button icon="remove" label="Close" className="dialog__close" onClick={onClose} />
      <div ref={openIfAlone}>
        {inBrowser && (
          <Disclosure icon="web" title={`In ${help.browsers[browser]}`}>
            <StepList steps={inBrowser} />
            {desktop && <StepList steps={inSystem.map(named(help.browsers[browser]))} />}
          </Disclosure>
        )}
        {device.isStandalone() && (
          <Disclosure icon="gear" title={`In ${help.systems[system]}`}>
            <StepList steps={inSystem.map(named("Campfire"))} />
          </Disclosure>
        )}
        <InstallBox />
      </div>
    </Dialog>
  );
}

function openIfAlone(boxes: HTMLElement | null) {
  const [only, ...others] = boxes?.querySelectorAll("details") ?? [];
  if (only && others.length === 0) only.open = true;
}

const named = (app: string) => (step: string) => step.replace("APP", app);

function stepsFor(all: Steps, name: string, system: string): readonly string[] {
  return all[`${name}-${system}`] ?? all[name] ?? all.other ?? [];
}

/** How to install the app here; nothing where it is installed already, or cannot be. */
export function InstallBox() {
  const all: Steps = help.install;
  const offered = useObservable(device.install);
  const { system, browser } = device.platform();
  const steps = all[system] ?? all[`${browser}-${system}`] ?? all[browser];
  if (device.isStandalone() || !steps || (steps.length === 0 && !offered)) return null;
  return (
    <Disclosure icon="download" title="Install Campfire">
      <StepList steps={steps} />
      {offered && (
        <p className="txt-align-center">
          <Button className="btn--reversed" onClick={() => device.install.prompt()}>
            Install now
          </Button>
        </p>
      )}
    </Disclosure>
  );
}

type DisclosureProps = { icon: IconName; title: string; children: ReactNode };

function Disclosure({ icon, title, children }: DisclosureProps) {
  return (
    <details className="disclosure">
      <summary>
        <Icon name={icon} />
        <span>{title}</span>
        <Icon name="disclosure" />
      </summary>
      <div className="disclosure__body">{children}</div>
    </details>
  );
}

/** `*Settings*` is a control with that name, `{gear}` one that shows only that icon. */
function StepList({ steps }: { steps: readonly string[] }) {
  if (steps.length === 0) return null;
  const List = steps.length > 1 ? "ol" : "ul";
  return (
    <List>
      {steps.map((step) => (
        <li key={step}>
          {step
            .split("*")
            .map((part, index) => (index % 2 ? <Control key={part} name={part} /> : part))}
        </li>
      ))}
    </List>
  );
}

function Control({ name }: { name: string }) {
  const icon = /^\{(.+)\}$/.exec(name)?.[1] as IconName | undefined;
  if (!icon) return <kbd>{name}</kbd>;
  return (
    <kbd>
      <Icon name={icon} size={18} />
      <span className="for-screen-reader">{icon}</span>
    </kbd>
  );
}

/** What a person calls the browser that says this of itself. */
export function deviceName(agent: string): string {
  const { browser, system } = device.platform(agent);
  const version = /(?:Edg|Firefox|FxiOS|Chrome|CriOS|Version)\/(\d+)/.exec(agent)?.[1] ?? "";
  return `${help.browsers[browser]} ${version} on ${help.systems[system]}`.replace("  ", " ");
}

// --- What went wrong ---------------------------------------------------------------------------

export interface Trouble {
  icon: "error-missing" | "error-failed" | "error-server";
  /** What happened. */
  words: string;
  /** What to do about it. */
  advice: string;
  /** Another try may help. */
  again?: boolean;
  /** Signing in is the way on, not the rooms. */
  signIn?: boolean;
}

const CRASHED = 0;

function troubleOf({ status, data }: Pick<api.Boot<"error">, "status" | "data">): Trouble {
  if (status === CRASHED)
    return { icon: "error-server", words: data.message, advice: "", again: true };
  if (data.code === "invalid_join_code")
    return {
      icon: "error-missing",
      words: data.message,
      advice: "Ask whoever invited you for a new one.",
      signIn: true,
    };
  if (status === 404)
    return {
      icon: "error-missing",
      words: "We can’t find that.",
      advice: "The address may be wrong, or what was here is gone. Go back to your rooms.",
    };
  if (status === 403)
    return {
      icon: "error-failed",
      words: "This page is for administrators.",
      advice: "Ask one of them, or go back to your rooms.",
    };
  if (status < 500)
    return {
      icon: "error-failed",
      words: "That didn’t work.",
      advice: `${new api.ApiError(status, data).message} Wait a moment and reload, or go back.`,
      again: true,
    };
  return {
    icon: "error-server",
    words: status === 503 ? data.message : "Something broke on our side.",
    advice: "Reload in a moment. If it stays like this, tell whoever runs Campfire here.",
    again: true,
  };
}

/** Not found, refused, broken; and, with the status 0, a crash in this client. */
export function ErrorScreen({ boot }: { boot: Pick<api.Boot<"error">, "status" | "data"> }) {
  return <TroubleScreen {...troubleOf(boot)} />;
}

export function TroubleScreen({ icon, words, advice, again = false, signIn = false }: Trouble) {
  return (
    <Shell>
      <div className="trouble">
        <div className="trouble__sign" aria-hidden="true">
          <Icon name={icon} />
        </div>
        <h1 tabIndex={-1}>{words}</h1>
        {advice && <p>{advice}</p>}
        <div className="actions txt-large">
          {signIn ? (
            <LinkButton href="/session/new" icon="sign-in" label="Sign in" />
          ) : (
            <LinkButton href="/" icon="arrow-left" label="Campfire home" />
          )}
          {again && <Button icon="refresh" label="Reload" onClick={device.reload} />}
        </div>
      </div>
    </Shell>
  );
}
