"use strict";

const { stdout } = require("node:process");

const CLEAR_LINE = "\r\x1b[K";

/** Prints what happens, line by line. On a terminal, a line that is under way is redrawn. */
const timeline = {
  /** Prints a line with the time since the process began. */
  say(text) {
    stdout.write(`${stdout.isTTY ? CLEAR_LINE : ""}${timed(text)}\n`);
  },

  /** Shows what is under way, until the next line. */
  sketch(text) {
    if (stdout.isTTY) {
      // A line that wraps could not be redrawn.
      stdout.write(CLEAR_LINE + timed(text).slice(0, stdout.columns - 1));
    }
  },
};

function timed(text) {
  return `${elapsed().padStart(8)}  ${text}`;
}

/** Time since the process began. */
function elapsed() {
  return `${(performance.now() / 1000).toFixed(2)} s`;
}

/** Such as `[ 3/10] ■■■□□□□□□□`. */
function progress(done, all) {
  const count = `${done}`.padStart(`${all}`.length);
  return `[${count}/${all}] ${"■".repeat(done)}${"□".repeat(all - done)}`;
}

module.exports = { timeline, elapsed, progress };
