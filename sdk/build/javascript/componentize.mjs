// Bundles a plugin (TypeScript is stripped, not checked) and wraps it as a component without WASI.
// node componentize.mjs ENTRY WIT WORLD BUNDLE OUT
import { writeFile } from 'node:fs/promises';
import { rolldown } from 'rolldown';
import { componentize } from '@bytecodealliance/componentize-js';

const [entry, witPath, worldName, bundle, out] = process.argv.slice(2);

async function build() {
  const input = await rolldown({ input: entry, external: /^aimass:/, logLevel: 'warn' });
  await input.write({ file: bundle, format: 'esm' });
  const { component } = await componentize({
    sourcePath: bundle,
    witPath,
    worldName,
    disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
  });
  await writeFile(out, component);
}

build().catch((error) => {
  console.error(error?.message ?? error);
  process.exitCode = 1;
});
