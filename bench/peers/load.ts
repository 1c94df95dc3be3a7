/**
 * Loads a package of `peers/package.json`. What it exports is not known to the compiler, for the packages are
 * installed only when a peer takes part.
 */
export function load(name: string): Promise<unknown> {
  return import(name)
}
