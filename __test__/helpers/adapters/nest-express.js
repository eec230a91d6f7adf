"use strict";

const { ExpressAdapter } = require("@nestjs/platform-express");
const { onNest } = require("./nest");

module.exports = onNest(() => new ExpressAdapter());
