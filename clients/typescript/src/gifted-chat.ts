// Messages as react-native-gifted-chat wants them, and back.

import type { Message, SendType } from './index.js';

/** The part of gifted-chat's `IMessage` that is used. */
export interface GiftedMessage {
  _id: string | number;
  text: string;
  createdAt: Date | number;
  user: { _id: string | number; name?: string };
  image?: string;
  system?: boolean;
  sent?: boolean;
  received?: boolean;
  pending?: boolean;
  /** Not gifted-chat's: why it has failed, for your own bubble. */
  error?: string;
}

export interface ToGifted {
  /** How far the others have read: their marks make two ticks of one. */
  readMarks?: Readonly<Record<string, number>>;
  /** Makes an address of an image's key; an address stays as it is. */
  imageUrl?: (content: string) => string;
}

/** Newest first, as gifted-chat draws them. */
export function toGifted(messages: readonly Message[], options: ToGifted = {}): GiftedMessage[] {
  const { readMarks = {}, imageUrl = (content) => content } = options;
  const isReadBy = (sender: string, seq: number) =>
    Object.entries(readMarks).some(([userId, mark]) => userId !== sender && mark >= seq);
  return messages
    .map(({ key, content, type, createdAt, senderId, senderName, status, seq, error }): GiftedMessage => ({
      _id: key,
      text: type === 'IMAGE' ? '' : content,
      createdAt: new Date(createdAt),
      user: { _id: senderId, name: senderName },
      ...(type === 'IMAGE' && { image: imageUrl(content) }),
      ...(type === 'SYSTEM' && { system: true }),
      pending: status === 'pending',
      sent: status === 'sent',
      received: seq !== undefined && isReadBy(senderId, seq),
      ...(error && { error: error.code }),
    }))
    .reverse();
}

/** What `onSend` of gifted-chat hands over, a list, as `send` takes it: one call for each. */
export const fromGifted = (
  messages: readonly Pick<GiftedMessage, 'text' | 'image'>[],
): { content: string; type: SendType }[] =>
  messages.flatMap(({ text, image }) => [
    ...(image ? [{ content: image, type: 'IMAGE' as const }] : []),
    ...(text ? [{ content: text, type: 'TEXT' as const }] : []),
  ]);
