"use strict";

// Installs the real Medusa, for those tests that need it: whoever loads this has it.

const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { isPrepared, prepare } = require("../../examples/medusa-v1/prepare");

const EXAMPLE = path.join(__dirname, "../../examples/medusa-v1");
/** Jest's workers are processes: one of them installs, and the others wait. */
const LOCK = path.join(os.tmpdir(), `preparing-medusa-v1-${process.getuid?.() ?? 0}`);
const LOOK_INTERVAL = 200;

function prepareOnce() {
  while (!isPrepared()) {
    if (locked()) {
      try {
        prepare();
      } finally {
        fs.rmSync(LOCK);
      }
    } else {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_INTERVAL);
    }
  }
}

/** Takes the lock, unless another process has it that is still there. */
function locked() {
  try {
    fs.writeFileSync(LOCK, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") {
      throw error;
    }
    return false;
  } finally {
    removeStale();
  }
}

function removeStale() {
  try {
    process.kill(Number(fs.readFileSync(LOCK, "utf8")), 0);
  } catch (error) {
    if (error.code === "ESRCH") {
      fs.rmSync(LOCK, { force: true });
    }
  }
}

prepareOnce();

module.exports = { EXAMPLE };
