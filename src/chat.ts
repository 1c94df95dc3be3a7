/**
 * `runcast/chat`: a transport for `useChat` of the AI SDK.
 *
 * @module
 */
export {
  type ChatTransportOptions,
  RuncastChatTransport,
  type SentMessages,
} from './client/chat-transport.js'
