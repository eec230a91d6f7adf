export default {
  output: "standalone",
  serverExternalPackages: ["medusa-idempotency-key"],
};
