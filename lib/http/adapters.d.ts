import type { Attempt, HandleAnswer } from "../../index";

/** The work of a request in one stage, as every adapter's staged form takes it. `tx` is its transaction. */
export type StagedWork<Native, Manager> = (
  tx: Manager,
  request: Native,
  attempt: Attempt,
) => HandleAnswer | Promise<HandleAnswer>;

/** What a stage returns: where its request goes on, or its answer. */
export type StageOrAnswer = HandleAnswer | { recovery_point: string };

/** The work of a request in stages: for each recovery point the function that goes on from there. */
export type Stages<Native, Manager> = Record<
  string,
  (tx: Manager, request: Native, attempt: Attempt) => StageOrAnswer | Promise<StageOrAnswer>
>;
