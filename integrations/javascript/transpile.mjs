// Transpiles a component file into the JavaScript module plugin/plugin.js.
import { transpile, writeFiles } from "@bytecodealliance/jco-transpile";

const [component, outDir = "plugin"] = process.argv.slice(2);
if (!component) {
  console.error("usage: npm run transpile -- plugin.wasm [DIRECTORY]");
  process.exit(2);
}
const { files } = await transpile(component, { name: "plugin", outDir });
await writeFiles(files);
