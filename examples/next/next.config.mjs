export default {
  // It has a native addon, which no bundler takes in.
  serverExternalPackages: ["medusa-idempotency-key"],
};
