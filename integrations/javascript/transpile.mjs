// Transpiles a component file of the world `embedded` into the JavaScript module embedded/embedded.js, with its
// declarations for TypeScript.

import { transpile, writeFiles } from "@bytecodealliance/jco-transpile";

const [component, outDir = "embedded"] = process.argv.slice(2);
if (!component) {
  console.error("usage: npm run transpile -- embedded.wasm [DIRECTORY]");
  process.exit(2);
}
const { files, imports } = await transpile(component, { name: "embedded", outDir, instantiation: "sync" });
if (imports.length > 0) {
  console.error(`error: ${component} imports ${imports[0]}, so it is not the component \`embedded\``);
  console.error("hint: write it with `consul-session component embedded -o embedded.wasm`");
  process.exit(1);
}
// Each instance calls `WebAssembly.promising` for 10 functions, although none is asynchronous. Where it is missing, V8
// parses the whole module again for each of the errors: 22 ms per instance instead of 0.3 ms.
const promising = "const WebAssembly = Object.create(globalThis.WebAssembly, { promising: { value: (f) => f } });\n";
const module = `${outDir}/embedded.js`;
files[module] = Buffer.concat([Buffer.from(promising), files[module]]);
await writeFiles(files);
