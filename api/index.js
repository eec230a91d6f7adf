"use strict";

// What Medusa's plugin loader mounts before its own routes.

const { idempotencyMiddleware } = require("..");

exports.default = () => idempotencyMiddleware();
