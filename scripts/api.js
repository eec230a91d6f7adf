"use strict";

// The public API as reports, so that a review sees every change of it: `node scripts/api.js` writes
// them, `--check` fails where they are stale.

const { Extractor, ExtractorConfig } = require("@microsoft/api-extractor");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const ROOT = path.join(__dirname, "..");
/** The declarations of what `exports` in package.json names; the `.mts` files pass them on. */
const ENTRIES = [
  "index",
  "medusa",
  "lib/conformance/index",
  "lib/http/express",
  "lib/http/fastify",
  "lib/http/fetch",
  "lib/http/hono",
  "lib/http/koa",
  "lib/http/nest",
];
const REPORTS = path.join(ROOT, "etc");
const SILENT = { default: { logLevel: "none" } };

/**
 * Writes the reports, or only compares them.
 *
 * @param {{ root?: string, reports?: string, isCheck?: boolean }} [options]
 * @returns {string[]} the files that are not as they should be, or were not before they were written
 */
function report({ root = ROOT, reports = REPORTS, isCheck = false } = {}) {
  const temporary = fs.mkdtempSync(path.join(os.tmpdir(), "api-"));
  try {
    fs.mkdirSync(reports, { recursive: true });
    return ENTRIES.filter((entry) => {
      const config = configOf(entry, { root, reports, temporary });
      const { apiReportChanged } = Extractor.invoke(config, {
        localBuild: !isCheck,
        messageCallback: (message) => (message.handled = true),
      });
      return apiReportChanged;
    }).map(reportOf);
  } finally {
    fs.rmSync(temporary, { recursive: true });
  }
}

/** The file of an entry's report: what is imported is `express`, wherever it is. */
function reportOf(entry) {
  const [name] =
    path.posix.basename(entry) === "index"
      ? entry.split("/").slice(-2)
      : [path.posix.basename(entry)];
  return `${name}.api.md`;
}

function configOf(entry, { root, reports, temporary }) {
  const declarations = path.join(root, `${entry}.d.ts`);
  // Medusa may not be installed: its types are named in the report, and not looked into.
  const compilerOptions = {
    ...{ module: "node16", moduleResolution: "node16", target: "es2022" },
    ...{ strict: true, skipLibCheck: true, types: [] },
  };
  return ExtractorConfig.prepare({
    configObject: {
      projectFolder: root,
      mainEntryPointFilePath: declarations,
      newlineKind: "lf",
      compiler: { overrideTsconfig: { compilerOptions, files: [declarations] } },
      apiReport: {
        enabled: true,
        reportFolder: reports,
        reportTempFolder: temporary,
        reportFileName: reportOf(entry),
      },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      messages: {
        compilerMessageReporting: SILENT,
        extractorMessageReporting: SILENT,
        tsdocMessageReporting: SILENT,
      },
    },
    configObjectFullPath: undefined,
    packageJsonFullPath: path.join(ROOT, "package.json"),
    packageFolder: root,
    projectFolderLookupToken: root,
  });
}

function main() {
  const isCheck = process.argv.includes("--check");
  const changed = report({ isCheck });
  if (!isCheck) {
    changed.forEach((file) => console.log(`Written: etc/${file}`));
  } else if (changed.length > 0) {
    const files = changed.map((file) => `etc/${file}`).join(" and ");
    console.error(
      `The public API is not what ${files} shows: run \`npm run api\`, and commit it if that is meant.`,
    );
    process.exitCode = 1;
  }
}

if (require.main === module) {
  main();
}

module.exports = { report };
