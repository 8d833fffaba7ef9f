/** What went wrong, and what to do about it: a page of its own where there is no other. */
import { Shell } from "../components/shell";
import { Button, Icon, LinkButton } from "../components/ui";
import * as api from "../lib/api";
import { reload } from "../lib/browser";

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
          {again && <Button icon="refresh" label="Reload" onClick={reload} />}
        </div>
      </div>
    </Shell>
  );
}
