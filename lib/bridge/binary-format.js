"use strict";

// What the first bytes of a native library say. `dlopen` of a truncated ELF file ends the process
// with SIGBUS, so such a file has to be found before.

const fs = require("node:fs");

const HEADER_SIZE = 64;
const ELF_64_LITTLE_ENDIAN = Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
const FORMATS = { linux: "ELF", darwin: "Mach-O", win32: "PE" };
const MACHINES = { 62: "x64", 183: "arm64" };

/**
 * Says what is wrong with a native library, as far as its header tells.
 *
 * @param {string} file
 * @param {{ os: string, cpu: string }} platform that is to load it
 * @returns {string | undefined} the fault, to be put after "it "
 */
function faultOf(file, platform) {
  try {
    return faultOfHeader(readHeader(file), platform);
  } catch (error) {
    return `cannot be read: ${error.message}`;
  }
}

function faultOfHeader({ header, size }, { os, cpu }) {
  if (size === 0) {
    return "is empty";
  }
  const expected = FORMATS[os];
  const format = formatOf(header);
  if (expected && format !== expected) {
    return format
      ? `is made for another system: ${format}, not ${expected}`
      : "is no native library";
  }
  return format === "ELF" ? faultOfElf(header, size, cpu) : undefined;
}

function readHeader(file) {
  const descriptor = fs.openSync(file, "r");
  try {
    const header = Buffer.alloc(HEADER_SIZE);
    fs.readSync(descriptor, header, 0, HEADER_SIZE, 0);
    return { header, size: fs.fstatSync(descriptor).size };
  } finally {
    fs.closeSync(descriptor);
  }
}

function formatOf(header) {
  if (header.subarray(0, 4).equals(ELF_64_LITTLE_ENDIAN.subarray(0, 4))) {
    return "ELF";
  }
  if ([0xfeedfacf, 0xbebafeca].includes(header.readUInt32LE(0))) {
    return "Mach-O";
  }
  return header.toString("latin1", 0, 2) === "MZ" ? "PE" : undefined;
}

function faultOfElf(header, size, cpu) {
  const isKnown = header.subarray(0, 6).equals(ELF_64_LITTLE_ENDIAN);
  const machine = isKnown ? MACHINES[header.readUInt16LE(18)] : undefined;
  if (machine && machine !== cpu) {
    return `is made for another processor: ${machine}, not ${cpu}`;
  }
  // Linkers write the section headers last.
  const end = isKnown ? endOfSectionHeaders(header) : 0;
  return end > size ? `is truncated: ${size} of ${end} bytes` : undefined;
}

function endOfSectionHeaders(header) {
  return Number(header.readBigUInt64LE(40)) + header.readUInt16LE(58) * header.readUInt16LE(60);
}

module.exports = { faultOf };
