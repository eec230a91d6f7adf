"use strict";

/**
 * A Date in local time with its offset, like `2024-05-06T09:08:07.006+02:00`: exact as a timestamptz; as a timestamp
 * or date it is the local time, which `pg` reads back as such.
 */
function localTime(date) {
  if (Number.isNaN(date.getTime())) {
    // "Invalid Date", which PostgreSQL refuses.
    return String(date);
  }
  const year = date.getFullYear();
  const days = [date.getMonth() + 1, date.getDate()].map((number) => pad(number));
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map((number) =>
    pad(number),
  );
  // There is no year 0: the year before 1 A.D. is 1 B.C.
  const day = [pad(year < 1 ? 1 - year : year, 4), ...days].join("-");
  const time = `${clock.join(":")}.${pad(date.getMilliseconds(), 3)}`;
  return `${day}T${time}${zoneOf(date)}${year < 1 ? " BC" : ""}`;
}

/** A Date in UTC: exact even where the local zone's offset once had seconds. */
function utcTime(date) {
  if (Number.isNaN(date.getTime())) {
    return String(date);
  }
  const iso = date.toISOString();
  const year = date.getUTCFullYear();
  // In ISO format years before 0 and after 9999 have a sign and six digits.
  const afterYear = iso.slice(/^[+-]/.test(iso) ? 7 : 4);
  return `${pad(year < 1 ? 1 - year : year, 4)}${afterYear}${year < 1 ? " BC" : ""}`;
}

function zoneOf(date) {
  const east = -date.getTimezoneOffset();
  const minutes = Math.abs(east);
  return `${east < 0 ? "-" : "+"}${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}`;
}

function pad(number, digits = 2) {
  return String(number).padStart(digits, "0");
}

module.exports = { localTime, utcTime };
