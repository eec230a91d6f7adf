import { defineConfig } from "vitest/config";

// One worker after the other: with the end of each, no thread of the process uses the package.
export default defineConfig({ test: { include: ["*.spec.mjs"], maxWorkers: 1, retry: 0 } });
