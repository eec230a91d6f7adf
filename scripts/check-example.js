"use strict";

// Starts an example that is installed, and drives it:
//
//   node scripts/check-example.js NAME FOLDER

const { EXAMPLES, EXPECTATIONS } = require("../__test__/helpers/example-expectations");
const { startExample } = require("../__test__/helpers/example-process");

async function main([name, folder]) {
  const example = await startExample(folder);
  try {
    for (const [title, check] of Object.entries(EXPECTATIONS)) {
      console.log(`${name}: ${title}`);
      await check(example, folder, EXAMPLES[name]);
    }
  } finally {
    await example.stop();
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
