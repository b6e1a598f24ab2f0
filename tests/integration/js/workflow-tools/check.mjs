// check.mjs FILE...: what GitHub's own language service says about workflows and action.yml; exits 1 when it says anything.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";
import { validate } from "@actions/languageservice";
import { TextDocument } from "vscode-languageserver-textdocument";

let problems = 0;
for (const file of process.argv.slice(2)) {
  const document = TextDocument.create(pathToFileURL(file).href, "yaml", 1, readFileSync(file, "utf8"));
  for (const found of await validate(document)) {
    problems += 1;
    console.log(`${basename(file)}:${found.range.start.line + 1}: ${found.message}`);
  }
}
process.exit(problems ? 1 : 0);
