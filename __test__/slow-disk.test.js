"use strict";

// The benchmark's slow disk.

const { commitTime, startOnSlowDisk, whyNoSlowDisk } = require("../bench/slow-disk");
const { SLOW_DISK } = require("../bench/settings");

const here = whyNoSlowDisk() ? test.skip : test;

here(
  "every commit waits for a flush of the log that takes longer, and nothing is left",
  async () => {
    const server = await startOnSlowDisk();
    try {
      expect(await commitTime(server.url)).toBeGreaterThanOrEqual(SLOW_DISK.delay);
    } finally {
      await server.stop();
    }
  },
);

here("a disk that is not slow enough is not measured", async () => {
  const minute = 60_000_000;
  await expect(startOnSlowDisk({ least: minute })).rejects.toThrow(/^a commit took [\d.]+ µs only/);
});

test.each([
  ["the platform", { platform: "darwin" }, /Linux only/],
  ["a server that is given", { platform: "linux", isGiven: true }, /DATABASE_URL/],
  ["a machine without a compiler", { platform: "linux", compiler: "no-such-cc" }, /no C compiler/],
])("a sentence says why there is none: %s", (_, machine, sentence) => {
  expect(whyNoSlowDisk(machine)).toMatch(sentence);
});
