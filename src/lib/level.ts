/**
 * @param weights of those who hold something
 * @param free how much of it all is to be given back
 * @returns the level to which the heaviest have to go down so that so much is free: who is below it gives nothing
 */
export function levelOf(weights: readonly number[], free: number): number {
  const sorted = Float64Array.from(weights).sort().reverse()
  let sum = 0
  for (const [at, weight] of sorted.entries()) {
    sum += weight
    const level = (sum - free) / (at + 1)
    if (level >= (sorted[at + 1] ?? 0)) return Math.max(0, level)
  }
  return 0
}
