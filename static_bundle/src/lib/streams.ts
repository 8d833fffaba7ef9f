/** The Turbo Streams that the cable brings, as typed events. */
import type { RoomType, User } from "./api";
import type { RoomEvent } from "./messages";
import type { SidebarRoom } from "./store";
import { boostOf, elements, json, messageOf, presentationOf, sentence } from "./text";

/** What a stream tells: about a room's messages, or about the lists in the sidebar. */
export type StreamEvent =
  | RoomEvent
  | { type: "room_listed"; room: SidebarRoom }
  | { type: "room_renamed"; room: SidebarRoom }
  | { type: "room_delisted"; room_id: number }
  | { type: "person_changed"; user: User; joined: boolean }
  | { type: "person_left"; user_id: number };

/** The events in some Turbo Stream HTML, which is parsed where nothing in it loads or runs. */
export function parseStreams(html: string): StreamEvent[] {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.querySelectorAll("turbo-stream")].flatMap((stream) => {
    const event = streamEvent(
      stream.getAttribute("action") ?? "",
      stream.getAttribute("target") ?? "",
      stream.querySelector("template")?.content ?? document.createDocumentFragment(),
    );
    return event ? [event] : [];
  });
}

function streamEvent(
  action: string,
  target: string,
  content: DocumentFragment,
): StreamEvent | null {
  const [, kind = "", id = ""] = STREAM_TARGET.exec(target) ?? [];
  switch (`${action} ${kind}`) {
    case "append messages_room_":
      return { type: "messages_appended", messages: elements(content, ".message").map(messageOf) };
    case "replace presentation_message_":
      return presentationEvent(id, content);
    case "replace message_": {
      const [element] = elements(content, ".message");
      return element ? { type: "message_replaced", message: messageOf(element) } : null;
    }
    case "remove message_":
      return { type: "message_removed", client_message_id: id };
    case "append boosts_message_": {
      const [element] = elements(content, ".boost");
      return element
        ? { type: "boost_added", client_message_id: id, boost: boostOf(element) }
        : null;
    }
    case "remove boost_":
      return { type: "boost_removed", boost_id: Number(id) };
    case "prepend shared_rooms":
    case "prepend direct_rooms":
      return roomEvent("room_listed", content);
    case "replace list_room_":
      return roomEvent("room_renamed", content);
    case "append people":
    case "replace person_": {
      const [element] = elements(content, "[data-person]");
      const user = json<User>(element?.dataset.person ?? "null");
      return user && { type: "person_changed", user, joined: action === "append" };
    }
    case "remove person_":
      return { type: "person_left", user_id: Number(id) };
    case "remove list_room_":
      return { type: "room_delisted", room_id: Number(id) };
    default:
      return null;
  }
}

const STREAM_TARGET =
  /^(messages_room_|presentation_message_|boosts_message_|message_|boost_|list_room_|person_|shared_rooms|direct_rooms|people)(.*)$/;

function presentationEvent(id: string, content: DocumentFragment): RoomEvent | null {
  const [element] = elements(content, ".message__presentation");
  if (!element) return null;
  const presentation = presentationOf(element);
  return { type: "presentation_replaced", client_message_id: id, presentation };
}

function roomEvent(type: "room_listed" | "room_renamed", content: ParentNode): StreamEvent | null {
  const [element] = elements(content, "[data-room-id]");
  if (!element) return null;
  const data = element.dataset;
  const members = data.members ? json<User[]>(data.members) : null;
  const room: SidebarRoom = {
    id: Number(data.roomId),
    type: data.roomType as RoomType,
    display_name: members ? sentence(members.map(({ name }) => name)) : (data.sortedListName ?? ""),
    path: element.getAttribute("href") ?? "",
    unread: element.classList.contains("unread"),
    updated_at_ms: Number(data.sortedListNumber ?? 0),
    members,
  };
  return { type, room };
}
