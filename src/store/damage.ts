import { StoreError } from './store.js'

// Error numbers of LMDB: a page that is missing or of the wrong kind, and an environment, transaction, cursor or page that
// failed on one.
const pageNotFound = -30_797
const corrupted = -30_796
const broken = [pageNotFound, corrupted, -30_795, -30_793, -30_787, -30_786, -30_782, -30_779]

/** @returns whether an error reports damaged data */
export function isDamage(error: unknown): boolean {
  if (error instanceof StoreError) return error.kind === 'damaged'
  return error instanceof Error && 'code' in error && broken.includes(error.code as number)
}

/** @returns the damage with its session and what to do; any other error unchanged */
export function damageOf(error: unknown, session: string | undefined, directory: string): unknown {
  if (!isDamage(error)) return error
  if (error instanceof StoreError && error.session !== undefined && error.message.includes(directory))
    return error
  const reason = error instanceof Error ? error.message : String(error)
  if (session === undefined) {
    return new StoreError('damaged', `The store in ${directory} is damaged: ${reason}.`, { cause: error })
  }
  return new StoreError(
    'damaged',
    `Session ${session} is damaged in ${directory}: ${reason}. Remove it, or stop the hub and run ` +
      '`runcast inspect --repair`, which saves all intact data.',
    { session, cause: error },
  )
}
