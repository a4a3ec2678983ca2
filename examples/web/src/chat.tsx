// The chat of the order: what was written, how far it has come, who is writing.

import type { Message } from '@orderhub/client';
import { useMessages, useReadMarks, useTyping, useUnread } from '@orderhub/client/react';
import { type FormEvent, useEffect, useId, useLayoutEffect, useRef, useState } from 'react';

import { clock } from './map';
import { nameOf, partOf, type Person } from './people';

const names = (userIds: string[]) => new Intl.ListFormat('en').format(userIds.map(nameOf).sort());

/** How far an own message has come, in words. */
function progress({ status, seq = 0, error }: Message, readers: [string, number][]): string {
  if (status === 'pending') return 'sending';
  if (status === 'failed') return `not sent: ${error?.message ?? 'unknown'}`;
  const read = readers.filter(([, mark]) => mark >= seq).map(([userId]) => userId);
  return read.length > 0 ? `read by ${names(read)}` : 'sent';
}

function Bubble({ message, me, readers, isFirst }: { message: Message; me: string; readers: [string, number][]; isFirst: boolean }) {
  const { retry, discard } = useMessages();
  const isOwn = message.senderId === me;
  return (
    <li className={isOwn ? 'own' : 'other'} data-status={message.status} data-part={partOf(message.senderId)}>
      {isFirst && !isOwn && <span className="sender">{nameOf(message.senderId)}</span>}
      <p className={message.deleted ? 'deleted' : undefined}>{message.content}</p>
      <span className="fate">
        <time dateTime={message.createdAt}>{clock(message.createdAt)}</time>
        {isOwn && ` · ${progress(message, readers)}`}
        {message.status === 'failed' && (
          <>
            {' '}
            <button type="button" onClick={() => retry(message.key)}>Try again</button>{' '}
            <button type="button" onClick={() => discard(message.key)}>Discard</button>
          </>
        )}
      </span>
    </li>
  );
}

function Composer({ person }: { person: Person }) {
  const { send } = useMessages();
  const { setTyping } = useTyping();
  const [text, setText] = useState('');
  const id = useId();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const content = text.trim();
    if (!content) return;
    setText('');
    setTyping(false);
    // What becomes of it is shown at the message.
    send(content).catch(() => {});
  };
  return (
    <form className="composer" onSubmit={submit}>
      <label className="unseen" htmlFor={id}>Message of {person.name}</label>
      <input
        id={id}
        value={text}
        placeholder="Write a message"
        autoComplete="off"
        maxLength={1_000}
        onChange={({ target }) => {
          setText(target.value);
          setTyping(target.value !== '');
        }}
        onBlur={() => setTyping(false)}
      />
      <button type="submit" disabled={text.trim() === ''} aria-label="Send">
        <svg viewBox="0 0 20 20" aria-hidden="true"><path d="M3 3.500 18 10 3 16.500 5 11l7-1-7-1Z" /></svg>
      </button>
    </form>
  );
}

export function Chat({ person, isShown }: { person: Person; isShown: boolean }) {
  const { messages, hasMore, loadOlder } = useMessages();
  const { typing } = useTyping();
  const { markRead } = useUnread();
  const me = person.userId;
  const readers = Object.entries(useReadMarks()).filter(([userId]) => userId !== me);
  const log = useRef<HTMLDivElement>(null);
  const newest = messages[messages.length - 1]?.key;

  useEffect(() => {
    if (isShown) markRead();
  }, [isShown, messages, markRead]);
  useLayoutEffect(() => {
    log.current?.scrollTo({ top: log.current.scrollHeight });
  }, [newest, isShown]);

  return (
    <section className="chat" aria-label={`Chat of ${person.name}`}>
      <div className="log" ref={log} tabIndex={0} role="log" aria-label="Messages">
        {hasMore && <button type="button" className="older" onClick={() => void loadOlder()}>Older messages</button>}
        {messages.length === 0 && <p className="empty">No messages yet. Say hello.</p>}
        <ol>
          {messages.map((message, index) => (
            <Bubble
              key={message.key}
              {...{ message, me, readers }}
              isFirst={messages[index - 1]?.senderId !== message.senderId}
            />
          ))}
        </ol>
      </div>
      <p className="typing">
        {typing.length > 0 && <>{names([...typing])} {typing.length > 1 ? 'are' : 'is'} writing<i aria-hidden="true" /></>}
      </p>
      <Composer person={person} />
    </section>
  );
}
