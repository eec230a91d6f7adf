"use strict";

const { connectionOf } = require("../database/connections");
const { Database } = require("../database/database");
const { medusaError } = require("../errors/errors");
const { connectionOfManager, dataSourceOf } = require("../handles");
const { connectionOfMedusa } = require("../handles/typeorm-options");
const { projectConfigOf, warnerOf } = require("../values/container");
const { placeOf } = require("./index");

/** What the calls of one service share: its settings, its database, and the place where they run. */
class Context {
  /** The checked options. */
  settings;
  /** What the service's mode decides: see request/semantics.js. */
  semantics;
  #service;
  /** The context of the service that this one was bound from, whose connections it uses. */
  #origin = this;
  #database;
  #closed = false;
  #place;
  /** What the place was chosen by. */
  #bound;
  #manager;

  /**
   * @param {object} service
   * @param {object} settings
   * @param {object} semantics
   */
  constructor(service, settings, semantics) {
    this.#service = service;
    this.settings = settings;
    this.semantics = semantics;
  }

  /** Has the service use the connections of the one that it was bound from. */
  bindFrom(context) {
    this.#origin = context.#origin;
  }

  /** @returns {import(".").Place} where calls run: chosen once, unless a subclass assigns other managers */
  get place() {
    const { transactionManager_: bound, activeManager_: manager } = this.#service;
    if (!this.#place || this.#bound !== bound || this.#manager !== manager) {
      this.#place = placeOf(this, bound, manager);
      this.#bound = bound;
      this.#manager = manager;
    }
    return this.#place;
  }

  /** @returns {Database} opened by the first call that needs it */
  database() {
    return this.#owner().#open();
  }

  /** Ends the service: once the calls that have been made have begun, its share of the connections. */
  async close() {
    this.#closed = true;
    const database = this.#database;
    this.#database = undefined;
    await database?.close();
  }

  #open() {
    if (this.#closed) {
      throw medusaError(
        "unexpected_state",
        "the service was closed: construct a new one",
        "service_closed",
      );
    }
    this.#database ??= this.#opened();
    this.#database.keepPruning();
    return this.#database;
  }

  #opened() {
    const { __container__: container, __configModule__: config, activeManager_ } = this.#service;
    const connection = connectionOf(
      this.settings,
      () =>
        connectionOfManager(activeManager_) ??
        connectionOfMedusa(projectConfigOf(container, config)),
    );
    return new Database(this.settings, connection, warnerOf(container));
  }

  /** Whose connections a service uses: a manager of another DataSource means other connections. */
  #owner() {
    const { transactionManager_, activeManager_ } = this.#service;
    const dataSource = transactionManager_ && dataSourceOf(activeManager_);
    const origin = this.#origin;
    const isElsewhere = dataSource && dataSource !== dataSourceOf(origin.#service.activeManager_);
    return isElsewhere ? this : origin;
  }
}

module.exports = { Context };
