import { type BuildResult, build } from 'esbuild'

/** Bundles what `@runcast/client` exports into a folder, for any bundler or browser. The working directory is the root. */
export function bundleClient(outdir: string): Promise<BuildResult<{ metafile: true }>> {
  // MessagePack is in the bundle: the package that it comes from brings a native addon, which no page can use.
  return build({
    entryPoints: ['src/client.ts', 'src/react.ts', 'src/chat.ts'],
    outdir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    external: ['react'],
    metafile: true,
    logLevel: 'warning',
  })
}
