import type { BuiltInCatalog } from '@runcast/client'
import { createRuncastHooks } from '@runcast/client/react'

/** What this chat adds to the events that the hub knows. */
interface ChatCatalog {
  'chat.said': { readonly by: string; readonly text: string }
}

interface ChatSlices {
  /** Kept by the hub: who has the chat open. */
  readonly $watchers: { readonly count: number }
}

export const { RuncastProvider, useClient, useEvents, useSessionState, useStatus } = createRuncastHooks<
  BuiltInCatalog & ChatCatalog,
  ChatSlices
>()

export type ChatEvent = ReturnType<
  typeof useEvents<readonly ['chat.said', 'client_output_delta']>
>['events'][number]
