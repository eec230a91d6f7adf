"use strict";

jest.useFakeTimers();

require("./fake-timers")(() => require("medusa-idempotency-key"));
