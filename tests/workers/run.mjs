// Runs the scenarios in Pyodide: node run.mjs PYODIDE_FOLDER WHEELS_FOLDER README runtime|sdk. What became of each is
// printed as one line of JSON, the last.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Ai, Service } from "./binding.mjs";

const [folder, wheels, readme, kind] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const bytes = (path) => new Uint8Array(readFileSync(path));
const { loadPyodide } = await import(pathToFileURL(join(folder, "pyodide.mjs")).href);
const answers = JSON.parse(readFileSync(join(here, "answers.json"), "utf8"));

const pyodide = await loadPyodide({ stdout: () => {}, stderr: () => {} });
for (const name of readdirSync(wheels)) pyodide.unpackArchive(bytes(join(wheels, name)), "wheel");

// What the runtime of Workers gives to the SDK. A promise of Python's lives no longer than the call that hands it over,
// unless it is copied.
const waited = [];
const until = async (promise) => {
  const kept = "copy" in promise ? promise.copy() : promise;
  await kept;
  if ("destroy" in kept) kept.destroy();
};
pyodide.registerJsModule("_pyodide_entrypoint_helper", {
  patchWaitUntil: () => {},
  cloudflareWorkersModule: {},
  cloudflareSocketsModule: {},
});
pyodide.registerJsModule("_cloudflare_compat_flags", {});

pyodide.registerJsModule("stand_in", {
  kind,
  readme: readFileSync(readme, "utf8"),
  fresh: () => {
    const service = new Service(answers);
    return { service, env: { AI: new Ai(service), THUMBPRINT_SECRET: "a secret of the Worker's own" } };
  },
  context: { waitUntil: (promise) => void waited.push(until(promise)) },
  settled: () => Promise.all(waited.splice(0)),
});
for (const name of ["scenarios.py", "in_pyodide.py"]) pyodide.FS.writeFile(name, bytes(join(here, name)));
console.log(await pyodide.runPythonAsync("import in_pyodide\nawait in_pyodide.results()"));
process.exit(0); // with timers still set, of what was given up
