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
  /** The databases of other DataSources that services bound from this one have used. */
  #ofDataSources = new Map();
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
    const origin = this.#origin;
    if (origin.#closed) {
      throw medusaError(
        "unexpected_state",
        "the service was closed: construct a new one",
        "service_closed",
      );
    }
    const elsewhere = this.#elsewhere();
    const database = elsewhere ? this.#openElsewhere(elsewhere) : origin.#open();
    database.keepPruning();
    return database;
  }

  /** Ends the service: once the calls that have been made have begun, its share of the connections. */
  async close() {
    this.#closed = true;
    const databases = [this.#database, ...this.#ofDataSources.values()];
    this.#database = undefined;
    this.#ofDataSources.clear();
    await Promise.all(databases.map((database) => database?.close()));
  }

  #open() {
    this.#database ??= this.#opened();
    return this.#database;
  }

  /** Kept by the service that this one was bound from, since nobody closes a bound one. */
  #openElsewhere(dataSource) {
    const databases = this.#origin.#ofDataSources;
    if (!databases.has(dataSource)) {
      databases.set(dataSource, this.#opened());
    }
    return databases.get(dataSource);
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

  /** The DataSource of the manager that the service is bound to, if it means other connections than its origin's. */
  #elsewhere() {
    const { transactionManager_, activeManager_ } = this.#service;
    if (!transactionManager_ || this.settings.databaseUrl) {
      return undefined;
    }
    const dataSource = dataSourceOf(activeManager_);
    const own = dataSourceOf(this.#origin.#service.activeManager_);
    return dataSource === own ? undefined : dataSource;
  }
}

module.exports = { Context };
