"use strict";

// Reads what a 64-bit little-endian ELF library asks of the system that loads it.

const fs = require("node:fs");

const SECTION_TYPES = { dynamic: 6, neededVersions: 0x6ffffffe };
const DT_NEEDED = 1n;

/**
 * @param {string} file
 * @returns {{ libraries: string[], versions: string[] }} the libraries that it is linked with, and the
 *   symbol versions that it takes from them, as `GLIBC_2.17`
 */
function readRequirements(file) {
  const data = fs.readFileSync(file);
  const sections = readSections(data);
  const textOf = (section, offset) => {
    const start = sections[section.link].offset + offset;
    return data.toString("latin1", start, data.indexOf(0, start));
  };
  const ofType = (type) => sections.filter((section) => section.type === type);
  return {
    libraries: ofType(SECTION_TYPES.dynamic).flatMap((section) =>
      neededNames(data, section).map((offset) => textOf(section, offset)),
    ),
    versions: ofType(SECTION_TYPES.neededVersions).flatMap((section) =>
      versionNames(data, section).map((offset) => textOf(section, offset)),
    ),
  };
}

function readSections(data) {
  const start = Number(data.readBigUInt64LE(40));
  const size = data.readUInt16LE(58);
  return Array.from({ length: data.readUInt16LE(60) }, (_, index) => {
    const at = start + index * size;
    return {
      type: data.readUInt32LE(at + 4),
      offset: Number(data.readBigUInt64LE(at + 24)),
      size: Number(data.readBigUInt64LE(at + 32)),
      link: data.readUInt32LE(at + 40),
      entries: data.readUInt32LE(at + 44),
    };
  });
}

/** Of the section .dynamic: pairs of a tag and a value. */
function neededNames(data, { offset, size }) {
  const names = [];
  for (let at = offset; at < offset + size; at += 16) {
    if (data.readBigUInt64LE(at) === DT_NEEDED) {
      names.push(Number(data.readBigUInt64LE(at + 8)));
    }
  }
  return names;
}

/** Of the section .gnu.version_r: for each library a list of versions. */
function versionNames(data, { offset, entries }) {
  const names = [];
  for (let library = 0, at = offset; library < entries; library += 1) {
    let version = at + data.readUInt32LE(at + 8);
    for (let left = data.readUInt16LE(at + 2); left > 0; left -= 1) {
      names.push(data.readUInt32LE(version + 8));
      version += data.readUInt32LE(version + 12);
    }
    at += data.readUInt32LE(at + 12);
  }
  return names;
}

module.exports = { readRequirements };
