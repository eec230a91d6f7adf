"use strict";

/**
 * What a service is bound to that is no place: each call rejects, as a method never throws synchronously.
 *
 * @implements {import(".").Place}
 */
class Refused {
  isInTransaction = false;
  #refusal;

  /** @param {() => Error} refusal the error of a call */
  constructor(refusal) {
    this.#refusal = refusal;
  }

  async run() {
    throw this.#refusal();
  }

  async stage() {
    throw this.#refusal();
  }

  async firstStage() {
    throw this.#refusal();
  }

  async phase() {
    throw this.#refusal();
  }
}

module.exports = { Refused };
