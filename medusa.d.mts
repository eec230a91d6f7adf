export * from "./medusa.js";
