/** Search across all rooms, and what it found. */
import { useRef, useState } from "react";
import { useSubmit } from "../components/forms";
import { Message, type MessageHome } from "../components/message";
import { attempt, Shell } from "../components/shell";
import { Button, Icon, LinkButton, Spinner } from "../components/ui";
import type { Boost, ScreenProps, Search } from "../lib/api";
import * as api from "../lib/api";
import { DESKTOP, isTouchOnly, useMedia, visit } from "../lib/browser";
import { shown, type TimelineMessage } from "../lib/messages";
import { apply, failed, useStore } from "../lib/store";
import { formatting } from "../lib/text";

export function SearchScreen({ boot }: ScreenProps<"searches">) {
  const { search } = boot.data;
  const typed = String(boot.params.q ?? search.query ?? "");
  const desktop = useMedia(DESKTOP);
  const busy = useStore((state) => state.loading);
  const recents = <RecentSearches search={search} />;
  return (
    <Shell
      title="Search"
      nav={
        <>
          {search.query !== null && (
            <span className="btn btn--reversed btn--faux searches__query">
              <span className="overflow-ellipsis">“{search.query}”</span>{" "}
              <span>
                {search.has_before
                  ? `the newest ${search.messages.length}`
                  : search.messages.length}
              </span>
            </span>
          )}
          {!desktop && recents}
        </>
      }
      footer={<SearchForm query={typed} back={search.return_to_room_id} />}
      sidebar={
        <aside id="sidebar" className="sidebar" aria-label="Recent searches">
          {desktop && recents}
        </aside>
      }
    >
      <Results search={search} typed={typed} />
      {busy && (
        <div className="messages__loading" role="status" style={{ animation: "none" }}>
          <Spinner label="Searching" />
        </div>
      )}
    </Shell>
  );
}

const toEnd = (list: HTMLElement | null) => list?.scrollTo({ top: list.scrollHeight });

function Results({ search, typed }: { search: Search; typed: string }) {
  const me = useStore((state) => state.me);
  const [messages, setMessages] = useState(() => search.messages.map((hit) => shown(hit)));
  const [home] = useState(() => searchHome(setMessages));
  if (messages.length === 0) return <NothingFound query={search.query} typed={typed} />;
  return (
    <div className="message-area">
      <div className="messages searches__results" role="feed" aria-label="Results" ref={toEnd}>
        {messages.map((message, index) => (
          <Message
            key={message.id}
            message={message}
            home={home}
            active
            found={search.messages[index]}
            {...formatting(message, undefined, me?.id)}
            firstOfDay={false}
          />
        ))}
      </div>
    </div>
  );
}

type Change = (change: (messages: TimelineMessage[]) => TimelineMessage[]) => void;

/** A result can be boosted where it stands; for everything else there is its room. */
function searchHome(change: Change): MessageHome {
  const elsewhere = ({ path }: TimelineMessage) => visit(path);
  const boosts = (id: number, next: (boosts: Boost[]) => Boost[]) =>
    change((all) => all.map((m) => (m.id === id ? { ...m, boosts: next(m.boosts) } : m)));
  return {
    boost({ id }, content) {
      api.boost(id, content).then(({ boost }) => boosts(id, (all) => [...all, boost]), failed);
    },
    unboost(boost) {
      const without = () => boosts(boost.message_id, (all) => all.filter((b) => b.id !== boost.id));
      api.unboost(boost.message_id, boost.id).then(without, failed);
    },
    edit: elsewhere,
    save: elsewhere,
    remove: elsewhere,
    stopEditing: elsewhere,
    reply: elsewhere,
    retry: elsewhere,
    takeBack: elsewhere,
    discard: elsewhere,
  };
}

function NothingFound({ query, typed }: { query: string | null; typed: string }) {
  const said = query === null ? typed && `Nothing to search for in “${typed}”` : "";
  return (
    <div className="message-area message-area--empty">
      <Icon name="search" />
      <p className={said ? undefined : "for-screen-reader"} role="status">
        {said || (query !== null && `Nothing found for “${query}”.`)}
      </p>
    </div>
  );
}

function RecentSearches({ search }: { search: Search }) {
  if (search.recent_searches.length === 0) return null;

  async function clear() {
    const cleared = await attempt(api.clearSearches, "Clear your recent searches?");
    if (cleared) visit("/searches", { replace: true });
  }

  return (
    <ul className="searches__recents" aria-label="Recent searches">
      {search.recent_searches.map(({ id, query }) => (
        <li key={id}>
          <a href={`/searches?q=${encodeURIComponent(query)}`} className="btn searches__recent">
            <span className="overflow-ellipsis">“{query}”</span>
          </a>
        </li>
      ))}
      <li>
        <Button icon="broom" label="Clear recent searches" onClick={clear} />
      </li>
    </ul>
  );
}

const WORKING_AFTER = 300;

/** The same promise, with a sign of work on the screen when it takes its time. */
async function working<T>(work: Promise<T>): Promise<T> {
  const sign = setTimeout(() => apply({ type: "loading_changed", loading: true }), WORKING_AFTER);
  try {
    return await work;
  } finally {
    clearTimeout(sign);
    apply({ type: "loading_changed", loading: false });
  }
}

function SearchForm({ query, back }: { query: string; back: number | null }) {
  const { busy, submit } = useSubmit(async (form) => {
    const typed = String(form.get("q"));
    const nowhere = { redirect_to: `/searches?q=${encodeURIComponent(typed)}` };
    // Signs alone are nothing to remember; their page says so, and shows them again.
    const { redirect_to } = await working(api.recordSearch(typed)).catch((error) => {
      if (error.code === "validation_failed") return nowhere;
      throw error;
    });
    visit(redirect_to);
  });

  return (
    <form id="composer" className="composer searches__form" onSubmit={submit}>
      <LinkButton
        href={back ? `/rooms/${back}` : "/"}
        icon="arrow-left"
        label="Go back"
        className="composer__context-btn searches__btn"
        style={{ viewTransitionName: "input-switcher" }}
      />
      <div className="composer__input input input--actor searches__box">
        <span className="composer__input-hint" style={{ viewTransitionName: "input-btn" }}>
          <Icon name="search" size={22} />
        </span>
        <SearchInput query={query} />
        <Button
          type="submit"
          icon="arrow-up"
          label="Search"
          busy={busy}
          className="btn--reversed txt-small searches__btn"
        />
      </div>
    </form>
  );
}

function SearchInput({ query }: { query: string }) {
  const [words, setWords] = useState(query);
  const input = useRef<HTMLInputElement>(null);

  function clear() {
    setWords("");
    if (query) visit("/searches");
    else input.current?.focus();
  }

  return (
    <>
      <input
        ref={input}
        type="search"
        name="q"
        className="input input--transparent searches__input"
        aria-label="Search"
        autoComplete="off"
        // biome-ignore lint/a11y/noAutofocus: people come to this page to type here.
        autoFocus={!isTouchOnly() || !query}
        required
        value={words}
        onChange={({ target }) => setWords(target.value)}
        onKeyDown={({ key }) => key === "Escape" && clear()}
      />
      {words && (
        <Button
          icon="remove"
          label="Clear"
          className="btn--borderless txt-small searches__reset"
          onClick={clear}
        />
      )}
    </>
  );
}
