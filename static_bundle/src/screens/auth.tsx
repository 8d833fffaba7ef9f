/**
 * Coming in, by every door, and what helps whoever gets no further: what went wrong, and how
 * notifications and the installed app are had.
 */
import { type FormEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { flushSync } from "react-dom";
import {
  AvatarField,
  EmailField,
  NameField,
  Panel,
  PasswordField,
  Submit,
  useSubmit,
} from "../components/forms";
import { Shell } from "../components/shell";
import {
  Button,
  Dialog,
  Drawing,
  Icon,
  type IconName,
  LinkButton,
  Spinner,
} from "../components/ui";
import help from "../help.json";
import type { ScreenProps } from "../lib/api";
import * as api from "../lib/api";
import * as device from "../lib/browser";
import { failed, flash, useObservable, useStore } from "../lib/store";
import { sentenceOf } from "../lib/trouble";

type Newcomer = Parameters<typeof api.firstRun>[0];

function comeIn(answer: { redirect_to: string }): void {
  device.visit(answer.redirect_to, { replace: true });
}

/** Their picture follows them in; without it they are in all the same. */
async function withPicture(welcome: Promise<api.Welcome>, picture: Blob | null) {
  const answer = await welcome;
  if (picture) await api.changePicture(picture).catch(failed);
  return answer;
}

// --- First run and joining ---------------------------------------------------------------------

export function FirstRun(_props: ScreenProps<"first_run">) {
  async function setUp(person: Newcomer, picture: Blob | null) {
    try {
      comeIn(await withPicture(api.firstRun(person), picture));
    } catch (problem) {
      if (!(problem instanceof api.ApiError) || problem.code !== "already_set_up") throw problem;
      device.visit("/", { replace: true });
    }
  }

  return (
    <Shell>
      <Badge legend={<h1 tabIndex={-1}>Set up Campfire</h1>}>
        <NewcomerForm icon="arrow-right" onSend={setUp} />
      </Badge>
    </Shell>
  );
}

/** The address with which somebody tried to join who is in already. */
let known = "";

export function Join({ boot }: ScreenProps<"join">) {
  async function signUp(person: Newcomer, picture: Blob | null) {
    try {
      comeIn(await withPicture(api.join(boot.data.join_code, person), picture));
    } catch (problem) {
      if (!(problem instanceof api.ApiError) || !problem.redirectTo) throw problem;
      known = person.email_address;
      device.visit(problem.redirectTo);
    }
  }

  return (
    <Shell nav={<SignInLink />}>
      <Badge
        legend={
          <span className="flex align-center gap">
            <AccountLogo className="account-logo--small" />
            <h1 tabIndex={-1}>{boot.account?.name}</h1>
          </span>
        }
      >
        <NewcomerForm icon="check" onSend={signUp} />
      </Badge>
      <HelpAndVersion />
    </Shell>
  );
}

function SignInLink() {
  return (
    <span className="topbar__end">
      <LinkButton href="/session/new" icon="sign-in" label="Sign in" />
    </span>
  );
}

/** A name badge on its lanyard. */
function Badge({ legend, children }: { legend: ReactNode; children: ReactNode }) {
  return (
    <div className="nametag">
      <div className="nametag__lanyard" aria-hidden="true">
        <Drawing name="lanyard" box="0 0 200 276" />
      </div>
      <div className="nametag__inner">
        <fieldset>
          <legend>{legend}</legend>
          {children}
        </fieldset>
      </div>
    </div>
  );
}

interface NewcomerProps {
  icon: "arrow-right" | "check";
  onSend: (person: Newcomer, picture: Blob | null) => Promise<void>;
}

function NewcomerForm({ icon, onSend }: NewcomerProps) {
  const picture = useRef<Blob | null>(null);
  const { busy, fields, submit } = useSubmit((form) =>
    onSend(
      {
        name: String(form.get("name")),
        email_address: String(form.get("email_address")),
        password: String(form.get("password")),
      },
      picture.current,
    ),
  );
  return (
    <form onSubmit={submit}>
      <AvatarField
        label="Choose a picture"
        user={null}
        onChoose={(chosen) => {
          picture.current = chosen;
          return true;
        }}
      />
      <NameField reasons={fields.name} autoFocus />
      <EmailField reasons={fields.email_address} />
      <PasswordField reasons={fields.password} required />
      <Submit icon={icon} busy={busy} />
    </form>
  );
}

// --- Signing in --------------------------------------------------------------------------------

export function SignIn({ boot }: ScreenProps<"sign_in">) {
  const [state, submit] = useSignIn();
  const email = new URLSearchParams(location.search).get("email_address") ?? "";
  return (
    <Shell>
      <Panel key={state.tries} className={state.refused ? "shake" : ""}>
        <AccountLogo className="txt-xx-large" />
        <fieldset>
          <legend>
            <h1 tabIndex={-1}>{boot.account?.name ?? "Campfire"}</h1>
          </legend>
          <form onSubmit={submit}>
            <EmailField
              label="Enter your email address"
              defaultValue={state.email ?? email}
              readOnly={state.busy}
              autoFocus={!email}
            />
            {email !== "" && email === known && (
              <p role="status">That address is known here already: sign in with it.</p>
            )}
            <PasswordField
              label="Enter your password"
              autoComplete="current-password"
              required
              readOnly={state.busy}
              autoFocus={email !== ""}
              reasons={state.refused ? [] : undefined}
              aria-describedby={state.refused ? "sign-in-refused" : undefined}
            />
            {state.refused && (
              <p id="sign-in-refused" className="txt-negative" role="alert">
                {state.refused}
              </p>
            )}
            <Submit icon="arrow-right" label="Go" busy={state.busy} />
          </form>
        </fieldset>
      </Panel>
      <HelpAndVersion />
    </Shell>
  );
}

interface Attempt {
  busy: boolean;
  refused: string | null;
  email: string | null;
  /** Makes the panel shake anew at every refusal. */
  tries: number;
}

function useSignIn() {
  const first = { busy: false, refused: null, email: null, tries: 0 };
  const [state, setState] = useState<Attempt>(first);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    if (state.busy) return;
    const form = new FormData(event.currentTarget);
    const email = String(form.get("email_address"));
    setState({ ...state, busy: true, refused: null, email });
    try {
      comeIn(await api.signIn(email, String(form.get("password"))));
    } catch (problem) {
      const refused = sentenceOf(problem);
      flushSync(() => setState({ busy: false, refused, email, tries: state.tries + 1 }));
      document.querySelector<HTMLInputElement>("input[name=password]")?.focus();
      flash("alert", refused);
    }
  }

  return [state, submit] as const;
}

export function AccountLogo({
  className = "",
  chosen,
}: {
  className?: string;
  chosen?: string | null;
}) {
  const account = useStore((state) => state.account);
  return (
    <span className={`account-logo center ${className}`}>
      <img src={chosen ?? account?.logo_url ?? "/account/logo"} width={108} height={108} alt="" />
    </span>
  );
}

function HelpAndVersion() {
  const contact = useStore((state) => state.help_contact);
  return (
    <div className="signup__footer">
      {contact && (
        <a className="btn" href={`mailto:${contact.email_address}`}>
          <Icon name="lifebuoy" />
          {contact.email_address}
        </a>
      )}
      <Version />
    </div>
  );
}

// --- Signing in by a link ----------------------------------------------------------------------

export function Transfer({ boot }: ScreenProps<"transfer">) {
  const [refused, setRefused] = useState<Trouble | null>(null);
  const begun = useRef(false);

  // Opening the page is the act itself, and may happen only once.
  useEffect(() => {
    if (begun.current) return;
    begun.current = true;
    api
      .redeemTransfer(String(boot.params.id))
      .then(comeIn)
      .catch((problem) => setRefused(usedUp(problem)));
  }, [boot.params.id]);

  if (refused) return <TroubleScreen {...refused} />;
  return (
    <Shell title="Sign in">
      <Panel className="pad">
        <p role="status">
          <Spinner label="" /> Signing you in…
        </p>
      </Panel>
    </Shell>
  );
}

/** A link that signs in works once; whoever could not reach the server may still use it. */
function usedUp(problem: unknown): Trouble {
  const used = problem instanceof api.ApiError && problem.status < 500 && problem.status !== 429;
  const words = used ? "This link was used or has expired." : sentenceOf(problem);
  const advice = used ? "Ask for a new one." : "";
  return { icon: "error-failed", words, advice, again: !used, signIn: true };
}

export function Version() {
  const version = useStore((state) => state.version);
  return (
    <p className="txt-faint">
      Campfire version <span className="version-badge">{version}</span>
    </p>
  );
}

// --- What went wrong ---------------------------------------------------------------------------

interface Trouble {
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

function TroubleScreen({ icon, words, advice, again = false, signIn = false }: Trouble) {
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

// --- Help with notifications and installing ----------------------------------------------------

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
