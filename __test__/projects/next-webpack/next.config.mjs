export default {
  serverExternalPackages: ["medusa-idempotency-key"],
};
