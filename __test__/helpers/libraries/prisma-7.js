"use strict";

const { prisma } = require("./prisma-client");

module.exports = { title: "Prisma 7", open: prisma("newest") };
