"use strict";

module.exports = require("./express").onExpress(require("express"));
