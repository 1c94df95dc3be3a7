/** What Node is started with to run a file of ours, as each file of tests is. */
export const typescript: readonly string[] = ['--import', new URL('typescript.mjs', import.meta.url).href]
