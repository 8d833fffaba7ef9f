/** Choosing people for a ping: pills of those chosen, and an input that suggests more. */
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import type { Suggestion } from "../lib/api";
import { useStore } from "../lib/store";
import {
  findPeople,
  LANDMARK,
  type Question,
  type Source,
  SuggestionList,
  Suggestions,
  tellReaders,
} from "./autocomplete";
import { Button } from "./ui";

export type Chosen = Pick<Suggestion, "name" | "value" | "avatar_url">;

interface PickerProps {
  chosen: readonly Chosen[];
  onChange: (chosen: readonly Chosen[]) => void;
  onCancel: () => void;
}

/** The field of a new ping: pills of the people chosen, and an input that suggests more. */
export function PeoplePicker({ chosen, onChange, onCancel }: PickerProps) {
  const me = useStore((state) => state.me);
  const [suggestions] = useState(() => new Suggestions());
  const input = useRef<HTMLInputElement>(null);
  const source: Source = {
    find: () => (input.current ? questionIn(input.current) : null),
    async ask(query) {
      const taken = new Set([me?.id, ...chosen.map(({ value }) => value)]);
      return (await findPeople(query)).filter(({ value }) => !taken.has(value));
    },
    choose(person) {
      onChange([...chosen, person]);
      if (input.current) input.current.value = "";
    },
  };
  return (
    <div className="autocomplete__container input input--actor">
      <PersonPills
        chosen={chosen}
        onRemove={(person) => {
          onChange(without(chosen, person));
          input.current?.focus();
        }}
      />
      <PingInput
        input={input}
        suggestions={suggestions}
        source={source}
        onKeyDown={(event) => {
          // A key of a composition is the input method's; in Safari its last comes late, so coded.
          if (event.nativeEvent.isComposing || event.keyCode === 229) return;
          if (suggestions.takes(event)) event.stopPropagation();
          else if (event.key === "Escape") onCancel();
          else if (event.key === "Backspace" && event.currentTarget.value === "") {
            onChange(chosen.slice(0, -1));
          }
        }}
      />
      <SuggestionList suggestions={suggestions} />
    </div>
  );
}

function PingInput(props: {
  input: React.RefObject<HTMLInputElement | null>;
  suggestions: Suggestions;
  source: Source;
  onKeyDown: (event: KeyboardEvent<HTMLInputElement>) => void;
}) {
  const { input, suggestions, source, onKeyDown } = props;
  // Joins the list, which lives outside React, to the field and to who is chosen by now.
  useEffect(() => {
    suggestions.source = source;
    return input.current ? tellReaders(input.current, suggestions) : undefined;
  });
  return (
    <input
      ref={input}
      className="autocomplete__input input input--transparent"
      type="text"
      role="combobox"
      aria-label="Who do you want to ping?"
      aria-autocomplete="list"
      aria-expanded="false"
      autoComplete="off"
      autoCorrect="off"
      spellCheck="false"
      // biome-ignore lint/a11y/noAutofocus: the person just asked for this field.
      autoFocus
      onChange={() => suggestions.changed()}
      onBlur={() => suggestions.close()}
      onKeyDown={onKeyDown}
    />
  );
}

function PersonPills(props: { chosen: readonly Chosen[]; onRemove: (person: Chosen) => void }) {
  if (props.chosen.length === 0) return null;
  return (
    <ul className="autocomplete__pills" aria-label="People to ping">
      {props.chosen.map((person) => (
        <li className="autocomplete__pill" key={person.value}>
          <span className="avatar">
            <img src={person.avatar_url} width="48" height="48" alt="" />
          </span>
          <span className="overflow-ellipsis">{person.name}</span>
          <Button
            icon="remove-circle"
            label={`Remove ${person.name}`}
            className="btn--plain"
            onClick={() => props.onRemove(person)}
          />
        </li>
      ))}
    </ul>
  );
}

const without = (chosen: readonly Chosen[], person: Chosen) =>
  chosen.filter(({ value }) => value !== person.value);

function questionIn(field: HTMLInputElement): Question | null {
  const query = field.value.trim();
  const landmark = field.closest(LANDMARK);
  return query ? { query, terminator: "", at: field.getBoundingClientRect(), landmark } : null;
}
