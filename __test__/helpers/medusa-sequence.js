"use strict";

const { isDate } = require("node:util").types;
const { LOCK_TIMEOUT } = require("./medusa-subjects");
const { Observer } = require("./medusa-observations");
const { typeorm } = require("./medusa-v1");

/** What work fails with, made anew for each subject: a stage has to reject with that very value. */
const FAILURES = {
  error: () => new Error("the work failed"),
  typeError: () => new TypeError("the work failed"),
  text: () => "the work failed",
  undefined: () => undefined,
  null: () => null,
  zero: () => 0,
  object: () => ({ code: "23505" }),
  frozen: () => Object.freeze(new Error("frozen")),
  serialization: () => Object.assign(new Error("serialization failure"), { code: "40001" }),
  deadlock: () => ({ code: "40P01" }),
};

/** Column values that no database objects to. */
const HARMLESS = { response_code: 1 };

/**
 * Carries out a sequence of commands on one subject and records what can be seen of it.
 *
 * Where Medusa's service does something that ours must not, the sequence steps aside, and says which
 * of the intended differences it is: from then on the tables would no longer be comparable.
 */
class Sequence {
  #subject;
  #observer;
  #log = [];
  #generated = [];
  #failures = new Map();

  constructor(subject) {
    this.#subject = subject;
    this.#observer = new Observer(subject);
  }

  /** @returns what each command came to, in order, and what is stored in the end */
  async run(commands) {
    const scope = { service: this.#subject.service, names: (name) => name, depth: 0 };
    await this.#steps(commands, scope);
    return { log: this.#log, ...(await this.#observer.tables()) };
  }

  /** @param {boolean} [strict] whether the first failure ends the steps */
  async #steps(commands, scope, strict = false) {
    for (const command of commands) {
      try {
        await this.#step(command, scope);
      } catch (error) {
        this.#record({ command: command.kind, ...this.#failure(error) });
        if (strict || scope.transaction?.ended) {
          throw error;
        }
      }
    }
  }

  #record(entry) {
    this.#log.push(entry);
  }

  /** An error, after something has been recorded. */
  #noted(error, entry) {
    this.#record(entry);
    return error;
  }

  /** What some work is to fail with. */
  #fail(name) {
    const failure = FAILURES[name]();
    this.#failures.set(failure, `${name}, failure ${this.#failures.size}`);
    return failure;
  }

  /** What a call failed with; the work's own failure has to be the very same value. */
  #failure(error) {
    return this.#failures.has(error)
      ? { failure: this.#failures.get(error) }
      : this.#observer.error(error);
  }

  async #step(command, scope) {
    const seen = await this[command.kind](command, this.#through(command.through, scope));
    this.#record({ command: command.kind, ...seen });
  }

  /** Outside of transactions a call may be made on the shared service or on one bound to nothing. */
  #through(binding, scope) {
    if (scope.depth > 0 || !binding) {
      return scope;
    }
    const manager = binding === "root" ? this.#subject.root : undefined;
    return {
      ...scope,
      isRoot: binding === "root",
      service: scope.service.withTransaction(manager),
    };
  }

  async create({ key, id, columns }, scope) {
    const payload = copyOf(columns);
    if (key !== undefined) {
      payload.idempotency_key = key && this.#key(key, scope);
    }
    // INTENDED: create() with an id that is taken
    if (id && (await this.#row(scope, "id", scope.names(id))) === undefined) {
      payload.id = scope.names(id);
    }
    const given = { ...payload };
    const writtenBack = () => this.#observer.text(payload.idempotency_key);
    const result = await promised(scope.service.create(payload)).catch((error) => {
      // INTENDED: a key for what is no JSON
      throw error instanceof TypeError ? error : this.#noted(error, { writtenBack: writtenBack() });
    });
    this.#keep(result, given);
    return { ...this.#observer.key(result, payload), writtenBack: writtenBack() };
  }

  async initializeRequest({ key, request, refused }, scope) {
    const headerKey = key && this.#key(key, scope);
    // INTENDED: arguments that are none, before the key is looked up
    const isFree = refused && !(await this.#row(scope, "idempotency_key", headerKey ?? ""));
    const rest = copyOf(isFree ? refused : request);
    const result = await promised(scope.service.initializeRequest(headerKey, ...rest));
    this.#keep(result, { idempotency_key: headerKey });
    return this.#observer.key(result);
  }

  /** Remembers a key that was generated, so that later commands can name it. */
  #keep(result, given) {
    if (result.idempotency_key.toWellFormed() !== given.idempotency_key?.toWellFormed()) {
      this.#generated.push(result.idempotency_key);
    }
  }

  async retrieve({ key }, scope) {
    return this.#observer.key(await promised(scope.service.retrieve(this.#key(key, scope))));
  }

  async select({ selector, among }, scope) {
    const built = Array.isArray(selector) ? selector.map(builtFrom) : builtFrom(selector);
    const narrowed =
      among && !Array.isArray(selector)
        ? { ...built, idempotency_key: this.#key(among, scope) }
        : built;
    return this.#observer.key(await promised(scope.service.retrieve(narrowed)));
  }

  async update({ key, columns, rename }, scope) {
    const name = this.#key(key, scope);
    // INTENDED: arguments that are none, before the key is looked up
    const known = await this.#row(scope, "idempotency_key", name);
    const update = copyOf(known ? columns : HARMLESS);
    if (known && rename) {
      update.idempotency_key = this.#key(rename, scope);
    }
    return this.#observer.key(await promised(scope.service.update(name, update)), update);
  }

  async lock({ key }, scope) {
    const name = this.#key(key, scope);
    // INTENDED: lock()
    const locked = this.#subject.isMedusa
      ? mendedLock(scope.service, name)
      : scope.service.lock(name);
    return this.#observer.key(await promised(locked));
  }

  async shouldRetry({ error }, scope) {
    return { retry: scope.service.shouldRetryTransaction_(error) };
  }

  async workStage({ key, steps, strict, ends, sync }, scope) {
    const name = this.#key(key, scope);
    // INTENDED: a stage of an unknown key
    const known = await this.#row(scope, "idempotency_key", name);
    if (!known) {
      return this.#observer.key(await promised(scope.service.workStage(name, () => ({}))));
    }
    // INTENDED: a stage bound to the root manager
    const work = scope.isRoot ? [] : steps;
    let outcome;
    const end = (row) => {
      if (ends.throws) {
        throw this.#fail(ends.throws);
      }
      // INTENDED: arguments that are none, before the key is looked up
      outcome = row ? copyOf(ends.returns) : {};
      // INTENDED: a stage that finishes without an answer
      return row?.has_answer ? filled(outcome) : outcome;
    };
    const callback = async (manager) => {
      const inside = scope.isRoot ? scope : this.#inside(scope, manager);
      this.#record({ stage: this.#observer.text(name), sameManager: manager === scope.manager });
      await this.#steps(work, inside, strict);
      return end(await this.#row(inside, "idempotency_key", name));
    };
    const isSync = sync && work.length === 0;
    const syncCallback = () => end(known);
    const stage = scope.service.workStage(name, isSync ? syncCallback : callback);
    const result = await promised(stage);
    return this.#observer.key(result, outcome.recovery_point ? {} : outcome);
  }

  async atomicPhase(command, scope) {
    const { steps, strict, ends, isolation, handler, dontFail } = command;
    const work = async (manager) => {
      this.#record({ phase: await isolationOf(manager), sameManager: manager === scope.manager });
      await this.#steps(steps, this.#inside(scope, manager), strict);
      if (ends.throws) {
        throw this.#fail(ends.throws);
      }
      // INTENDED: a commit that rolls back
      await stillGood(manager);
      return ends.returns;
    };
    const onError = async (error) => {
      const active = isActive(scope.service.transactionManager_);
      this.#record({ handler: this.#failure(error), active });
      if (handler.throws) {
        throw this.#fail(handler.throws);
      }
      return handler.returns;
    };
    // INTENDED: the error handler after a repeated phase
    const repeats = isolation && scope.depth === 0;
    // A savepoint of TypeORM's does not survive that its transaction is rolled back.
    const handled = handler && !repeats && scope.depth < 2;
    const twoFunctions = handled && dontFail !== undefined;
    const rest = twoFunctions ? [onError, dontFail] : [isolation, handled ? onError : undefined];
    try {
      return { value: await promised(scope.service.atomicPhase_(work, ...rest)) };
    } catch (error) {
      if (handled && scope.transaction) {
        // INTENDED: a manager whose transaction has ended
        scope.transaction.ended = true;
      }
      throw error;
    }
  }

  async transaction({ isolation, steps, strict, fails }, scope) {
    const work = async (manager) => {
      this.#record({ transaction: await isolationOf(manager) });
      await this.#steps(steps, this.#bound(scope, manager, isolation), strict);
      if (fails) {
        throw this.#fail(fails);
      }
      // INTENDED: a commit that rolls back
      await stillGood(manager);
      return "committed";
    };
    if (scope.depth === 0) {
      return { value: await this.#subject.transaction(isolation, work) };
    }
    // TypeORM, where it cannot set a savepoint, rolls back all of the transaction.
    await stillGood(scope.manager);
    const level = isolation ? [isolation] : [];
    return { value: await scope.manager.transaction(...level, work) };
  }

  /** A call of the shared service beside the transaction that is open. */
  async beside({ step }, scope) {
    if (!scope.allowsBeside) {
      return this[step.kind](step, scope);
    }
    const names = (name) => `beside ${name}`;
    const outside = { service: this.#subject.service, names, depth: 0, isBeside: true };
    return this[step.kind](step, outside);
  }

  async effect({ name }, scope) {
    await scope.manager?.query("INSERT INTO effect (name) VALUES ($1)", [name]);
  }

  async failingQuery(_, scope) {
    await scope.manager?.query("SELECT 1 / 0");
  }

  /** The scope of a caller's transaction, or of a savepoint in one. */
  #bound(scope, manager, isolation) {
    // Two transactions that are SERIALIZABLE may abort each other, and a snapshot that is older than
    // what was done beside it is taken when the first statement is sent, which is not the same one.
    const allowed = scope.depth === 0 ? !scope.isBeside : scope.allowsBeside;
    const allowsBeside = allowed && (!isolation || isolation.startsWith("READ"));
    // TypeORM's manager of a savepoint is that of its transaction.
    return { ...this.#inside(scope, manager), depth: scope.depth + 1, allowsBeside };
  }

  /** The scope of work that was handed a manager. */
  #inside(scope, manager) {
    return {
      service: this.#subject.service.withTransaction(manager),
      manager,
      names: scope.names,
      isBeside: scope.isBeside,
      depth: scope.manager === manager ? scope.depth : scope.depth + 1,
      transaction: scope.transaction ?? { ended: false },
    };
  }

  /** The key that is meant: one of a name, or one of those generated last. */
  #key({ name, generated }, scope) {
    if (name !== undefined) {
      return scope.names(name);
    }
    // Beside a transaction: what was generated in it is locked there.
    const isOutside = !scope.isBeside;
    return (isOutside && this.#generated.at(-1 - generated)) || scope.names("never generated");
  }

  /** The row of a key as a call in this scope would see it. */
  async #row(scope, column, value) {
    const sql = `SELECT response_code IS NOT NULL OR response_body IS NOT NULL AS has_answer
                 FROM idempotency_key WHERE ${column} = $1`;
    if (value.includes("\0")) {
      return undefined;
    }
    try {
      return scope.manager
        ? (await scope.manager.query(sql, [value]))[0]
        : (await this.#subject.database.pool.query(sql, [value])).rows[0];
    } catch {
      // A statement of the transaction has failed before: what is to come will fail as well.
      return null;
    }
  }
}

/** What Medusa's lock() would do if it wrote a time, by Medusa's own means. */
async function mendedLock(service, name) {
  const { locked_at: lockedAt } = await service.retrieve(name);
  if (lockedAt && lockedAt.getTime() > Date.now() - LOCK_TIMEOUT) {
    const error = new Error("Key already locked");
    throw Object.assign(error, { type: "conflict", date: new Date() });
  }
  return service.update(name, { locked_at: new Date() });
}

/** A call's promise; a call that throws instead of rejecting fails the test. */
function promised(promise) {
  expect(promise).toBeInstanceOf(Promise);
  return promise;
}

/** Fails where a statement of the transaction has failed before. */
async function stillGood(manager) {
  await manager.query("SELECT 1");
}

async function isolationOf(manager) {
  return (await manager.query("SHOW transaction_isolation"))[0].transaction_isolation;
}

function isActive(manager) {
  return manager?.queryRunner?.isTransactionActive ?? null;
}

/** An outcome that says that there is no answer, where none is given. */
function filled(outcome) {
  outcome.response_code ??= null;
  outcome.response_body ??= null;
  return outcome;
}

/** A selector with TypeORM's operators in place of what describes them. */
function builtFrom(value) {
  if (Array.isArray(value)) {
    return value.map(builtFrom);
  }
  if (typeof value !== "object" || value === null || isDate(value)) {
    return value;
  }
  if (value.operator) {
    return typeorm[value.operator](...value.operands.map(builtFrom));
  }
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, builtFrom(one)]));
}

/** A copy for one subject, which may write into what it is given. */
function copyOf(value, copies = new Map()) {
  if (Array.isArray(value)) {
    return value.map((one) => copyOf(one, copies));
  }
  const isPlain = value?.constructor === Object;
  if (!isPlain || copies.has(value)) {
    return copies.get(value) ?? value;
  }
  const copy = {};
  copies.set(value, copy);
  for (const [name, one] of Object.entries(value)) {
    copy[name] = copyOf(one, copies);
  }
  return copy;
}

module.exports = { FAILURES, Sequence };
