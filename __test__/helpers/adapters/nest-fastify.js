"use strict";

const { FastifyAdapter } = require("@nestjs/platform-fastify");
const { onNest } = require("./nest");

module.exports = onNest(() => new FastifyAdapter());
