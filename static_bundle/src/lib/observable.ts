/** What changes, and who wants to know: one value at a time, outside React and readable in it. */
import { useSyncExternalStore } from "react";

export class Observable<Value> {
  #state: Value;
  readonly #listeners = new Set<() => void>();

  constructor(state: Value) {
    this.#state = state;
  }

  /** The same object until it changes. */
  readonly state = (): Value => this.#state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  set(state: Value): void {
    if (Object.is(state, this.#state)) return;
    this.#state = state;
    for (const tell of this.#listeners) tell();
  }

  change(change: Partial<Value>): void {
    this.set({ ...this.#state, ...change });
  }
}

/** What it is now, in a component that follows it. */
export const useObservable = <Value>({ subscribe, state }: Observable<Value>): Value =>
  useSyncExternalStore(subscribe, state);
