import type { Ask, Calls, Word } from './messages.js'

/** One function for each call, in a process that the bench has started. */
export type Answers<C> = {
  readonly [name in keyof C]: C[name] extends { ask: infer A; answer: infer R }
    ? (ask: A) => R | Promise<R>
    : never
}

/** Sends word to the bench. Without a bench, nothing. */
export function tell(word: Word): void {
  process.send?.(word)
}

/** Answers the bench's calls until it goes away; then ends the process. */
export function answerCalls<C extends { [name in keyof C]: Calls[string] }>(answers: Answers<C>): void {
  process.on('message', (ask: Ask) => {
    void answer(ask)
  })
  process.on('disconnect', () => process.exit())

  async function answer({ id, call, with: what }: Ask): Promise<void> {
    try {
      const act = answers[call as keyof C] as (ask: object | null) => object | null | Promise<object | null>
      tell({ kind: 'answer', id, with: await act(what) })
    } catch (error) {
      tell({ kind: 'failed', id, message: error instanceof Error ? error.message : String(error) })
    }
  }
}
