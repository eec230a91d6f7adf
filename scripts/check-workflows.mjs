// Checks workflows as GitHub does before it runs them, expressions and reusable workflows too:
// `node scripts/check-workflows.mjs [FILE ...]`.

import fs from "node:fs";
import { register } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** GitHub's parser is written for bundlers: it does not tell Node that its schema is JSON. */
const AS_JSON = `
  export function load(url, context, next) {
    const isJson = url.endsWith(".json");
    return next(url, isJson ? { ...context, importAttributes: { type: "json" } } : context);
  }
`;
register(`data:text/javascript,${encodeURIComponent(AS_JSON)}`);
const { NoOperationTraceWriter, convertWorkflowTemplate, parseWorkflow } =
  await import("@actions/workflow-parser");

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const WORKFLOWS = path.join(ROOT, ".github/workflows");

/** What `uses: ./…` names. */
const local = {
  getFileContent: async ({ path: name }) => ({ name, content: read(path.join(ROOT, name)) }),
};

async function problemsOf(file) {
  const workflow = { name: path.basename(file), content: read(file) };
  const { context, value } = parseWorkflow(workflow, new NoOperationTraceWriter());
  const problems = new Set(context.errors.getErrors());
  if (value) {
    const template = await convertWorkflowTemplate(context, value, local, {
      fetchReusableWorkflowDepth: 1,
    });
    [...context.errors.getErrors(), ...(template.errors ?? [])].forEach((error) =>
      problems.add(error),
    );
  }
  return [...new Set([...problems].map((error) => error.message ?? error.Message))];
}

function read(file) {
  return fs.readFileSync(file, "utf8");
}

const given = process.argv.slice(2);
const files =
  given.length > 0 ? given : fs.readdirSync(WORKFLOWS).map((name) => path.join(WORKFLOWS, name));
for (const file of files) {
  for (const problem of await problemsOf(file)) {
    console.error(`${path.relative(process.cwd(), file)}: ${problem}`);
    process.exitCode = 1;
  }
}
