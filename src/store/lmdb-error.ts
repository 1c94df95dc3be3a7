import { statfsSync } from 'node:fs'
import { StoreError } from './store.js'

/** LMDB reports at once that a commit failed, and the reason a little later. */
export async function causeOf(error: unknown): Promise<unknown> {
  if (!(error instanceof Error && 'commitError' in error)) return error
  try {
    await error.commitError
    return error
  } catch (cause) {
    return cause
  }
}

// Error numbers of LMDB and of the system.
const mapFull = -30_792
const noSpace = 28
const fileTooLarge = 27
const quotaExceeded = 122
const inputOutput = 5

/** @returns the error of a call of LMDB or of the system, as a `StoreError` */
export function storeError(error: unknown, directory: string, bytes: number): StoreError {
  if (error instanceof StoreError) return error
  const text = error instanceof Error ? error.message : String(error)
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  const full =
    code === mapFull ||
    code === noSpace ||
    code === 'ENOSPC' ||
    code === fileTooLarge ||
    code === quotaExceeded ||
    // LMDB reports a short write as an input/output error.
    (code === inputOutput && freeBytes(directory) < 2 * bytes + 1024 * 1024)
  return full
    ? new StoreError('full', `The disk of ${directory} is full: free some space, or keep less.`, {
        cause: error,
      })
    : new StoreError('failed', `The store in ${directory} failed: ${text}`, { cause: error })
}

function freeBytes(directory: string): number {
  try {
    const { bavail, bsize } = statfsSync(directory)
    return bavail * bsize
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
