"use strict";

const { prisma } = require("./prisma-client");

module.exports = { title: "Prisma 6", open: prisma("previous") };
