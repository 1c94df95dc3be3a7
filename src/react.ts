'use client'
/**
 * `runcast/react`: hooks for React 18 and newer.
 *
 * @module
 */
export type { Events } from './react/events-store.js'
export {
  RuncastProvider,
  type RuncastProviderProps,
  type UseEventsOptions,
  useClient,
  useEvents,
  useSessionState,
  useStatus,
} from './react/hooks.js'
export {
  type ListedSession,
  type Needs,
  type OpenNeed,
  type Sessions,
  useNeeds,
  useSessions,
} from './react/lists.js'
export { createRuncastHooks, type RuncastHooks } from './react/typed-hooks.js'
