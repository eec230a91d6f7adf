"use strict";

const { parse } = require("pg-connection-string");
const { SYSTEM, systemAuthorities } = require("./authorities");

// What `pg` makes of a URL is what it means here, whichever way it comes in: an option, DATABASE_URL, TypeORM's
// options, Medusa's config. `pg` reads it with the same library. What libpq knows and `pg` does not (several
// hosts) is added; what cannot be honoured is refused by its name.

const EXAMPLE = "has to be a URL like postgres://user:password@host:5432/database";

/** As copied from anywhere; `pg` itself looks at none but `socket:`. */
const SCHEMES = new Set(["postgres:", "postgresql:", "pg:", "socket:"]);

/** What this package cannot do, and what is lost without it. */
const REFUSED = {
  replication: "a replication connection takes no statements",
  require_auth: "the ways to authenticate cannot be restricted",
  sslcrl: "revocation lists are not read",
  sslcrldir: "revocation lists are not read",
  sslpassword: "give the key without a passphrase, or TypeORM's ssl.passphrase",
  requirepeer: "the owner of a socket is not looked at",
  ssl_min_protocol_version: "it is TLS 1.2",
  ssl_max_protocol_version: "it is TLS 1.3",
  service: "there are no service files",
  hostaddr: "give the address as the host",
  load_balance_hosts: "hosts are tried in their order",
};

/** Values of parameters that are taken, but not with these. */
const REFUSED_VALUES = {
  sslnegotiation: { direct: "TLS is negotiated as before PostgreSQL 17" },
  gssencmode: { require: "there is no GSSAPI" },
};

/** For the server, as `pg` sends them at the start. */
const SERVER_SETTINGS = [
  "statement_timeout",
  "lock_timeout",
  "idle_in_transaction_session_timeout",
];

/** `pg` takes every other for verify-full; a misspelt one is more likely. */
const SSL_MODES = [
  "",
  "disable",
  "allow",
  "prefer",
  "require",
  "verify-ca",
  "verify-full",
  "no-verify",
];

const SESSIONS = ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"];

/**
 * Reads a URL. What is wrong with it is thrown as an Error whose message repeats nothing of it but names of
 * parameters.
 *
 * @param {string} url
 * @returns {object} the fields that `pg` would have, and `hosts`, `targetSession`, `schema` and `isPooled`
 */
function fieldsOf(url) {
  const { single, hosts } = withOneHost(url);
  const parameters = parametersOf(single);
  requireKnown(parameters);
  requireSslMode(parameters);
  const system = parameters.get("sslrootcert") === SYSTEM;
  const fields = parsed(system ? withoutParameter(single, "sslrootcert") : single);
  if (system) {
    fields.ssl = { ...(typeof fields.ssl === "object" ? fields.ssl : {}), ca: systemAuthorities() };
  }
  return {
    ...fields,
    ssl: fields.ssl === "" ? undefined : fields.ssl,
    options: withServerSettings(fields),
    hosts,
    targetSession: targetSessionOf(parameters),
    schema: parameters.get("schema") || undefined,
    isPooled: parameters.get("pgbouncer") === "true" || undefined,
  };
}

/** `host1:5432,host2/database` has several hosts, which no other URL has: the first stands for all. */
function withOneHost(url) {
  requireScheme(url);
  const [, before, authority, after] = /^([a-z]+:\/\/)([^/?#]*)(.*)$/is.exec(url) ?? [];
  if (!authority?.includes(",")) {
    requireEncodedPassword(authority, after);
    return { single: url };
  }
  const at = authority.lastIndexOf("@") + 1;
  const hosts = authority.slice(at).split(",").map(hostOf);
  return { single: `${before}${authority.slice(0, at)}${hosts[0].written}${after}`, hosts };
}

function requireScheme(url) {
  const scheme = /^([a-z][a-z0-9+.-]*:)/i.exec(url)?.[1].toLowerCase();
  if (!/^\/[^/]/.test(url) && !SCHEMES.has(scheme)) {
    throw new Error(EXAMPLE);
  }
}

/** A `/`, `?` or `#` ends the part with the password, whose rest then looks like a path. */
function requireEncodedPassword(authority, after) {
  if (authority !== undefined && !authority.includes("@") && /@[^@]*$/.test(after ?? "")) {
    const isInParameter = /[?&][^=]*=[^&]*@[^@]*$/.test(after);
    if (authority.includes(":") && !isInParameter) {
      throw new Error(
        "is not a usable URL: percent-encode the password (# is %23, / is %2F, ? is %3F, @ is %40)",
      );
    }
  }
}

function hostOf(written) {
  const [, host, port] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(written) ?? [];
  if (!host) {
    throw new Error(
      "is not a usable URL: one of its hosts has no name, or a port that is no number",
    );
  }
  return { written, host: host.replace(/^\[(.*)\]$/, "$1"), port: port && Number(port) };
}

function parametersOf(url) {
  const query = url.startsWith("/") ? "" : (url.split("?", 2)[1] ?? "");
  return new URLSearchParams(query.split("#", 1)[0]);
}

function requireKnown(parameters) {
  for (const [name, value] of parameters) {
    const reason = Object.hasOwn(REFUSED, name) ? REFUSED[name] : REFUSED_VALUES[name]?.[value];
    if (reason) {
      throw new Error(`has the parameter ${name}, which cannot be honoured: ${reason}`);
    }
  }
}

function withoutParameter(url, name) {
  const [before, query] = url.split("?", 2);
  const parameters = new URLSearchParams(query);
  parameters.delete(name);
  // `pg` makes something of the mode only beside a certificate, or where there is one.
  return `${before}?${parameters}`;
}

function parsed(url) {
  try {
    return parse(url);
  } catch (error) {
    // eslint-disable-next-line preserve-caught-error -- it has the URL, and so the password
    throw new Error(`is not a usable URL: ${reasonOf(error)}`);
  }
}

/** The library's own messages repeat parts of what they are about. */
function reasonOf(error) {
  switch (error.code) {
    case "ERR_INVALID_URL":
      return "percent-encode what is special in the password (# is %23, / is %2F, ? is %3F, @ is %40)";
    case "ENOENT":
    case "EACCES":
    case "EISDIR":
      return `a file that sslrootcert, sslcert or sslkey names cannot be read (${error.code})`;
    default:
      return error.message.startsWith("SECURITY WARNING")
        ? "sslmode=verify-ca needs sslrootcert with uselibpqcompat=true"
        : "percent-encode what is special in it";
  }
}

function withServerSettings(fields) {
  const settings = SERVER_SETTINGS.filter((name) => fields[name]).map((name) => {
    if (!/^\w+$/.test(fields[name])) {
      throw new Error(`has a parameter ${name} that is no number of milliseconds`);
    }
    return `-c ${name}=${fields[name]}`;
  });
  return [fields.options, ...settings].filter(Boolean).join(" ") || undefined;
}

function requireSslMode(parameters) {
  const mode = parameters.get("sslmode") ?? "";
  if (!SSL_MODES.includes(mode)) {
    throw new Error(
      `has a parameter sslmode that is none of ${SSL_MODES.filter(Boolean).join(", ")}`,
    );
  }
}

function targetSessionOf(parameters) {
  const given = parameters.get("target_session_attrs");
  if (given && !SESSIONS.includes(given)) {
    throw new Error(`has a parameter target_session_attrs that is none of ${SESSIONS.join(", ")}`);
  }
  return given || undefined;
}

module.exports = { fieldsOf };
