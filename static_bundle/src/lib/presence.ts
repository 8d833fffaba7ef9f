/** Who looks at a room and who types in it, as this client tells it and is told. */
import type { Subscription } from "@rails/actioncable";
import type { User } from "./api";
import { Observable } from "./observable";
import { getState } from "./store";

const PRESENCE_EVERY = 50_000;
const VISIBILITY_DELAY = 5000;
const STALE_AFTER = 60_000;
const TYPING_EVERY = 1000;
const TYPING_LIFE = 5000;

/** The names, sorted, of those who type here; and telling others that I do. */
export class Typing extends Observable<readonly string[]> {
  readonly #names = new Map<number, { name: string; at: number }>();
  #told = Number.NEGATIVE_INFINITY;
  #tick: ReturnType<typeof setInterval> | undefined;
  subscription: Pick<Subscription, "perform"> | null = null;

  constructor() {
    super([]);
  }

  /** Call it on every change of the editor. */
  changed(hasText: boolean): void {
    if (!hasText) {
      this.stop();
    } else if (Date.now() - this.#told >= TYPING_EVERY) {
      this.#told = Date.now();
      this.subscription?.perform("start");
    }
  }

  stop(): void {
    if (this.#told === Number.NEGATIVE_INFINITY) return;
    this.#told = Number.NEGATIVE_INFINITY;
    this.subscription?.perform("stop");
  }

  receive(action: "start" | "stop", user: Pick<User, "id" | "name">): void {
    if (user.id === getState().me?.id) return;
    if (action === "start") this.#names.set(user.id, { name: user.name, at: Date.now() });
    else this.#names.delete(user.id);
    this.#show();
  }

  #purge(): void {
    for (const [id, { at }] of this.#names) {
      if (Date.now() - at > TYPING_LIFE) this.#names.delete(id);
    }
    this.#show();
  }

  #show(): void {
    clearInterval(this.#tick);
    if (this.#names.size > 0) this.#tick = setInterval(() => this.#purge(), 1000);
    const names = [...this.#names.values()].map(({ name }) => name).sort();
    if (names.join("\n") !== this.state().join("\n")) this.set(names);
  }

  forget(): void {
    this.#names.clear();
    this.#show();
  }
}

/** Present while the page can be seen; brief glances elsewhere are not told. */
export class Presence {
  readonly #comeBack: () => void;
  subscription: Pick<Subscription, "perform"> | null = null;
  #visible = document.visibilityState === "visible";
  #hiddenAt = 0;
  #refresh: ReturnType<typeof setInterval> | undefined;
  #check: ReturnType<typeof setTimeout> | undefined;

  /** `comeBack` is called when the page is looked at again after a minute or more. */
  constructor(comeBack: () => void) {
    this.#comeBack = comeBack;
    document.addEventListener("visibilitychange", this.#looked);
  }

  connected(): void {
    this.#start();
  }

  disconnected(): void {
    clearInterval(this.#refresh);
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.#looked);
    clearTimeout(this.#check);
    clearInterval(this.#refresh);
  }

  #looked = (): void => {
    const visible = document.visibilityState === "visible";
    if (!visible) this.#hiddenAt = Date.now();
    else if (this.#hiddenAt > 0 && Date.now() - this.#hiddenAt > STALE_AFTER) this.#comeBack();
    clearTimeout(this.#check);
    this.#check = setTimeout(() => this.#settle(), VISIBILITY_DELAY);
  };

  #settle(): void {
    const visible = document.visibilityState === "visible";
    if (visible === this.#visible) return;
    this.#visible = visible;
    this.subscription?.perform(visible ? "present" : "absent");
    if (visible) this.#start();
    else clearInterval(this.#refresh);
  }

  #start(): void {
    clearInterval(this.#refresh);
    if (!this.#visible) return;
    this.#refresh = setInterval(() => this.subscription?.perform("refresh"), PRESENCE_EVERY);
  }
}
