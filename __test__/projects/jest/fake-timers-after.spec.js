"use strict";

const loaded = require("medusa-idempotency-key");

jest.useFakeTimers();

require("./fake-timers")(() => loaded);
