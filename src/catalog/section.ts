import { defaultTraits, type Traits } from './traits.js'

/** The event types of one section of the built-in catalog, in the order in which they are documented. */
export type Section = Readonly<Record<string, Traits>>

/** @returns the default traits with the given changes, frozen because every event of the type shares them */
export function traits(differing: Partial<Traits> = {}): Traits {
  return Object.freeze({ ...defaultTraits, ...differing })
}
